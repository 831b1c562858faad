"""Critic updates without environment steps, as in SPEQ's phases, against the slow reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from reference.bridge import FlatView, codebase_of, replay_of, slow_draws, spec_of, state_of
from reference.cases import ALGORITHMS, BATCH_SIZE, UTD_RATIO, random_transitions, settings_of, used_learner
from reference.records import CriticDraws, PolicyDraws, StepRecord
from reference.slow_learner import SlowLearner

from droq_exp.learner.backend import EAGER, NATIVE, Backend
from droq_exp.learner.draws import DrawSampler
from droq_exp.learner.learner import Learner
from droq_exp.learner.spec import OFFLINE

SEEDS = [3, 8]
MOVING = ("critic", "critic_target", "critic_moment1", "critic_moment2", "offline_sums")
Phase = Callable[[SlowLearner, list[CriticDraws]], None]


def critics_alone(slow: SlowLearner, draws: list[CriticDraws]) -> None:
    for each in draws:
        slow.critic_step(slow.critic_gradients(each))
        slow.polyak()


def compare(name: str, backend: Backend, phase: Phase = critics_alone) -> None:
    """An environment step, two chunks of a phase and another step, from a used state, in float64."""
    algorithm = ALGORITHMS[name]
    settings = settings_of(algorithm, "redq", policy_update_delay=3)
    slows = [used_learner(settings, seed, saturated=False) for seed in SEEDS]
    spec = replace(spec_of(algorithm, settings, len(SEEDS), torch.float64), offline_chunk=UTD_RATIO)
    state = state_of(slows, spec)
    transitions = [random_transitions(settings, 100 + seed, 200) for seed in SEEDS]
    replay, views = replay_of(transitions), [FlatView(slow, spec) for slow in slows]
    low, high = (settings.action_bias + sign * settings.action_scale for sign in (-1, 1))
    action_map = torch.as_tensor(codebase_of(settings).action_map(low.numpy(), high.numpy()))
    for kind in (spec, spec.of_phase(OFFLINE), spec.of_phase(OFFLINE), spec):
        learner = Learner(kind, state, action_map, backend)
        # Drawn anew from the start each time: what matters is that both sides have the same.
        keyed = DrawSampler(kind, SEEDS, torch.device("cpu"), keyed=learner.draws_masks).draw(replay.sizes)
        draws = DrawSampler(kind, SEEDS, torch.device("cpu")).draw(replay.sizes)
        rows = replay.gather(draws.indices).unflatten(1, (-1, BATCH_SIZE)).double()
        before = {field: value.clone() for field, value in state.tensors().items()}
        torch.set_default_dtype(torch.float64)  # a byte mask times a number has the default dtype
        try:
            with torch.no_grad():
                learner.run(learner.program(), rows, keyed)
        finally:
            torch.set_default_dtype(torch.float32)
        for member, slow in enumerate(slows):
            critic_draws, policy_draws = slow_draws(draws, member, transitions[member], algorithm, settings)
            if kind.phase:
                assert not policy_draws
                phase(slow, critic_draws)
            else:
                slow.update(critic_draws, policy_draws)
            for field, value in views[member].state().items():
                torch.testing.assert_close(getattr(state, field)[member], value, rtol=1e-9, atol=1e-9)
        for field, value in state.tensors().items() if kind.phase else ():
            assert torch.equal(value, before[field]) == (field not in MOVING or not value.numel()), field
    assert (state.critic_updates, state.offline_updates) == (820 + 4 * UTD_RATIO, 2 * UTD_RATIO)
    assert state.offline_sums[:, -1].tolist() == [2 * UTD_RATIO] * len(SEEDS)


@pytest.mark.parametrize("backend", [EAGER, NATIVE], ids=["eager", "native"])
@pytest.mark.parametrize("name", ["droq", "redq"])
def test_it_is_the_reference(name: str, backend: Backend) -> None:
    compare(name, backend)


def without_polyak(slow: SlowLearner, draws: list[CriticDraws]) -> None:
    for each in draws:
        slow.critic_step(slow.critic_gradients(each))


def with_a_policy_update(slow: SlowLearner, draws: list[CriticDraws]) -> None:
    policy = PolicyDraws(draws[-1].next_noise, draws[-1].online_masks)
    for each in draws:
        slow.redq_update(0, each, policy if each is draws[-1] else None, StepRecord())


@pytest.mark.parametrize("phase", [without_polyak, with_a_policy_update])
def test_the_comparison_bites(phase: Phase) -> None:
    with pytest.raises(AssertionError):
        compare("droq", EAGER, phase)


def test_phases_and_steps_draw_from_generators_of_their_own() -> None:
    algorithm = ALGORITHMS["droq"]
    spec = replace(spec_of(algorithm, settings_of(algorithm, "redq"), 1, torch.float32), offline_chunk=UTD_RATIO)
    step, phase = (DrawSampler(kind, [3], torch.device("cpu")).draw(1000) for kind in (spec, spec.of_phase(OFFLINE)))
    assert not torch.equal(step.indices, phase.indices)
    assert not torch.equal(step.next_noise, phase.next_noise)
    plain = DrawSampler(replace(spec, offline_chunk=0), [3], torch.device("cpu")).draw(1000)
    assert torch.equal(step.indices, plain.indices)
