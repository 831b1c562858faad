"""95% percentile intervals by the stratified bootstrap: seeds are drawn again with replacement, per environment.

The method is rliable's (Agarwal et al. 2021, arXiv:2108.13264), vectorised over steps and resamples, and always with
the same random numbers, so that a report repeats itself. The point estimates of aggregates are rliable's own functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations_with_replacement
from math import ceil, comb, factorial, prod
from typing import Literal

import numpy as np
from rliable import metrics

LEVEL = 0.95
TAILS = (0.5 - LEVEL / 2, 0.5 + LEVEL / 2)
CURVE_RESAMPLES = 1_000  # at each step; up to six seeds all resamples are fewer than that, and are taken instead
RESAMPLES = 10_000  # of an aggregate
SEED = 0
IQM_CUT = 0.25  # of the values at either end

Interval = tuple[float, float]
Statistic = Literal["mean", "iqm"]


def steps_interval(values: np.ndarray, statistic: Statistic) -> tuple[np.ndarray, np.ndarray]:
    """Limits at each step of the interval of the mean, or the interquartile mean, over seeds.

    Args:
        values: ``[seeds, steps]``, finite.
        statistic: of the seeds.

    Returns:
        lower and upper limits, ``[steps]``; NaN for a single seed, which tells nothing of the scatter.
    """
    seeds, steps = values.shape
    if seeds < 2:
        return np.full(steps, np.nan), np.full(steps, np.nan)
    counts, weights = _resamples(seeds)
    resampled = _iqm(values, counts) if statistic == "iqm" else counts @ values / seeds
    if weights is None:
        ranks = [ceil(tail * len(resampled)) - 1 for tail in TAILS]
        low, high = np.partition(resampled.T, ranks, axis=1)[:, ranks].T
        return low, high
    order = np.argsort(resampled, axis=0)
    below = np.cumsum(weights[order], axis=0)
    rank = [(below < tail - 1e-12).sum(axis=0) for tail in TAILS]
    low, high = (np.take_along_axis(resampled, np.take_along_axis(order, each[None], 0), 0)[0] for each in rank)
    return low, high


def mean_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """The interval of the mean of one value per seed; NaN for less than two."""
    array = np.asarray(values, dtype=float).reshape(-1, 1)
    low, high = steps_interval(array, "mean")
    return float(low[0]), float(high[0])


@lru_cache
def _resamples(seeds: int) -> tuple[np.ndarray, np.ndarray | None]:
    """How often each seed is drawn, ``[resamples, seeds]``, and the resamples' probabilities (None: equal)."""
    if comb(2 * seeds - 1, seeds) > CURVE_RESAMPLES:
        drawn = np.random.default_rng(SEED).multinomial(seeds, np.full(seeds, 1 / seeds), CURVE_RESAMPLES)
        return drawn.astype(float), None
    drawn = np.array(
        [np.bincount(draw, minlength=seeds) for draw in combinations_with_replacement(range(seeds), seeds)]
    )
    ways = [factorial(seeds) / prod(map(factorial, row)) for row in drawn.tolist()]
    return drawn.astype(float), np.array(ways) / seeds**seeds


