"""What a search leaves for its readers, who need no Optuna: ``search.json`` and ``trials.csv``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from droq_exp.runs.files import damaged, read_json, unreadable, write_atomically

ABOUT, TRIALS = "search.json", "trials.csv"
REMEDY = "the search's command writes it anew"
State = Literal["running", "complete", "pruned", "failed"]
COLUMNS = ("trial", "state", "value", "step", "runs", "reason")  # before the keys


@dataclass(frozen=True)
class About:
    """What a search is, and what has come of it.

    Args:
        command: what began it, and continues it.
        terms: by key, as typed.
        scales: "log", "range" or "choice", by key.
        seeds: of each trial.
        score: "mean" or "iqm" over them.
        objective: as the configuration's.
        prune: whether trials may end early.
        importance: by key, in sum 1; empty while nothing can be said.
        training: what trains with the best values, outside the search; None while no trial has ended with a value.
    """

    command: str
    terms: Mapping[str, str]
    scales: Mapping[str, str]
    seeds: int
    score: str
    objective: str
    prune: bool
    importance: Mapping[str, float]
    training: str | None


@dataclass(frozen=True)
class Trial:
    """One row of ``trials.csv``.

    Args:
        number: from 0 on, in the order in which they were begun.
        state: what has become of it.
        value: its score; of a pruned trial, what it was worth when it was pruned; else None.
        step: at which it was pruned; else None.
        runs: the folder of its seeds, below the search's; "" where there is none.
        reason: why it failed or was pruned.
        values: by key, as texts that Hydra reads.
    """

    number: int
    state: State
    value: float | None
    step: int | None
    runs: str
    reason: str
    values: Mapping[str, str]


def best(trials: Sequence[Trial]) -> Trial | None:
    """The complete trial of the highest value, the first of equals; None without any."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)


def write(folder: Path, about: About, trials: Sequence[Trial]) -> None:
    """Replace both files in ``folder``; raises OSError where that cannot be."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *about.terms])
    for trial in trials:
        own = [trial.number, trial.state, trial.value, trial.step, trial.runs, trial.reason]
        writer.writerow(["" if value is None else value for value in own] + [trial.values[key] for key in about.terms])
    write_atomically(folder / TRIALS, text.getvalue())
    write_atomically(folder / ABOUT, json.dumps(asdict(about), indent=2) + "\n")


def read(folder: Path) -> tuple[About, list[Trial]] | None:
    """What lies in ``folder``; None where no search has written there.

    Raises:
        DamagedError: one of the files cannot be read, or is not what it should be.
    """
    path = folder / ABOUT
    try:
        content = read_json(path, REMEDY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        about = About(**content)
        mappings: tuple[Any, ...] = (about.terms, about.scales, about.importance)
        if not all(isinstance(each, dict) for each in mappings) or {*about.terms} != {*about.scales}:
            raise TypeError("not what a search writes")
    except TypeError as error:
        raise damaged(path, error, REMEDY) from error
    return about, _trials(folder / TRIALS, [*about.terms])


def _trials(path: Path, keys: Sequence[str]) -> list[Trial]:
    try:
        rows = [*csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))]
        return [_trial(row, keys) for row in rows]
    except OSError as error:
        raise unreadable(path, error) from error
    except (csv.Error, KeyError, ValueError) as error:
        raise damaged(path, error, REMEDY) from error


def _trial(row: Mapping[str, str], keys: Sequence[str]) -> Trial:
    if row["state"] not in get_args(State):
        raise ValueError(f"state {row['state']!r}")
    return Trial(
        number=int(row["trial"]),
        state=cast("State", row["state"]),
        value=float(row["value"]) if row["value"] else None,
        step=int(row["step"]) if row["step"] else None,
        runs=row["runs"],
        reason=row["reason"],
        values={key: row[key] for key in keys},
    )
