"""``eval.csv`` and ``train.csv``, which every run has, and a file for each kind of phase without environment steps."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path

from droq_exp.loggers.base import RunInfo
from droq_exp.runs.files import REMEDY, damaged, discard, unreadable, write_atomically

# Columns of another name (a code base's own) come in front of the last one.
COLUMNS = {
    "eval": (
        *("step", "return_mean", "return_std", "return_min", "return_max", "length_mean"),
        *("bias_mean", "bias_std", "normalized_bias_mean", "normalized_bias_std"),
        *("evaluate_seconds", "wall_seconds"),
    ),
    "train": (
        *("step", "critic_loss", "policy_loss", "temperature_loss", "temperature", "q_mean", "entropy"),
        *("episodes", "episode_return_mean", "episode_length_mean"),
        *("updates", "updates_per_second", "env_seconds", "sample_seconds", "update_seconds", "wall_seconds"),
    ),
}
PHASES = {  # several rows a step
    "offline": ("step", "updates", "critic_loss", "q_mean", "wall_seconds"),
    "pretraining": ("step", "updates", "features_loss", "features_ratio", "wall_seconds"),
}
FILES = COLUMNS | PHASES


class CsvLogger:
    """One row per step and file; missing values are empty, floats have all their digits."""

    def __init__(self, info: RunInfo) -> None:
        """Write nothing yet: a file appears with its first row. Of a resumed run, its rows are its checkpoint's."""
        self._directory = info.directory
        self._rows: dict[str, list[dict[str, str]]] = {group: [] for group in FILES}
        for group in FILES:
            if info.resumed_at:
                self._take_up(group, info)
            if self._rows[group]:
                self._write(group)
            else:
                discard(self._path(group))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write "eval/x" to column x of ``eval.csv``, "train/x" to ``train.csv``; ValueError for other names.

        The files are replaced as a whole, so a reader never sees half a row. Metrics of a step that has a row already
        complete that row.
        """
        new: dict[str, dict[str, str]] = {}
        for name, value in metrics.items():
            group, _, column = name.partition("/")
            if group not in COLUMNS or not column:
                raise ValueError(f"{name}: metrics are named eval/<column> or train/<column>")
            new.setdefault(group, {})[column] = _number(value)
        for group, row in new.items():
            rows = self._rows[group]
            if not rows or rows[-1]["step"] != str(step):
                rows.append({"step": str(step)})
            rows[-1].update(row)
            self._write(group)

    def log_phase(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        """Write a row of ``<name>.csv``."""
        self._rows[name].append({"step": str(step)} | {column: _number(value) for column, value in metrics.items()})
        self._write(name)

    def state(self) -> dict[str, str]:
        """Return the files as text: with them a checkpoint has every row, whatever happens to the files."""
        return {group: self._text(group) for group, rows in self._rows.items() if rows}

    def close(self, state: str) -> None:
        """Do nothing: every row is on disk."""

    def _take_up(self, group: str, info: RunInfo) -> None:
        """Take the rows up to the checkpoint's step, from itself; say where the file has others."""
        path, step = self._path(group), info.resumed_at
        there = _rows_until(step, path.read_bytes() if path.exists() else b"")
        if info.logged is None:  # a checkpoint of before it held rows
            if there is None:
                info.log.warning("%s is damaged, and the checkpoint has no copy of its rows: they are lost", path)
            self._rows[group] = there or []
            return
        rows = _rows_until(step, info.logged.get(group, "").encode()) or []
        if (there or [])[: len(rows)] != rows:  # after a checkpoint in the middle of a step it may have got more
            info.log.warning("%s was missing or damaged: its %s rows are those of the checkpoint", path, len(rows))
        self._rows[group] = rows

    def _write(self, group: str) -> None:
        write_atomically(self._path(group), self._text(group))

    def _text(self, group: str) -> str:
        rows = self._rows[group]
        *first, last = FILES[group]
        extra = {column: None for row in rows for column in row if column not in FILES[group]}  # in order, once each
        text = io.StringIO()
        writer = csv.DictWriter(text, [*first, *extra, last], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def _path(self, group: str) -> Path:
        return self._directory / f"{group}.csv"


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of an ``eval.csv`` or another of these as texts, each with a ``step``; none where there is no file.

    Raises:
        DamagedError: it is damaged, or cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        return _rows(content)
    except ValueError as error:
        raise damaged(path, error, REMEDY) from error


def _rows(content: bytes) -> list[dict[str, str]]:
    """The rows of a file's content; ValueError where it is damaged."""
    rows: list[dict[str, str]] = []
    try:
        for row in csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")):
            if None in row or None in row.values() or int(row["step"]) < 0:
                raise ValueError("no whole row")
            for value in filter(None, row.values()):
                float(value)
            rows.append(row)
    except (csv.Error, KeyError, ValueError) as error:
        raise ValueError(f"line {len(rows) + 2}") from error
    return rows


def _rows_until(step: int, content: bytes) -> list[dict[str, str]] | None:
    """Rows of a file's content up to ``step``; None where it is damaged."""
    try:
        return [row for row in _rows(content) if int(row["step"]) <= step]
    except ValueError:
        return None


def _number(value: float) -> str:
    return str(int(value)) if isinstance(value, Integral) else repr(float(value))
