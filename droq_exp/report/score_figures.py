"""Figures of numbers with intervals: how good, how probably better, at which dropout rate, and where the time goes."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from droq_exp.report.bootstrap import mean_interval
from droq_exp.report.build import Report
from droq_exp.report.curve_figures import drawn_lines, head, panel_grid, thousands
from droq_exp.report.data import Sweep
from droq_exp.report.render import WIDTH, look
from droq_exp.report.run_tables import PARTS
from droq_exp.report.table import Value

ROW = 0.24  # inches of a row
LINE = 0.13  # of each further line of its label
LABEL, WIDE_LABEL = 30, 44  # characters of a label's line, where axes are side by side and where they are not
PART_COLOURS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#bbbbbb")  # Tol's bright ones, in the order of the parts
ACCENT = "#0072b2"  # where no algorithm gives a colour
MOST_BARS = 40  # that can be read
Row = tuple[Value, ...]


def final_performance(report: Report, codebase: str) -> Figure | None:
    """Mean, interval and single seeds of each cell at the step at which an environment's cells are compared."""
    panels = {env: found for (style, env), found in report.comparisons.items() if style == codebase and found.scores}
    if not panels:
        return None
    everything = {cell.line for found in panels.values() for cell in found.scores}
    lines = drawn_lines(cell for found in panels.values() for cell in found.scores)
    drawn = {
        env: sorted((cell for cell in found.scores if cell.line in lines), reverse=True)
        for env, found in panels.items()
        if any(cell.line in lines for cell in found.scores)
    }
    labels = {
        env: _wrapped((f"{cell.line}, n = {len(panels[env].scores[cell])}" for cell in cells), LABEL)
        for env, cells in drawn.items()
    }
    with look():
        figure, axes = panel_grid(len(drawn), max(map(_height, labels.values())) + 0.75)
        for place, (env, cells) in zip(axes, drawn.items(), strict=True):
            found = panels[env]
            place.set_title(f"{env}, at {found.step:,} steps")
            place.set_xlabel("return")
            place.xaxis.set_major_formatter(thousands)
            scores = [found.scores[cell] for cell in cells]
            colours = [report.styles[cell.line].colour for cell in cells]
            sizes = [len(each) for each in scores]
            heights = np.repeat(range(len(cells)), sizes)
            place.scatter(np.concatenate(scores), heights, s=9, c=np.repeat(colours, sizes), alpha=0.5, linewidth=0)
            _intervals(place, [(float(each.mean()), *mean_interval(each)) for each in scores], colours)
            _rows(place, labels[env])
        head(
            figure,
            f"Performance at the last common step, code base {codebase}",
            f"mean over seeds, 95% bootstrap interval, and single seeds{_more(len(everything) - len(lines))}",
        )
    return figure


