"""Two directories side by side, for a terminal: how good each is where both have been, seed by seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from droq_exp.cli.errors import RefusedError
from droq_exp.report.bootstrap import (
    aggregate_intervals,
    difference_interval,
    improvement_interval,
    interquartile_mean,
    mean_of_means,
    probability_of_improvement,
)
from droq_exp.report.captions import ALL
from droq_exp.report.data import Cell, Sweep
from droq_exp.report.published import normaliser
from droq_exp.report.run_data import RunData
from droq_exp.report.scores import end_of, last_return, told

# What cells of two directories have in common, from the most to the least: an experiment is often named after what is
# tried in it, and so are variants and algorithms, of which each directory may hold one.
LIKENESS: tuple[Callable[[Cell, RunData], Hashable], ...] = (
    lambda cell, _: (cell.codebase, cell.env, cell.algo, cell.variant, cell.experiment),
    lambda cell, _: (cell.codebase, cell.env, cell.algo, cell.variant),
    lambda cell, run: (cell.codebase, run.env),
    lambda _, run: run.env,
)


class Estimate(NamedTuple):
    """A statistic with its 95% interval; NaN where too few seeds tell, or where returns have no common unit."""

    value: float
    low: float
    high: float


NONE = Estimate(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class Row:
    """What is compared, and how.

    Args:
        codebase, environment, algorithm: as the report names them; "a / b" where the directories differ.
        step: environment step of the returns; None over several environments.
        seeds: those that both have; over several environments how many each has is in the rows of these.
        first, second: interquartile means of the mean returns, over several environments divided by the papers' last
            return of REDQ.
        difference: the second's mean less the first's, in the same unit.
        probability: that a run of the second returns more than one of the first.
    """

    codebase: str
    environment: str
    algorithm: str
    step: int | None
    seeds: tuple[int, ...]
    first: Estimate
    second: Estimate
    difference: Estimate
    probability: Estimate


class Pair(NamedTuple):
    """Cells of the two directories, with scores of the same seeds, in one order."""

    first: Cell
    second: Cell
    env: str  # without what differs from the recipe
    step: int
    seeds: tuple[int, ...]
    x: np.ndarray
    y: np.ndarray


def comparison(sweep: Sweep) -> tuple[list[Row], list[str]]:
    """Compare the two directories of ``sweep``, paired by task and seed.

    Returns:
        Rows, the one over several environments below theirs; and what only one of the directories, A and B, has, a line
        each.

    Raises:
        RefusedError: they have no task, or no evaluated seed of one, in common.
    """
    one, other = sweep.sources
    matched = _matched(sweep, one, other)
    paired = {cell for cells in matched for cell in cells}
    missing = [f"the queue does not answer: {sweep.problem}"] if sweep.problem else []
    missing += [f"{_side(sweep, cell, 1)} has no {_plain(cell)}" for cell in sweep.cells if cell not in paired]
    pairs = []
    for first, second in matched:
        pair, lacking = _pair(sweep, first, second)
        missing += lacking
        pairs += [pair] if pair is not None else []
    if not pairs:
        raise RefusedError(f"{one} and {other} have no evaluated seed in common: {'; '.join(missing)}")
    by_line: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_line[_named(pair, "codebase"), _named(pair, "line")].append(pair)
    rows = []
    for those in by_line.values():
        rows += [_row([pair], pair.step, _named(pair, "env"), 1.0) for pair in those]
        if len(those) > 1:
            rows.append(_row(those, None, ALL, None))
    return rows, missing


def _matched(sweep: Sweep, one: str, other: str) -> list[tuple[Cell, Cell]]:
    """The pairs of cells, by the strictest likeness by which there are any."""
    for likeness in LIKENESS:
        found: dict[str, dict[Hashable, list[Cell]]] = {one: defaultdict(list), other: defaultdict(list)}
        for cell, runs in sweep.cells.items():
            found[cell.source][likeness(cell, runs[0])].append(cell)
        common = [key for key in found[one] if key in found[other]]
        if common and all(len(found[source][key]) == 1 for source in (one, other) for key in common):
            return [(found[one][key][0], found[other][key][0]) for key in common]
    if {runs[0].env for cell, runs in sweep.cells.items() if cell.source == one} & {
        runs[0].env for cell, runs in sweep.cells.items() if cell.source == other
    }:
        raise RefusedError(
            f"{one} and {other} have a task in common, but each more than one thing of it, none of them alike; "
            "give directories further down"
        )
    raise RefusedError(f"{one} and {other} have no task in common")


def _pair(sweep: Sweep, first: Cell, second: Cell) -> tuple[Pair | None, list[str]]:
    """Scores at the last step that at least half of the seeds of both have, and which seeds lack one."""
    runs = sweep.cells[first], sweep.cells[second]
    ends = end_of(runs[0]), end_of(runs[1])
    if ends[0] is None or ends[1] is None:
        lacking = [cell for cell, end in zip((first, second), ends, strict=True) if end is None]
        return None, [f"{_side(sweep, cell)} has no evaluation of {_plain(cell)}" for cell in lacking]
    step = min(ends[0], ends[1])
    scores = _scores(runs[0], step), _scores(runs[1], step)
    seeds = tuple(sorted({*scores[0]} & {*scores[1]}))
    missing = []
    for cell, its, own, others in ((first, runs[0], *scores), (second, runs[1], *scores[::-1])):
        behind = {run.seed: told(run) for run in its}
        where = f"{_side(sweep, cell)} has no {_plain(cell)}"
        missing += [f"{where}, {behind.get(seed, f'seed {seed}')}" for seed in sorted({*others} - {*own})]
    if not seeds:
        return None, missing or [f"neither has a return of {_plain(first)} that is a number"]
    x, y = (np.array([each[seed] for seed in seeds]) for each in scores)
    return Pair(first, second, runs[0][0].env, step, seeds, x, y), missing


def _scores(runs: Sequence[RunData], step: int) -> dict[int, float]:
    found = {run.seed: last_return(run, step) for run in runs}
    return {seed: score for seed, score in found.items() if seed is not None and score is not None}


def _row(pairs: Sequence[Pair], step: int | None, environment: str, unit: float | None) -> Row:
    """``unit``: of the returns; None: each task's own, by the papers, where all have one."""
    units = [unit or normaliser(pair.first.codebase, pair.env) for pair in pairs]
    x, y = [pair.x for pair in pairs], [pair.y for pair in pairs]
    first = second = difference = NONE
    if None not in units:
        in_x, in_y = ([a / u for a, u in zip(each, units, strict=True)] for each in (x, y))
        first, second = (Estimate(interquartile_mean(each), *aggregate_intervals(each)["IQM"]) for each in (in_x, in_y))
        difference = Estimate(mean_of_means(in_y) - mean_of_means(in_x), *difference_interval(in_x, in_y))
    probability = Estimate(probability_of_improvement(x, y), *improvement_interval(x, y))
    seeds = pairs[0].seeds if step is not None else ()
    what = _named(pairs[0], "codebase"), environment, _named(pairs[0], "line")
    return Row(*what, step, seeds, first, second, difference, probability)


def _side(sweep: Sweep, cell: Cell, other: int = 0) -> str:
    """A or B: the one that ``cell`` is of, or with 1 the other."""
    return "AB"[[*sweep.sources].index(cell.source) ^ other]


def _plain(cell: Cell) -> Cell:
    return replace(cell, source="", experiment="")


def _named(pair: Pair, what: str) -> str:
    first, second = (getattr(_plain(cell), what) for cell in (pair.first, pair.second))
    return first if first == second else f"{first} / {second}"
