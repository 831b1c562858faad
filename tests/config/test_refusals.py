"""What no run can have is refused: the key, what is allowed, the nearest valid name, in one line."""

from __future__ import annotations

import pytest

from droq_exp.config import ConfigError, compose

# what is typed, the key that is named, words of what is allowed, the suggestion
UNKNOWN_NAMES = [
    ("algo.dropout_rat=0.1", "algo.dropout_rat", "dropout_rate", "algo.dropout_rate"),
    ("+algo.dropout_rat=1", "algo.dropout_rat", "dropout_rate", "algo.dropout_rate"),
    ("++algo.dropout_rat=1", "algo.dropout_rat", "dropout_rate", "algo.dropout_rate"),
    ("dropout_rate=0.1", "dropout_rate", "algo", "algo.dropout_rate"),
    ("total_steps=5", "total_steps", "training", "training.total_steps"),
    ("trainig.total_steps=5", "trainig.total_steps", "training", "training.total_steps"),
    ("algo.utd=5", "algo.utd", "utd_ratio", "algo.utd_ratio"),
    ("logger.wand.mode=online", "logger.wand.mode", "wandb", "logger.wandb.mode"),
    ("env.kwarg.a=1", "env.kwarg.a", "kwargs", "env.kwargs"),
    ("training={total_steps: 5, start_step: 3}", "training.start_step", "start_steps", "training.start_steps"),
    ("algo=drop", "algo", "droq_single", "droq"),
    ("algo=", "algo", "droq_single", None),
    ("algo=null", "algo", "droq_single", None),
    ("algo=[sac,droq]", "algo", "-m algo=sac,droq", None),
    ("env=Hopper", "env", "walker2d", "hopper"),
    ("codebase=kuu", "codebase", "redq", "ku"),
    ("hardware=gpus", "hardware", "cpu", "gpu"),
    ("logger=[wandb,tensorboad]", "logger", "wandb", "tensorboard"),
    ("logger=json", "logger", "always on", None),
    ("experiment=smok", "experiment", "smoke", "smoke"),
    ("+experiment=smok", "experiment", "smoke", "smoke"),
    ("debug=defualt", "debug", "default", "default"),
    ("env.id=Hoper-v5", "env.id", "continuous actions", "Hopper-v5"),
    ("env.id=Pendulum-v1", "env.id", "hopper is Hopper-v5; another task is chosen by env=gym env.id=Pendulum-v1", None),
    ("env.id=no_module:Task-v0", "env.id", "imports no_module; --trust no_module", None),
    ("hydra.searchpath=[pkg://no_module]", "hydra.searchpath", "imports no_module; --trust no_module", None),
    ("env.kwargs.reset_noise_scal=1", "env.kwargs.reset_noise_scal", "frame_skip", "reset_noise_scale"),
    ("algo.target_mode=avg", "algo.target_mode", "min, ave, rem", "ave"),
    ("logger=wandb logger.wandb.mode=onlin", "logger.wandb.mode", "offline", "online"),
    (
        "algo._target_=droq_exp.agent.Agnt",
        "algo._target_",
        "droq_exp.agent.Agnt is not one of this project",
        "droq_exp.agent.Agent",
    ),
]

