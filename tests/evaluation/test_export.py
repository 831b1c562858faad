"""Exported policies: what they do under onnxruntime, and what NumPy makes of the tensors."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from odd_env import Odd
from real_runs import ROOT, train_in
from run_files import droq_exp, error_line
from safetensors.numpy import load_file

from droq_exp.agent.auto_dropout import AutoDropout
from droq_exp.config.targets import trusting
from droq_exp.evaluation import export
from droq_exp.evaluation.episodes import Trajectory
from droq_exp.evaluation.load import LoadedPolicy, load
from droq_exp.learner.networks import SquashedGaussianActor

# Too short for updates: what has been learned does not matter here.
TINY = (
    *("training.total_steps=12", "eval.interval=12", "eval.episodes=1", "bias.enabled=false"),
    *("algo.hidden_sizes=[16,16]", "hardware.updates=eager"),
)


@dataclass(frozen=True)
class Wavy(SquashedGaussianActor):
    """A user's own policy."""

    def distribution(self, params: dict[str, torch.Tensor], obs: torch.Tensor, spec: Any) -> tuple[Any, Any]:
        mean, log_std = super().distribution(params, torch.sin(3 * obs), spec)
        return mean.cumsum(-1), log_std


@dataclass(frozen=True)
class ByRows(SquashedGaussianActor):
    """Acts otherwise where it is traced, at two rows."""

    def distribution(self, params: dict[str, torch.Tensor], obs: torch.Tensor, spec: Any) -> tuple[Any, Any]:
        mean, log_std = super().distribution(params, obs, spec)
        return (mean + 1 if int(obs.shape[1]) == 2 else mean), log_std


class Dictionary(gymnasium.Wrapper):
    """Observations in parts, in an order that is not that of their names; actions are float64; ku's leave the box."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        box = gymnasium.spaces.Box
        parts = {"there": box(-9, 9, (2,), np.float32), "here": box(-9, 9, (3,), np.float32)}
        self.observation_space = gymnasium.spaces.Dict(parts)
        self.action_space = box(-2.0, 0.7, (1,), np.float64)

    def reset(self, **kwargs: Any) -> Any:
        return self._parts(np.float64(0)), super().reset(**kwargs)[1]

    def step(self, action: Any) -> Any:
        assert action.dtype == np.float64
        _, *rest = super().step((action / 2).astype(np.float32))
        return self._parts(action), *rest

    @staticmethod
    def _parts(action: Any) -> dict[str, np.ndarray]:
        return {
            "there": np.sin(np.arange(2) + action).astype(np.float32),
            "here": np.cos(np.arange(3) * action).astype(np.float32),
        }


OWN = ("algo=sac", "env=gym", "env.id=Odd-v0", "env.wrappers=[{_target_: test_export.Dictionary}]")
CASES = {
    "redq": ("algo=droq", "algo.dropout_rate=auto", "algo.auto.rates=[0.0,0.1]", "env=hopper"),
    "ku": (*OWN, "algo.actor._target_=test_export.Wavy", "codebase=ku"),
    "normalised and stacked": ("algo=sac", "env=hopper", "env.normalize_observation=true", "env.frame_stack=3"),
    "running statistics": ("algo=crossq", "env=hopper", "algo.actor_hidden_sizes=[16]"),
    "flashsac": ("algo=flashsac", "env=hopper", "algo.actor_hidden_sizes=[16]"),
    "features": ("algo=redq_ofe", "env=hopper", "algo.features.pretraining=5", "algo.features.layers=2"),
}
assert Odd  # registers the task


def learned(directory: Path, *overrides: str) -> LoadedPolicy:
    """A run's policy, with weights and statistics as far from the first ones as those of learning are."""
    with trusting(["test_export"]):
        (run,) = train_in(directory, *overrides, *TINY)
    policy = load(run, trust=["test_export"])
    agents = policy.agent.agents if isinstance(policy.agent, AutoDropout) else [policy.agent]
    for number, agent in enumerate(agents):
        rng = torch.Generator().manual_seed(number)
        for tensor, size in ((agent.state.actor, 0.1), (agent.state.actor_buffers, 0.5)):
            tensor.add_(size * torch.rand(tensor.shape, generator=rng))
    return policy


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LoadedPolicy]:
    """Each run once."""
    made: dict[str, LoadedPolicy] = {}

    def of(case: str) -> LoadedPolicy:
        if case not in made:
            directory = tmp_path_factory.mktemp("run") / "here"
            made[case] = learned(directory, *CASES[case])
        return made[case]

    return of


