"""Learning curves: a pair of axes for each environment, a line with its interval for each cell."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from droq_exp.report.build import Report
from droq_exp.report.curves import Curve, Metric
from droq_exp.report.data import Cell, Sweep
from droq_exp.report.published import PublishedCurve
from droq_exp.report.render import DASHES, WIDTH, look
from droq_exp.report.style import LineStyle

COLUMNS = 2
HEIGHT = 2.3  # inches of a row
MOST = 12  # lines that can be told apart
LONGEST_LABEL = 16  # characters that fit beside the axes
CHARACTERS = 16  # to an inch, of the text above the axes
LABELLED = 6  # lines that have their names beside them; more share a legend
PUBLISHED: dict[str, Any] = {"linestyle": (0, (4, 2)), "linewidth": 1.0, "alpha": 0.75, "zorder": 1.5}


def learning_curves(sweep: Sweep, report: Report, codebase: str, metric: Metric) -> Figure | None:
    """One metric on all environments of a code base; None where it was measured nowhere."""
    panels = {
        env: [cell for cell in cells if metric.name in report.curves[cell]]
        for (style, env), cells in sweep.panels.items()
        if style == codebase
    }
    lines = drawn_lines(cell for cells in panels.values() for cell in cells)
    left_out = len({cell.line for cells in panels.values() for cell in cells}) - len(lines)
    panels = {env: [cell for cell in cells if cell.line in lines] for env, cells in panels.items()}
    panels = {env: cells for env, cells in panels.items() if cells}
    if not panels:
        return None
    shared = len(lines) > LABELLED or max(map(len, lines)) > LONGEST_LABEL
    with look():
        figure, axes = panel_grid(len(panels), HEIGHT)
        for place, (env, cells) in zip(axes, panels.items(), strict=True):
            curves = {cell: report.curves[cell][metric.name] for cell in cells}
            place.set_title(f"{env}, {_seeds(curves.values())}" if shared else env)
            place.set_xlabel("environment steps (thousands)")
            place.set_ylabel(metric.label)
            place.yaxis.set_major_formatter(thousands)
            place.locator_params(nbins=5)
            _draw_panel(place, curves, report, metric, labelled=not shared)
        drawn = [cell for cells in panels.values() for cell in cells]
        text = _explanation(drawn, report, metric) + (f"; {left_out} lines more are left out" if left_out else "")
        head(figure, f"{metric.label}, code base {codebase}", text)
        if shared:
            _share_legend(figure, lines, report)
    return figure


def drawn_lines(cells: Iterable[Cell]) -> list[str]:
    """The lines to draw: where they are too many to be told apart, without variants."""
    variants = {cell.line: cell.variant for cell in cells}
    lines = sorted(variants)
    recipes = [line for line in lines if not variants[line]]
    return lines if len(lines) <= MOST else (recipes or lines)[:MOST]


def _share_legend(figure: Figure, lines: Sequence[str], report: Report) -> None:
    styles = [report.styles[line] for line in lines]
    handles = [Line2D([], [], color=style.colour, linestyle=DASHES[style.dash]) for style in styles]
    figure.legend(handles, lines, loc="outside lower left", ncols=2 if max(map(len, lines)) > 30 else 3)


def panel_grid(number: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with so many pairs of axes, in rows of ``COLUMNS``."""
    columns = min(number, COLUMNS)
    rows = -(-number // columns)
    width = WIDTH if number > 1 else 0.65 * WIDTH
    figure = Figure(figsize=(width, height * rows + 0.5), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06))
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[number:]:
        spare.remove()
    return figure, axes[:number]


def thousands(value: float, _: float) -> str:
    """A tick's label: 1,000; 0.1; -20."""
    return f"{value:,.10g}"


def _seeds(curves: Iterable[Curve]) -> str:
    numbers = [int(curve.seeds.max()) for curve in curves]
    return f"n = {min(numbers)}" if min(numbers) == max(numbers) else f"n = {min(numbers)} to {max(numbers)}"


