"""A run's ``status.json``, for those that only read it: training itself takes seconds to import."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from droq_exp.runs.files import damaged, read_json, write_atomically

FILE = "status.json"
ASIDE = ".before-"  # in the name of a directory that was set aside: seed_0.before-1
REMEDY = "removing it lets the run go on from its checkpoint, where it has one"
CUT_SHORT = ("stopped", "pruned")  # states of a run that a callback has ended, for a reason that its status tells
DONE = ("finished", *CUT_SHORT)  # of a run that has ended in order: nothing is left to do
MOST_STEPS = 2**53  # beyond, a float is no count any more


def is_time(value: Any) -> bool:
    """Whether it is a time as ``now`` tells it: two of them can be compared."""
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < MOST_STEPS


def _is_error(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("summary"), str)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _are_phases(value: Any) -> bool:
    """By name, what ``Phases.told`` says."""
    return isinstance(value, dict) and all(
        isinstance(each, dict)
        and all(_is_count(each.get(name)) for name in ("updates", "of"))
        and type(each.get("seconds")) in (int, float)
        for each in value.values()
    )


def _or_null(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


# What others count on: all that is needed, and the rest where it is there.
NEEDED: dict[str, Callable[[Any], bool]] = {
    "state": lambda value: value in ("running", *DONE, "interrupted", "failed"),
    "step": _is_count,
    "started": is_time,
}
CHECKS: dict[str, Callable[[Any], bool]] = {
    **NEEDED,
    "total_steps": _or_null(_is_count),
    "ended": _or_null(is_time),
    "error": _or_null(_is_error),
    "reason": _or_null(lambda value: isinstance(value, str)),
    "attempts": _is_count,
    "overrides": _are_texts,
    "accepted_code": _are_texts,
    "phases": _or_null(_are_phases),
    "results": _or_null(lambda value: isinstance(value, dict)),
}


def read_status(directory: Path) -> dict[str, Any] | None:
    """Content of a run directory's ``status.json``; None where there is none, DamagedError where it is none."""
    path = directory / FILE
    try:
        content = read_json(path, REMEDY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not isinstance(content, dict):
        raise damaged(path, "not a mapping", REMEDY)
    for name in NEEDED.keys() - content.keys():
        raise damaged(path, f"no {name}", REMEDY)
    for name, check in CHECKS.items():
        if name in content and not check(content[name]):
            raise damaged(path, f"{name} is {str(content[name])[:80]!r}", REMEDY)
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
