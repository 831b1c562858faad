"""Parts that declare random numbers of their own, against the learner's own numbers put in the same places.

A critic that makes its dropout masks of uniform numbers of its own, an actor that takes its noise from there, an
objective that weighs critics at random and a policy objective that weighs states: each does what the learner does
anyway when it is given the same numbers, so both must stay equal to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from droq_exp.learner import updates
from droq_exp.learner.backend import COMPILED, EAGER, Backend
from droq_exp.learner.cuda.draws import DeviceDraws
from droq_exp.learner.cuda.graph import Captured
from droq_exp.learner.draws import Draws, DrawSampler
from droq_exp.learner.hyperparameters import Hyperparameters
from droq_exp.learner.learner import Learner
from droq_exp.learner.losses import SoftPolicyObjective, SquaredTdError
from droq_exp.learner.networks import EnsembleCritic, SquashedGaussianActor
from droq_exp.learner.orders import PolicyBesideCritics
from droq_exp.learner.own_draws import Draw, given
from droq_exp.learner.spec import OFFLINE, LearnerSpec
from droq_exp.learner.state import LearnerState

CPU, SEEDS, RATE = torch.device("cpu"), [3, 8], 0.25
ACTION_MAP = torch.tensor([[1.0, 0.5], [0.0, 0.25]], dtype=torch.float64)


@dataclass(frozen=True)
class OwnDropout(EnsembleCritic):
    def draws(self, rows: int, spec: Hyperparameters) -> dict[str, Draw]:
        return {f"layer{i}": Draw("uniform", (rows, width)) for i, width in enumerate(spec.hidden_sizes)}

    def outputs(self, params: Any, buffers: Any, inputs: Any, masks: Any, spec: Any, **named: Any) -> Any:
        drawn = named.pop("drawn", None)
        if drawn is not None:
            masks = [keep(drawn[f"layer{i}"]) for i in range(len(spec.hidden_sizes))]
            spec = replace(spec, dropout_rate=RATE)
        return super().outputs(params, buffers, inputs, masks, spec, **named)


def keep(uniform: Tensor) -> Tensor:
    return (uniform >= RATE).to(torch.uint8)


@dataclass(frozen=True)
class OwnNoise(SquashedGaussianActor):
    def draws(self, rows: int, spec: Hyperparameters) -> dict[str, Draw]:
        return {"noise": Draw("normal", (rows, spec.act_dim))}

    def sample(self, params: Any, buffers: Any, obs: Any, noise: Any, spec: Any, **named: Any) -> Any:
        drawn = named.pop("drawn", None)
        return super().sample(params, buffers, obs, noise if drawn is None else drawn["noise"], spec, **named)


@dataclass(frozen=True)
class OwnMixture(SquaredTdError):  # noqa: N818  # an objective
    def draws(self, rows: int, spec: Hyperparameters) -> dict[str, Draw]:
        return {"weights": Draw("uniform", (spec.num_critics, rows))}

    def target(self, outputs: Any, reward: Any, discount: Any, *others: Any, drawn: Any = None) -> Any:
        if drawn is None:
            return super().target(outputs, reward, discount, *others)
        return super().target(outputs, reward, discount, None, shares(drawn["weights"], 1), others[-1])

    def loss(self, outputs: Any, target: Any, spec: Any, drawn: Any = None) -> Any:
        return super().loss(outputs, target, spec)


def shares(weights: Tensor, of: int) -> Tensor:
    return weights / weights.sum(of, keepdim=True)


@dataclass(frozen=True)
class OwnStates(SoftPolicyObjective):
    def draws(self, rows: int, spec: Hyperparameters) -> dict[str, Draw]:
        return {"weights": Draw("uniform", (rows,))}

    def loss(self, values: Any, log_prob: Any, alpha: Any, spec: Any, drawn: Any = None) -> Any:
        loss = super().loss(values, log_prob, alpha, spec)
        return loss if drawn is None else drawn["weights"] * loss


OWN = LearnerSpec(
    seeds=len(SEEDS),
    obs_dim=3,
    act_dim=2,
    hidden_sizes=(8, 6),
    num_critics=3,
    num_min=3,
    batch_size=5,
    utd_ratio=4,
    target_passes=2,
    learn_temperature=False,
    dtype=torch.float64,
    order=PolicyBesideCritics(delay=2),
    critic=OwnDropout(),
    actor=OwnNoise(),
    objective=OwnMixture(),
    policy_objective=OwnStates(),
)
USUAL = replace(
    OWN,
    dropout_rate=RATE,
    target_mode="rem",
    critic=EnsembleCritic(),
    actor=SquashedGaussianActor(),
    objective=SquaredTdError(),
    policy_objective=SoftPolicyObjective(),
)


def as_the_learners(draws: Draws) -> Draws:
    """The same numbers where the learner itself looks for them."""
    own = draws.own
    assert own is not None

    def flat(call: str) -> Tensor:
        return torch.cat([keep(own[call][name]).flatten(2) for name in ("layer0", "layer1")], -1)

    has_masks = "critic" in own
    return replace(
        draws,
        next_noise=own["next_action"]["noise"],
        policy_noise=own["action"]["noise"],
        critic_dropout_masks=torch.cat([flat("critic_target"), flat("critic")], -1) if has_masks else None,
        policy_dropout_masks=flat("critic_of_policy") if has_masks else None,
        rem_weights=shares(own["objective"]["weights"], 2),
        own=None,
    )


class WeighingStates(Learner):
    """Gives a policy update the weights of its states, as prioritised replay does."""

    weights: Tensor

    def policy_update(self, critic: Tensor, rows: Tensor, draws: Draws, update: int, *weights: Tensor) -> None:
        super().policy_update(critic, rows, draws, update, self.weights[:, update], *weights)


def learner_of(spec: LearnerSpec, kind: type[Learner] = Learner, backend: Backend = EAGER) -> Learner:
    return kind(spec, LearnerState.initial(spec, SEEDS, CPU), ACTION_MAP, backend)


def rows_of(spec: LearnerSpec, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    shape = spec.seeds, spec.minibatches, spec.batch_size, spec.row_size
    rows = torch.randn(*shape, generator=rng, dtype=spec.dtype)
    rows[..., spec.layout.columns.terminated] = (rows[..., spec.layout.columns.terminated] > 1).to(spec.dtype)
    return rows


def host_draws(spec: LearnerSpec) -> Callable[[int], Draws]:
    sampler = DrawSampler(spec, SEEDS, CPU)
    return lambda step: sampler.draw(100)


def device_draws(spec: LearnerSpec) -> Callable[[int], Draws]:
    drawn = DeviceDraws(spec, SEEDS, CPU, compile_draws=False)
    return lambda step: drawn.draw(torch.tensor(100), torch.tensor(step))


@torch.no_grad()
@pytest.mark.parametrize("source", [host_draws, device_draws])
@pytest.mark.parametrize("joint_pass", [False, True])
def test_own_numbers_do_what_the_learners_do_in_their_place(
    source: Callable[..., Callable[[int], Draws]], joint_pass: bool
) -> None:
    spec = replace(OWN, joint_pass=joint_pass)
    if joint_pass:  # where the learner's own masks are too short
        spec = replace(spec, critic=EnsembleCritic())
    usual = learner_of(replace(USUAL, joint_pass=joint_pass, dropout_rate=0 if joint_pass else RATE), WeighingStates)
    own, draw = learner_of(spec), source(spec)
    assert isinstance(usual, WeighingStates)
    for step in range(3):
        draws, rows = draw(step), rows_of(OWN, step)
        own.run(own.program(), rows, draws)
        assert draws.own is not None
        usual.weights = draws.own["policy_objective"]["weights"]
        usual.run(usual.program(), rows, as_the_learners(draws))
        for name, value in own.state.tensors().items():
            assert torch.equal(value, usual.state.tensors()[name]), name


@torch.no_grad()
def test_they_are_traced_into_the_compiled_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda step, *, options, **given: compiled(step, backend="aot_eager", **given)
    )
    eager, traced, draw = learner_of(OWN), learner_of(OWN, backend=COMPILED), host_draws(OWN)
    for step in range(2):
        draws, rows = draw(step), rows_of(OWN, step)
        for each in (eager, traced):
            each.run(each.program(), rows, draws)
    for name, value in eager.state.tensors().items():
        torch.testing.assert_close(traced.state.tensors()[name], value, rtol=1e-12, atol=1e-12, msg=name)


def assert_same(first: Draws, second: Draws, *, seed: slice = slice(None), of: slice = slice(None)) -> None:
    assert first.own is not None
    assert second.own is not None
    for call, numbers in first.own.items():
        for name, value in numbers.items():
            assert torch.equal(value[seed], second.own[call][name][of]), (call, name)


@pytest.mark.parametrize("source", [host_draws, device_draws])
def test_a_seed_draws_the_same_whatever_trains_beside_it(source: Callable[..., Any]) -> None:
    alone = replace(OWN, seeds=1)
    kind = {host_draws: lambda: DrawSampler(alone, SEEDS[1:], CPU).draw(100)}
    kind[device_draws] = lambda: DeviceDraws(alone, SEEDS[1:], CPU, compile_draws=False).draw(
        torch.tensor(100), torch.tensor(0)
    )
    assert_same(source(OWN)(0), kind[source](), seed=slice(1, 2))


@pytest.mark.parametrize("source", [host_draws, device_draws])
def test_each_name_of_each_call_has_a_stream_of_its_own(source: Callable[..., Any]) -> None:
    """Of the kind, shape and use that it declares; and none is the same twice."""
    draw = source(OWN)
    first, second = draw(0).own, draw(1).own
    shapes = {f"{call}.{name}": list(value.shape) for call, each in first.items() for name, value in each.items()}
    assert shapes == {
        "next_action.noise": [2, 4, 5, 2],
        "critic_target.layer0": [2, 4, 6, 5, 8],
        "critic_target.layer1": [2, 4, 6, 5, 6],
        "critic.layer0": [2, 4, 3, 5, 8],
        "critic.layer1": [2, 4, 3, 5, 6],
        "objective.weights": [2, 4, 3, 5],
        "action.noise": [2, 2, 5, 2],
        "critic_of_policy.layer0": [2, 2, 3, 5, 8],
        "critic_of_policy.layer1": [2, 2, 3, 5, 6],
        "policy_objective.weights": [2, 2, 5],
    }
    flat = [value.flatten() for own in (first, second) for each in own.values() for value in each.values()]
    flat = [half for value in flat for half in value.chunk(2)]  # seeds too
    heads = {tuple(value[:10].tolist()) for value in flat}
    assert len(heads) == len(flat) == 4 * len(shapes)


def test_a_joint_pass_draws_for_both_halves_and_no_target_for_none() -> None:
    drawn = DrawSampler(replace(OWN, joint_pass=True, target_network=False), SEEDS, CPU).draw(100).own
    assert drawn is not None
    assert "critic_target" not in drawn
    assert drawn["critic"]["layer0"].shape == (2, 4, 3, 10, 8)
    assert drawn["critic_of_policy"]["layer0"].shape == (2, 2, 3, 5, 8)


@pytest.mark.parametrize("source", [host_draws, device_draws])
def test_normal_and_uniform_numbers_are_what_they_say(source: Callable[..., Any]) -> None:
    own = source(replace(OWN, batch_size=256))(0).own
    normal, uniform = own["next_action"]["noise"], own["critic"]["layer0"]
    assert abs(float(normal.mean())) < 4.5 / normal.numel() ** 0.5
    assert abs(float(normal.std()) - 1) < 4.5 / (2 * normal.numel()) ** 0.5
    assert 0 <= float(uniform.min()) < 0.001
    assert 0.999 < float(uniform.max()) < 1
    assert abs(float(uniform.mean()) - 0.5) < 4.5 / (12 * uniform.numel()) ** 0.5
    assert float(uniform.to(torch.float32).max()) < 1


def test_where_they_are_in_their_streams_is_saved() -> None:
    sampler, other = DrawSampler(OWN, SEEDS, CPU), DrawSampler(OWN, SEEDS, CPU)
    for _ in range(3):
        sampler.draw(100)
    for index in range(len(SEEDS)):
        other.load_seed_state(index, sampler.seed_state(index))
    assert_same(sampler.draw(100), other.draw(100))


def test_they_disturb_no_other_stream() -> None:
    plain = replace(OWN, critic=EnsembleCritic(), actor=SquashedGaussianActor(), objective=SquaredTdError())
    plain = replace(plain, policy_objective=SoftPolicyObjective())
    ours, others = DrawSampler(OWN, SEEDS, CPU).draw(100), DrawSampler(plain, SEEDS, CPU).draw(100)
    assert others.own is None
    assert ours.indices is not None
    assert others.indices is not None
    assert torch.equal(ours.indices, others.indices)
    assert torch.equal(ours.next_noise, others.next_noise)
    assert DrawSampler(plain, SEEDS, CPU).seed_state(0).items() <= DrawSampler(OWN, SEEDS, CPU).seed_state(0).items()


def test_a_phase_draws_what_its_updates_need_from_streams_of_its_own() -> None:
    phase = replace(OWN, offline_chunk=4).of_phase(OFFLINE)
    drawn, of_step = DrawSampler(phase, SEEDS, CPU).draw(100).own, DrawSampler(OWN, SEEDS, CPU).draw(100).own
    assert drawn is not None
    assert of_step is not None
    assert drawn.keys() == {"next_action", "critic_target", "critic", "objective"}
    assert not torch.equal(drawn["critic"]["layer0"], of_step["critic"]["layer0"])


def test_a_graph_has_one_place_for_them() -> None:
    drawn = DeviceDraws(OWN, SEEDS, CPU, compile_draws=False)
    step = torch.tensor(0)
    captured = Captured(lambda: drawn.draw(torch.tensor(100), step), CPU, list)
    first = captured()
    before = first.own["critic"]["layer0"].clone()
    step.fill_(1)
    second = captured()
    assert second.own["critic"]["layer0"] is first.own["critic"]["layer0"]
    assert not torch.equal(second.own["critic"]["layer0"], before)
    assert_same(second, drawn.draw(torch.tensor(100), step))


def test_the_device_draws_them_in_its_compiled_graph() -> None:
    drawn, held, step = DeviceDraws(OWN, SEEDS, CPU, compile_draws=False), torch.tensor(100), torch.tensor(3)
    expected = drawn.draw(held, step)
    drawn._draw = torch.compile(drawn.draw_flat, fullgraph=True, dynamic=False, backend="aot_eager")
    assert_same(drawn.draw(held, step), expected)


def test_what_nobody_can_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="normal or uniform, not 'gaussian'"):
        Draw("gaussian", (3,))  # type: ignore[arg-type]
    for shape in ((0,), (2.0,), (True,)):
        with pytest.raises(ValueError, match="whole numbers from 1 on"):
            Draw("normal", shape)  # type: ignore[arg-type]


def test_a_call_without_own_numbers_gets_no_keyword() -> None:
    assert given(None, "critic") == given({"action": {}}, "critic") == {}
    assert updates.stated(None, None) == ()
    assert updates.stated(None, 1, None) == (None, 1)
