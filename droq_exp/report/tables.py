"""The tables of single environments: how good, beside the papers, how soon, at which dropout rate."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from droq_exp.report.bootstrap import interquartile_mean, mean_interval
from droq_exp.report.captions import numbers, return_digits, table, texts
from droq_exp.report.data import Cell, Sweep
from droq_exp.report.published import PublishedCurve, normaliser
from droq_exp.report.scores import Comparison, Panel, around, end_of, last_returns, steps_to, told
from droq_exp.report.table import Table, Value

WHAT = texts("code base", "environment", "algorithm")
FRACTIONS = (0.25, 0.5, 0.75, 0.9, 1.0)  # of the papers' last return of REDQ
DROPOUT_RATE = "algo.dropout_rate"


def final_performance(sweep: Sweep) -> Table:
    """How good each cell is at its end."""
    rows: list[tuple[Value, ...]] = []
    for cell, runs in sweep.cells.items():
        end = end_of(runs)
        returns, behind = last_returns(runs, end) if end is not None else (np.empty(0), [*runs])
        values: tuple[Value, ...] = (None,) * 4
        if len(returns):
            values = (float(returns.mean()), *mean_interval(returns), interquartile_mean([returns]))
        rows.append((*_what(cell), end, *values, len(returns), len(runs), "; ".join(map(told, behind))))
    digits = return_digits(row[4] for row in rows)
    columns = [*WHAT, *numbers(0, "step"), *numbers(digits, "return", "low", "high", "IQM")]
    return table("final_performance", [*columns, *numbers(0, "seeds", "of"), *texts("left out")], rows)


def published_comparison(sweep: Sweep, published: Mapping[Cell, PublishedCurve]) -> Table:
    """Ours beside the papers', at every published step that ours have reached."""
    rows: list[tuple[Value, ...]] = []
    for cell, curve in published.items():
        for step, theirs in zip(curve.steps.tolist(), curve.returns.tolist(), strict=True):
            ours = np.array([mean for run in sweep.cells[cell] if (mean := around(run, step)) is not None])
            if len(ours):
                low, high = mean_interval(ours)
                mean = float(ours.mean())
                values = (step, mean, low, high, len(ours), theirs, mean - theirs, _verdict(theirs, low, high))
                rows.append((*_what(cell), *values))
    columns = [*WHAT, *numbers(0, "step", "ours", "low", "high", "seeds", "papers", "ours less papers")]
    return table("published_comparison", [*columns, *texts("papers' is")], rows)


def _verdict(theirs: float, low: float, high: float) -> str:
    if math.isnan(low):
        return "one seed"
    return "above" if theirs > high else "below" if theirs < low else "within"


def sample_efficiency(sweep: Sweep, comparisons: Mapping[Panel, Comparison]) -> Table:
    """How many steps each cell needs for given returns."""
    rows: list[tuple[Value, ...]] = []
    for panel, cells in sweep.panels.items():
        for target, meaning in _targets(panel, comparisons.get(panel)):
            for cell in cells:
                runs = [run for run in sweep.cells[cell] if len(run.eval)]
                steps = [step for run in runs if (step := steps_to(run, target)) is not None]
                needed: tuple[Value, ...] = (None,) * 3
                if steps:
                    needed = (float(np.mean(steps)), min(steps), max(steps))
                rows.append((*_what(cell), target, meaning, *needed, len(steps), len(runs)))
    target_column = numbers(return_digits(row[3] for row in rows), "target")
    columns = [*WHAT, *target_column, *texts("target is"), *numbers(0, "steps", "least", "most", "reached", "of")]
    return table("sample_efficiency", columns, rows)


def _targets(panel: Panel, comparison: Comparison | None) -> list[tuple[float, str]]:
    full, name = normaliser(*panel), "the papers' REDQ"
    if full is None and comparison is not None and comparison.scores:
        full, name = max(float(scores.mean()) for scores in comparison.scores.values()), "the best here"
    if full is None or full <= 0:
        return []  # parts of a cost tell nothing
    return [(fraction * full, f"{fraction:.0%} of {name}") for fraction in FRACTIONS]


def dropout_sensitivity(sweep: Sweep, comparisons: Mapping[Panel, Comparison]) -> Table:
    """Return by dropout rate, where cells differ by nothing else."""
    rows: list[tuple[Value, ...]] = []
    for (codebase, env), comparison in comparisons.items():
        rates: dict[tuple[str, str, str], list[tuple[float, Cell]]] = defaultdict(list)
        for cell in comparison.scores:
            rate = _dropout_rate(sweep, cell)
            if rate is not None:
                rates[cell.algo, cell.experiment, cell.source].append((rate, cell))
        for (algo, experiment, source), cells in rates.items():
            line = Cell(codebase, env, algo, "", experiment, source).line
            for rate, cell in sorted(cells) if len({rate for rate, _ in cells}) > 1 else ():
                scores = comparison.scores[cell]
                values = (rate, comparison.step, float(scores.mean()), *mean_interval(scores), len(scores))
                rows.append((codebase, env, line, *values))
    digits = return_digits(row[5] for row in rows)
    columns = [*WHAT, *numbers(4, "dropout rate"), *numbers(0, "step"), *numbers(digits, "return", "low", "high")]
    return table("dropout_sensitivity", [*columns, *numbers(0, "seeds")], rows)


def _dropout_rate(sweep: Sweep, cell: Cell) -> float | None:
    """None where something else differs from the recipe, or where there is no configuration."""
    for run in sweep.cells[cell]:
        if isinstance(run.config.get("algo"), dict) and {*run.differences} <= {DROPOUT_RATE}:
            rate = run.config["algo"].get("dropout_rate")
            return float(rate) if isinstance(rate, int | float) else None
    return None


def _what(cell: Cell) -> tuple[str, str, str]:
    return cell.codebase, cell.env, cell.line
