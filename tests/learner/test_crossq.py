"""CrossQ against a slow reference of its own, and what its parts say of themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from reference import slow_crossq
from reference.slow_crossq import SlowCrossQ, SlowNetwork
from torch import Tensor

from droq_exp.config import compose
from droq_exp.learner import batch_renorm
from droq_exp.learner.backend import COMPILED, EAGER, Backend, why_not_native
from droq_exp.learner.batch_renorm import BatchRenormActor, BatchRenormCritic, lecun_parameters
from droq_exp.learner.draws import DrawSampler
from droq_exp.learner.learner import Learner
from droq_exp.learner.networks import named, named_buffers
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState
from droq_exp.training.hardware import learner_spec

OBS_DIM, ACT_DIM, BATCH, HIDDEN, ACTOR_HIDDEN, SEEDS = 5, 2, 16, (12, 9), (7, 8), [3, 8]
ACTION_MAP = torch.tensor([[0.4, 2.0], [0.1, -1.0]], dtype=torch.float64)
STEPS = 9  # three policy updates, the actor's last beyond the warm-up


def spec_of(dtype: torch.dtype = torch.float64) -> LearnerSpec:
    """That of ``algo=crossq``, small, and with a short warm-up."""
    keys = [f"algo.{part}.warmup={slow_crossq.WARM_UP}" for part in ("critic", "actor")]
    spec = learner_spec(compose(["algo=crossq", "env=hopper", *keys])[0])
    sizes: dict[str, Any] = {"obs_dim": OBS_DIM, "act_dim": ACT_DIM, "seeds": len(SEEDS), "batch_size": BATCH}
    return replace(spec, **sizes, hidden_sizes=HIDDEN, actor_hidden_sizes=ACTOR_HIDDEN, dtype=dtype)


def slow_of(spec: LearnerSpec, state: LearnerState, seed: int) -> SlowCrossQ:
    """The reference with one seed's parameters."""
    slow = SlowCrossQ(
        critics=[SlowNetwork([OBS_DIM + ACT_DIM, *HIDDEN], 1) for _ in range(2)],
        actor=SlowNetwork([OBS_DIM, *ACTOR_HIDDEN], 2 * ACT_DIM),
        act_dim=ACT_DIM,
        gamma=spec.gamma,
        target_entropy=spec.target_entropy,
        learning_rate=spec.critic_learning_rate,
        scale=ACTION_MAP[0],
        offset=ACTION_MAP[1],
    )
    for networks, flat, part in ((slow.critics, state.critic, spec.critic), ([slow.actor], state.actor, spec.actor)):
        values = named(flat[seed : seed + 1].double(), part.shapes(spec))
        for copy, network in enumerate(networks):
            for name, parameter in network.named_parameters():
                parameter.data.copy_(of_learner(values, name, copy))
    return slow


def of_learner(values: dict[str, Tensor], name: str, copy: int) -> Tensor:
    """A parameter of the learner as the reference has it."""
    kind, layer, part = name.split(".")
    value = values[{"layers": "", "norms": "norm_"}[kind] + f"{part}{layer}"][0, copy]
    return value.mT if part == "weight" else value[0]


def assert_equal(spec: LearnerSpec, state: LearnerState, slow: SlowCrossQ, seed: int, tolerance: float) -> None:
    one = slice(seed, seed + 1)

    def close(actual: Tensor, expected: Tensor, what: str) -> None:
        torch.testing.assert_close(
            actual.double(), expected.detach(), rtol=tolerance, atol=tolerance, msg=lambda told: f"{what}: {told}"
        )

    for networks, flat, buffers, part in (
        (slow.critics, state.critic, state.critic_buffers, spec.critic),
        ([slow.actor], state.actor, state.actor_buffers, spec.actor),
    ):
        values = named(flat[one], part.shapes(spec))
        moving = named_buffers(buffers[one], part.buffers(spec))
        for copy, network in enumerate(networks):
            for name, parameter in network.named_parameters():
                close(of_learner(values, name, copy), parameter, name)
            for layer, norm in enumerate(network.norms):
                close(moving[f"mean{layer}"][0, copy, 0], norm.mean, f"mean{layer}")
                close(moving[f"variance{layer}"][0, copy, 0], norm.variance, f"variance{layer}")
                assert moving["passes"][0, copy, 0, 0] == norm.passes
    close(state.log_alpha[seed], slow.log_alpha, "log alpha")
    close(state.alpha[seed], slow.log_alpha.exp(), "alpha")


