"""Reading ``eval.csv`` and ``train.csv`` as they may lie there: half written, damaged, with values that are none."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from droq_exp.loggers.csv import COLUMNS


def read_log(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """The rows of a run's ``eval.csv`` or ``train.csv``, and what is wrong with the file, a line each.

    A row is used where it is whole, its step is a count, and all its values are numbers or empty. Of several rows of
    one step the last is used. Infinite values become NaN, as empty ones do. A file that does not exist has no rows,
    and nothing is wrong with it.

    Returns:
        All columns of ``droq_exp.loggers.csv.COLUMNS`` and any others of the file, as floats but for ``step``, which is
        an integer and increases from row to row.
    """
    known = COLUMNS[path.stem]
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return _frame(known, known, []), []
    header, *lines = text.split("\n")
    names = header.rstrip("\r").split(",")
    if not lines or "step" not in names or len({*names}) < len(names):
        return _frame(known, known, []), [f"{path.name}: left out, its first line is no header"]
    problems = []
    if lines.pop():
        problems.append(f"{path.name}: the last line is cut off")
    rows, broken = _rows(lines, len(names))
    if broken:
        problems.append(f"{path.name}: {_lines(broken)} left out, damaged")
    frame = _frame(known, names, rows)
    in_order, problem = _in_order(frame)
    if problem:
        problems.append(f"{path.name}: {problem}")
    # Times are not missed: runs of earlier versions did not measure all of them.
    missing = [name for name in known if name not in names and not name.endswith("_seconds")]
    if missing:
        problems.append(f"{path.name}: no column {', '.join(missing)}")
    return in_order, problems


def _rows(lines: list[str], width: int) -> tuple[list[list[float]], int]:
    """The rows that are whole and numeric, and how many others there are; by hand: one bad line spoils a parser."""
    rows, broken = [], 0
    for line in lines:
        cells = line.split(",")
        try:
            row = [float(cell) if cell else math.nan for cell in cells]
        except ValueError:
            row = []
        if len(row) == width:
            rows.append(row)
        else:
            broken += bool(line.strip())
    return rows, broken


def _frame(known: tuple[str, ...], names: list[str] | tuple[str, ...], rows: list[list[float]]) -> pd.DataFrame:
    values = np.array(rows, dtype=float).reshape(len(rows), len(names))
    values[~np.isfinite(values)] = np.nan
    frame = pd.DataFrame(values, columns=list(names))
    return frame.reindex(columns=[*known, *(name for name in names if name not in known)])


def _in_order(frame: pd.DataFrame) -> tuple[pd.DataFrame, str | None]:
    """Rows with a step, each step once, in order; and what was done about the others."""
    steps = frame["step"].to_numpy()
    counts = (steps >= 0) & (steps == np.floor(steps))
    if not counts.all():
        frame = frame[counts]
    told = f"{_lines(int((~counts).sum()))} left out, without a step" if not counts.all() else None
    frame = frame.astype({"step": np.int64})
    if not frame["step"].is_monotonic_increasing or not frame["step"].is_unique:
        before = len(frame)
        frame = frame.drop_duplicates("step", keep="last").sort_values("step")
        repeated = before - len(frame)
        order = f"{_lines(repeated)} left out, of a step told again" if repeated else "steps are not in order"
        told = f"{told}; {order}" if told else order
    return frame.reset_index(drop=True), told


def _lines(count: int) -> str:
    return f"{count} line{'s' if count != 1 else ''}"
