"""Dropout masks: exact rate and independence, measured on the masks themselves.

Seeds are fixed, so the tests are deterministic; bounds are those of exact Bernoulli masks at 4.5 standard deviations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from droq_exp.learner.draws import Draws, DrawSampler
from droq_exp.learner.dropout import KeepMask
from droq_exp.learner.spec import LearnerSpec

RATES = [1e-4, 0.005, 0.01, 0.1, 0.5]
SIGMAS = 4.5


def assert_binomial(count: int | np.ndarray, trials: int, probability: float | np.ndarray) -> None:
    """``count`` is what ``trials`` independent events of this probability could give; the + term covers rare ones."""
    expected = trials * np.asarray(probability)
    bound = SIGMAS * np.sqrt(expected * (1 - np.asarray(probability))) + SIGMAS
    assert (np.abs(count - expected) <= bound).all(), f"{count} of {trials}, expected {expected} +- {bound}"


def masks_of(rate: float, size: int, redraws: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Consecutive masks of one :class:`KeepMask`; the array is reused."""
    out = np.empty(size, dtype=np.uint8)
    mask, rng = KeepMask(out, rate), np.random.default_rng(seed)
    assert out.all()
    for _ in range(redraws):
        mask.redraw(rng)
        yield out


@pytest.mark.parametrize("rate", RATES)
def test_rate(rate: float) -> None:
    size, redraws = 1_000_000, 20 if rate > 0.1 else 60
    dropped = sum(size - int(np.count_nonzero(m)) for m in masks_of(rate, size, redraws))
    assert_binomial(dropped, size * redraws, rate)


@pytest.mark.parametrize("rate", RATES)
def test_rate_is_the_same_at_every_position(rate: float) -> None:
    size, redraws = 48, 20_000
    dropped = np.zeros(size, dtype=np.int64)
    for m in masks_of(rate, size, redraws):
        dropped += m == 0
    assert_binomial(dropped, redraws, rate)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("lag", [1, 2, 256])
def test_neighbours_are_independent(rate: float, lag: int) -> None:
    size, redraws = 1_000_000, 10
    both = sum(int(np.count_nonzero((m[lag:] | m[:-lag]) == 0)) for m in masks_of(rate, size, redraws))
    assert_binomial(both, (size - lag) * redraws, rate**2)


@pytest.mark.parametrize("rate", RATES)
def test_consecutive_masks_are_independent(rate: float) -> None:
    size, redraws = 1_000_000, 11
    masks = (m.copy() for m in masks_of(rate, size, redraws))
    both = sum(int(np.count_nonzero((first | second) == 0)) for first, second in pairwise(masks))
    assert_binomial(both, size * (redraws - 1), rate**2)


@pytest.mark.parametrize("rate", RATES)
def test_gaps_between_dropped_elements_are_geometric(rate: float) -> None:
    gaps = np.concatenate([np.diff(np.flatnonzero(m == 0)) for m in masks_of(rate, 4_000_000, 3)])
    # about twenty equally likely classes (fewer at 0.5): gaps in (edge, next edge], the last one open
    edges = np.unique(np.ceil(np.log1p(-np.linspace(0, 0.95, 20)) / math.log1p(-rate)).astype(np.int64))
    counts = np.bincount(np.searchsorted(edges, gaps) - 1, minlength=len(edges))
    survival = np.append((1 - rate) ** edges.astype(float), 0.0)
    assert counts.sum() == len(gaps)
    assert_binomial(counts, len(gaps), survival[:-1] - survival[1:])


@pytest.mark.parametrize("rate", RATES)
def test_rate_is_exact_by_construction(rate: float) -> None:
    """No feasible sample tells 0.1 from 0.100006 (it takes 6e10 elements), so look at what the gaps are drawn with."""

    class Recorder:
        def __init__(self) -> None:
            self.rng = np.random.default_rng(5)
            self.gaps: list[np.ndarray] = []

        def geometric(self, p: float, size: int) -> np.ndarray:
            assert p == rate
            self.gaps.append(self.rng.geometric(p, size))
            return self.gaps[-1]

    recorder, out = Recorder(), np.empty(100_000, dtype=np.uint8)
    KeepMask(out, rate).redraw(recorder)  # type: ignore[arg-type]
    positions = np.cumsum(np.concatenate(recorder.gaps)) - 1  # a geometric variable counts trials up to the first event
    assert positions[-1] >= out.size, "the mask's end is not reached"
    assert np.array_equal(np.flatnonzero(out == 0), positions[positions < out.size])


