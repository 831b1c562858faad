"""One number for a run at a step, and at which steps runs can be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from droq_exp.report.data import Cell, Sweep
from droq_exp.report.run_data import RunData
from droq_exp.runs.status import DONE

WINDOW = 2_000  # environment steps to either side over which evaluations are averaged: one alone scatters too much
COMPARABLE = 0.5  # of the longest: cells that are shorter are not compared with the others yet


Panel = tuple[str, str]  # codebase, env


@dataclass(frozen=True, eq=False)
class Comparison:
    """The scores of one (codebase, env) at one step, from which on the shortest cell has no more evaluations.

    Args:
        step: environment step.
        scores: the mean return of each seed over the last evaluations up to that step; cells without any are left out.
        left_out: cells and seeds that have not come that far, a line each.
    """

    step: int
    scores: Mapping[Cell, np.ndarray]
    left_out: tuple[str, ...]


def around(run: RunData, step: int) -> float | None:
    """Mean return of the evaluations within ``WINDOW`` of ``step``; None without any, and while more may come."""
    steps = run.steps
    if not len(steps) or (steps[-1] < step + WINDOW and not (run.state in DONE and steps[-1] >= step)):
        return None
    return _mean(run.returns[np.abs(steps - step) <= WINDOW])


def last_return(run: RunData, step: int) -> float | None:
    """Mean return of the evaluations in the last 2 ``WINDOW`` up to ``step``; None where the run is not that far."""
    steps = run.steps
    if not len(steps) or steps[-1] < step:
        return None
    return _mean(run.returns[(steps >= step - 2 * WINDOW) & (steps <= step)])


def steps_to(run: RunData, target: float) -> int | None:
    """The first step around which the mean return is at least ``target``; None where it never is."""
    steps, returns = run.steps, run.returns
    known = np.isfinite(returns)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, returns, 0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    first, last = np.searchsorted(steps, steps - WINDOW), np.searchsorted(steps, steps + WINDOW, side="right")
    number = counts[last] - counts[first]
    reached = (number > 0) & (sums[last] - sums[first] >= target * number)
    if run.state not in DONE and len(steps):
        reached &= steps + WINDOW <= steps[-1]
    return int(steps[np.argmax(reached)]) if reached.any() else None


def end_of(runs: Sequence[RunData]) -> int | None:
    """The last step that at least half of the runs with evaluations have; None without any."""
    ends = sorted((int(run.steps[-1]) for run in runs if len(run.steps)), reverse=True)
    return ends[math.ceil(len(ends) / 2) - 1] if ends else None


def last_returns(runs: Sequence[RunData], step: int) -> tuple[np.ndarray, list[RunData]]:
    """``last_return`` of the runs that are that far, and the others."""
    scores = [last_return(run, step) for run in runs]
    behind = [run for run, score in zip(runs, scores, strict=True) if score is None]
    return np.array([score for score in scores if score is not None]), behind


def compare(sweep: Sweep) -> dict[Panel, Comparison]:
    """What the cells of each (codebase, env) are compared by; those without any evaluation are left out."""
    found = {}
    for panel, cells in sweep.panels.items():
        ends = {cell: end for cell in cells if (end := end_of(sweep.cells[cell])) is not None}
        if ends:
            found[panel] = _compare(sweep, cells, ends)
    return found


def _compare(sweep: Sweep, cells: Sequence[Cell], ends: Mapping[Cell, int]) -> Comparison:
    longest = max(ends.values())
    step = min(end for end in ends.values() if end >= COMPARABLE * longest)
    scores, left_out = {}, []
    for cell in cells:
        returns, behind = last_returns(sweep.cells[cell], step)
        if len(returns) and cell in ends and ends[cell] >= step:
            scores[cell] = returns
            left_out += [f"{cell}, {told(run)}" for run in behind]
        else:
            left_out.append(f"{cell}: {_why(ends.get(cell), step)}")
    return Comparison(step, scores, tuple(left_out))


def _why(end: int | None, step: int) -> str:
    if end is None:
        return "no evaluation"
    return f"at step {end:,}" if end < step else "no return that is a number"


def told(run: RunData) -> str:
    """Such as "seed 3 (running, at step 12,000)"."""
    last = int(run.steps[-1]) if len(run.steps) else 0
    return f"seed {'?' if run.seed is None else run.seed} ({run.state}, at step {last:,})"


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
