"""Reading ``eval.csv`` and ``train.csv`` as they may lie there: half written, damaged, with values that are none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from droq_exp.loggers.csv import COLUMNS

MOST_STEPS = 2**53  # beyond, a float is no count any more


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
        return _frame(known, known, np.empty((0, len(known)))), []
    except OSError as error:
        return _frame(known, known, np.empty((0, len(known)))), [f"{path.name}: cannot be read: {error.strerror}"]
    header, *lines = text.split("\n")
    names = header.rstrip("\r").split(",")
    if not lines or "step" not in names or len({*names}) < len(names):
        return _frame(known, known, np.empty((0, len(known)))), [f"{path.name}: left out, its first line is no header"]
    problems = []
    if lines.pop():
        problems.append(f"{path.name}: the last line is cut off")
    values, broken = _values(lines, len(names))
    if broken:
        problems.append(f"{path.name}: {_lines(broken)} left out, damaged")
    values, told = _in_order(values, names.index("step"))
    problems += [f"{path.name}: {problem}" for problem in told]
    # Times are not missed: runs of earlier versions did not measure all of them.
    missing = [name for name in known if name not in names and not name.endswith("_seconds")]
    if missing:
        problems.append(f"{path.name}: no column {', '.join(missing)}")
    return _frame(known, names, values), problems


def no_log(name: str) -> tuple[pd.DataFrame, list[str]]:
    """As ``read_log`` of the file ``name`` of a run that is done, which is not what the run left."""
    known = COLUMNS[Path(name).stem]
    return _frame(known, known, np.empty((0, len(known)))), [f"{name}: left out, changed since the run was done"]


def _values(lines: list[str], width: int) -> tuple[np.ndarray, int]:
    """``[rows, width]`` of the rows that are whole and numeric, and how many others there are.

    Not by a library's parser: none tells which lines it could not read, and most fill up short ones.
    """
    whole = [line for line in lines if line.count(",") == width - 1]
    broken = sum(bool(line.strip()) for line in lines) - len(whole)
    try:
        flat = _floats(",".join(whole)) if whole else []
    except ValueError:
        numeric = [row for line in whole if (row := _row(line)) is not None]
        broken += len(whole) - len(numeric)
        flat = [value for row in numeric for value in row]
    values = np.array(flat, dtype=float).reshape(-1, width)
    values[~np.isfinite(values)] = np.nan
    return values, broken


def _row(line: str) -> list[float] | None:
    try:
        return _floats(line)
    except ValueError:
        return None


def _floats(text: str) -> list[float]:
    return [float(cell) if cell else math.nan for cell in text.split(",")]


def _in_order(values: np.ndarray, column: int) -> tuple[np.ndarray, list[str]]:
    """Rows with a step, each step once, in order; and what was done about the others."""
    problems = []
    steps = values[:, column]
    counts = (steps >= 0) & (steps == np.floor(steps)) & (steps < MOST_STEPS)
    if not counts.all():
        problems.append(f"{_lines(int((~counts).sum()))} left out, without a step")
        values, steps = values[counts], steps[counts]
    if not (np.diff(steps) > 0).all():
        _, last = np.unique(steps[::-1], return_index=True)
        repeated = len(steps) - len(last)
        problems.append(f"{_lines(repeated)} left out, of a step told again" if repeated else "steps are not in order")
        values = values[len(steps) - 1 - last]
    return values, problems


def _frame(known: Sequence[str], names: Sequence[str], values: np.ndarray) -> pd.DataFrame:
    columns = [*known, *(name for name in names if name not in known)]
    full = np.full((len(values), len(columns)), np.nan)
    full[:, [columns.index(name) for name in names]] = values
    frame = pd.DataFrame(full, columns=columns)
    frame["step"] = frame["step"].to_numpy().astype(np.int64)
    return frame


def _lines(count: int) -> str:
    return f"{count} line{'s' if count != 1 else ''}"
