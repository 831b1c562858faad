"""All figures of a report, by name."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.figure import Figure

from droq_exp.report import score_figures
from droq_exp.report.build import Report
from droq_exp.report.curve_figures import learning_curves
from droq_exp.report.curves import METRICS
from droq_exp.report.data import Sweep


def figures(sweep: Sweep, report: Report) -> Iterator[tuple[str, Figure]]:
    """Name and drawing of each figure that there is anything for, one after the other: they are large."""
    drawings = _drawings(sweep, report)
    return ((name, figure) for name, figure in drawings if figure is not None)


def _drawings(sweep: Sweep, report: Report) -> Iterator[tuple[str, Figure | None]]:
    if sweep.compared:
        yield "differences", score_figures.differences(report)
    for codebase in sorted({codebase for codebase, _ in sweep.panels}):
        for metric in METRICS.values():
            yield f"{metric.name}_{codebase}", learning_curves(sweep, report, codebase, metric)
        yield f"final_performance_{codebase}", score_figures.final_performance(report, codebase)
        yield f"aggregates_{codebase}", score_figures.aggregates(report, codebase)
        yield f"probability_of_improvement_{codebase}", score_figures.improvement(report, codebase)
    yield "dropout_sensitivity", score_figures.dropout_sensitivity(report)
    yield "run_time", score_figures.run_time(report)
