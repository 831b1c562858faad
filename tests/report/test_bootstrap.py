"""Intervals and aggregates against numbers worked out by hand, scipy and rliable."""

from __future__ import annotations

import numpy as np
import pytest
from rliable import metrics
from scipy import stats

from droq_exp.report.bootstrap import (
    AGGREGATES,
    aggregate_intervals,
    difference_interval,
    improvement_interval,
    mean_interval,
    probability_of_improvement,
    steps_interval,
)


def test_two_and_three_seeds_by_hand() -> None:
    """The extremes have probabilities 1/4 and 1/27, so they are what 2.5% is cut off to."""
    assert mean_interval([1.0, 5.0]) == (1.0, 5.0)
    assert mean_interval([1.0, 2.0, 9.0]) == (1.0, 9.0)


def test_four_seeds_by_hand() -> None:
    """Of 256 draws the least are 0, 0, 0, 0 (1), three 0 and a 1 (4), two of each (6): the seventh is the limit."""
    low, high = mean_interval([0.0, 1.0, 10.0, 100.0])
    assert low == (0 + 0 + 1 + 1) / 4
    assert high == (100 + 100 + 100 + 1) / 4  # after 100, 100, 100, 100 (1) and three 100 and a 10 (4)


def test_one_seed_has_no_interval() -> None:
    low, high = steps_interval(np.ones((1, 3)), "mean")
    assert np.isnan([*low, *high]).all()
    assert np.isnan(improvement_interval([np.ones(1)], [np.ones(1)])).all()
    assert np.isnan([*aggregate_intervals([np.ones(1), np.ones(1)]).values()]).all()


@pytest.mark.parametrize("seeds", [5, 10])
@pytest.mark.parametrize("statistic", ["mean", "iqm"])
def test_as_scipy_resamples(seeds: int, statistic: str) -> None:
    values = np.random.default_rng(1).normal(500, 100, (seeds, 4))
    function = np.mean if statistic == "mean" else lambda x, axis: stats.trim_mean(x, 0.25, axis=axis)
    theirs = stats.bootstrap(
        (values,), function, axis=0, method="percentile", n_resamples=20_000, rng=1, vectorized=True
    ).confidence_interval
    low, high = steps_interval(values, statistic)  # type: ignore[arg-type]
    np.testing.assert_allclose(low, theirs.low, atol=8)  # of a scatter of about 30
    np.testing.assert_allclose(high, theirs.high, atol=8)


def test_the_interquartile_mean_of_resamples_is_a_trimmed_mean() -> None:
    """All resamples of four values, each with its probability, by brute force."""
    values = np.array([1.0, 4.0, 5.0, 20.0])
    every = np.array(np.meshgrid(*[values] * 4)).reshape(4, -1)
    means = np.sort(stats.trim_mean(every, 0.25, axis=0))
    low, high = steps_interval(values[:, None], "iqm")
    # The least values that 2.5% and 97.5% of the 256 do not exceed.
    assert (low[0], high[0]) == pytest.approx(
        (means[int(np.ceil(0.025 * 256)) - 1], means[int(np.ceil(0.975 * 256)) - 1])
    )


def test_aggregates_are_those_of_rliable() -> None:
    scores = np.random.default_rng(2).normal(0.8, 0.4, (5, 3))
    strata = list(scores.T)
    assert AGGREGATES["IQM"](strata) == pytest.approx(metrics.aggregate_iqm(scores))
    assert AGGREGATES["mean"](strata) == pytest.approx(metrics.aggregate_mean(scores))
    assert AGGREGATES["optimality gap"](strata) == pytest.approx(metrics.aggregate_optimality_gap(scores))


def test_aggregate_intervals_resample_each_environment_by_itself() -> None:
    """The mean of two environments' means has the standard error of independent seeds."""
    scores = [np.random.default_rng(seed).normal(seed, 0.3, 30) for seed in (1, 2)]
    low, high = aggregate_intervals(scores)["mean"]
    error = np.sqrt(sum(each.var() / len(each) for each in scores)) / 2
    center = np.mean([each.mean() for each in scores])
    assert (low, high) == pytest.approx((center - 1.96 * error, center + 1.96 * error), abs=0.1 * error)


def test_the_probability_of_improvement_by_hand() -> None:
    first, second = [np.array([1.0, 2.0])], [np.array([2.0, 3.0])]
    assert probability_of_improvement(first, second) == (1 + 1 + 0.5 + 1) / 4  # pairs 2-1, 3-1, 2-2, 3-2
    assert probability_of_improvement(second, first) == pytest.approx(0.125)
    low, high = improvement_interval(first, second)
    assert (low, high) == (0.5, 1.0)  # the worst draw, 2 and 2 against 2 and 2, has probability 1/16


def test_differences_by_hand() -> None:
    pairs = [np.array([1.0, 1.0]), np.array([5.0, 7.0])], [np.array([2.0, 2.0]), np.array([9.0, 9.0])]
    assert difference_interval(*pairs) == ((1 + 2) / 2, (1 + 4) / 2)  # the second environment: 9 less 7, 6 or 5


def test_intervals_repeat() -> None:
    scores = [np.random.default_rng(3).normal(size=12) for _ in range(2)]
    assert aggregate_intervals(scores) == aggregate_intervals(scores)
    assert mean_interval(scores[0]) == mean_interval(scores[0])
