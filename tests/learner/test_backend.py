"""Who makes the updates: an edited definition runs in PyTorch, an explicit wish is had or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkouts import Checkout

from droq_exp.agent.policy import NumpyPolicy, TorchPolicy, acting_policy
from droq_exp.config import ConfigError
from droq_exp.learner import backend, definitions, losses, networks, optimiser, updates
from droq_exp.learner.backend import EAGER, NATIVE, backend_for, why_not_native
from droq_exp.learner.draws import DrawSampler
from droq_exp.learner.dropout import DropoutMask
from droq_exp.learner.hyperparameters import Hyperparameters
from droq_exp.learner.learner import Learner
from droq_exp.learner.native import handshake
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState

SPEC = LearnerSpec(seeds=2, obs_dim=5, act_dim=2, hidden_sizes=(16, 12), dropout_rate=0.01, layer_norm=True)


@pytest.fixture(autouse=True)
def nothing_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_printed", set())


# The seam as a researcher meets it: edits of the source, a default run


@pytest.fixture(scope="module")
def unedited(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    directory = tmp_path_factory.mktemp("unedited")
    weights, error = Checkout(directory / "checkout").train(directory / "run")
    assert "updates:" not in error
    return weights


EDITS = {
    "EnsembleCritic.outputs": (
        "networks.py",
        "            hidden = activated(hidden, spec.activation)\n        out",
        "            hidden = torch.tanh(hidden)\n        out",
    ),
    "SquaredTdError.loss": ("losses.py", "error(outputs, target, spec) ** 2", "error(outputs, target, spec) ** 4"),
    "td_target": (
        "losses.py",
        "return soft_reward + discount * next_value",
        "return soft_reward + 0.5 * discount * next_value",
    ),
    "adam_": ("optimiser.py", "param.sub_(coefficients[0] * moment1", "param.sub_(2 * coefficients[0] * moment1"),
    "SquashedGaussianActor.distribution": (
        "networks.py",
        "hidden[:, 0].chunk(2, -1)",
        "(0.5 * hidden[:, 0]).chunk(2, -1)",
    ),
    "LOG_STD_MAX": ("networks.py", "LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0", "LOG_STD_MIN, LOG_STD_MAX = -20.0, -3.0"),
}


@pytest.mark.program
@pytest.mark.parametrize("name", EDITS)
def test_an_edited_formula_is_what_trains(name: str, unedited: dict[str, torch.Tensor], tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    checkout.edit(*EDITS[name])
    weights, error = checkout.train(tmp_path / "run")
    lines = [line for line in error.splitlines() if line.startswith("updates: ")]
    assert len(lines) == 1, error
    assert lines[0].startswith("updates: eager, not this project's C++: droq_exp.learner.")
    assert lines[0].endswith(f".{name} is not what the C++ was written for")
    assert not torch.allclose(weights["critic"], unedited["critic"], rtol=1e-3, atol=1e-4)


@pytest.mark.program
def test_comments_docstrings_and_layout_change_nothing(unedited: dict[str, torch.Tensor], tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    checkout.edit("losses.py", '"""``y`` of the module\'s docstring', '"""\n\n    The same.\n\n    ``y`` of')
    checkout.edit(
        "losses.py",
        "return soft_reward + discount * next_value",
        "return (soft_reward  # y\n        + discount * next_value)",
    )
    weights, error = checkout.train(tmp_path / "run")
    assert "updates:" not in error
    assert all(torch.equal(weights[name], unedited[name]) for name in ("critic", "actor", "log_alpha"))


# What stands against the C++


def test_the_digests_are_those_of_what_is_here() -> None:
    """Where this fails: follow the edit in the C++ if it needs to be, then run scripts/bind_native.py."""
    assert definitions.current() == definitions.known()
    assert why_not_native(SPEC) is None


