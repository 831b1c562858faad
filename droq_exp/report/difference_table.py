"""Directories side by side: what the second has more than the first, where both have the same thing."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np

from droq_exp.report.bootstrap import (
    difference_interval,
    improvement_interval,
    mean_of_means,
    probability_of_improvement,
)
from droq_exp.report.captions import ALL, numbers, table, texts
from droq_exp.report.data import Cell, Sweep
from droq_exp.report.scores import end_of, last_returns
from droq_exp.report.table import Table, Value

Pair = tuple[np.ndarray, np.ndarray]


def differences(sweep: Sweep) -> Table:
    """For each pair of directories and each cell that both have, and over the environments of these."""
    rows: list[tuple[Value, ...]] = []
    for first, second in combinations(sweep.sources, 2):
        lines: dict[tuple[str, str], dict[str, Pair]] = {}
        for cell in sweep.cells:
            other = replace(cell, source=second)
            if cell.source == first and other in sweep.cells and (found := _scores(sweep, cell, other)) is not None:
                step, pair = found
                plain = replace(cell, source="")
                lines.setdefault((cell.codebase, plain.line), {})[cell.env] = pair
                rows.append(_row(plain.codebase, plain.env, plain.line, first, second, step, [pair]))
        for (codebase, line), pairs in lines.items():
            if len(pairs) > 1:
                rows.append(_row(codebase, ALL, line, first, second, None, [*pairs.values()]))
    rows.sort(key=lambda row: (str(row[3]), str(row[4]), str(row[0]), row[1] == ALL, str(row[1]), str(row[2])))
    columns = [*texts("code base", "environment", "algorithm", "first", "second"), *numbers(0, "step")]
    columns += numbers(1, "return of first", "return of second", "second less first", "low", "high")
    columns += numbers(3, "probability", "its low", "its high")
    return table("differences", [*columns, *numbers(0, "seeds of first", "of second")], rows)


def unpaired(sweep: Sweep) -> list[str]:
    """The cells that a directory has and another one has not."""
    return [
        f"{replace(cell, source='')}: in {cell.source}, not in {source}"
        for cell in sweep.cells
        for source in sweep.sources
        if replace(cell, source=source) not in sweep.cells
    ]


def _scores(sweep: Sweep, first: Cell, second: Cell) -> tuple[int, Pair] | None:
    ends = end_of(sweep.cells[first]), end_of(sweep.cells[second])
    if ends[0] is None or ends[1] is None:
        return None
    step = min(ends[0], ends[1])
    x, y = (last_returns(sweep.cells[cell], step)[0] for cell in (first, second))
    return (step, (x, y)) if len(x) and len(y) else None


def _row(
    codebase: str, env: str, line: str, first: str, second: str, step: int | None, pairs: list[Pair]
) -> tuple[Value, ...]:
    x, y = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    means = mean_of_means(x), mean_of_means(y)
    return (
        *(codebase, env, line, first, second, step, *means, means[1] - means[0], *difference_interval(x, y)),
        *(probability_of_improvement(x, y), *improvement_interval(x, y)),
        *(sum(map(len, x)), sum(map(len, y))),
    )
