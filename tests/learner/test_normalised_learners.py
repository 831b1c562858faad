"""XQC and FlashSAC against slow references of their own, from a used state, and what their parts say of themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from reference.slow_normalised import Batch, SlowCategorical, SlowFlashSac, SlowNetwork, SlowXqc
from torch import Tensor

from droq_exp.config import compose
from droq_exp.learner.backend import COMPILED, EAGER, Backend, why_not_native
from droq_exp.learner.categorical import CategoricalTd
from droq_exp.learner.draws import DrawSampler
from droq_exp.learner.learner import Learner
from droq_exp.learner.networks import named, named_buffers, project_
from droq_exp.learner.normalisation import orthogonal_parameters
from droq_exp.learner.orders import PolicyBehindFirstCritics
from droq_exp.learner.programs import ActorPass, Program
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState
from droq_exp.training.hardware import learner_spec

OBS_DIM, ACT_DIM, BATCH, SEEDS = 5, 2, 16, [3, 8]
ACTION_MAP = torch.tensor([[0.4, 2.0], [0.1, -1.0]], dtype=torch.float64)
SLOW: dict[str, type[SlowCategorical]] = {"xqc": SlowXqc, "flashsac": SlowFlashSac}
BEFORE = {"xqc": 822, "flashsac": 822}  # critic updates: a step of the first program comes next
HORIZON = 824  # of the decay of learning rates, so that the critics' ends within the comparison
STEPS = 3


def spec_of(name: str, dtype: torch.dtype = torch.float64) -> LearnerSpec:
    """That of ``algo=<name>``, small."""
    spec = learner_spec(compose([f"algo={name}", "env=hopper", f"algo.learning_rate_horizon={HORIZON}"])[0])
    hidden: dict[str, Any] = {"hidden_sizes": (12, 9), "actor_hidden_sizes": (7, 8)}
    if name == "flashsac":
        hidden = {"hidden_sizes": (6, 6), "actor_hidden_sizes": (4, 4)}
    sizes: dict[str, Any] = {"obs_dim": OBS_DIM, "act_dim": ACT_DIM, "seeds": len(SEEDS), "batch_size": BATCH}
    return replace(spec, **sizes, **hidden, dtype=dtype)


def used_state(spec: LearnerSpec, policy_updates: int, critic_updates: int) -> LearnerState:
    """Weights, statistics, targets, moments and temperature of the middle of a training."""
    state = LearnerState.initial(spec, SEEDS, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    for name, value in state.tensors().items():
        noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        if name.endswith("moment2"):
            value.copy_(0.01 + 0.01 * noise**2)
        elif name.endswith("buffers"):
            value.copy_(0.5 + noise.abs())  # means and variances alike
        elif "sums" not in name and "alpha" not in name:
            value.add_(0.1 * noise)
    project_(spec.critic, state.critic, spec)
    project_(spec.actor, state.actor, spec)
    state.log_alpha.fill_(-1.3)
    state.alpha.copy_(state.log_alpha.exp())
    state.critic_updates, state.policy_updates = critic_updates, policy_updates
    return state


def slow_of(name: str, spec: LearnerSpec, state: LearnerState, seed: int) -> SlowCategorical:
    """The reference with all of one seed."""
    sizes = {key: getattr(spec, key) for key in ("obs_dim", "act_dim", "hidden_sizes", "actor_hidden_sizes")}
    slow = SLOW[name](sizes, spec.target_entropy, HORIZON, ACTION_MAP[0], ACTION_MAP[1])
    slow.updates, slow.counts = state.critic_updates, [state.critic_updates, *[state.policy_updates] * 2]
    for which, networks, part in (
        ("critic", slow.critics, spec.critic),
        ("critic_target", slow.targets, spec.critic),
        ("actor", [slow.actor], spec.actor),
    ):
        values = named(getattr(state, which)[seed : seed + 1].double(), part.shapes(spec))
        for copy, network in enumerate(networks):
            for key, parameter in network.named_parameters():
                parameter.data.copy_(of_learner(values, key, copy, network))
    for which, networks, part, optimizer in (
        ("critic", slow.critics, spec.critic, slow.optimizers[0]),
        ("actor", [slow.actor], spec.actor, slow.optimizers[1]),
    ):
        buffers = named_buffers(getattr(state, f"{which}_buffers")[seed : seed + 1].double(), part.buffers(spec))
        moments = [
            named(getattr(state, f"{which}_moment{number}")[seed : seed + 1].double(), part.shapes(spec))
            for number in (1, 2)
        ]
        for copy, network in enumerate(networks):
            for i, norm in enumerate(network.norms):
                norm.mean, norm.variance = (buffers[f"{kind}{i}"][0, copy, 0].clone() for kind in ("mean", "variance"))
            for key, parameter in network.named_parameters():
                first, second = (of_learner(each, key, copy, network).clone() for each in moments)
                count = torch.tensor(float(slow.counts[0 if which == "critic" else 1]))
                optimizer.state[parameter] = {"step": count, "exp_avg": first, "exp_avg_sq": second}
    slow.log_alpha.data.copy_(state.log_alpha[seed])
    slow.optimizers[2].state[slow.log_alpha] = {
        "step": torch.tensor(float(state.policy_updates)),
        "exp_avg": state.log_alpha_moment1[seed].double().clone(),
        "exp_avg_sq": state.log_alpha_moment2[seed].double().clone(),
    }
    return slow


def of_learner(values: dict[str, Tensor], name: str, copy: int, network: SlowNetwork) -> Tensor:
    """A parameter of the learner as the reference has it."""
    if name == "last_scale":
        return values["norm_scale_last"][0, copy, 0]
    kind, layer, part = name.split(".")
    if kind == "norms":
        return values[f"norm_{part}{layer}"][0, copy, 0]
    return values[f"weight{layer}"][0, copy].mT if part == "weight" else values["bias"][0, copy, 0]


def assert_equal(spec: LearnerSpec, state: LearnerState, slow: SlowCategorical, seed: int, tolerance: float) -> None:
    one = slice(seed, seed + 1)

    def close(actual: Tensor, expected: Tensor, what: str) -> None:
        torch.testing.assert_close(
            actual.double(), expected.detach(), rtol=tolerance, atol=tolerance, msg=lambda told: f"{what}: {told}"
        )

    for which, networks, part in (
        ("critic", slow.critics, spec.critic),
        ("actor", [slow.actor], spec.actor),
        ("critic_target", slow.targets, spec.critic),
    ):
        values = named(getattr(state, which)[one], part.shapes(spec))
        for copy, network in enumerate(networks):
            for name, parameter in network.named_parameters():
                close(of_learner(values, name, copy, network), parameter, f"{which} {name}")
        if which == "critic_target":
            continue  # its statistics are never looked at
        moving = named_buffers(getattr(state, f"{which}_buffers")[one], part.buffers(spec))
        for copy, network in enumerate(networks):
            for i, norm in enumerate(network.norms):
                close(moving[f"mean{i}"][0, copy, 0], norm.mean, f"{which} mean{i}")
                close(moving[f"variance{i}"][0, copy, 0], norm.variance, f"{which} variance{i}")
    close(state.log_alpha[seed], slow.log_alpha, "log alpha")
    close(state.alpha[seed], slow.log_alpha.exp(), "alpha")


def compare(
    name: str,
    tolerance: float = 1e-9,
    backend: Backend = EAGER,
    dtype: torch.dtype = torch.float64,
    steps: int = STEPS,
    **changes: Any,
) -> None:
    """Some environment steps of a pack of two seeds, with ``changes``, and of a reference each, without."""
    spec = spec_of(name, dtype)
    every = {"xqc": 3, "flashsac": 2}[name]
    state = used_state(spec, BEFORE[name] // every, BEFORE[name])
    slows = [slow_of(name, spec, state, seed) for seed in range(len(SEEDS))]
    spec = replace(spec, **changes)
    learner = Learner(spec, state, ACTION_MAP, backend)
    sampler = DrawSampler(spec, SEEDS, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    columns = spec.layout.columns
    for _ in range(steps):
        rows = 2 * torch.randn(2, spec.minibatches, BATCH, spec.row_size, generator=generator, dtype=torch.float64)
        rows[..., columns.terminated] = (rows[..., columns.terminated] > 1).double()
        rows = rows.to(dtype)
        draws = sampler.draw(100)
        program = learner.program()
        with torch.no_grad():
            learner.run(program, rows, draws)
        batch = spec.layout.split(rows.double())
        fields = (batch.obs, batch.action, batch.reward, batch.next_obs, batch.terminated)
        for seed, slow in enumerate(slows):
            policy_noises = iter(draws.policy_noise[seed].double())
            for u in range(spec.utd_ratio):
                learns = slow.updates % every == 0
                noise = next(policy_noises) if learns else torch.zeros(BATCH, ACT_DIM, dtype=torch.float64)
                slow.update(Batch(*(each[seed, u] for each in fields)), draws.next_noise[seed, u].double(), noise)
            assert_equal(spec, state, slow, seed, tolerance)
    for seed, slow in enumerate(slows):
        for number, told in enumerate((slow.critic_losses, None, slow.clipped)):
            if told is not None:
                assert state.critic_sums[seed, number].item() == pytest.approx(sum(told), rel=max(tolerance, 1e-9))
        assert 0 < sum(slow.clipped) < len(slow.clipped)


@pytest.mark.parametrize("name", SLOW)
def test_it_is_the_reference(name: str) -> None:
    compare(name, steps=4)


@pytest.mark.slow  # compiles for a minute
@pytest.mark.parametrize("name", SLOW)
def test_compiled_it_is_the_reference_too(name: str) -> None:
    compare(name, 2e-3, COMPILED, torch.float32)


def test_no_column_of_weights_and_no_target_leaves_where_it_belongs() -> None:
    """Targets are copies of projected weights at first, and averages afterwards."""
    spec = spec_of("flashsac")
    state = LearnerState.initial(spec, SEEDS, torch.device("cpu"))
    assert torch.equal(state.critic, state.critic_target)
    values = named(state.critic, spec.critic.shapes(spec))
    for name, value in values.items():
        if name.startswith("weight"):
            torch.testing.assert_close(value.norm(dim=-2), torch.ones_like(value[..., 0, :]))
    assert values["norm_scale_last"].square().sum(-1).unique().tolist() == pytest.approx([6.0])


def test_first_weights_are_orthogonal_and_each_head_by_itself() -> None:
    drawn = orthogonal_parameters(
        {"weight0": (2, 4, 9), "weight1": (2, 9, 8), "bias": (2, 1, 8)}, rng(), 3.0, [2.0, 1.0]
    )
    wide, heads, bias = np.split(drawn, [72, 72 + 144])
    for copy in range(2):
        first = wide.reshape(2, 4, 9)[copy]
        np.testing.assert_allclose(first @ first.T, 9 * np.eye(4), atol=1e-12)
        for head, gain in enumerate([2.0, 1.0]):
            part = heads.reshape(2, 9, 2, 4)[copy, :, head]
            np.testing.assert_allclose(part.T @ part, gain**2 * np.eye(4), atol=1e-12)
    assert not bias.any()


def test_all_probability_stays_where_rounding_carries_a_place_beyond_the_last_atom() -> None:
    objective = CategoricalTd(low=-0.7, high=0.9, atoms=33)
    logits = torch.randn(1, 2, 6, 33, generator=torch.Generator().manual_seed(0))
    reward, discount = torch.tensor([[0.0, 9.0, -9.0, 0.9, -0.7, 0.3]]), torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]])
    target = objective.target(logits, reward, discount, None, None, spec_of("xqc"))
    torch.testing.assert_close(target.sum(-1), torch.ones(1, 6))
    assert (target >= 0).all()
    assert [target[0, row].argmax() for row in (1, 2, 3, 4)] == [32, 0, 32, 0]
    torch.testing.assert_close((target[0, 5] * torch.linspace(-0.7, 0.9, 33)).sum(), torch.tensor(0.3))


def test_the_cpp_stands_aside() -> None:
    assert why_not_native(spec_of("xqc")) == "algo.critic is droq_exp.learner.batch_norm.BatchNormCritic"


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def part(name: str, **keys: Any) -> Callable[[LearnerSpec], dict[str, Any]]:
    return lambda spec: {name: replace(getattr(spec, name), **keys)}


@dataclass(frozen=True)
class NoPasses(PolicyBehindFirstCritics):
    """Without those that move the actor's statistics alone."""

    def programs(self, utd_ratio: int) -> tuple[Program, ...]:
        return tuple(
            Program(each for each in program if not isinstance(each, ActorPass))
            for program in super().programs(utd_ratio)
        )