def aggregates(sweep: Sweep, report: Report, codebase: str) -> Figure | None:
    """A pair of axes for each aggregate, a row for each algorithm."""
    drawn = drawn_lines(cell for cell in sweep.cells if cell.codebase == codebase)
    every = [row for row in _rows_of(report, "aggregates") if row[0] == codebase]
    rows = [row for row in every if row[1] in drawn]
    if not rows:
        return None
    names = list(dict.fromkeys(str(row[2]) for row in rows))
    labels = _wrapped(dict.fromkeys(str(row[1]) for row in reversed(rows)), LABEL)
    with look():
        figure = Figure(figsize=(WIDTH, _height(labels) + 1.3), layout="constrained")
        for place, name in zip(figure.subplots(1, len(names), sharey=True, squeeze=False)[0], names, strict=True):
            place.set_title(name)
            place.set_xlabel(f"{'less' if 'gap' in name else 'more'} is better")
            shown = [row for row in reversed(rows) if row[2] == name]
            _intervals(
                place, [_floats(row[3:6]) for row in shown], [report.styles[str(row[1])].colour for row in shown]
            )
            _rows(place, labels)
        text = "returns divided by the papers' last return of REDQ; 95% stratified-bootstrap intervals"
        text += _more((len(every) - len(rows)) // len(names))
        if any(row[8] for row in rows):
            text += "\nnot all rows are of the same environments, see the table"
        head(figure, f"Aggregates over environments, code base {codebase}", text)
    return figure


def improvement(report: Report, codebase: str) -> Figure | None:
    """A row for each pair of algorithms."""
    rows = [row for row in _rows_of(report, "probability_of_improvement") if row[0] == codebase][::-1]
    if not rows:
        return None
    labels = _wrapped((f"{row[1]} over {row[2]}" for row in rows), WIDE_LABEL)
    with look():
        figure = Figure(figsize=(0.75 * WIDTH, _height(labels) + 1.1), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0.5, color="#666666", linewidth=0.8, zorder=1)
        _intervals(axes, [_floats(row[3:6]) for row in rows], [report.styles[str(row[1])].colour for row in rows])
        _rows(axes, labels)
        axes.set_xlim(-0.03, 1.03)
        axes.set_xlabel("probability")
        head(figure, f"Probability of improvement, code base {codebase}", "with 95% stratified-bootstrap intervals")
    return figure


def dropout_sensitivity(report: Report) -> Figure | None:
    """Return by dropout rate, a pair of axes for each environment."""
    panels: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in _rows_of(report, "dropout_sensitivity"):
        panels[f"{row[1]}, {row[0]}, at {row[4]:,} steps"][str(row[2])].append(row)
    if not panels:
        return None
    with look():
        figure, axes = panel_grid(len(panels), 2.2)
        for place, (title, lines) in zip(axes, panels.items(), strict=True):
            rates = sorted({float(row[3] or 0) for rows in lines.values() for row in rows})
            place.set_title(title if len(lines) > 1 else f"{next(iter(lines))}: {title}")
            for shift, (line, rows) in enumerate(lines.items()):
                colour = report.styles[line].colour if line in report.styles else ACCENT
                at = [rates.index(float(row[3] or 0)) + 0.08 * shift for row in rows]
                mean, low, high = np.array([_floats(row[5:8]) for row in rows]).T
                place.plot(at, mean, color=colour, marker="o", markersize=4, label=line)
                place.vlines(at, low, high, color=colour, linewidth=1.2)
            place.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
            place.set_xlabel("dropout rate")
            place.set_ylabel("return")
            place.yaxis.set_major_formatter(thousands)
        if any(len(lines) > 1 for lines in panels.values()):
            labelled = {str(line.get_label()): line for place in axes for line in place.lines}
            figure.legend([*labelled.values()], [*labelled], loc="outside lower left", ncols=4)
        head(figure, "Sensitivity to the dropout rate", "mean over seeds and 95% bootstrap interval")
    return figure


def run_time(report: Report) -> Figure | None:
    """Seconds for 1,000 steps, stacked by what they were spent on; None where no run measured it."""
    rows = [row for row in _rows_of(report, "run_time") if np.isfinite(_floats(row[6:11])).all()][::-1]
    if not rows:
        return None
    left_out, rows = len(rows) - MOST_BARS, rows[-MOST_BARS:]
    names = [*(name for name, _, _ in PARTS), "other"]
    labels = _wrapped((f"{row[0]}/{row[1]}/{row[2]}, n = {row[4]}" for row in rows), WIDE_LABEL)
    with look():
        figure = Figure(figsize=(WIDTH, _height(labels) + 1.4), layout="constrained")
        axes = figure.subplots()
        left = np.zeros(len(rows))
        for number, (name, colour) in enumerate(zip(names, PART_COLOURS, strict=True)):
            width = np.array([_floats(row[6:11])[number] for row in rows])
            axes.barh(range(len(rows)), width, 0.65, left, color=colour, edgecolor="white", linewidth=0.5, label=name)
            left += width
        _rows(axes, labels)
        axes.set_xlabel("seconds for 1,000 environment steps")
        figure.legend(loc="outside upper right", ncols=len(names))
        head(figure, "Where the time goes", f"mean over seeds{_more(left_out)}")
    return figure


def differences(report: Report) -> Figure | None:
    """What a directory has more than another: a pair of axes for each environment, a row for each algorithm."""
    panels: dict[str, list[Row]] = defaultdict(list)
    for row in _rows_of(report, "differences"):
        panels[f"{row[1]}, {row[0]}"].insert(0, row)
    if not panels:
        return None
    labels = {
        title: _wrapped((f"{row[2]}: {row[4]} less {row[3]}" for row in rows), LABEL) for title, rows in panels.items()
    }
    with look():
        figure, axes = panel_grid(len(panels), max(map(_height, labels.values())) + 0.75)
        for place, (title, rows) in zip(axes, panels.items(), strict=True):
            place.set_title(title)
            place.set_xlabel("difference of mean returns")
            place.xaxis.set_major_formatter(thousands)
            place.axvline(0, color="#666666", linewidth=0.8, zorder=1)
            _intervals(place, [_floats(row[8:11]) for row in rows], [ACCENT] * len(rows))
            _rows(place, labels[title])
        head(figure, "The directories compared", "mean over seeds of the second less the first, 95% bootstrap interval")
    return figure


def _more(left_out: int) -> str:
    return f"; {left_out} rows more are in the table" if left_out > 0 else ""


def _rows_of(report: Report, name: str) -> Sequence[Row]:
    return report.tables[name].rows if name in report.tables else ()


def _floats(values: Sequence[Value]) -> list[float]:
    return [float(value) if isinstance(value, int | float) else np.nan for value in values]


def _intervals(axes: Axes, estimates: Sequence[Sequence[float]], colours: Sequence[str]) -> None:
    """A row for each of ``estimates``, (center, lower, upper limit), from below; few artists, for each costs time."""
    heights = range(len(estimates))
    center, low, high = np.array(estimates, dtype=float).reshape(-1, 3).T
    axes.hlines(heights, low, high, colors=colours, linewidth=5, alpha=0.3)
    axes.scatter(center, heights, s=90, c=colours, marker="|", linewidth=2)


def _wrapped(labels: Iterable[str], width: int) -> list[str]:
    """Long names over several lines: they would leave no room for the axes."""
    return ["\n".join(textwrap.wrap(label, width, break_on_hyphens=False)) for label in labels]


def _height(labels: Sequence[str]) -> float:
    """Inches of rows with these labels."""
    return len(labels) * (ROW + LINE * max(label.count("\n") for label in labels))


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
