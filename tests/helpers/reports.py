"""The command ``droq-exp report``, run in this process, and the tables that it writes."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from droq_exp.cli.app import main
from droq_exp.report import figures as module
from droq_exp.report.build import build
from droq_exp.report.data import load
from droq_exp.report.table import Value

Row = dict[str, Value]
V = TypeVar("V")


def rows(source: Path, table: str) -> list[Row]:
    """The rows of a table of the report of ``source``, without the figures; none where there is no such table."""
    tables = build(load([source])).tables
    if table not in tables:
        return []
    names = [column.name for column in tables[table].columns]
    return [dict(zip(names, row, strict=True)) for row in tables[table].rows]


def only(found: Sequence[Mapping[str, V]], **wanted: Value) -> Mapping[str, V]:
    """The only row with these values; "_" stands for the space in a heading."""
    (row,) = [each for each in found if all(each[key.replace("_", " ")] == value for key, value in wanted.items())]
    return row


def written(report: Path, table: str) -> list[dict[str, str]]:
    """The rows of a table as they lie in a report's directory."""
    with (report / "tables" / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def make_report(*arguments: object, figures: Collection[str] | None = None) -> int:
    """Run the command; return its exit code. Only these figures are drawn, which takes nearly all of the time."""
    with pytest.MonkeyPatch.context() as patch:
        if figures is not None:
            draw = module._figures
            patch.setattr(module, "_figures", lambda *of: (each for each in draw(*of) if each[0] in figures))
        with pytest.raises(SystemExit) as leaving:
            main(["report", *map(str, arguments)])
    return leaving.value.code or 0  # type: ignore[return-value]