def test_a_mask_that_needs_more_gaps_than_expected_is_still_complete() -> None:
    """When the first chunk of gaps ends early, more are drawn; without it the tail would never be dropped."""

    class Short:
        def __init__(self) -> None:
            self.calls = 0

        def geometric(self, p: float, size: int) -> np.ndarray:
            self.calls += 1
            return np.full(size, 2)

    short, out = Short(), np.empty(5_000, dtype=np.uint8)
    KeepMask(out, 0.01).redraw(short)  # type: ignore[arg-type]
    assert short.calls > 1
    assert out[::2].all()
    assert not out[1::2].any()


def spec(seeds: int, **changes: Any) -> LearnerSpec:
    values: dict[str, Any] = {
        "seeds": seeds,
        "obs_dim": 3,
        "act_dim": 1,
        "hidden_sizes": (64, 48),
        "num_critics": 2,
        "dropout_rate": 0.1,
        "utd_ratio": 3,
        "batch_size": 32,
    }
    return LearnerSpec(**{**values, **changes})


def draw(seeds: list[int], steps: int = 1, **changes: Any) -> list[Draws]:
    """The draws of ``steps`` environment steps; masks are copied, the sampler reuses their memory."""
    sampler = DrawSampler(spec(len(seeds), **changes), seeds, 3, 1, torch.device("cpu"))
    result = []
    for _ in range(steps):
        draws = sampler.draw(1000)
        draws.critic_keep = draws.critic_keep.clone() if draws.critic_keep is not None else None
        draws.policy_keep = draws.policy_keep.clone() if draws.policy_keep is not None else None
        result.append(draws)
    return result


def segments(draws: Draws) -> np.ndarray:
    """Every (seed, update, layer, forward pass) as a row of the first 32 * 48 elements of its mask: 1 where dropped."""
    rows = []
    for keep, passes in ((draws.critic_keep, (2, 2)), (draws.policy_keep, (2,))):
        assert keep is not None
        shapes = [(forwards, 32, width) for forwards in passes for width in (64, 48)]
        for flat in keep.flatten(0, 1):
            parts = flat.split([math.prod(shape) for shape in shapes])
            rows += [p[: 32 * 48] for part, s in zip(parts, shapes, strict=True) for p in part.reshape(s[0], -1)]
    return 1 - torch.stack(rows).numpy().astype(np.int64)


@pytest.mark.parametrize("rate", [0.005, 0.01, 0.1, 0.5])
def test_seeds_updates_layers_and_passes_have_masks_of_their_own(rate: float) -> None:
    steps = draw([0, 1], steps=12, dropout_rate=rate)
    dropped = np.concatenate([segments(d) for d in steps], 1)  # the same segment of each environment step, end to end
    count, size = dropped.shape
    assert count == 2 * (3 * 8 + 4)
    assert_binomial(dropped.sum(1), size, rate)
    assert_binomial(dropped.sum(), dropped.size, rate)
    both = (dropped @ dropped.T)[np.triu_indices(count, 1)]
    assert_binomial(both, size, rate**2)


def test_masks_of_consecutive_environment_steps_are_independent() -> None:
    steps = [segments(d) for d in draw([4], steps=20)]
    both = sum(int((a & b).sum()) for a, b in pairwise(steps))
    assert_binomial(both, steps[0].size * 19, 0.01)


def test_masks_depend_on_the_seed_alone() -> None:
    pack, alone, again = draw([2, 7, 5, 11], steps=3), draw([5], steps=3), draw([5], steps=3)
    for in_pack, single, repeated in zip(pack, alone, again, strict=True):
        for name in ("critic_keep", "policy_keep"):
            expected = getattr(single, name)[0]
            assert torch.equal(getattr(in_pack, name)[2], expected)
            assert torch.equal(getattr(repeated, name)[0], expected)
            assert not torch.equal(getattr(in_pack, name)[1], expected)


def test_no_masks_without_dropout() -> None:
    (draws,) = draw([0], dropout_rate=0.0)
    assert draws.critic_keep is None
    assert draws.policy_keep is None
