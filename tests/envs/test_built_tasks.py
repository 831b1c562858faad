"""What stands around a task by the configuration: wrappers, held actions, stacked and scaled observations, info."""

from __future__ import annotations

from pathlib import Path

import counting_env  # noqa: F401  (registers its tasks)
import gymnasium
import numpy as np
import odd_env  # noqa: F401  (registers its tasks)
import pytest
import yaml
from real_runs import LITTLE_BIAS, assert_same, interrupt_at, only_run, rows, status, train, train_in, weights

from droq_exp import load
from droq_exp.config import ConfigError, compose
from droq_exp.config.errors import OtherRunError
from droq_exp.config.targets import trusting
from droq_exp.config.task import tried
from droq_exp.envs import exchange
from droq_exp.envs.build import build_env
from droq_exp.runs.identity import differences

COUNTING = ("env=gym", "env.id=Counting-v0", LITTLE_BIAS)  # observation [episode, step]; rewards 1, 2, 3, ...
RESCALE = "{_target_: gymnasium.wrappers.RescaleAction, min_action: -3, max_action: 3}"
PARTS = {
    "b": gymnasium.spaces.Box(-1, 1, (2,)),
    "a": gymnasium.spaces.Tuple([gymnasium.spaces.Discrete(3), gymnasium.spaces.Box(-1, 1, (1, 2))]),
}


class Parts(gymnasium.Env):
    """A dictionary of a box and a tuple."""

    observation_space = gymnasium.spaces.Dict(PARTS)
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
        super().reset(seed=seed)
        return self._seen(), {}

    def step(self, action):  # type: ignore[no-untyped-def]
        return self._seen(), float(action[0]), False, False, {"success": np.bool_(True), "name": "x"}

    def _seen(self):  # type: ignore[no-untyped-def]
        return {"b": np.array([0.5, -0.5], np.float32), "a": (np.int64(2), np.array([[0.25, 0.75]], np.float32))}


class Doubled(gymnasium.RewardWrapper):
    """A user's own wrapper."""

    def __init__(self, env: gymnasium.Env, factor: float = 2.0) -> None:
        super().__init__(env)
        self.factor = factor

    def reward(self, reward: float) -> float:  # type: ignore[override]
        return self.factor * reward


