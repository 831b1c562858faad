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
from droq_exp.learner.dropout import DropoutMask
from droq_exp.learner.spec import LearnerSpec

RATES = [1e-4, 0.005, 0.01, 0.1, 0.5]
SIGMAS = 4.5


def assert_binomial(count: int | np.ndarray, trials: int, probability: float | np.ndarray) -> None:
    """``count`` is what ``trials`` independent events of this probability could give; the + term covers rare ones."""
    expected = trials * np.asarray(probability)
    bound = SIGMAS * np.sqrt(expected * (1 - np.asarray(probability))) + SIGMAS
    assert (np.abs(count - expected) <= bound).all(), f"{count} of {trials}, expected {expected} +- {bound}"


def masks_of(rate: float, size: int, redraws: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Consecutive masks of one :class:`DropoutMask`; the array is reused."""
    out = np.empty(size, dtype=np.uint8)
    mask, rng = DropoutMask(out, rate), np.random.default_rng(seed)
    assert out.all()
    for _ in range(redraws):
        mask.redraw(rng)
        yield out


@pytest.mark.parametrize("rate", RATES)
def test_rate(rate: float) -> None:
    size, redraws = 1_000_000, 20 if rate > 0.1 else 60
    dropped = sum(size - int(np.count_nonzero(m)) for m in masks_of(rate, size, redraws))
    assert_binomial(dropped, size * redraws, rate)


@pytest.mark.program
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


def splitmix64(key: int, index: int) -> int:
    """Word ``index`` of the generator's stream, as its authors write it."""
    x = (key + (index + 1) * 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


class Keys:
    """Stands for a generator that gives these two keys."""

    def __init__(self, key: int, tie_key: int) -> None:
        self.keys = np.array([key, tie_key], dtype=np.uint64)

    def integers(self, low: int, high: int, size: int, dtype: type) -> np.ndarray:
        assert (low, high, size, dtype) == (0, 2**64, 2, np.uint64)
        return self.keys


def test_the_reference_generator() -> None:
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [splitmix64(1234567, i) for i in range(3)] == published


@pytest.mark.parametrize("rate", RATES)
def test_rate_is_exact_by_construction(rate: float) -> None:
    """No feasible sample tells 0.1 from 0.100006 (it takes 6e10 elements), so look at what decides each element."""
    size, keys = 200_001, (2**64 - 3, 77)
    out = np.empty(size, dtype=np.uint8)
    DropoutMask(out, rate).redraw(Keys(*keys))  # type: ignore[arg-type]
    ties = 0
    for i in range(size):
        bits = splitmix64(keys[0], i // 4) >> 16 * (i % 4) & 0xFFFF
        dropped = bits < math.floor(rate * 65536)
        if bits == math.floor(rate * 65536):
            ties += 1
            dropped = splitmix64(keys[1], i) / 2**64 < rate * 65536 % 1
        assert out[i] == 1 - dropped, f"element {i}"
    assert ties, "no element was decided by its second draw"


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
    sampler = DrawSampler(spec(len(seeds), **changes), seeds, torch.device("cpu"))
    result = []
    for _ in range(steps):
        draws = sampler.draw(1000)
        draws.critic_dropout_masks = (
            draws.critic_dropout_masks.clone() if draws.critic_dropout_masks is not None else None
        )
        draws.policy_dropout_masks = (
            draws.policy_dropout_masks.clone() if draws.policy_dropout_masks is not None else None
        )
        result.append(draws)
    return result


def segments(draws: Draws) -> np.ndarray:
    """Every (seed, update, layer, forward pass) as a row of the first 32 * 48 elements of its mask: 1 where dropped."""
    rows = []
    for keep, passes in ((draws.critic_dropout_masks, (2, 2)), (draws.policy_dropout_masks, (2,))):
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
        for name in ("critic_dropout_masks", "policy_dropout_masks"):
            expected = getattr(single, name)[0]
            assert torch.equal(getattr(in_pack, name)[2], expected)
            assert torch.equal(getattr(repeated, name)[0], expected)
            assert not torch.equal(getattr(in_pack, name)[1], expected)


def test_no_masks_without_dropout() -> None:
    (draws,) = draw([0], dropout_rate=0.0)
    assert draws.critic_dropout_masks is None
    assert draws.policy_dropout_masks is None
