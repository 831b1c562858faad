"""The numbers behind the page's curves: thinned where they are many, packed so that a browser reads them fast."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from droq_exp.report.build import Report
from droq_exp.report.curves import METRICS, Curve
from droq_exp.report.data import Sweep
from droq_exp.report.page_style import labels
from droq_exp.report.run_data import RunData

ROWS = 100_000  # of all runs' eval.csv together; a page of more is thinned: some 9 MB of numbers
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """A metric that the page offers: ``column`` of the log ``file``, "eval" or "train", and what is drawn of it."""

    key: str
    text: str
    file: str
    column: str
    drawn: str


WORDS = {"mean": "the mean of the seeds", "iqm": "the interquartile mean of the seeds"}
TRAINING = {
    "critic_loss": "Critic loss",
    "policy_loss": "Policy loss",
    "temperature_loss": "Temperature loss",
    "temperature": "Temperature",
    "entropy": "Entropy of the policy",
    "q_mean": "Mean Q of the minibatches",
    "episode_return_mean": "Return of training episodes",
    "updates_per_second": "Critic updates per second",
}
CHOICES = {
    "Evaluation": [
        Choice(name, each.label, "eval", each.column, f"{WORDS[each.statistic]}, and its 95% bootstrap interval")
        for name, each in METRICS.items()
    ],
    "Training": [
        Choice(column, text, "train", column, f"{WORDS['mean']}, and the range from the lowest to the highest")
        for column, text in TRAINING.items()
    ],
}
ALL = [choice for choices in CHOICES.values() for choice in choices]
PUBLISHED = "return"  # what the published curves are of


@dataclass
class Columns:
    """Columns of numbers as 32-bit floats in one block, equal ones stored once."""

    blocks: list[bytes] = field(default_factory=list)
    known: dict[bytes, list[int]] = field(default_factory=dict)
    length: int = 0

    def add(self, values: npt.ArrayLike) -> list[int]:
        """Where the page finds ``values``: [first number, how many]."""
        data = np.asarray(values, dtype="<f4").tobytes()
        if data not in self.known:
            self.known[data] = [self.length, len(data) // 4]
            self.blocks.append(data)
            self.length += len(data) // 4
        return self.known[data]

    def base64(self) -> str:
        """All columns, little-endian, one after the other."""
        return base64.b64encode(b"".join(self.blocks)).decode()


@dataclass(frozen=True)
class Packed:
    """All of it: ``content`` is plain JSON, its columns point into ``numbers``."""

    content: dict[str, Any]
    numbers: str
    every: int


def pack(sweep: Sweep, report: Report) -> Packed:
    """Everything that the page of ``report`` draws."""
    columns = Columns()
    panels = list(sweep.panels)
    lines = labels(report.styles)
    names = [label.text for label in lines]
    every = max(1, -(-sum(len(run.eval) for run in sweep.runs) // ROWS))
    places = {cell: (panels.index((cell.codebase, cell.env)), names.index(cell.line)) for cell in sweep.cells}
    series = [
        {"panel": panel, "label": label, **_series(sweep.cells[cell], report.curves.get(cell, {}), every, columns)}
        for cell, (panel, label) in places.items()
    ]
    content = {
        "panels": [{"title": f"{env}, style {codebase}"} for codebase, env in panels],
        "labels": [asdict(label) for label in lines],
        "series": series,
        "published": [
            {
                "panel": places[cell][0],
                "label": places[cell][1],
                "step": columns.add(curve.steps),
                "values": columns.add(curve.returns),
            }
            for cell, curve in report.published.items()
        ],
        "metrics": [asdict(choice) for choice in ALL],
        "published_metric": PUBLISHED,
        "wall": _time_unit(sweep.runs),
        "every": every,
    }
    return Packed(content, columns.base64(), every)


def _series(
    runs: Sequence[RunData], curves: Mapping[str, Curve], every: int, columns: Columns
) -> dict[str, list[Any] | dict[str, Any]]:
    clock = _clock(runs)
    packed = {}
    for choice in ALL:
        curve = curves.get(choice.key) if choice.file == "eval" else _range(runs, choice.column)
        if curve is None or not np.isfinite(curve.center).any():
            continue
        kept = _kept(len(curve.steps), every)
        steps = curve.steps[kept]
        at = clock.reindex(steps)
        packed[choice.key] = {
            "step": columns.add(steps),
            **{name: columns.add(at[name]) for name in ("updates", "wall")},
            **{name: columns.add(getattr(curve, name)[kept]) for name in ("center", "low", "high", "seeds")},
        }
    return {"curves": packed, "runs": [_run(run, every, columns) for run in runs]}


def _clock(runs: Sequence[RunData]) -> pd.DataFrame:
    """Critic updates and seconds since the start at each step, means over the runs that have come so far."""
    times = [_times(run) for run in runs]
    return pd.concat(times).groupby(level=0).mean() if times else pd.DataFrame(columns=["updates", "wall"])


def _times(run: RunData) -> pd.DataFrame:
    updates = run.train.set_index("step")["updates"]
    wall = run.eval.set_index("step")["wall_seconds"]
    return pd.DataFrame({"updates": updates, "wall": wall.combine_first(run.train.set_index("step")["wall_seconds"])})


def _range(runs: Sequence[RunData], column: str) -> Curve:
    """The mean over the runs that have a step; its band is from the lowest to the highest."""
    by_step = pd.concat([run.train.set_index("step")[column] for run in runs]).groupby(level=0)
    table = by_step.agg(["mean", "min", "max", "count"])
    several = table["count"] > 1
    return Curve(
        steps=table.index.to_numpy(),
        center=table["mean"].to_numpy(),
        low=table["min"].where(several).to_numpy(),
        high=table["max"].where(several).to_numpy(),
        seeds=table["count"].to_numpy(),
    )


def _run(run: RunData, every: int, columns: Columns) -> dict[str, Any]:
    times = _times(run)
    packed: dict[str, Any] = {"seed": run.seed if run.seed is not None else "?"}
    for file, frame in (("eval", run.eval), ("train", run.train)):
        kept = frame.iloc[_kept(len(frame), every)]
        at = times.reindex(kept["step"])
        names = {choice.column for choice in ALL if choice.file == file}
        measured = [name for name in sorted(names) if kept[name].notna().any()]
        packed[file] = {
            "step": columns.add(kept["step"]),
            **{name: columns.add(at[name]) for name in ("updates", "wall")},
            **{name: columns.add(kept[name]) for name in measured},
        }
    return packed


def _kept(length: int, every: int) -> npt.NDArray[np.int64]:
    """One row in ``every``, and the last."""
    return np.union1d(np.arange(every - 1, length, every), [length - 1][:length]).astype(np.int64)


def _time_unit(runs: Sequence[RunData]) -> dict[str, Any]:
    longest = max((run.eval["wall_seconds"].max() for run in runs if len(run.eval)), default=0.0)
    for seconds, unit in ((3600, "hours"), (60, "minutes")):
        if longest >= 2 * seconds:
            return {"seconds": seconds, "unit": unit}
    return {"seconds": 1, "unit": "seconds"}