PATCHES: list[tuple[Any, str, Any]] = [
    (updates, "target_inputs", lambda *given: None),
    (updates, "critic_loss", lambda *given: None),
    (networks.EnsembleCritic, "outputs", lambda *given: None),
    (losses.SquaredTdError, "loss", lambda *given: None),
    (losses.SoftPolicyObjective, "loss", lambda *given: None),
    (networks.SquashedGaussianActor, "sample", lambda *given: None),
    (networks, "LAYER_NORM_EPS", 1e-3),
    (networks, "HALF_LOG_TWO_PI", 1.0),
    (updates, "adam_", lambda *given: None),
    (optimiser, "BETA2", 0.99),
    (DropoutMask, "redraw", lambda self, rng: None),
    (Hyperparameters, "subset_size", property(lambda self: 1)),
]


@pytest.mark.parametrize(("place", "name", "value"), PATCHES)
def test_a_replaced_definition_stands_against_it(
    place: Any, name: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, name, value)
    reason = why_not_native(SPEC)
    assert reason is not None
    assert reason.endswith("is not what the C++ was written for")


@dataclass(frozen=True)
class WiderSpec(LearnerSpec):
    extra: float = 0.0


def test_what_is_decided_outside_the_updates_stands_not_against_it() -> None:
    """Rates are the learner's, rewards and exploration the agent's."""
    spec = replace(SPEC, batch_size=8, utd_ratio=2, dropout_rate=0.0, learning_rate_end=1e-5, learning_rate_horizon=3)
    assert why_not_native(replace(spec, reward_scale="return_std", noise_repeat=16)) is None
    states = []
    for made in (EAGER, NATIVE):
        state = LearnerState.initial(spec, [0, 1], torch.device("cpu"))
        learner = Learner(spec, state, torch.tensor([[1.0, 1.0], [0.0, 0.0]]), made)
        sampler = DrawSampler(spec, [0, 1], torch.device("cpu"), keyed=learner.draws_masks)
        rows = torch.linspace(-1, 1, 2 * 2 * 8 * spec.row_size).reshape(2, 2, 8, spec.row_size)
        with torch.no_grad():
            for _ in range(3):
                learner.run(learner.program(), rows, sampler.draw(8))
        states.append(state)
    for name, value in states[0].tensors().items():
        torch.testing.assert_close(getattr(states[1], name), value, rtol=1e-4, atol=1e-5)


def test_a_spec_that_it_was_not_taught_stands_against_it(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {name: getattr(SPEC, name) for name in definitions.known()["spec"]}
    assert why_not_native(WiderSpec(**values)) == "the spec is a WiderSpec, not a LearnerSpec"
    taught = [name for name in definitions.known()["spec"] if name != "tau"]
    monkeypatch.setattr(definitions, "known", lambda: {**definitions.current(), "spec": taught})
    assert why_not_native(SPEC) is None  # tau is at its default
    assert why_not_native(replace(SPEC, tau=0.5)) == "it does not know tau=0.5"


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("target_mode", "median"),
        ("policy_value", "max"),
        ("dtype", torch.float16),
        ("temperature_loss", "alpha_form"),
        ("joint_policy_pass", True),
    ],
)
def test_a_mode_that_it_does_not_know_stands_against_it(name: str, mode: Any) -> None:
    assert why_not_native(replace(SPEC, **{name: mode})) == f"it does not know {name}={mode}"


@dataclass(frozen=True)
class Gated(networks.EnsembleCritic):
    pass


def test_another_part_stands_against_it() -> None:
    assert why_not_native(replace(SPEC, critic=Gated())) == f"algo.critic is {__name__}.Gated"


def test_other_tensors_stand_against_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known = backend.known_shapes(SPEC)
    monkeypatch.setattr(backend, "known_shapes", lambda spec: (known[0], {**known[1], "gate0": (2, 1, 16)}))
    assert why_not_native(SPEC) == "the actor has other tensors than it knows"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dropout_rate": 0.0, "layer_norm": False},
        {"num_critics": 10, "num_min": 2.5},
        {"num_critics": 3, "target_mode": "rem"},
        {"target_mode": "ave", "policy_value": "min"},
        {"num_critics": 1, "num_min": 1, "target_passes": 2, "learn_temperature": False},
        {"obs_dim": 348, "act_dim": 17, "hidden_sizes": (256, 256)},
        {"dtype": torch.float64, "act_dim": 1},
    ],
)
def test_the_handshake_agrees_and_touches_no_stream(changes: dict[str, Any]) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert handshake.disagreement(replace(SPEC, **changes)) is None
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


