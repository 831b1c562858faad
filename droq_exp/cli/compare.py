"""``droq-exp compare``: one table of two directories, paired by task and seed, with the report's statistics."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from droq_exp.report.captions import ALL, return_digits
from droq_exp.report.comparison import Estimate, Row, comparison
from droq_exp.report.data import load

HEADINGS = ("code base", "environment", "algorithm", "step", "seeds", "IQM of A", "IQM of B", "B less A", "B is better")
TEXTS = 3  # columns of these
CAPTION = """\
Interquartile means over seeds of the mean return of the last evaluations, B's mean less A's, and the probability that a
run of B returns more than one of A, all by the seeds that both have; with 95% bootstrap intervals."""


def compare(first: Path, second: Path, as_json: bool) -> None:
    """Print how the runs below ``second`` do beside those below ``first``.

    Raises:
        RefusedError: one of them has no runs, one lies in the other, or they have nothing in common.
    """
    sweep = load([first, second], compared=True)
    rows, missing = comparison(sweep)
    if as_json:
        places = {name: str(path) for name, path in zip("AB", sweep.sources.values(), strict=True)}
        print(json.dumps({**places, "rows": [_plain(row) for row in rows], "missing": missing}, allow_nan=False))
        return
    for name, label in zip("AB", sweep.sources, strict=True):
        print(f"{name}: {label}")
    lines = [HEADINGS, *(_texts(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            text.ljust(width) if number < TEXTS else text.rjust(width)
            for number, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    print(CAPTION)
    if any(row.step is None for row in rows):
        print(f'"{ALL}": returns divided by the papers\' last return of REDQ, where they have one.')
    for line in missing:
        print(f"missing: {line}")


def _texts(row: Row) -> Sequence[str]:
    digits = max(return_digits([row.first.value, row.second.value]), 0 if row.step is not None else 3)
    returns = [_text(each, digits) for each in (row.first, row.second, row.difference)]
    step = f"{row.step:,}" if row.step is not None else ""
    seeds = str(len(row.seeds)) if row.step is not None else ""
    return (row.codebase, row.environment, row.algorithm, step, seeds, *returns, _text(row.probability, 2))


def _text(estimate: Estimate, digits: int) -> str:
    if math.isnan(estimate.value):
        return "-"
    value, low, high = (f"{number:,.{digits}f}" for number in estimate)
    return value if math.isnan(estimate.low) else f"{value} [{low}, {high}]"


def _plain(row: Row) -> dict[str, Any]:
    values = {field.name: getattr(row, field.name) for field in fields(row)}
    return {
        name: {part: None if math.isnan(number) else number for part, number in value._asdict().items()}
        if isinstance(value, Estimate)
        else value
        for name, value in values.items()
    }