def _iqm(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The interquartile mean of each resample at each step, ``[resamples, steps]``: of the values in middle ranks."""
    seeds = len(values)
    order = np.argsort(values, axis=0)
    ranked = np.take_along_axis(values, order, axis=0)
    cut = int(IQM_CUT * seeds)
    drawn = counts.astype(np.int16)  # a quarter of the memory to go through
    total = np.zeros((len(counts), values.shape[1]))
    upto = np.zeros(total.shape, dtype=np.int16)  # values up to this rank, and those of them that are not below the cut
    kept = np.full_like(upto, cut)
    for rank in range(seeds):
        upto += drawn[:, order[rank]]
        before, kept = kept, np.clip(upto, cut, seeds - cut)
        total += (kept - before) * ranked[rank]
    return total / (seeds - 2 * cut)


def mean_of_means(scores: Sequence[np.ndarray]) -> float:
    """The mean over environments of the mean over seeds; ``scores[environment][seed]``."""
    return float(np.mean([np.mean(each) for each in scores]))


def interquartile_mean(scores: Sequence[np.ndarray]) -> float:
    """The mean of the middle half of all runs, by rliable."""
    return float(metrics.aggregate_iqm(np.concatenate(scores)[:, None]))


def optimality_gap(scores: Sequence[np.ndarray]) -> float:
    """By how much runs fall short of 1 in the mean over environments, by rliable; what exceeds 1 counts as 1."""
    return float(np.mean([metrics.aggregate_optimality_gap(each[:, None]) for each in scores]))


AGGREGATES: dict[str, Callable[[Sequence[np.ndarray]], float]] = {
    "IQM": interquartile_mean,
    "mean": mean_of_means,
    "optimality gap": optimality_gap,
}


def aggregate_intervals(scores: Sequence[np.ndarray]) -> dict[str, Interval]:
    """The interval of each of ``AGGREGATES``; NaN where no environment has two seeds."""
    if all(len(each) < 2 for each in scores):
        return dict.fromkeys(AGGREGATES, (np.nan, np.nan))
    drawn = [each[_draws(len(each), stratum)] for stratum, each in enumerate(scores)]
    pooled = np.sort(np.concatenate(drawn, axis=1), axis=1)
    cut = int(IQM_CUT * pooled.shape[1])
    return {
        "IQM": _interval(pooled[:, cut : pooled.shape[1] - cut].mean(axis=1)),
        "mean": _interval(np.mean([each.mean(axis=1) for each in drawn], axis=0)),
        "optimality gap": _interval(np.mean([1 - np.minimum(each, 1).mean(axis=1) for each in drawn], axis=0)),
    }


def probability_of_improvement(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> float:
    """That a run of ``second`` has more than one of ``first``, in the mean over environments, by rliable."""
    pairs = zip(first, second, strict=True)
    return float(np.mean([metrics.probability_of_improvement(y[:, None], x[:, None]) for x, y in pairs]))


def improvement_interval(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> Interval:
    """The interval of ``probability_of_improvement``; NaN where no environment has two seeds of either."""
    if all(len(x) < 2 and len(y) < 2 for x, y in zip(first, second, strict=True)):
        return np.nan, np.nan
    resampled = []
    for stratum, (x, y) in enumerate(zip(first, second, strict=True)):
        wins = (y[:, None] > x) + 0.5 * (y[:, None] == x)
        of_y, of_x = _draws(len(y), 2 * stratum), _draws(len(x), 2 * stratum + 1)
        resampled.append(wins[of_y[:, :, None], of_x[:, None, :]].mean(axis=(1, 2)))
    return _interval(np.mean(resampled, axis=0))


def difference_interval(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> Interval:
    """The interval of the mean over environments of ``second``'s mean less ``first``'s; NaN as above."""
    if all(len(x) < 2 and len(y) < 2 for x, y in zip(first, second, strict=True)):
        return np.nan, np.nan
    resampled = [
        y[_draws(len(y), 2 * stratum)].mean(axis=1) - x[_draws(len(x), 2 * stratum + 1)].mean(axis=1)
        for stratum, (x, y) in enumerate(zip(first, second, strict=True))
    ]
    return _interval(np.mean(resampled, axis=0))


@lru_cache(maxsize=128)
def _draws(seeds: int, stratum: int) -> np.ndarray:
    """Which seeds each resample draws, ``[RESAMPLES, seeds]``: other ones in each stratum, and the same every time."""
    return np.random.default_rng((SEED, stratum)).integers(seeds, size=(RESAMPLES, seeds))


def _interval(resampled: np.ndarray) -> Interval:
    low, high = np.quantile(resampled, TAILS, method="inverted_cdf")
    return float(low), float(high)
