#!/usr/bin/env python
"""Draw ``docs/results/hopper.png``: return on Hopper by environment steps, and by hours of a quiet machine.

Returns are those kept in ``docs/results``. Hours are steps times the milliseconds that ``benchmarks loop`` measured for
the algorithm (``docs/performance/loop.json``), for the runs themselves shared their machines with other work. An
update of SPEQ costs what one of DroQ's does; its phases are made between environment steps, where they fall.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from droq_exp.report.curve_figures import PUBLISHED, thousands
from droq_exp.report.published import published_curves
from droq_exp.report.render import WIDTH, look, render

DOCS = Path(__file__).resolve().parent.parent / "docs"
UTD = 20  # updates an environment step, of all but SPEQ
SPEQ_INTERVAL, SPEQ_UPDATES = 10_000, 75_000  # conf/algo/speq.yaml
RANDOM = 5_000  # environment steps before the first update
WINDOW = 3_000  # environment steps over which a line is averaged


class Line(NamedTuple):
    """An algorithm's runs, ``docs/results/redq-<name>-hopper-seed_*.csv``, and how it is drawn."""

    name: str
    label: str
    colour: str


LINES = (
    Line("droq", "DroQ", "#0072b2"),
    Line("redq", "REDQ", "#d55e00"),
    Line("sac", "SAC", "#444444"),
    Line("speq", "SPEQ", "#009e73"),
)


def hours(name: str, steps: np.ndarray) -> np.ndarray:
    """When a run of the algorithm reaches ``steps``; the random ones at the start, without updates, take no time."""
    measured = json.loads((DOCS / "performance" / "loop.json").read_text(encoding="utf-8"))
    learning = np.maximum(0, steps - RANDOM)
    by_algo = {row["algo"]: row["ms_per_env_step"] for row in measured if row["utd_ratio"] == UTD}
    if name != "speq":
        return learning * by_algo[name] / 3.6e6
    updates = learning + steps // SPEQ_INTERVAL * SPEQ_UPDATES
    return updates * (by_algo["droq"] / UTD) / 3.6e6


def mean_return(name: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Steps, the mean over seeds of returns averaged over a window, and how many seeds there are."""
    runs = [
        pd.read_csv(path, index_col="step") for path in sorted((DOCS / "results").glob(f"redq-{name}-hopper-seed_*"))
    ]
    if not runs:
        return np.array([]), np.array([]), 0
    columns = [run["return_mean"].rename(str(number)) for number, run in enumerate(runs)]
    table = pd.concat(columns, axis=1).dropna()  # as far as all seeds go
    width = max(1, round(WINDOW / (table.index[1] - table.index[0])))
    smooth = table.mean(axis=1).rolling(width, center=True, min_periods=1).mean()
    return smooth.index.to_numpy(), smooth.to_numpy(), len(runs)


def draw() -> Figure:
    """Both panels, the lines named at the left one."""
    with look():
        figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
        by_steps, by_time = figure.subplots(1, 2, sharey=True)
        for line in LINES:
            steps, returns, seeds = mean_return(line.name)
            if not seeds:
                continue
            label = f"{line.label}, {seeds} seed{'s' if seeds > 1 else ''}"
            by_steps.plot(steps / 1_000, returns, color=line.colour, label=label)
            by_time.plot(hours(line.name, steps), returns, color=line.colour)
            published = published_curves().get(("redq", "hopper", line.name))
            if published is not None:
                shown = published.steps <= steps[-1]
                drawn = published.steps[shown] / 1_000, published.returns[shown]
                by_steps.plot(*drawn, color=line.colour, **PUBLISHED)
        _axes(by_steps, "environment steps (thousands)", "return on Hopper")
        _axes(by_time, "hours on two cores of a quiet machine", "")
        by_steps.plot([], [], color="#888888", label="as published", **PUBLISHED)
        figure.legend(loc="outside upper center", ncols=len(LINES) + 1)
    return figure


def _axes(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(thousands)


if __name__ == "__main__":
    place = DOCS / "results" / "hopper.png"
    place.write_bytes(render(draw())["png"])
    print(f"wrote {place.relative_to(DOCS.parent)}")