WRONG_VALUES = [
    ("logger=wandb logger.wandb.project=team/x", "logger.wandb.project", "without /"),
    (f"logger=wandb logger.wandb.project={'x' * 129}", "logger.wandb.project", "a name of at most 128 characters"),
    ("logger=wandb logger.wandb.entity=team/x", "logger.wandb.entity", "a name without spaces or /"),
    ("algo.dropout_rate=1.5", "algo.dropout_rate", "a number in [0, 1)"),
    ("algo.dropout_rate=1", "algo.dropout_rate", "a number in [0, 1)"),
    ("algo.dropout_rate=-0.1", "algo.dropout_rate", "a number in [0, 1)"),
    ("algo.dropout_rate=nan", "algo.dropout_rate", "a number in [0, 1)"),
    ("algo.dropout_rate=", "algo.dropout_rate", "a number"),
    ("algo.dropout_rate=high", "algo.dropout_rate", "a number"),
    ("algo.dropout_rate=true", "algo.dropout_rate", "a number"),
    ("algo.dropout_rate=null", "algo.dropout_rate", "a number"),
    ("algo.num_min=3 algo.num_critics=2", "algo.num_min", "algo.num_critics=2"),
    ("algo.num_min=0.5", "algo.num_min", "a number from 1"),
    ("algo.num_critics=0", "algo.num_critics", "at least 1"),
    ("algo.utd_ratio=0", "algo.utd_ratio", "at least 1"),
    ("algo.utd_ratio=1.5", "algo.utd_ratio", "an integer"),
    ("algo.utd_ratio=true", "algo.utd_ratio", "an integer"),
    ("algo.target_mode=mean", "algo.target_mode", "min, ave, rem"),
    ("algo.target_passes=0", "algo.target_passes", "at least 1"),
    ("algo.hidden_sizes=[]", "algo.hidden_sizes", "at least one integer"),
    ("algo.hidden_sizes=[256,0]", "algo.hidden_sizes", "each at least 1"),
    ("algo.hidden_sizes=[a]", "algo.hidden_sizes", "a list of integers"),
    ("algo.hidden_sizes=256", "algo.hidden_sizes", "a list of integers"),
    ("algo.batch_size=0", "algo.batch_size", "at least 1"),
    ("algo.gamma=1.01", "algo.gamma", "[0, 1]"),
    ("algo.gamma=${nothing}", "algo.gamma", "nothing"),
    ("algo=crossq algo.tau=0.1", "algo.tau", "left alone with algo.target_network=false"),
    ("algo=redq_ofe algo.features.layers=7", "algo.features", "total_units=240 must be a multiple of layers=7"),
    ("algo=redq_ofe algo.features.total_unit=7", "algo.features.total_unit", "total_units, updates_per_step"),
    ("algo.features.layers=7", "algo.features.layers", "algo.features._target_"),
    ("training.offline_updates=5", "training.offline_updates", "left alone with training.offline_every=0"),
    ("training.offline_every=10 training.offline_updates=0", "training.offline_updates", "at least 1"),
    ("algo.tau=0", "algo.tau", "(0, 1]"),
    ("algo.critic_learning_rate=0", "algo.critic_learning_rate", "greater than 0"),
    ("algo.actor_learning_rate=inf", "algo.actor_learning_rate", "finite"),
    ("algo.temperature_learning_rate=nan", "algo.temperature_learning_rate", "greater than 0"),
    ("algo.initial_temperature=0", "algo.initial_temperature", "greater than 0"),
    ("algo.target_entropy=nan", "algo.target_entropy", "finite"),
    ("algo.layer_norm=3", "algo.layer_norm", "true or false"),
    ("algo.layer_norm=yes", "algo.layer_norm", "true or false"),
    ("algo.name=mine", "algo.name", "algo=<choice>"),
    ("algo._target_=os.system", "algo._target_", "not one of this project"),
    ("env.kwargs={_target_: os.system}", "env.kwargs._target_", "'_'"),
    ("env.kwargs=[1]", "env.kwargs", "env.kwargs.<name>=<value>"),
    ("env.kwargs.xml_file=nowhere.xml", "env.kwargs", "nowhere.xml does not exist"),
    ("env.kwargs.ctrl_cost_weight=heavy", "env.kwargs", "cannot be stepped with"),
    ("env.id=", "env.id", "registered"),
    ("env=gym", "env.id", "env.id=<value>"),
    ("env=gym env.id=CartPole-v1", "env.id", "continuous actions"),
    ("codebase.policy_update_delay=0", "codebase.policy_update_delay", "at least 1"),
    ("codebase=ku codebase.policy_update_delay=5", "codebase.policy_update_delay", "codebase=redq only"),
    ("codebase=ku bias.min_pairs=5", "bias.min_pairs", "codebase=redq only"),
    ("bias.temperature=-1", "bias.temperature", "at least 0"),
    ("bias.enabled=1", "bias.enabled", "true or false"),
    ("training.total_steps=0", "training.total_steps", "at least 1"),
    ("training.total_steps=null", "training.total_steps", "an integer"),
    ("training.start_steps=-1", "training.start_steps", "at least 0"),
    ("training.replay_size=5000", "training.replay_size", "training.start_steps=5000"),
    ("training=5", "training", "training.<name>=<value>"),
    ("eval.interval=0", "eval.interval", "at least 1"),
    ("eval.episodes=0", "eval.episodes", "at least 1"),
    ("hardware.device=gpu", "hardware.device", "auto, cpu, cuda"),
    ("hardware.threads=0", "hardware.threads", "from 1 to 1024"),
    ("hardware.threads=5000000000", "hardware.threads", "from 1 to 1024"),
    ("hardware.precision=fp16", "hardware.precision", "fp32, tf32, bf16"),
    ("hardware=auto hardware.precision=bf16", "hardware.precision", "hardware.device=cpu"),
    ("hardware=cpu hardware.precision=tf32", "hardware.precision", "fp32"),
    ("logger.wandb.mode=offline", "logger.wandb.mode", "logger=wandb"),
    ("logger=wandb logger.wandb.mode=disabled", "logger.wandb.mode", "offline, online"),
    ("logger=wandb logger.wandb.init_timeout=0", "logger.wandb.init_timeout", "greater than 0"),
    ("logger.csv=null", "logger.csv", "block"),
    ("seed=-1", "seed", "different"),
    ("seed=1.0", "seed", "an integer"),
    ("seed=true", "seed", "an integer"),
    ("seed='1.0'", "seed", "an integer"),
    ("seed=[]", "seed", "different"),
    ("seed=[0,0]", "seed", "different"),
    ("seed=[0,true]", "seed", "different"),
    ("seed={a: 1}", "seed", "different"),
    ("seed=0,1", "seed", "seed=[0,1]"),
    ("seed=[range(0,3)]", "seed", "stands alone"),
    ("algo.hidden_sizes=[64,choice(64,128)]", "algo.hidden_sizes", "stands alone"),
    ("env=hopper,ant", "env", "-m"),
    ("experiment_name=a/b", "experiment_name", "plain folder name"),
    ("experiment_name=..", "experiment_name", "plain folder name"),
    ("output_dir=''", "output_dir", "not empty"),
    ("~algo.gamma", "~algo.gamma", "removed"),
    ("~logger", "~logger", "removed"),
    ("algo@critic=sac", "algo@critic", "algo=<choice>"),
    ("paper.hopper.total_steps=3", "paper.hopper.total_steps", "unknown"),
    ("hydra.run.dir=elsewhere", "hydra.run.dir", "fixed"),
    ("hydra.output_subdir=.hydra", "hydra.output_subdir", "fixed"),
    ("algo.gamma=[0.9", "algo.gamma", "cannot be read"),
    ("=3", "=3", "key=value"),
]


