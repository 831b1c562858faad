"""All figures of a report, by name, as the bytes of their files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from matplotlib.figure import Figure

from droq_exp.report import score_figures
from droq_exp.report.build import Report
from droq_exp.report.curve_figures import learning_curves
from droq_exp.report.curves import METRICS
from droq_exp.report.data import Sweep
from droq_exp.report.render import render


def rendered_figures(sweep: Sweep, report: Report) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Name of each figure that there is anything for, and its files' content by their ending."""
    figures = {name: figure for name, figure in _figures(sweep, report) if figure is not None}
    # Writing three forms of twenty figures takes longer than everything else together.
    workers = min(len(os.sched_getaffinity(0)), len(figures))
    if workers < 2:
        yield from ((name, render(figure)) for name, figure in figures.items())
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from zip(figures, pool.map(render, figures.values()), strict=True)


def _figures(sweep: Sweep, report: Report) -> Iterator[tuple[str, Figure | None]]:
    if sweep.compared:
        yield "differences", score_figures.differences(report)
    for codebase in sorted({codebase for codebase, _ in sweep.panels}):
        for metric in METRICS.values():
            yield f"{metric.name}_{codebase}", learning_curves(sweep, report, codebase, metric)
        yield f"final_performance_{codebase}", score_figures.final_performance(report, codebase)
        yield f"aggregates_{codebase}", score_figures.aggregates(sweep, report, codebase)
        yield f"probability_of_improvement_{codebase}", score_figures.improvement(report, codebase)
    yield "dropout_sensitivity", score_figures.dropout_sensitivity(report)
    yield "run_time", score_figures.run_time(report)