def compare(spec: LearnerSpec, tolerance: float, backend: Backend = EAGER) -> None:
    """Some environment steps of a pack of two seeds and of a reference each."""
    state = LearnerState.initial(spec, SEEDS, torch.device("cpu"))
    learner = Learner(spec, state, ACTION_MAP, backend)
    slows = [slow_of(spec, state, seed) for seed in range(len(SEEDS))]
    sampler = DrawSampler(spec, SEEDS, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        rows = 2 * torch.randn(2, 1, BATCH, spec.row_size, generator=generator, dtype=torch.float64) + 0.5
        columns = spec.layout.columns
        rows[..., columns.terminated] = (rows[..., columns.terminated] > 1).double()
        rows = rows.to(spec.dtype)
        draws = sampler.draw(100)
        with torch.no_grad():
            learner.run(learner.program(), rows, draws)
        batch = spec.layout.split(rows.double())
        for seed, slow in enumerate(slows):
            noises = [draws.next_noise[seed, 0].double(), draws.policy_noise[seed, 0].double()]
            parts = (batch.obs, batch.action, batch.reward, batch.next_obs, batch.terminated)
            slow.update(*(part[seed, 0] for part in parts), noises)
            assert_equal(spec, state, slow, seed, tolerance)
    assert state.policy_updates == STEPS // 3
    for seed, slow in enumerate(slows):
        mean = sum(slow.critic_losses) / STEPS
        assert state.critic_sums[seed, 0].item() / STEPS == pytest.approx(mean, rel=max(tolerance, 1e-9))


def test_it_is_the_reference() -> None:
    compare(spec_of(), 1e-9)


@pytest.mark.slow  # minutes to compile
def test_compiled_it_is_the_reference_too() -> None:
    compare(spec_of(torch.float32), 2e-3, COMPILED)


MUTATIONS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "bounds": lambda patch: patch.setattr(batch_renorm, "R_MAX", 1.001),
    "offset": lambda patch: patch.setattr(batch_renorm, "D_MAX", 0.01),
    "warm-up": lambda patch: patch.setattr(slow_crossq, "WARM_UP", 3),
    "momentum": lambda patch: patch.setattr(slow_crossq, "MOMENTUM", 0.02),
    "epsilon": lambda patch: patch.setattr(slow_crossq, "EPS", 1e-4),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_comparison_bites(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of()
    MUTATIONS[name](monkeypatch)
    with pytest.raises(AssertionError):
        compare(spec, 1e-9)


@pytest.mark.parametrize(
    "changes", [{"adam_beta1": 0.9}, {"joint_pass": False, "target_network": True}, {"target_entropy": -1.0}]
)
def test_each_switch_matters(changes: dict[str, Any]) -> None:
    """The reference is built with the numbers of ``algo=crossq``."""
    spec = spec_of()
    state = LearnerState.initial(spec, SEEDS, torch.device("cpu"))
    slow = slow_of(spec, state, 0)
    other = replace(spec, **changes)
    learner = Learner(other, state, ACTION_MAP)
    sampler = DrawSampler(other, SEEDS, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):  # Adam's first step has one size whatever the gradient: two of the temperature
        rows = torch.randn(2, 1, BATCH, spec.row_size, generator=generator, dtype=torch.float64).abs()
        draws = sampler.draw(100)
        with torch.no_grad():
            learner.run(learner.program(), rows, draws)
        batch = spec.layout.split(rows)
        parts = (batch.obs, batch.action, batch.reward, batch.next_obs, batch.terminated)
        slow.update(*(part[0, 0] for part in parts), [d[0, 0].double() for d in (draws.next_noise, draws.policy_noise)])
    with pytest.raises(AssertionError):
        assert_equal(spec, state, slow, 0, 1e-9)


def test_a_unit_that_never_moves_gives_no_nan() -> None:
    """A dead unit has variance 0, whose square root has no gradient."""
    part = BatchRenormCritic(warmup=0)
    spec = spec_of()
    params = {
        name: torch.zeros(1, *shape, dtype=torch.float64, requires_grad=True)
        for name, shape in part.shapes(spec).items()
    }
    buffers = {
        name: torch.full((1, *shape), value, dtype=torch.float64) for name, (shape, value) in part.buffers(spec).items()
    }
    inputs = torch.ones(1, BATCH, OBS_DIM + ACT_DIM, dtype=torch.float64)
    outputs, _ = part.outputs(params, buffers, inputs, None, spec, training=True)
    outputs.sum().backward()
    for name, value in params.items():
        assert value.grad is None or value.grad.isfinite().all(), name


def test_acting_moves_nothing_and_looks_at_the_running_statistics() -> None:
    part, spec = BatchRenormActor(), spec_of()
    params = {name: torch.randn(1, *shape, dtype=torch.float64) for name, shape in part.shapes(spec).items()}
    buffers = {name: torch.rand(1, *shape, dtype=torch.float64) for name, (shape, _) in part.buffers(spec).items()}
    obs, noise = (torch.randn(1, 4, size, dtype=torch.float64) for size in (OBS_DIM, ACT_DIM))
    together, _, moved = part.sample(params, buffers, obs, noise, spec, training=False)
    alone, _, _ = part.sample(params, buffers, obs[:, 2:3], noise[:, 2:3], spec, training=False)
    assert moved == {}
    torch.testing.assert_close(together[:, 2:3], alone)


def test_initial_weights_are_truncated_normals_of_unit_fan_in_variance() -> None:
    drawn = lecun_parameters({"weight0": (2, 400, 300), "bias0": (2, 1, 300), "norm_scale0": (2, 1, 9)}, _rng())
    weights, others = drawn[:240_000], drawn[240_000:]
    assert np.std(weights) == pytest.approx(1 / 20, rel=0.01)
    assert np.abs(weights).max() <= 2 / (0.8796 * 20)
    assert sorted(set(others)) == [0.0, 1.0]


def test_the_cpp_stands_aside() -> None:
    assert why_not_native(spec_of()) == "algo.critic is droq_exp.learner.batch_renorm.BatchRenormCritic"


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)
