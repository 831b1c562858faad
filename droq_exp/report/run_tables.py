"""The tables of the runs themselves: where their time went, what went wrong, what is not there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from droq_exp.report.captions import numbers, table, texts
from droq_exp.report.data import Sweep
from droq_exp.report.run_data import RunData
from droq_exp.report.table import Table, Value
from droq_exp.runs.status import DONE

# Parts of the time of a run: heading, and the file and column that measure it.
PARTS = (
    ("env", "train", "env_seconds"),
    ("sample", "train", "sample_seconds"),
    ("update", "train", "update_seconds"),
    ("evaluate", "eval", "evaluate_seconds"),
)


def run_time(sweep: Sweep) -> Table:
    """Where the time of each cell goes."""
    rows: list[tuple[Value, ...]] = []
    for cell, runs in sweep.cells.items():
        spent = np.array([seconds for run in runs if (seconds := _seconds(run)) is not None])
        if not len(spent):
            continue
        total, *parts = (float(each) for each in spent.mean(axis=0))
        shares = [100 * part / total for part in parts] if total > 0 else [np.nan] * len(parts)
        speed = [rate for run in runs if (rate := _updates_per_second(run)) is not None]
        devices = ", ".join(sorted({str(run.status["device"]) for run in runs if run.status.get("device")}))
        rate = float(np.mean(speed)) if speed else None
        rows.append((cell.codebase, cell.env, cell.line, devices, len(spent), total, *parts, *shares, rate))
    names = [*(name for name, _, _ in PARTS), "other"]
    columns = [*texts("code base", "environment", "algorithm", "device"), *numbers(0, "seeds")]
    columns += numbers(1, "s per 1,000 steps", *(f"{name}, s" for name in names))
    return table("run_time", [*columns, *numbers(0, *(f"{name}, %" for name in names), "updates per s")], rows)


def _seconds(run: RunData) -> list[float] | None:
    """Seconds for 1,000 steps: all, each of ``PARTS`` and the rest, NaN where not measured; None without any row."""
    ends = [(frame["step"].iloc[-1], frame["wall_seconds"].max()) for frame in (run.train, run.eval) if len(frame)]
    step, wall = max(ends, default=(0, np.nan))
    if not step > 0 or not np.isfinite(wall):
        return None
    parts = [_sum(run, file, column) for _, file, column in PARTS]
    return [1_000 * each / step for each in (wall, *parts, wall - sum(parts))]


def _sum(run: RunData, file: str, column: str) -> float:
    """NaN unless every row has it: a part of the time would look like all."""
    frame = run.train if file == "train" else run.eval
    return float(frame[column].sum(skipna=False)) if column in frame else np.nan


def _updates_per_second(run: RunData) -> float | None:
    rates = run.train["updates_per_second"].to_numpy()
    learning = rates[np.isfinite(rates) & (rates > 0)]
    return float(np.median(learning)) if len(learning) else None


def unfinished_runs(sweep: Sweep) -> Table:
    """The runs that are not done or whose files are damaged, with their error and log."""
    repeated = {id(run) for run in sweep.repeated}
    rows: list[tuple[Value, ...]] = []
    for run in sweep.runs:
        twice = ("left out: another run of this seed is in the report",) if id(run) in repeated else ()
        told = "; ".join([*([run.error] if run.error else []), *run.problems, *twice])
        if run.state not in DONE or told:
            name = f"{run.source}: {run.name}" if len(sweep.sources) > 1 else run.name
            rows.append((name, run.state, run.step, run.total_steps, told, str(run.log) if run.log else ""))
    columns = [*texts("run", "state"), *numbers(0, "step", "of"), *texts("what is wrong", "log")]
    return table("unfinished_runs", columns, rows)


def missing_seeds(sweep: Sweep) -> Table:
    """The seeds that other cells of the same experiment have."""
    seeds: dict[tuple[str, str], set[int]] = defaultdict(set)
    for cell, runs in sweep.cells.items():
        seeds[cell.experiment, cell.source] |= _numbers(runs)
    rows = []
    for cell, runs in sweep.cells.items():
        missing = seeds[cell.experiment, cell.source] - _numbers(runs)
        if missing:
            rows.append((cell.codebase, cell.env, cell.line, _text(missing), _text(_numbers(runs))))
    return table("missing_seeds", texts("code base", "environment", "algorithm", "missing", "there"), rows)


def _numbers(runs: Sequence[RunData]) -> set[int]:
    return {run.seed for run in runs if run.seed is not None}


def _text(seeds: set[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
