"""Which rows of a run wandb really has: its files are believed, and not what was once handed to it.

wandb's process keeps records in memory for a while. Where it is killed they are gone, and its file is cut off, or
empty; the CSVs, of which each row is on disk when it is logged, have them all.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from droq_exp.loggers import wandb_files
from droq_exp.loggers.csv import COLUMNS, read_rows
from droq_exp.loggers.wandb_files import DamagedFileError
from droq_exp.runs.files import write_atomically


@dataclass
class Notes:
    """``<run>/wandb/resume.json``: what a later start must know.

    Args:
        id: wandb's, of all parts of the run.
        last_step: the last step handed to wandb; -1 before the first.
        parts: wandb's directory of each part, with the last step handed to it.
        uploaded: the last step of a part that was online to its end; -1 where there is none.
    """

    id: str
    last_step: int = -1
    parts: dict[str, int] = field(default_factory=dict)
    uploaded: int = -1

    @classmethod
    def read(cls, path: Path) -> Notes:
        """From the file, which exists.

        Raises:
            ValueError: it is damaged.
        """
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not isinstance(content.get("id"), str) or not content["id"].isalnum():
            raise ValueError(f"{path} has no id")
        run_id, last_step = content["id"], content.get("last_step", -1)
        parts, uploaded = content.get("parts"), content.get("uploaded", -1)
        if parts is None:  # of an earlier version, which believed what it had noted
            names = [file.parent.name for file in _files(path.parent, "offline-run-*", run_id)]
            parts, uploaded = dict.fromkeys(names, last_step), -1 if names else last_step
        if not isinstance(parts, dict) or any(type(step) is not int for step in (last_step, uploaded, *parts.values())):
            raise ValueError(f"{path} has no steps")
        return cls(run_id, last_step, parts, uploaded)

    def write(self, path: Path) -> None:
        """Replace the file."""
        write_atomically(path, json.dumps(asdict(self)) + "\n")


@dataclass(frozen=True)
class Held:
    """The steps that need not be logged: ``steps``, and all up to ``up_to``."""

    steps: frozenset[int] = frozenset()
    up_to: int = -1

    def __contains__(self, step: int) -> bool:
        """Whether wandb has the row of ``step``."""
        return step <= self.up_to or step in self.steps


def held(directory: Path, notes: Notes) -> Held:
    """What wandb has of a run, as far as can be told here: by its offline files in ``directory``, ``<run>/wandb``.

    A part whose files are gone was removed by somebody who had no more use for it. What a part that was online has
    uploaded, only wandb's server knows, unless it came to its end.
    """
    steps: set[int] = set()
    up_to = notes.uploaded
    for name, last in notes.parts.items():
        if name.startswith("offline-"):
            if not (directory / name).is_dir():
                up_to = max(up_to, last)
            for path in _files(directory, name, notes.id):
                steps |= steps_in(path)
    return Held(frozenset(steps), up_to)


def steps_in(path: Path) -> set[int]:
    """The steps that one of wandb's files has rows of; none of a file that cannot be read."""
    try:
        return set(wandb_files.read(path).steps)
    except DamagedFileError:
        return set()


def logged_rows(directory: Path, last: int) -> dict[int, dict[str, float]]:
    """What the run's CSVs have up to the step ``last``: by step, the metrics as they were logged."""
    rows: dict[int, dict[str, float]] = {}
    for group in COLUMNS:
        for row in read_rows(directory / f"{group}.csv"):
            step = int(row["step"])
            if step <= last:
                values = {f"{group}/{name}": _number(text) for name, text in row.items() if text and name != "step"}
                rows.setdefault(step, {}).update(values)
    return dict(sorted(rows.items()))


def _number(text: str) -> float:
    return int(text) if text.lstrip("-").isdecimal() else float(text)


def _files(directory: Path, part: str, run_id: str) -> list[Path]:
    return sorted(directory.glob(f"{part}/run-{run_id}.wandb"))