class Harsh(gymnasium.Env):
    """Changes the action that it is given, and tells by its reward which one that was."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Box(-2, 0.7, (1,))

    def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):  # type: ignore[no-untyped-def]
        given = float(action[0])
        action *= 5
        return np.zeros(1, np.float32), given, False, False, {}


class Twice(gymnasium.Wrapper):
    """Steps twice with one array, as RepeatAction does."""

    def step(self, action):  # type: ignore[no-untyped-def]
        _, first, *_ = self.env.step(action)
        obs, second, *others = self.env.step(action)
        return obs, first + second, *others


gymnasium.register("Harsh-v0", entry_point=Harsh, max_episode_steps=60)
gymnasium.register("Parts-v0", entry_point=Parts, max_episode_steps=7)
MINE = f"{{_target_: {__name__}.Doubled}}"


def built(*overrides: str) -> gymnasium.Env:
    return build_env(compose([*COUNTING[:2], *overrides])[0].env)


def test_wrappers_stand_in_their_order_with_what_has_keys_around_them() -> None:
    with trusting([__name__]):
        env = built(f"env.wrappers=[{RESCALE},{MINE}]", "env.action_repeat=2", "env.frame_stack=3")
    assert env.action_space.high.tolist() == [3.0]
    first, _ = env.reset(seed=0)
    assert first.tolist() == [0, 0] * 3
    second, reward, *_ = env.step(np.zeros(1, np.float32))
    assert second.tolist() == [0, 0, 0, 0, 0, 2]
    assert reward == 2 * (1 + 2)  # of two steps
    assert env.step(np.zeros(1, np.float32))[0].tolist() == [0, 0, 0, 2, 0, 4]
    _, _, terminated, *_ = env.step(np.zeros(1, np.float32))
    assert terminated  # the task's own sixth step


@pytest.mark.parametrize(
    ("override", "steps"),
    [("env.action_repeat=3", 3), (f"env.wrappers=[{{_target_: {__name__}.Twice}}]", 2), ("env.action_repeat=1", 1)],
)
def test_a_task_gets_a_copy_of_the_action_at_every_step_of_its_own(override: str, steps: int) -> None:
    with trusting([__name__]):
        env = build_env(compose(["env=gym", "env.id=Harsh-v0", override])[0].env)
    env.reset(seed=0)
    action = np.array([0.5], np.float32)
    outcome = exchange.step(env, action, 1)
    assert (outcome.reward, outcome.action.tolist(), action.tolist()) == (0.5 * steps, [0.5], [0.5])


def test_a_limit_counts_the_agents_steps() -> None:
    env = built("env.kwargs.length=100", "env.action_repeat=3", "env.max_episode_steps=2")
    env.reset(seed=0)
    assert [env.step(np.zeros(1, np.float32))[3] for _ in range(2)] == [False, True]


def test_observations_with_parts_are_a_vector_in_an_order_that_is_written_down(elsewhere: Path) -> None:
    command = ("env=gym", "env.id=Parts-v0", LITTLE_BIAS)
    config, _ = compose(command)
    assert tried(config.env).order == (("a/0", 3), ("a/1", 2), ("b", 2))
    obs, _ = build_env(config.env).reset()
    assert obs.tolist() == [0, 0, 1, 0.25, 0.75, 0.5, -0.5]
    assert train(*command, "env.info_metrics=[success]") == 0
    assert [float(row["info_success"]) for row in rows(only_run(), "eval")] == [1, 1]
    path = only_run() / "config.yaml"
    told = yaml.safe_load(path.read_text())
    assert told["observation"] == [["a/0", 3], ["a/1", 2], ["b", 2]]
    path.write_text(yaml.safe_dump(told | {"observation": [["b", 2], ["a/0", 3], ["a/1", 2]]}))
    with pytest.raises(OtherRunError, match="the parts of an observation are"):
        train(*command, "env.info_metrics=[success]")


@pytest.mark.parametrize(
    ("name", "words"), [("reward", "has no reward in the info of its last step, .*: name, success"), ("name", "no num")]
)
def test_info_that_cannot_be_logged_is_named(name: str, words: str, elsewhere: Path) -> None:
    assert train("env=gym", "env.id=Parts-v0", LITTLE_BIAS, f"env.info_metrics=[{name}]") == 1
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(status(only_run())["error"]["summary"])


@pytest.mark.parametrize(
    ("wrapper", "key", "words"),
    [
        ("{_target_: gymnasium.wrappers.NormalizeObservation}", "._target_", "env.normalize_observation=true keeps"),
        ("{_target_: gymnasium.wrappers.NormalizeReward}", "._target_", "outlive an episode and are in no checkpoint"),
        ("{_target_: gymnasium.wrappers.ClipActio}", "._target_", "gymnasium.wrappers.ClipAction"),
        ("{_target_: gymnasium.wrappers.RescaleAction, min_action: 1}", ".max_action", "must be given"),
        ("{_target_: gymnasium.wrappers.RescaleAction, min: 1}", ".min", "allowed in env.wrappers.* min_action"),
        ("{min_action: 1}", "", "each wrapper has a _target_=<class>"),
        ("{_target_: os.system, command: ls}", "._target_", "os.system is not one of this project's"),
        ("{_target_: gymnasium.make}", "._target_", "gymnasium.make is not one of this project's"),
        (f"{{_target_: {__name__}.Parts}}", "._target_", "is no wrapper of Gymnasium"),
        ("{_target_: gymnasium.wrappers.TimeLimit, max_episode_steps: {_target_: os.system}}", None, "Hydra's own"),
        ("{_target_: gymnasium.wrappers.RescaleAction, min_action: 3, max_action: 1}", None, "cannot be made with"),
    ],
)
def test_a_wrapper_that_cannot_be_is_one_line(wrapper: str, key: str | None, words: str) -> None:
    with trusting([__name__, "gymnasium.wrappers"]), pytest.raises(ConfigError, match=words) as refusal:
        compose([*COUNTING, f"env.wrappers=[{wrapper}]"])
    assert key is None or refusal.value.key == f"env.wrappers[0]{key}"


def test_wrappers_are_part_of_what_a_run_is_and_of_what_is_played(elsewhere: Path) -> None:
    command = (*COUNTING, f"env.wrappers=[{MINE}]", "env.frame_stack=2")
    with trusting([__name__]):
        assert train(*command) == 0
    stored = yaml.safe_load((only_run() / "config.yaml").read_text())
    assert stored["env"]["wrappers"] == [{"_target_": f"{__name__}.Doubled", "factor": 2.0}]  # its defaults too
    assert stored["differences"].keys() >= {"env.wrappers", "env.frame_stack"}
    with pytest.raises(ConfigError, match=rf"env\.wrappers\[0\]\._target_: {__name__}.* --trust"):
        load(only_run())
    policy = load(only_run(), trust=[__name__])
    (played,) = policy.episodes([policy.make_env()], 1, 0)
    assert played.reward.tolist() == [2, 4, 6, 8, 10, 12]
    assert played.obs.shape == (6, 4)


def test_drawing_is_no_argument_of_training() -> None:
    with pytest.raises(ConfigError, match=r"^env\.kwargs\.render_mode: .*droq-exp play"):
        compose(["env=hopper", "env.kwargs.render_mode=human"])
    entry = gymnasium.spec("Hopper-v5").entry_point
    gymnasium.register("Shown-v0", entry_point=entry, max_episode_steps=9, kwargs={"render_mode": "human"})
    with pytest.raises(ConfigError, match=r"^env\.id: Shown-v0 is registered with render_mode=human"):
        compose(["env=gym", "env.id=Shown-v0"])


# Scaled observations

SCALED = ("env=inverted_pendulum", "env.normalize_observation=true")


@pytest.mark.program
@pytest.mark.parametrize("extra", [(LITTLE_BIAS,), ("codebase=ku",), (LITTLE_BIAS, "algo=crossq")])
def test_scaled_observations_are_resumed_exactly_in_the_third_episode(
    extra: tuple[str, ...], elsewhere: Path, tmp_path: Path
) -> None:
    (whole,) = train_in(tmp_path / "whole", *SCALED, *extra, "checkpoint.keep_replay=true")
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(93, patch)
        assert train(*SCALED, *extra, "checkpoint.keep_replay=true") == 143
    assert train(*SCALED, *extra, "checkpoint.keep_replay=true") == 0
    assert_same(only_run(), whole)
    (replay,) = only_run().glob("checkpoint/replay*.bin")
    seen = np.fromfile(replay, np.float32).reshape(100, -1)[:, :4].astype(np.float64)  # as the task gave them
    kept = weights(only_run())
    np.testing.assert_allclose(kept["obs_shift"], seen.mean(0), rtol=1e-5)
    np.testing.assert_allclose(kept["obs_factor"], 1 / seen.std(0), rtol=1e-4)


def test_a_loaded_policy_scales_as_its_evaluations_did(elsewhere: Path) -> None:
    assert train(*COUNTING, "env.normalize_observation=true", "seed=[0,1]") == 0
    for run in sorted(elsewhere.glob("outputs/*/*/*/*/seed_*")):
        policy = load(run)
        tensors = weights(run)
        obs = np.array([1.0, 30.0])
        scaled = ((obs - tensors["obs_shift"].numpy()) * tensors["obs_factor"].numpy()).clip(-10, 10)
        defined = policy.agent._policy.sample_with_density(
            np.float32(scaled)[None, None].repeat(16, 1), np.zeros((1, 16, 1), np.float32)
        )[0][0, 0]
        np.testing.assert_array_equal(policy.predict(obs), policy.agent.box.fit(defined))


def test_learner_and_policy_see_the_same_to_the_bit() -> None:
    import torch

    from droq_exp.agent.observations import LARGEST, ObservationScale
    from droq_exp.learner.spec import LearnerSpec

    spec = LearnerSpec(seeds=2, obs_dim=3, act_dim=1)
    scale, rng = ObservationScale(spec, torch.device("cpu")), np.random.default_rng(0)
    for _ in range(50):
        scale.count(rng.standard_normal((2, 3)) * [1, 100, 0] + [5, 0, 3])
    obs = rng.standard_normal((2, 4, 3)).astype(np.float32)
    rows = torch.from_numpy(rng.standard_normal((2, 4, spec.row_size)).astype(np.float32))
    before, columns = rows.clone(), spec.layout.columns
    rows[..., columns.obs] = rows[..., columns.next_obs] = torch.from_numpy(obs)
    scale.scale_rows(rows)
    for part in (columns.obs, columns.next_obs):
        np.testing.assert_array_equal(rows[..., part].numpy(), scale.scaled(obs))
    for part in (columns.action, columns.reward, columns.terminated, columns.truncated):
        assert torch.equal(rows[..., part], before[..., part])
    assert abs(scale.scaled(obs)).max() == LARGEST  # of the number that had not moved
    np.testing.assert_array_equal(scale.scaled(obs[:, 0]), scale.scaled(obs)[:, 0])


# Suites


@pytest.mark.program
@pytest.mark.parametrize(
    "task",
    [
        ("env=dmc", "env.task=cheetah-run", "env.kwargs.task_kwargs.time_limit=0.35"),
        ("env=dmc", "env.task=humanoid-walk", "env.kwargs.task_kwargs.time_limit=0.8"),
        ("env=dmc", "env.task=dog-run", "env.kwargs.task_kwargs.time_limit=0.5"),
        ("env=gym", "env.id=FetchReach-v4", "env.kwargs.max_episode_steps=35"),
    ],
    ids=lambda task: task[1],
)
def test_a_broken_run_of_a_suite_goes_on_exactly_in_its_third_episode(
    task: tuple[str, ...], elsewhere: Path, tmp_path: Path
) -> None:
    command = (*task, "bias.enabled=false")
    (whole,) = train_in(tmp_path / "whole", *command)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(83, patch)
        assert train(*command) == 143
    assert train(*command) == 0
    assert float(rows(only_run(), "train")[-1]["episodes"]) >= 1
    assert "cannot be resumed exactly" not in (only_run() / "train.log").read_text()
    assert_same(only_run(), whole)


def test_a_sparse_reward_counts_whole_thresholds_forward_from_where_the_episode_began() -> None:
    """By hand: the body is put where it is to be, and only the wrapper looks."""
    config, _ = compose(["env=hopper", "env.sparse_threshold=0.5"])
    dense, sparse = build_env(compose(["env=hopper"])[0].env), build_env(config.env)
    assert sparse.get_wrapper_attr("info_metrics") == ("dense_return",)
    still = np.zeros(3, np.float32)
    for episode in range(2):
        total = 0.0
        for env in (dense, sparse):
            env.reset(seed=episode)
        start = float(sparse.unwrapped.data.qpos[0])  # type: ignore[attr-defined]
        assert start != 0  # the reset's noise
        for place, expected in ((0.1, 0), (0.4, 0), (0.6, 1), (1.3, 2), (-2.1, 0), (3.2, 6)):
            for env in (dense, sparse):
                env.unwrapped.data.qpos[0] = start + place  # type: ignore[attr-defined]
            obs, paid, *ends, info = sparse.step(still)
            same, own, *same_ends, _ = dense.step(still)
            total += float(own)
            assert paid == expected  # a step takes the body on by less than 0.1 m
            np.testing.assert_array_equal(obs, same)
            assert ends == same_ends
            assert info["dense_return"] == total


def test_a_sparse_run_is_another_run_and_logs_the_dense_return_too(elsewhere: Path) -> None:
    command = ("env=hopper", LITTLE_BIAS, "env.sparse_threshold=1000")
    assert differences(*compose(command))["env.sparse_threshold"] == (0.0, 1000.0)
    assert train(*command) == 0
    (row,) = rows(only_run(), "eval")[-1:]
    assert float(row["return_mean"]) == 0
    assert float(row["info_dense_return"]) > 0
    for task in ("env.id=Counting-v0", "env.id=Pendulum-v1"):
        with pytest.raises(ConfigError, match=r"^env.sparse_threshold: .* has no qpos.*; 0 leaves it its own reward$"):
            compose(["env=gym", task, "env.sparse_threshold=1"])
