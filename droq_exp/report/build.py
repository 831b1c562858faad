"""A report: everything that its figures, tables and page show, computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from droq_exp.report.aggregate_tables import aggregates, improvement
from droq_exp.report.curves import Curve, cell_curves
from droq_exp.report.data import Cell, Sweep
from droq_exp.report.difference_table import differences, unpaired
from droq_exp.report.published import PublishedCurve, published_for
from droq_exp.report.run_tables import missing_seeds, run_time, unfinished_runs
from droq_exp.report.scores import Comparison, Panel, compare
from droq_exp.report.search import Search, importance_table, searches, trials_table
from droq_exp.report.style import LineStyle, line_styles
from droq_exp.report.table import Table
from droq_exp.report.tables import dropout_sensitivity, final_performance, published_comparison, sample_efficiency


@dataclass(frozen=True, eq=False)
class Report:
    """What a sweep shows.

    Args:
        curves: for each cell, by the names of ``droq_exp.report.curves.METRICS``; metrics without values are left out.
        published: the papers' curve for the cells that are the same experiment.
        styles: how the line of each ``Cell.line`` is drawn.
        comparisons: the step and the scores at which the cells of a (codebase, env) are compared.
        tables: by name, in the order in which they are shown; those without rows are left out.
        missing: what is not there (yet) and therefore not in figures and tables, a line each.
        searches: of ``droq-exp tune``, where the directories are such.
    """

    curves: Mapping[Cell, Mapping[str, Curve]]
    published: Mapping[Cell, PublishedCurve]
    styles: Mapping[str, LineStyle]
    comparisons: Mapping[Panel, Comparison]
    tables: Mapping[str, Table]
    missing: tuple[str, ...]
    searches: Sequence[Search] = ()


def build(sweep: Sweep) -> Report:
    """Compute the report of ``sweep``."""
    published = {cell: curve for cell, runs in sweep.cells.items() if (curve := published_for(runs)) is not None}
    comparisons = compare(sweep)
    found, problems = searches(sweep.sources)
    tables = _tables(sweep, published, comparisons)
    if found:
        tables = [trials_table(found), importance_table(found), *tables]
    return Report(
        curves={cell: cell_curves(runs) for cell, runs in sweep.cells.items()},
        published=published,
        styles=line_styles(sweep.cells),
        comparisons=comparisons,
        tables={table.name: table for table in tables if table.rows},
        missing=(*_missing(sweep, comparisons), *problems),
        searches=found,
    )


def _tables(
    sweep: Sweep, published: Mapping[Cell, PublishedCurve], comparisons: Mapping[Panel, Comparison]
) -> list[Table]:
    return [
        *([differences(sweep)] if sweep.compared else []),
        final_performance(sweep),
        published_comparison(sweep, published),
        sample_efficiency(sweep, comparisons),
        aggregates(comparisons),
        improvement(sweep, comparisons),
        dropout_sensitivity(sweep, comparisons),
        run_time(sweep),
        unfinished_runs(sweep),
        missing_seeds(sweep),
    ]


def _missing(sweep: Sweep, comparisons: Mapping[Panel, Comparison]) -> list[str]:
    lines = [f"the queue does not answer: {sweep.problem}"] if sweep.problem else []
    lines += unpaired(sweep) if sweep.compared else []
    lines += [f"{'/'.join(panel)}: no evaluation" for panel in sweep.panels if panel not in comparisons]
    for (codebase, env), comparison in comparisons.items():
        reason = f"not in the comparison at step {comparison.step:,} of {codebase}/{env}"
        lines += [f"{left_out}: {reason}" for left_out in comparison.left_out]
    lines += [f"{row[0]}/{row[1]}/{row[2]}: no seed {row[3]}" for row in missing_seeds(sweep).rows]
    return lines
