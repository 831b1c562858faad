"""Curves over steps: what the seeds of a cell have in common, at every step that one of them was evaluated at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import trim_mean

from droq_exp.report.bootstrap import IQM_CUT, Statistic, steps_interval
from droq_exp.report.run_data import RunData


@dataclass(frozen=True)
class Metric:
    """What a curve is of.

    Args:
        name: how it is called in files.
        label: on an axis.
        column: of ``eval.csv``.
        statistic: of the seeds.
    """

    name: str
    label: str
    column: str
    statistic: Statistic = "mean"


METRICS = {
    metric.name: metric
    for metric in (
        Metric("return", "Return", "return_mean"),
        Metric("return_iqm", "Return (IQM)", "return_mean", "iqm"),
        Metric("bias_mean", "Mean of Q-bias", "bias_mean"),
        Metric("bias_std", "Std of Q-bias", "bias_std"),
        Metric("normalized_bias_mean", "Mean of normalised Q-bias", "normalized_bias_mean"),
        Metric("normalized_bias_std", "Std of normalised Q-bias", "normalized_bias_std"),
    )
}


@dataclass(frozen=True, eq=False)
class Curve:
    """A statistic of the seeds and its 95% interval; all arrays are ``[steps]``.

    Args:
        steps: environment steps, increasing.
        center: mean or interquartile mean of the seeds that have this step.
        low, high: limits of the interval; NaN where there is one seed.
        seeds: how many have this step, at least 1.
    """

    steps: np.ndarray
    center: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: np.ndarray


def cell_curves(runs: Sequence[RunData]) -> dict[str, Curve]:
    """The curve of every metric that was measured at all, by name, for the ``runs`` of a cell."""
    curves = {name: _curve(_matrix(runs, metric.column), metric.statistic) for name, metric in METRICS.items()}
    return {name: curve for name, curve in curves.items() if len(curve.steps)}


def _matrix(runs: Sequence[RunData], column: str) -> tuple[np.ndarray, np.ndarray]:
    """All steps, and the values ``[seeds, steps]``, NaN where a run was not evaluated or the value is none."""
    own = [run.steps for run in runs]
    steps = np.unique(np.concatenate(own)) if own else np.empty(0, dtype=np.int64)
    values = np.full((len(runs), len(steps)), np.nan)
    for row, run, at in zip(values, runs, own, strict=True):
        row[np.searchsorted(steps, at)] = run.eval[column].to_numpy()
    return steps, values


def _curve(matrix: tuple[np.ndarray, np.ndarray], statistic: Statistic) -> Curve:
    """Steps that the same seeds have are taken together; each step uses only those that have it."""
    steps, values = matrix
    known = np.isfinite(values)
    steps, values, known = (array[..., known.any(axis=0)] for array in (steps, values, known))
    center, low, high = (np.full(len(steps), np.nan) for _ in range(3))
    if known.all():  # as most often; finding out by sorting takes longer than the rest
        patterns, belongs = known[:, :1], np.zeros(len(steps), dtype=np.intp)
    else:
        patterns, belongs = np.unique(known, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        at = belongs.reshape(-1) == number
        present = values[pattern][:, at]
        center[at] = trim_mean(present, IQM_CUT, axis=0) if statistic == "iqm" else present.mean(axis=0)
        low[at], high[at] = steps_interval(present, statistic)
    return Curve(steps, center, low, high, known.sum(axis=0))
