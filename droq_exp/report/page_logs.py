"""The rows of runs' logs as arrays, and what the runs of a cell have in common at each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from droq_exp.report.curves import METRICS, Curve
from droq_exp.report.run_data import RunData

TRAINING = {
    "critic_loss": "Critic loss",
    "policy_loss": "Policy loss",
    "temperature_loss": "Temperature loss",
    "temperature": "Temperature",
    "entropy": "Entropy of the policy",
    "q_mean": "Mean Q of the minibatches",
    "episode_return_mean": "Return of training episodes",
    "updates_per_second": "Critic updates per second",
}
TIMES = ("updates", "wall")
# What the page draws of each log, and what it draws it over.
NAMES = {
    "eval": (*dict.fromkeys(metric.column for metric in METRICS.values()), *TIMES),
    "train": (*TRAINING, *TIMES),
}


@dataclass(frozen=True, eq=False)
class Log:
    """``steps`` [rows], increasing, and ``values`` [rows, columns] in the order of ``names``."""

    names: tuple[str, ...]
    steps: np.ndarray
    values: np.ndarray


def read(run: RunData, file: str) -> Log:
    """The "eval" or "train" log of ``run``; the number of updates is in the latter only, whose steps are the same."""
    frame = run.eval if file == "eval" else run.train
    steps = frame["step"].to_numpy()
    values = frame[[*NAMES[file][: -len(TIMES)], "wall_seconds"]].to_numpy(dtype=float)
    updates = look_up(steps, run.train["step"].to_numpy(), run.train["updates"].to_numpy())
    return Log(NAMES[file], steps, np.column_stack([values[:, :-1], updates, values[:, -1]]))


def look_up(wanted: np.ndarray, steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """``values`` at the steps that are ``wanted``, NaN where ``steps`` (increasing) lacks them."""
    found = np.full(len(wanted), np.nan)
    _, at, among = np.intersect1d(wanted, steps, assume_unique=True, return_indices=True)
    found[at] = values[among]
    return found


def ranges(logs: Sequence[Log]) -> dict[str, Curve]:
    """Of each column the mean over the logs that have a step; ``low`` and ``high`` are the lowest and the highest."""
    steps = np.unique(np.concatenate([log.steps for log in logs]))
    values = np.full((len(logs), len(steps), len(logs[0].names)), np.nan)
    for table, log in zip(values, logs, strict=True):
        table[np.searchsorted(steps, log.steps)] = log.values
    known = np.isfinite(values)
    count = known.sum(axis=0)
    mean = np.where(known, values, 0).sum(axis=0) / np.where(count, count, np.nan)
    low = np.where(count > 1, np.where(known, values, np.inf).min(axis=0), np.nan)
    high = np.where(count > 1, np.where(known, values, -np.inf).max(axis=0), np.nan)
    return {name: Curve(steps, mean[:, i], low[:, i], high[:, i], count[:, i]) for i, name in enumerate(logs[0].names)}


def clock(logs: Sequence[Log]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """All steps, and by ``TIMES`` what the logs take to each of them, in the mean.

    From one step to the next it is the mean of those logs that go on, so that it never runs backwards where one ends.
    """
    steps = np.unique(np.concatenate([log.steps for log in logs]))
    return steps, {name: _mean_time(logs, steps, i - len(TIMES)) for i, name in enumerate(TIMES)}


def _mean_time(logs: Sequence[Log], steps: np.ndarray, column: int) -> np.ndarray:
    passed, number = np.zeros(len(steps)), np.zeros(len(steps))
    for log in logs:
        known = np.isfinite(log.values[:, column])
        own, values = log.steps[known], log.values[known, column]
        inside = steps <= own[-1] if len(own) else np.zeros(len(steps), dtype=bool)
        at = np.interp(steps[inside], [0, *own], [0, *values])
        passed[inside] += np.diff(at, prepend=0)
        number += inside
    return np.cumsum(passed / np.where(number, number, np.nan))
