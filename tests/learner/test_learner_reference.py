"""The learner against the slow reference: same state, batches, noise, masks and subsets, so the same numbers.

A pack of two seeds makes some environment steps of 8 critic updates from a used state; losses, gradients, weights,
targets, moments and temperature are compared after each. The learner runs in float64, where only the order of
operations differs (observed: 2e-14), and in float32, against the same float64 reference (observed: 3e-6 on gradients,
6e-7 on weights).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from reference.bridge import (
    FlatView,
    Observed,
    ObservedLearner,
    codebase_of,
    replay_of,
    slow_draws,
    spec_of,
    state_of,
)
from reference.cases import (
    ALGORITHMS,
    BATCH_SIZE,
    REDQ,
    SAC,
    UTD_RATIO,
    VARIATIONS,
    Algorithm,
    random_transitions,
    settings_of,
    used_learner,
)
from reference.records import Batch, CriticDraws, PolicyDraws, PolicyRecord, Settings, StepRecord
from reference.slow_learner import SlowLearner
from torch import Tensor

from droq_exp.codebases import RedqCodebase
from droq_exp.config.schema import AlgoConfig
from droq_exp.learner.backend import COMPILED, EAGER, NATIVE, Backend
from droq_exp.learner.draws import DrawSampler
from droq_exp.learner.learner import Learner
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState, with_alpha

SEEDS = [3, 8]
STEPS = 2


@dataclass(frozen=True)
class Tolerance:
    """``|learner - reference| <= absolute + relative * |reference|``, element by element."""

    dtype: torch.dtype
    relative: float
    absolute: float


FLOAT64 = Tolerance(torch.float64, 1e-12, 1e-12)
# The C++ has another tanh. One that differs by a rounding differs in log(1 - tanh(u)^2 + 1e-6) by up to a million such
# roundings where it is nearly 1, as some actions of these references are.
FLOAT64_OTHER_TANH = Tolerance(torch.float64, 1e-9, 1e-9)
FLOAT32 = Tolerance(torch.float32, 1e-5, 1e-5)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """A byte mask times a Python number has the default dtype, so a float64 learner needs a float64 default."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class Comparison:
    """The learner, by the torch functions and with the C++ of the critics' updates, and one reference a seed."""

    def __init__(
        self,
        algorithm: Algorithm,
        settings: Settings,
        tolerance: Tolerance,
        *,
        reference: type[SlowLearner] = SlowLearner,
        by_torch: Backend = EAGER,
        observed: bool = True,
    ) -> None:
        """``observed=False`` takes the learner as it is in training and compares its state alone."""
        self.algorithm, self.settings, self.tolerance = algorithm, settings, tolerance
        spec = spec_of(algorithm, settings, len(SEEDS), tolerance.dtype)
        self.codebase = codebase_of(settings)
        self.slows = [used_learner(settings, seed, saturated=tolerance.dtype == torch.float64) for seed in SEEDS]
        for slow in self.slows:
            slow.__class__ = reference
        self.views = [FlatView(slow, spec) for slow in self.slows]
        self.transitions = [random_transitions(settings, 100 + seed, 200) for seed in SEEDS]
        self.replay = replay_of(self.transitions)
        # The same draws twice: the C++ draws its masks itself, from their keys.
        self.samplers = [DrawSampler(spec, SEEDS, torch.device("cpu"), keyed=keyed) for keyed in (False, True)]
        low, high = (settings.action_bias + sign * settings.action_scale for sign in (-1, 1))
        action_map = torch.as_tensor(self.codebase.action_map(low.numpy(), high.numpy()))
        kind = ObservedLearner if observed else Learner
        self.learners = [kind(spec, state_of(self.slows, spec), action_map, backend) for backend in (by_torch, NATIVE)]
        self.tolerances = [tolerance, FLOAT64_OTHER_TANH if tolerance is FLOAT64 else tolerance]
        self.now = tolerance

    def step(self) -> None:
        """One environment step on all sides; raises AssertionError with the first quantity that differs."""
        draws, keyed = (sampler.draw(self.replay.sizes) for sampler in self.samplers)
        rows = self.replay.gather(draws.indices).unflatten(1, (-1, BATCH_SIZE)).to(self.tolerance.dtype)
        for learner in self.learners:
            if isinstance(learner, ObservedLearner):
                learner.observed = Observed()
            with torch.no_grad(), default_dtype(self.tolerance.dtype):
                learner.run(learner.program(), rows, keyed if learner.draws_masks else draws)
        for member, (slow, transitions) in enumerate(zip(self.slows, self.transitions, strict=True)):
            record = slow.update(*slow_draws(draws, member, transitions, self.algorithm, self.settings))
            for learner, tolerance in zip(self.learners, self.tolerances, strict=True):
                self.now = tolerance
                if isinstance(learner, ObservedLearner):
                    self._compare_updates(learner.observed, record, member)
                self._compare_state(learner, member)

    def _compare_updates(self, seen: Observed, record: StepRecord, member: int) -> None:
        view = self.views[member]
        assert len(seen.critic_losses) == len(record.critics) == UTD_RATIO
        assert len(seen.policy_losses) == len(record.policies)
        for i, critic in enumerate(record.critics):
            self._close(seen.critic_losses[i][member], critic.loss, f"critic loss {i}")
            self._close(seen.q_means[i][member], critic.q.mean(), f"mean Q {i}")
            self._close(
                seen.critic_gradients[i][member], view.critic_gradient(critic.gradients), f"critic gradient {i}"
            )
        for i, policy in enumerate(record.policies):
            self._close(seen.policy_losses[i][member], policy.loss, f"policy loss {i}")
            self._close(seen.entropies[i][member], -policy.log_prob.mean(), f"entropy {i}")
            self._close(seen.temperature_losses[i][member], policy.temperature_loss, f"temperature loss {i}")
            self._close(seen.actor_gradients[i][member], view.actor_gradient(policy.gradients), f"policy gradient {i}")
            if self.settings.learn_temperature:
                gradient = policy.temperature_gradient.reshape(1)
                self._close(seen.temperature_gradients[i][member], gradient, f"temperature gradient {i}")

    def _compare_state(self, learner: Learner, member: int) -> None:
        for name, value in self.views[member].state().items():
            self._close(getattr(learner.state, name)[member], value, name)

    def _close(self, actual: Tensor, expected: Tensor, what: str) -> None:
        torch.testing.assert_close(
            actual.double(),
            expected.double(),
            rtol=self.now.relative,
            atol=self.now.absolute,
            msg=lambda text: f"{what} differs: {text}",
        )