WRONG: list[tuple[Any, str, Callable[..., Any], str]] = [
    (losses, "td_target", lambda reward, discount, value: reward + 0.5 * discount * value, "critic gradients"),
    (losses, "temperature_gradient", lambda mean, spec: -mean[:, None], "temperature gradients"),
    (networks, "LOG_STD_MAX", 1.9, "rewards"),
    (handshake, "polyak_", lambda target, online, tau: target.lerp_(online, 2 * tau), "target critics"),
]


@pytest.mark.parametrize(("place", "name", "value", "differs"), WRONG)
def test_the_handshake_finds_what_the_library_computes_otherwise(
    place: Any, name: str, value: Any, differs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, name, value)
    assert handshake.disagreement(replace(SPEC, tau=0.5)) == f"its {differs} differ from PyTorch's on this machine"


# What is asked for


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "why_not_native", lambda spec: "it is elsewhere")


@pytest.mark.usefixtures("unknown")
def test_only_auto_may_choose_less_and_says_why_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert backend_for(SPEC, "cpu", "auto", critic_updates=10).name == "eager"
    assert backend_for(SPEC, "cpu", "auto", critic_updates=10).name == "eager"
    assert capsys.readouterr().err == "updates: eager, not this project's C++: it is elsewhere\n"
    with pytest.raises(ConfigError, match="native cannot make these updates: it is elsewhere; auto works here"):
        backend_for(SPEC, "cpu", "native")


@pytest.mark.usefixtures("unknown")
def test_bf16_is_refused_without_the_cpp() -> None:
    for requested in ("auto", "eager"):
        with pytest.raises(ConfigError, match="only this project's C\\+\\+ computes in bf16") as refusal:
            backend_for(replace(SPEC, bf16=True), "cpu", requested)
        assert refusal.value.key == "hardware.precision"


@pytest.mark.parametrize(("requested", "device"), [("graphs", "cpu"), ("native", "cuda")])
def test_a_backend_of_another_device_is_refused(requested: str, device: str) -> None:
    with pytest.raises(ConfigError, match="auto works here"):
        backend_for(SPEC, device, requested)


def test_compile_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "missing_for_compile", lambda device: "no C++ compiler found")
    with pytest.raises(ConfigError, match="compile cannot be had: no C\\+\\+ compiler found"):
        backend_for(SPEC, "cpu", "compile")


# The policy that acts


def test_the_numpy_policy_steps_aside_for_an_edited_network(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flat, action_map = LearnerState.initial(SPEC, [0, 1], torch.device("cpu")).actor, np.array([[2.0, 1.0], [0.0, 0.5]])
    assert isinstance(acting_policy(flat, flat[:, :0], SPEC, action_map), NumpyPolicy)
    monkeypatch.setattr(networks, "LOG_STD_MAX", -1.0)
    policy = acting_policy(flat, flat[:, :0], SPEC, action_map)
    assert isinstance(policy, TorchPolicy)
    line = "droq_exp.learner.networks.LOG_STD_MAX is not what the NumPy policy was written for"
    assert capsys.readouterr().err == f"acting: PyTorch, not NumPy: {line}\n"
    obs, noise = np.zeros((2, 3, 5), dtype=np.float32), np.ones((2, 3, 2), dtype=np.float32)
    action, log_prob = policy.sample_with_density(obs, noise)
    expected = np.tanh(np.exp(-1.0)) * action_map[0] + action_map[1]
    np.testing.assert_allclose(action, np.broadcast_to(expected, action.shape), rtol=1e-5)
    assert log_prob.shape == (2, 3)


def test_the_numpy_policy_steps_aside_where_it_differs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = LearnerState.initial(SPEC, [0, 1], torch.device("cpu")).actor
    monkeypatch.setattr(NumpyPolicy, "_network", lambda self, obs: np.ones((2, obs.shape[1], 4)))
    assert isinstance(acting_policy(flat, flat[:, :0], SPEC, np.array([[1.0, 1.0], [0.0, 0.0]])), TorchPolicy)
    assert capsys.readouterr().err == "acting: PyTorch, not NumPy: they differ on this machine\n"
