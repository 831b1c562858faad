"""Randomness drawn from a counter on the device: its distributions, and that it depends on seed and step alone.

Seeds are fixed, so the tests are deterministic; bounds are those of the exact distributions at 4.5 standard deviations.
"""

from __future__ import annotations

import dataclasses
import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from droq_exp.learner.cuda.draws import DeviceDraws, Words, happens
from droq_exp.learner.draws import Draws, DrawSampler
from droq_exp.learner.orders import PolicyBesideCritics
from droq_exp.learner.spec import LearnerSpec
from droq_exp.random_streams import Stream, derived_key

CPU = torch.device("cpu")
RATES = [1e-4, 0.005, 0.01, 0.1, 0.5]
SIGMAS = 4.5
ALGORITHMS: dict[str, dict[str, Any]] = {
    "sac": {},
    "droq": {"dropout_rate": 0.01, "layer_norm": True},
    "redq": {"num_critics": 5, "num_min": 2},
    "fractional": {"num_critics": 4, "num_min": 1.3, "dropout_rate": 0.1, "target_passes": 2},
    "rem": {"num_critics": 3, "target_mode": "rem"},
}


def draws_of(seeds: list[int], steps: list[int], size: int = 1000, **changes: Any) -> list[Draws]:
    """What is drawn at each of these environment steps; two policy updates and four minibatches each."""
    values = {"seeds": len(seeds), "obs_dim": 3, "act_dim": 2, "hidden_sizes": (64, 48), "utd_ratio": 4}
    order = PolicyBesideCritics(delay=2)
    spec = LearnerSpec(**{**values, "batch_size": 32, "order": order, **changes})  # type: ignore[arg-type]
    drawn = DeviceDraws(spec, seeds, CPU, compile_draws=False)
    return [drawn.draw(torch.tensor(size), torch.tensor(step)) for step in steps]


def assert_binomial(count: Any, trials: int, probability: Any) -> None:
    expected = trials * np.asarray(probability)
    bound = SIGMAS * np.sqrt(expected * (1 - np.asarray(probability))) + SIGMAS
    assert (np.abs(np.asarray(count) - expected) <= bound).all(), f"{count} of {trials}, expected {expected} +- {bound}"


# Words


