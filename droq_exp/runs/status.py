"""A run's ``status.json``, for those that only read it: training itself takes seconds to import."""

from __future__ import annotations

import json
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import Any

from droq_exp.runs.files import read_json, write_atomically

FILE = "status.json"
ASIDE = ".before-"  # in the name of a directory that was set aside: seed_0.before-1
REMEDY = "removing it lets the run go on from its checkpoint, where it has one"
DONE = ("finished", "stopped")  # states of a run that has ended in order: nothing is left to do
STATES = ("running", *DONE, "interrupted", "failed")
NEEDED = ("state", "step")
# Of those that others count on, where they are there.
KINDS: dict[str, tuple[type, ...]] = {
    "state": (str,),
    "step": (int,),
    "started": (str,),
    "total_steps": (int, NoneType),
    "error": (dict, NoneType),
    "reason": (str, NoneType),
    "results": (dict, NoneType),
}


def read_status(directory: Path) -> dict[str, Any] | None:
    """Content of a run directory's ``status.json``; None where there is none, ValueError where it is none."""
    path = directory / FILE
    try:
        content = read_json(path, REMEDY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged (not a mapping); {REMEDY}")
    wrong = [name for name, kinds in KINDS.items() if name in content and not isinstance(content[name], kinds)]
    wrong += [name for name in NEEDED if name not in content]
    if not wrong and content["state"] not in STATES:
        wrong = ["state"]
    if wrong:
        raise ValueError(f"{path} is damaged ({wrong[0]} is {content.get(wrong[0], 'missing')!r}); {REMEDY}")
    return content


def write_status(directory: Path, status: dict[str, Any]) -> None:
    """Replace a run directory's ``status.json``, which is never there by halves."""
    write_atomically(directory / FILE, json.dumps(status, indent=2) + "\n")


def now() -> str:
    """The time as ``status.json`` and ``job.json`` keep it: ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def summary_of(error: BaseException) -> str:
    """What ``status.json`` says of ``error``, in a line."""
    return " ".join("".join(traceback.format_exception_only(error)).split())