@pytest.mark.parametrize(("line", "key", "allowed", "suggestion"), UNKNOWN_NAMES)
def test_an_unknown_name_is_refused_with_the_nearest_one(
    line: str, key: str, allowed: str, suggestion: str | None
) -> None:
    refusal = _refusal(line)
    assert refusal.key == key
    assert allowed in str(refusal)
    assert refusal.suggestion == suggestion


@pytest.mark.parametrize(("line", "key", "allowed"), WRONG_VALUES)
def test_a_wrong_value_is_refused_with_what_is_allowed(line: str, key: str, allowed: str) -> None:
    refusal = _refusal(line)
    assert refusal.key == key
    assert allowed in str(refusal)


def _refusal(line: str) -> ConfigError:
    overrides = [line] if "{" in line else line.split(" ")
    with pytest.raises(ConfigError) as refusal:
        compose(overrides)
    text = str(refusal.value)
    assert "\n" not in text
    assert text.startswith(f"{refusal.value.key}: ")
    return refusal.value


def test_a_choice_without_its_group_is_recognised() -> None:
    assert _refusal("droq").suggestion == "algo=droq"


def test_a_float_for_an_integer_suggests_the_integer() -> None:
    assert _refusal("training.total_steps=2e4").suggestion == "20000"


def test_a_replay_smaller_than_the_random_start_is_allowed_where_a_run_is_all_random() -> None:
    config, _ = compose(["training.total_steps=100", "training.replay_size=100"])
    assert config.training.replay_size == 100


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for line in ("hardware=gpu", "hardware.device=cuda:0"):
        assert _refusal(line).key == "hardware.device"
    assert _refusal("hardware.precision=tf32").key == "hardware.precision"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert "cuda:0 to cuda:1" in _refusal("hardware.device=cuda:2").problem
    compose(["hardware.device=cuda:1", "hardware.precision=tf32"])


UNFIT_TASKS = {
    "Discrete-v0": ("continuous actions", {"action": "discrete"}),
    "Image-v0": ("observation is an image", {"observation": "image"}),
    "Text-v0": ("of is a Text; allowed: numbers", {"observation": "text"}),
    "Unbounded-v0": ("unbounded", {"action": "unbounded"}),
    "Matrix-v0": ("actions are a vector", {"action": "matrix"}),
}


@pytest.mark.parametrize("task", UNFIT_TASKS)
def test_an_unfit_task_is_refused(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import gymnasium

    words, kwargs = UNFIT_TASKS[task]
    monkeypatch.setattr("gymnasium.registry", dict(gymnasium.registry), raising=True)
    monkeypatch.setattr("gymnasium.envs.registration.registry", gymnasium.registry)
    gymnasium.register(f"Unfit{task}", entry_point=make_unfit, kwargs=kwargs)
    with pytest.raises(ConfigError) as refusal:
        compose(["env=gym", f"env.id=Unfit{task}"])
    assert refusal.value.key == "env.id"
    assert words in refusal.value.problem


def make_unfit(action: str = "vector", observation: str = "vector"):  # type: ignore[no-untyped-def]
    import gymnasium
    import numpy as np
    from gymnasium.spaces import Box, Dict, Discrete, Text

    actions = {
        "vector": Box(-1, 1, (2,)),
        "discrete": Discrete(3),
        "unbounded": Box(-np.inf, np.inf, (2,)),
        "matrix": Box(-1, 1, (2, 2)),
    }
    observations = {
        "vector": Box(-1, 1, (3,)),
        "image": Box(0, 255, (8, 8, 3), np.uint8),
        "text": Dict({"a": Box(-1, 1, (3,)), "of": Text(3)}),
    }

    class Unfit(gymnasium.Env):
        action_space = actions[action]
        observation_space = observations[observation]

        def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
            super().reset(seed=seed)
            return self.observation_space.sample(), {}

    return Unfit()