def compare(algorithm: Algorithm, settings: Settings, steps: int = STEPS, **options: Any) -> None:
    for tolerance in (FLOAT64, FLOAT32):
        comparison = Comparison(algorithm, settings, tolerance, **options)
        for _ in range(steps):
            comparison.step()


@pytest.mark.parametrize("codebase", ["redq", "ku"])
@pytest.mark.parametrize("name", ["sac", "redq", "duvn", "droq"])
def test_the_papers_algorithms_in_both_styles(name: str, codebase: str) -> None:
    compare(ALGORITHMS[name], settings_of(ALGORITHMS[name], codebase))


@pytest.mark.slow
@pytest.mark.parametrize("codebase", ["redq", "ku"])
@pytest.mark.parametrize("name", ["droq_single", "droq_no_dropout", "droq_no_layernorm", "redq_layernorm"])
def test_the_ablations_in_both_styles(name: str, codebase: str) -> None:
    compare(ALGORITHMS[name], settings_of(ALGORITHMS[name], codebase))


@pytest.mark.slow
@pytest.mark.parametrize("codebase", ["redq", "ku"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_for_longer(name: str, codebase: str) -> None:
    compare(ALGORITHMS[name], settings_of(ALGORITHMS[name], codebase), steps=10)


@pytest.mark.program
@pytest.mark.parametrize("codebase", ["redq", "ku"])
@pytest.mark.parametrize("name", VARIATIONS)
def test_target_modes_and_fractional_num_min(name: str, codebase: str) -> None:
    compare(VARIATIONS[name], settings_of(VARIATIONS[name], codebase), steps=2)


@pytest.mark.program
@pytest.mark.parametrize("name", ["sac", "droq", "redq"])
@pytest.mark.parametrize("delay", [1, 3, 4, 50])  # of 8 updates
def test_policy_update_delay(name: str, delay: int) -> None:
    compare(ALGORITHMS[name], settings_of(ALGORITHMS[name], "redq", policy_update_delay=delay), steps=1)


@pytest.mark.parametrize("codebase", ["redq", "ku"])
def test_fixed_temperature(codebase: str) -> None:
    comparison = Comparison(SAC, settings_of(SAC, codebase, learn_temperature=False), FLOAT64)
    before = comparison.learners[0].state.log_alpha.clone()
    comparison.step()
    assert all(torch.equal(learner.state.log_alpha, before) for learner in comparison.learners)


@pytest.mark.parametrize(("codebase", "delay"), [("redq", 20), ("redq", 3), ("redq", 1), ("ku", 20)])
def test_the_first_alpha_until_the_first_policy_update_has_ended(codebase: str, delay: int) -> None:
    """It is neither the temperature that log_alpha gives before, nor stays afterwards."""
    settings = replace(settings_of(SAC, codebase, policy_update_delay=delay), first_alpha=0.2)
    comparison = Comparison(SAC, settings, FLOAT64)
    for slow, *tensors in zip(comparison.slows, *(learner.state.alpha for learner in comparison.learners), strict=True):
        slow.temperature_was_stepped = False
        for alpha in tensors:
            alpha.fill_(0.2)
    for _ in range(2):
        comparison.step()
    for learner in comparison.learners:
        assert torch.equal(learner.state.alpha, learner.state.log_alpha.exp())


def test_the_first_alpha_gives_way_to_a_temperature_set_by_hand() -> None:
    def spec(**changes: Any) -> LearnerSpec:
        values = {"num_critics": 2, "num_min": 2, "dropout_rate": 0.0, "layer_norm": False, "target_entropy": -1.0}
        algo = AlgoConfig(**{**values, **changes})
        return LearnerSpec.of(algo, RedqCodebase(), seeds=1, obs_dim=3, act_dim=1, bf16=False)

    def alpha(spec: LearnerSpec) -> float:
        return LearnerState.initial(spec, [0], torch.device("cpu")).alpha.item()

    assert alpha(spec()) == pytest.approx(0.2)
    assert alpha(spec(initial_temperature=0.5)) == pytest.approx(0.5)
    assert alpha(spec(learn_temperature=False)) == 1.0
    older = {"log_alpha": torch.tensor([-0.75])}
    assert torch.equal(with_alpha(older)["alpha"], older["log_alpha"].exp())


@pytest.mark.parametrize("rate", [0.0001, 0.5])
def test_other_dropout_rates(rate: float) -> None:
    algorithm = ALGORITHMS["droq"]
    compare(algorithm, settings_of(algorithm, "redq", dropout_rate=rate), steps=2)


class WrongTemperatureLoss(SlowLearner):
    def temperature_loss(self, log_prob: Tensor) -> Tensor:
        return -self.log_alpha.exp() * (log_prob + self.settings.target_entropy).detach().mean()


class HalvedCriticLoss(SlowLearner):
    def critic_loss(self, q: Tensor, target: Tensor) -> Tensor:
        return 0.5 * super().critic_loss(q, target)


class PostStepCritics(SlowLearner):
    def redq_update(self, i: int, draws: CriticDraws, policy: PolicyDraws | None, record: StepRecord) -> None:
        record.critics.append(self.critic_gradients(draws))
        self.critic_step(record.critics[-1])
        if policy is not None:
            record.policies.append(self.policy_gradients(i, draws.batch, policy))
            self.temperature_step(record.policies[-1])
            self.policy_step(record.policies[-1])
        self.polyak()


class SecondPolicyBatch(SlowLearner):
    def redq_step(
        self, critic_draws: list[CriticDraws], policy_iterator: Iterator[PolicyDraws], record: StepRecord
    ) -> None:
        self.other_batch = critic_draws[0].batch
        super().redq_step(critic_draws, policy_iterator, record)

    def policy_gradients(self, update: int, batch: Batch, draws: PolicyDraws) -> PolicyRecord:
        return super().policy_gradients(update, self.other_batch, draws)


@pytest.mark.parametrize("tolerance", [FLOAT64, FLOAT32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", ["sac", "droq"])
@pytest.mark.parametrize(
    ("mutation", "noticed"),
    [
        (WrongTemperatureLoss, "temperature loss 0"),
        (HalvedCriticLoss, "critic loss 0"),
        (PostStepCritics, "policy loss 0"),
        (SecondPolicyBatch, "policy loss 0"),
    ],
)
def test_the_comparison_bites(mutation: type[SlowLearner], noticed: str, name: str, tolerance: Tolerance) -> None:
    comparison = Comparison(ALGORITHMS[name], settings_of(ALGORITHMS[name], "redq"), tolerance, reference=mutation)
    with pytest.raises(AssertionError, match=f"^{noticed} differs"):
        comparison.step()


@pytest.mark.parametrize(
    ("mutation", "noticed"),
    [
        (WrongTemperatureLoss, "log_alpha"),
        (HalvedCriticLoss, "critic"),
        (PostStepCritics, "actor"),
        (SecondPolicyBatch, "actor"),
    ],
)
def test_the_state_alone_bites(mutation: type[SlowLearner], noticed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Comparison, "_compare_updates", lambda *_: None)
    comparison = Comparison(SAC, settings_of(SAC, "redq"), FLOAT64, reference=mutation)
    with pytest.raises(AssertionError, match=f"^{noticed} differs"):
        comparison.step()


@pytest.mark.program
@pytest.mark.parametrize("codebase", ["redq", "ku"])
@pytest.mark.parametrize("name", ["sac", "droq", "redq", "redq_layernorm"])
def test_several_updates_at_once_are_the_same(name: str, codebase: str) -> None:
    compare(ALGORITHMS[name], settings_of(ALGORITHMS[name], codebase), observed=False)


@pytest.mark.program
@pytest.mark.parametrize("delay", [2, 3, 4])
def test_several_updates_at_once_between_policy_updates(delay: int) -> None:
    compare(REDQ, settings_of(REDQ, "redq", policy_update_delay=delay), steps=2, observed=False)


# Most of a compilation's time goes into C++; without it the graphs that it is made from run as they are.
@pytest.mark.program
@pytest.mark.parametrize(
    ("by", "cases"),
    [
        ("aot_eager", [(SAC, "ku")]),
        pytest.param("inductor", [(SAC, "ku")], marks=pytest.mark.slow),
        pytest.param("inductor", [(SAC, "redq"), (ALGORITHMS["droq"], "redq"), (REDQ, "redq")], marks=pytest.mark.slow),
    ],
)
def test_compiled_updates_are_the_eager_ones(
    by: str, cases: list[tuple[Algorithm, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "aot_eager":
        compiled = torch.compile
        monkeypatch.setattr(
            torch, "compile", lambda step, *, options, **given: compiled(step, backend="aot_eager", **given)
        )
    # One graph a function is allowed, so this also shows that a process may build one learner after another
    # (a multirun does): their graphs must not add up to torch's limit of recompilations.
    with torch._dynamo.config.patch(recompile_limit=1):
        for algorithm, codebase in cases:
            comparison = Comparison(
                algorithm, settings_of(algorithm, codebase), FLOAT32, by_torch=COMPILED, observed=False
            )
            for _ in range(2):
                comparison.step()
