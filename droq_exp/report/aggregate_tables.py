"""The tables over environments: one number for each algorithm, or for each pair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import permutations

import numpy as np

from droq_exp.report.bootstrap import (
    AGGREGATES,
    aggregate_intervals,
    improvement_interval,
    probability_of_improvement,
)
from droq_exp.report.captions import numbers, table, texts
from droq_exp.report.data import Cell, Sweep
from droq_exp.report.published import normaliser
from droq_exp.report.scores import Comparison, Panel
from droq_exp.report.table import Table, Value

Line = tuple[str, str]  # codebase, Cell.line


def aggregates(comparisons: Mapping[Panel, Comparison]) -> Table:
    """One number for each algorithm over all environments of the papers."""
    known = {panel: full for panel in comparisons if (full := normaliser(*panel)) is not None}
    rows: list[tuple[Value, ...]] = []
    for (codebase, line), scores in _by_line(comparisons).items():
        used = {panel: returns / known[panel] for panel, returns in scores.items() if panel in known}
        if not used:
            continue
        others = [env for style, env in known if style == codebase and (style, env) not in used]
        values, intervals = [*used.values()], aggregate_intervals([*used.values()])
        for name, function in AGGREGATES.items():
            sizes = (sum(map(len, values)), _names(used), ", ".join(others))
            rows.append((codebase, line, name, function(values), *intervals[name], *sizes))
    columns = [*texts("code base", "algorithm", "aggregate"), *numbers(3, "value", "low", "high")]
    return table("aggregates", [*columns, *numbers(0, "runs"), *texts("environments", "not in")], rows)


def improvement(sweep: Sweep, comparisons: Mapping[Panel, Comparison]) -> Table:
    """How probably a run of one algorithm is better than one of another."""
    rows: list[tuple[Value, ...]] = []
    lines = _by_line(comparisons)
    cells = {(cell.codebase, cell.line): cell for cell in sweep.cells}
    for better, worse in permutations(lines, 2):
        common = [panel for panel in lines[better] if panel in lines[worse]]  # none in different code bases
        if common and _is_pair(cells[better], cells[worse], [*sweep.sources]):
            x, y = ([lines[line][panel] for panel in common] for line in (worse, better))
            values = (probability_of_improvement(x, y), *improvement_interval(x, y))
            rows.append((*better, worse[1], *values, sum(map(len, y)), sum(map(len, x)), _names(common)))
    columns = [*texts("code base", "algorithm", "over"), *numbers(3, "probability", "low", "high")]
    columns += [*numbers(0, "runs", "of the other"), *texts("environments")]
    return table("probability_of_improvement", columns, rows)


def _is_pair(better: Cell, worse: Cell, sources: list[str]) -> bool:
    """Algorithms in one order; variants over what they are variants of; a later directory over an earlier one."""
    if better.source != worse.source:
        in_order = sources.index(better.source) > sources.index(worse.source)
        return in_order and _curve(better) == _curve(worse)
    if better.algo == worse.algo:
        return not worse.variant and bool(better.variant) and better.experiment == worse.experiment
    return _curve(better) < _curve(worse) and not (better.variant or worse.variant)


def _curve(cell: Cell) -> tuple[str, str, str]:
    return cell.algo, cell.variant, cell.experiment


def _by_line(comparisons: Mapping[Panel, Comparison]) -> dict[Line, dict[Panel, np.ndarray]]:
    """The scores of each line on each environment."""
    found: dict[Line, dict[Panel, np.ndarray]] = defaultdict(dict)
    for panel, comparison in comparisons.items():
        for cell, scores in comparison.scores.items():
            found[cell.codebase, cell.line][panel] = scores
    return {line: found[line] for line in sorted(found)}


def _names(panels: Mapping[Panel, object] | list[Panel]) -> str:
    return ", ".join(env for _, env in panels)