def _draw_panel(axes: Axes, curves: Mapping[Cell, Curve], report: Report, metric: Metric, labelled: bool) -> None:
    end = max(curve.steps[-1] for curve in curves.values()) / 1_000
    if metric.name == "return":
        for cell in curves:
            if cell in report.published:
                _draw_published(axes, report.published[cell], report.styles[cell.line], end)
    published = len(axes.lines)
    drawn = [*curves.items()]
    for place, (cell, curve) in enumerate(drawn, 1):  # of equal lines those behind are wider, so that each shows
        equal = sum(np.array_equal(curve.center, later.center, equal_nan=True) for _, later in drawn[place:])
        _draw_curve(axes, curve, report.styles[cell.line], 2.5 * min(equal, 2))
    if "bias" in metric.name and metric.name.endswith("mean"):
        axes.axhline(0, color="#666666", linewidth=0.8, zorder=1)
    axes.set_xlim(0, end)
    _limit(axes, [*curves.values()], [line.get_ydata() for line in axes.lines[:published]])
    if labelled:
        _label_ends(axes, curves, report)


def _draw_curve(axes: Axes, curve: Curve, style: LineStyle, wider: float) -> None:
    """Paler where not all seeds are there (yet), for the mean of fewer is of others."""
    steps = curve.steps / 1_000
    full = np.where(curve.seeds == curve.seeds.max(), curve.center, np.nan)
    dash = DASHES[style.dash]
    drawn: dict[str, Any] = {"color": style.colour, "linestyle": dash, "zorder": 3}
    drawn["linewidth"] = rcParams["lines.linewidth"] + wider
    axes.plot(steps, curve.center, alpha=0.45, **drawn)
    axes.plot(steps, full, marker="." if len(steps) == 1 else None, **drawn)
    axes.fill_between(steps, curve.low, curve.high, color=style.colour, alpha=0.16, linewidth=0, zorder=2)


def _draw_published(axes: Axes, curve: PublishedCurve, style: LineStyle, end: float) -> None:
    """As far as ours go."""
    steps = curve.steps / 1_000
    shown = [*steps[steps < end], end] if steps[0] < end < steps[-1] else steps[steps <= end]
    axes.plot(shown, np.interp(shown, steps, curve.returns), color=style.colour, **PUBLISHED)


def _limit(axes: Axes, curves: Sequence[Curve], published: Sequence[Any]) -> None:
    """Leave out wide intervals and single spikes that would flatten everything else, but no published curve."""
    center = np.concatenate([curve.center for curve in curves])
    around = np.concatenate(
        [each[np.isfinite(each)] for curve in curves for each in (curve.low, curve.high)] + [center]
    )
    low, high = np.quantile(around, [0.01, 0.99])
    whole = np.concatenate([[low, high], *published])
    low, high = whole.min(), whole.max()
    margin = 0.15 * (high - low)
    bottom, top = axes.get_ylim()
    if high > low and top - bottom > 2 * (high - low):
        axes.set_ylim(max(bottom, low - margin), min(top, high + margin))


def _label_ends(axes: Axes, curves: Mapping[Cell, Curve], report: Report) -> None:
    """Names at the right of the lines' ends, moved apart where they would overlap."""
    bottom, top = axes.get_ylim()
    ends = {cell: float(np.clip((curve.center[-1] - bottom) / (top - bottom), 0, 1)) for cell, curve in curves.items()}
    order = sorted(ends, key=lambda cell: ends[cell])
    for cell, place in zip(order, _apart([ends[cell] for cell in order]), strict=True):
        seeds = curves[cell].seeds.max()
        axes.annotate(
            f"{cell.line}, n = {seeds}",
            (1, place),
            xytext=(4, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            color=report.styles[cell.line].colour,
            va="center",
            fontsize=8,
        )


def _apart(places: Sequence[float], gap: float = 0.09) -> list[float]:
    """Increasing ``places`` in [0, 1], at least ``gap`` apart, near where they were."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else place)
    upper = 1.0
    for index in reversed(range(len(moved))):
        moved[index] = min(moved[index], upper)
        upper = moved[index] - gap
    return moved


def _explanation(cells: Sequence[Cell], report: Report, metric: Metric) -> str:
    text = f"{'interquartile mean' if metric.statistic == 'iqm' else 'mean'} over seeds and 95% bootstrap interval"
    if any(np.ptp(report.curves[cell][metric.name].seeds) > 0 for cell in cells):
        text += "; paler: not all seeds are there"
    if metric.name == "return" and any(cell in report.published for cell in cells):
        text += "; dashed: published mean"
    return text


def head(figure: Figure, title: str, text: str) -> None:
    """Title, and below it what is drawn, in lines as long as the figure is wide."""
    room = int(CHARACTERS * figure.get_figwidth())
    lines = [line for part in (title, *text.splitlines()) for line in textwrap.wrap(part, room)]
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=8, color="#444444")