CHANGES: dict[str, tuple[str, Callable[[LearnerSpec], dict[str, Any]]]] = {
    "no decay": ("xqc", lambda _: {"learning_rate_end": None}),
    "another shape": ("xqc", lambda _: {"learning_rate_shape": "cosine"}),
    "log_form": ("xqc", lambda _: {"temperature_loss": "log_form"}),
    "half passes": ("xqc", lambda _: {"joint_pass": False}),
    "no projection": ("xqc", part("critic", projection="none")),
    "norms too": ("xqc", part("actor", projection="kernels_and_norms")),
    "mean over critics": ("xqc", part("objective", over_critics="mean")),
    "bias": ("xqc", part("critic", unbiased=True)),
    "statistics move with the policy": ("xqc", lambda _: {"order": NoPasses()}),
    "policy behind critics": ("flashsac", lambda _: {"order": PolicyBehindFirstCritics(2)}),
    "log std": ("flashsac", part("actor", log_std="clip")),
    "sum over critics": ("flashsac", part("objective", over_critics="sum")),
    "actor on s alone": ("flashsac", lambda _: {"joint_policy_pass": False}),
    "epsilon": ("flashsac", part("actor", eps=1e-3)),
    "kernels alone": ("flashsac", part("critic", projection="kernels")),
    "biased": ("flashsac", part("actor", unbiased=False)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_switch_matters(change: str) -> None:
    name, changes = CHANGES[change]
    with pytest.raises(AssertionError):
        compare(name, **changes(spec_of(name)))