def splitmix64(key: int, index: int) -> int:
    """Word ``index`` of the generator's stream, as its authors write it."""
    x = (key + (index + 1) * 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


@pytest.mark.parametrize("count", [5, 4096, 9001])
@pytest.mark.parametrize("step", [0, 1, 10**7])
def test_words_are_those_of_the_generator_one_after_the_other(count: int, step: int) -> None:
    words = Words(Stream.DROPOUT, [7, 2**31], count, CPU)(torch.tensor(step))
    for row, seed in zip(words, [7, 2**31], strict=True):
        key = int(derived_key(seed, Stream.DROPOUT))
        for i in {0, 1, count // 2, count - 1}:
            assert int(row[i]) % 2**64 == splitmix64(key, step * count + i)


def test_streams_and_seeds_have_keys_of_their_own() -> None:
    keys = [derived_key(seed, stream) for seed in range(200) for stream in Stream]
    assert len(set(keys)) == len(keys)


# Masks


@pytest.mark.parametrize("rate", RATES)
def test_what_happens_has_its_probability_exactly(rate: float) -> None:
    """No feasible sample tells 0.1 from 0.100000001, so look at the words on both sides of the edge."""
    edge = int(rate * 2**64) - 2**63
    words = torch.tensor([-(2**63), edge - 1, edge, 2**63 - 1])
    assert happens(words, rate).tolist() == [True, True, False, False]
    assert abs((edge + 2**63) / 2**64 - rate) < 2**-52 * rate + 2**-64


@pytest.mark.parametrize("rate", RATES)
def test_masks_drop_at_the_rate_and_independently(rate: float) -> None:
    drawn = draws_of([0, 1], list(range(12)), dropout_rate=rate)
    updates = [1 - torch.stack([d.critic_dropout_masks for d in drawn]).flatten(0, 2).long()]  # type: ignore[misc]
    updates += [1 - torch.stack([d.policy_dropout_masks for d in drawn]).flatten(0, 2).long()]  # type: ignore[misc]
    for dropped in updates:
        count, size = dropped.shape
        assert_binomial(dropped.sum(1), size, rate)
        assert_binomial(dropped.sum(), count * size, rate)
        for lag in (1, 2, 64):
            assert_binomial((dropped[:, lag:] & dropped[:, :-lag]).sum(), count * (size - lag), rate**2)
        # seeds, steps, updates
        for lag in (1, 2, 4, 8):
            assert_binomial((dropped[lag:] & dropped[:-lag]).sum(), (count - lag) * size, rate**2)


def test_masks_have_the_shapes_of_the_host() -> None:
    spec = LearnerSpec(seeds=2, obs_dim=3, act_dim=1, hidden_sizes=(8, 6), dropout_rate=0.3, utd_ratio=3, batch_size=4)
    host = DrawSampler(spec, [0, 1], CPU).draw(10)
    drawn = DeviceDraws(spec, [0, 1], CPU, compile_draws=False).draw(torch.tensor(10), torch.tensor(0))
    for name in ("critic_dropout_masks", "policy_dropout_masks"):
        ours, theirs = getattr(drawn, name), getattr(host, name)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)


# Minibatches, noise, targets


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_indices_are_uniform_over_what_replay_holds(size: int) -> None:
    indices = torch.stack([d.indices for d in draws_of([0, 1], list(range(200)), size)])
    counts = torch.bincount(indices.flatten(), minlength=size)
    assert len(counts) == size
    assert_binomial(counts, indices.numel(), 1 / size)
    if size > 1:
        same = indices[1:] == indices[:-1]  # of two steps, at one place
        assert_binomial(same.sum(), same.numel(), 1 / size)


def test_noise_is_standard_normal_in_its_middle_and_its_tails() -> None:
    drawn = draws_of([0, 1], list(range(600)))
    noise = torch.stack([d.next_noise for d in drawn]).flatten().double()
    assert drawn[0].next_noise.dtype == torch.float32
    count = len(noise)
    for power, expected, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(noise.pow(power).mean() - expected) < SIGMAS * math.sqrt(spread / count)
    for edge in (0.1, 1.0, 2.0, 3.0, 4.0):
        assert_binomial((noise > edge).sum(), count, stats.norm.sf(edge))
        assert_binomial((noise < -edge).sum(), count, stats.norm.sf(edge))
    policy = torch.stack([d.policy_noise for d in drawn]).flatten().double()
    assert abs(policy.std() - 1) < SIGMAS * math.sqrt(1 / (2 * len(policy)))
    assert abs((noise[: len(policy)] * policy).mean()) < SIGMAS / math.sqrt(len(policy))
    assert abs((noise[1:] * noise[:-1]).mean()) < SIGMAS / math.sqrt(count)


def test_subsets_are_drawn_without_replacement_each_as_often() -> None:
    drawn = draws_of([0, 1], list(range(400)), num_critics=5, num_min=2)
    subsets = torch.stack([d.subset for d in drawn]).reshape(-1, 2)  # type: ignore[misc]
    assert (subsets[:, 0] != subsets[:, 1]).all()
    for first, second in combinations(range(5), 2):
        for pair in ((first, second), (second, first)):
            assert_binomial((subsets == torch.tensor(pair)).all(1).sum(), len(subsets), 1 / 20)


def test_a_fractional_size_takes_one_more_as_often_as_it_says() -> None:
    drawn = draws_of([0, 1], list(range(400)), num_critics=4, num_min=1.3, target_passes=2)
    in_subset = torch.stack([d.in_subset for d in drawn]).reshape(-1, 4)  # type: ignore[misc]
    assert in_subset[:, :2].all()
    assert torch.equal(in_subset[:, 2], in_subset[:, 3])
    assert_binomial(in_subset[:, 2].sum(), len(in_subset), 0.3)


def test_mixtures_sum_to_one() -> None:
    (drawn,) = draws_of([0], [3], num_critics=3, target_mode="rem")
    assert drawn.rem_weights is not None
    assert drawn.rem_weights.shape == (1, 4, 3, 32)
    assert drawn.rem_weights.min() > 0
    torch.testing.assert_close(drawn.rem_weights.sum(2), torch.ones(1, 4, 32))
    expected = torch.stack([d.rem_weights for d in draws_of([0], list(range(100)), num_critics=3, target_mode="rem")])  # type: ignore[misc]
    assert abs(expected.mean((0, 1, 2, 4)) - 1 / 3).max() < 0.01


# Of what they depend on


@pytest.mark.parametrize("changes", ALGORITHMS.values(), ids=ALGORITHMS)
def test_every_draw_depends_on_seed_and_step_alone(changes: dict[str, Any]) -> None:
    pack, alone = draws_of([4, 0, 9, 2], [5, 6, 7], **changes), draws_of([2], [7, 6, 5], **changes)
    for in_pack, single, other in zip(pack, reversed(alone), alone, strict=True):
        for field in dataclasses.fields(single):
            actual, expected, another = (getattr(draws, field.name) for draws in (in_pack, single, other))
            assert (expected is None) == (actual is None), field.name
            if expected is not None:
                assert torch.equal(actual[3], expected[0]), field.name
                if expected.numel() > 40:
                    assert not torch.equal(actual[0], expected[0]), field.name
                    assert single is other or not torch.equal(another, expected), field.name


@pytest.mark.program
@pytest.mark.parametrize("changes", ALGORITHMS.values(), ids=ALGORITHMS)
def test_the_compiler_makes_one_graph_of_it(changes: dict[str, Any]) -> None:
    spec = LearnerSpec(seeds=2, obs_dim=3, act_dim=2, hidden_sizes=(8, 8), utd_ratio=2, batch_size=4, **changes)
    draws = DeviceDraws(spec, [3, 8], CPU, compile_draws=False)
    torch.compiler.reset()
    # Without code: what is made of the graph on a GPU cannot be tried here.
    traced = torch.compile(draws.draw_flat, fullgraph=True, dynamic=False, backend="aot_eager")
    for size, step in ((50, 0), (1_000_000, 300_000)):
        arguments = torch.tensor(size), torch.tensor(step)
        for actual, expected in zip(traced(*arguments), draws.draw_flat(*arguments), strict=True):
            assert actual is expected is None or torch.equal(actual, expected)