def episode(policy: LoadedPolicy, seed: int = 7) -> Trajectory:
    """Not the one that the export looks at."""
    (played,) = policy.episodes([policy.make_env()], 1, seed)
    return played


def apart(policy: LoadedPolicy, actions: np.ndarray, wanted: np.ndarray) -> float:
    """By how much actions differ at most, in proportion to the box."""
    box = policy.make_env().action_space
    assert isinstance(box, gymnasium.spaces.Box)
    assert actions.shape == wanted.shape
    return float((np.abs(actions - wanted.astype(np.float64)) / (box.high - box.low)).max())


@pytest.mark.program
@pytest.mark.parametrize("case", CASES)
def test_an_episodes_actions_are_the_policys(case: str, trained: Callable[[str], LoadedPolicy], tmp_path: Path) -> None:
    policy = trained(case)
    code = policy.export(tmp_path / "policy.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["policy.onnx"]
    played = episode(policy)
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx")
    (actions,) = session.run(["action"], {"observation": played.obs})
    assert apart(policy, actions, played.action) < 1e-5
    assert actions.dtype == policy.make_env().action_space.dtype
    one_by_one = []
    for obs in played.obs[:20]:
        found: dict[str, Any] = {"obs": obs}
        exec(code, found)
        one_by_one.append(found["action"])
    assert apart(policy, np.stack(one_by_one), played.action[:20]) < 1e-5
    assert np.ptp(actions, axis=0).max() > 0  # the policy looks at what it sees
    assert case != "ku" or actions.max() > policy.make_env().action_space.high[0]


def test_the_metadata_say_what_else_a_user_must_know(trained: Callable[[str], LoadedPolicy], tmp_path: Path) -> None:
    def told(case: str) -> tuple[dict[str, Any], str]:
        code = trained(case).export(tmp_path / f"{case}.onnx")
        model = onnx.load(tmp_path / f"{case}.onnx")
        return {each.key: json.loads(each.value) for each in model.metadata_props}, code.splitlines()[0]

    parts, comment = told("ku")
    assert parts["observation_order"] == [["here", 3], ["there", 2]]
    assert (parts["observation_size"], parts["frame_stack"], parts["action_dtype"]) == (5, 1, "float64")
    assert (parts["action_low"], parts["action_high"]) == ([-2.0], [pytest.approx(0.7)])
    assert parts["wrappers"] == ["test_export.Dictionary"]
    assert comment == "# obs: 5 numbers, here (3), there (2)"
    stacked, comment = told("normalised and stacked")
    assert (stacked["task"], stacked["algorithm"], stacked["step"]) == ("Hopper-v5", "sac", 12)
    assert (stacked["observation_size"], stacked["frame_stack"]) == (33, 3)
    assert comment.startswith("# obs: the last 3 observations, the oldest first, each of 11 numbers; ")


def test_the_tensors_by_what_the_documentation_says(trained: Callable[[str], LoadedPolicy], tmp_path: Path) -> None:
    (told,) = re.findall("```python\n(.*?)```", (ROOT / "docs" / "inspect.md").read_text(), re.DOTALL)
    for case in ("redq", "normalised and stacked"):
        policy, path = trained(case), tmp_path / f"{case}.safetensors"
        found: dict[str, Any] = {"numpy": np}
        exec(policy.export(path), found)
        assert found["told"]["algorithm"] == json.dumps(policy.config.algo.name)
        assert found["tensors"].keys() == load_file(path).keys()
        played, actions = episode(policy), []
        for obs in played.obs:
            found["obs"] = obs
            exec(told, found)
            actions.append(found["action"])
        assert apart(policy, np.stack(actions), played.action) < 1e-5


def test_what_does_not_act_as_the_policy_does_is_not_written(
    trained: Callable[[str], LoadedPolicy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = trained("running statistics")
    state = policy.agent.state.actor_buffers
    before = state.clone()
    predicted = LoadedPolicy.predict

    def after_another_step(self: LoadedPolicy, obs: np.ndarray) -> np.ndarray:
        state.add_(0.1)  # the statistics move once the policy is copied
        return predicted(self, obs)

    monkeypatch.setattr(LoadedPolicy, "predict", after_another_step)
    for name in ("policy.onnx", "policy.safetensors"):
        with pytest.raises(export.ExportError, match=r"would not act as the policy does: it is .* of the action box"):
            policy.export(tmp_path / name)
        state.copy_(before)
    assert not list(tmp_path.iterdir())


def test_a_graph_that_holds_for_the_traced_rows_alone_is_not_written(tmp_path: Path) -> None:
    policy = learned(tmp_path / "here", *OWN, "algo.actor._target_=test_export.ByRows")
    with pytest.raises(export.ExportError, match="would not act as the policy does"):
        policy.export(tmp_path / "policy.onnx")
    assert not list(tmp_path.glob("*.onnx"))


def test_the_command_prints_what_loads_the_files_and_is_refused_in_a_line(
    trained: Callable[[str], LoadedPolicy], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    run = str(trained("redq").directory)
    capsys.readouterr()
    graph, tensors = tmp_path / "it's.onnx", tmp_path / "a.safetensors"
    assert droq_exp("export", run, "--onnx", str(graph), "--safetensors", str(tensors)) == 0
    out, error = capsys.readouterr()
    assert error == ""
    found: dict[str, Any] = {"obs": np.zeros(11)}
    exec(out, found)
    assert found["action"].shape == (3,)
    assert found["tensors"]["actor.weight0"].shape == (1, 1, 11, 16)
    content = graph.read_bytes()
    cases = [
        (("--onnx", str(graph)), "exists; remove it, or give another name"),
        (("--onnx", str(tmp_path / "a.pt")), "--onnx: a.pt does not end in .onnx"),
        (("--onnx", str(tmp_path / "no" / "a.onnx")), "is not a directory"),
        ((), "give --onnx FILE, --safetensors FILE or both"),
    ]
    for arguments, words in cases:
        assert droq_exp("export", run, *arguments) == 2
        assert words in error_line(capsys)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert droq_exp("export", run, "--onnx", str(tmp_path / "b.onnx")) == 2
    assert "pip install 'droq-exp[export]'" in error_line(capsys)
    assert graph.read_bytes() == content
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".onnx", ".safetensors"]


@pytest.mark.slow
def test_a_learned_policy_balances_its_pole_under_onnxruntime(tmp_path: Path) -> None:
    command = ("algo=droq", "env=inverted_pendulum", "algo.utd_ratio=5", "algo.hidden_sizes=[256,256]")
    length = ("training.total_steps=6000", "training.start_steps=1000", "training.replay_size=1000000")
    (run,) = train_in(
        tmp_path / "here",
        *command,
        *length,
        "algo.batch_size=256",
        "eval.interval=6000",
        "eval.episodes=1",
        "bias.enabled=false",
        "hardware.detect_anomaly=false",
    )
    policy = load(run)
    policy.export(tmp_path / "policy.onnx")
    session, env = onnxruntime.InferenceSession(tmp_path / "policy.onnx"), policy.make_env()
    for seed in range(5):
        (obs, _), total, ended = env.reset(seed=seed), 0.0, False
        while not ended:
            (action,) = session.run(None, {"observation": np.float32([obs])})
            obs, reward, terminated, truncated, _ = env.step(action[0])
            total, ended = total + float(reward), terminated or truncated
        assert total == 1_000
