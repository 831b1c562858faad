"""The numbers behind the page's curves: thinned where they are many, packed so that a browser reads them fast."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from droq_exp.report.build import Report
from droq_exp.report.curves import METRICS, Curve
from droq_exp.report.data import Cell, Sweep
from droq_exp.report.page_logs import NAMES, TRAINING, Log, clock, look_up, ranges, read
from droq_exp.report.page_style import labels
from droq_exp.report.run_data import RunData

ROWS = 100_000  # some 9 MB of numbers


@dataclass(frozen=True)
class Choice:
    """A metric that the page offers: ``column`` of the log ``file``, "eval" or "train", and what is drawn of it."""

    key: str
    text: str
    file: str
    column: str
    drawn: str


WORDS = {"mean": "Lines are the mean of the seeds", "iqm": "Lines are the interquartile mean of the seeds"}
CHOICES = {
    "Evaluation": [
        Choice(name, each.label, "eval", each.column, f"{WORDS[each.statistic]}, shaded is its 95% bootstrap interval")
        for name, each in METRICS.items()
    ],
    "Training": [
        Choice(column, text, "train", column, f"{WORDS['mean']}, shaded is the range from the lowest to the highest")
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


def pack(sweep: Sweep, report: Report, rows: int) -> Packed:
    """Everything that the page of ``report`` draws; thinned where there are more than ``rows`` evaluations."""
    columns = Columns()
    panels = list(sweep.panels)
    lines = labels(report.styles, sweep.cells)
    names = [label.text for label in lines]
    every = max(1, -(-sum(len(run.eval) for run in sweep.runs) // rows))
    places = {cell: (panels.index((cell.codebase, cell.env)), names.index(cell.line)) for cell in sweep.cells}
    series = [
        {"panel": panel, "label": label, **_series(sweep.cells[cell], report.curves.get(cell, {}), every, columns)}
        for cell, (panel, label) in places.items()
    ]
    content = {
        "panels": [{"title": f"{env}, code base {codebase}"} for codebase, env in panels],
        "labels": [asdict(label) for label in lines],
        "series": series,
        "published": _published(report, places, columns),
        "metrics": [asdict(choice) for choice in ALL],
        "published_metric": PUBLISHED,
        "wall": _time_unit(sweep.runs),
        "every": every,
    }
    return Packed(content, columns.base64())


def _published(report: Report, places: Mapping[Cell, tuple[int, int]], columns: Columns) -> list[dict[str, Any]]:
    """Each curve once, with the numbers of all the lines that it belongs to: directories that are compared share it."""
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for cell, curve in report.published.items():
        panel, label = places[cell]
        shared = found.setdefault((panel, cell.algo), {"panel": panel, "text": f"{cell.algo}, published", "labels": []})
        shared["labels"].append(label)
        shared |= {"step": columns.add(curve.steps), "values": columns.add(curve.returns)}
    return list(found.values())


def _series(runs: Sequence[RunData], curves: Mapping[str, Curve], every: int, columns: Columns) -> dict[str, Any]:
    logs = {file: [read(run, file) for run in runs] for file in NAMES}
    common = ranges(logs["train"])
    clocks = {file: clock(logs[file]) for file in NAMES}
    packed = {}
    for choice in ALL:
        curve = curves.get(choice.key) if choice.file == "eval" else common[choice.column]
        if curve is None or not np.isfinite(curve.center).any():
            continue
        kept = _kept(len(curve.steps), every)
        steps = curve.steps[kept]
        all_steps, times = clocks[choice.file]
        packed[choice.key] = {
            "step": columns.add(steps),
            **{name: columns.add(look_up(steps, all_steps, values)) for name, values in times.items()},
            **{name: columns.add(getattr(curve, name)[kept]) for name in ("center", "low", "high", "seeds")},
        }
    seeds: list[dict[str, Any]] = [{"seed": run.seed if run.seed is not None else "?"} for run in runs]
    for file, each in logs.items():
        for seed, log in zip(seeds, each, strict=True):
            seed[file] = _pack_log(log, every, columns)
    return {"curves": packed, "runs": seeds}


def _pack_log(log: Log, every: int, columns: Columns) -> dict[str, list[int]]:
    """The columns that were measured at all."""
    kept = _kept(len(log.steps), every)
    measured = {name: values for name, values in zip(log.names, log.values.T, strict=True) if np.isfinite(values).any()}
    return {
        "step": columns.add(log.steps[kept]),
        **{name: columns.add(values[kept]) for name, values in measured.items()},
    }


def _kept(length: int, every: int) -> npt.NDArray[np.int64]:
    """One row in ``every``, and the last."""
    return np.union1d(np.arange(every - 1, length, every), [length - 1][:length]).astype(np.int64)


def _time_unit(runs: Sequence[RunData]) -> dict[str, Any]:
    longest = max((run.eval["wall_seconds"].max() for run in runs if len(run.eval)), default=0.0)
    for seconds, unit in ((3600, "hours"), (60, "minutes")):
        if longest >= 2 * seconds:
            return {"seconds": seconds, "unit": unit}
    return {"seconds": 1, "unit": "seconds"}
