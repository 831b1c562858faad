"""A report: everything that its figures, tables and page show, computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from droq_exp.report.curves import Curve, cell_curves
from droq_exp.report.data import Cell, Sweep
from droq_exp.report.published import PublishedCurve, published_for
from droq_exp.report.style import LineStyle, line_styles
from droq_exp.report.table import Table


@dataclass(frozen=True, eq=False)
class Report:
    """What a sweep shows.

    Args:
        curves: for each cell, by the names of ``droq_exp.report.curves.METRICS``; metrics without values are left out.
        published: the papers' curve for the cells that are the same experiment.
        styles: how the line of each ``Cell.line`` is drawn.
        tables: by name, in the order in which they are shown.
        missing: what is not there (yet) and therefore not in figures and tables, a line each.
    """

    curves: Mapping[Cell, Mapping[str, Curve]]
    published: Mapping[Cell, PublishedCurve]
    styles: Mapping[str, LineStyle]
    tables: Mapping[str, Table]
    missing: tuple[str, ...]


def build(sweep: Sweep) -> Report:
    """Compute the report of ``sweep``."""
    published = {cell: curve for cell, runs in sweep.cells.items() if (curve := published_for(runs)) is not None}
    return Report(
        curves={cell: cell_curves(runs) for cell, runs in sweep.cells.items()},
        published=published,
        styles=line_styles(sweep.cells),
        tables={},
        missing=(),
    )
