"""Whether a command may take over a run directory: it holds the same run, made by the same code; or is set aside."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from droq_exp.config.errors import OtherRunError, shown
from droq_exp.config.schema import Config
from droq_exp.runs.code import changed, code_of
from droq_exp.runs.identity import conflict, environment_name, short_hash, younger_keys
from droq_exp.runs.lock import RunLock
from droq_exp.runs.owner import LOCK
from droq_exp.runs.status import ASIDE, DONE, read_status, write_status

# Of run directories. 1 had neither a format nor the digests of its code; the transitions of 2 had no `truncated`.
FORMAT = 3


def check_directory(directory: Path, config: Config) -> None:
    """Raise OtherRunError unless ``directory`` is free, or holds the run of ``config`` made by the code of today.

    Code counts only where something would come of the old one: a run that is done, or a checkpoint to go on from.
    """
    stored = _stored(directory)
    if stored is None:
        return
    problem = _unreadable(stored) or conflict(stored["identity"], config)
    if problem is not None:
        ways = "experiment_name=<name> trains the new one elsewhere"
        younger = younger_keys(stored.get("identity", {}), config)
        if younger:
            given = " ".join(f"{key}={shown(value)}" for key, value in younger.items())
            place = _place_with(directory, stored, younger, config)
            old = f"the old one, which knew no {', '.join(younger)}"
            ways += f"; to continue {old}, move it to {place} and give {given}"
        raise OtherRunError("output_dir", f"{directory} holds another run: {problem}; {ways}")
    files = other_code(directory, config)
    if files and not (config.training.restart or config.training.accept_code) and _has_results(directory):
        raise OtherRunError(
            "training.accept_code",
            f"{directory} was made by other code: {', '.join(files)} differs; experiment_name=<name> trains anew "
            "beside it, training.restart=true starts it over and keeps the old results aside, "
            "training.accept_code=true continues it",
        )


def other_code(directory: Path, config: Config) -> list[str]:
    """The files of the learner's code that differ from what made ``directory``; none where it recorded no code."""
    stored = (_stored(directory) or {}).get("code")
    return changed(stored, code_of(config)) if isinstance(stored, dict) else []


def records_code(directory: Path) -> bool:
    """Whether a run in ``directory`` says which code made it; those of format 1 do not."""
    return "code" in (_stored(directory) or {})


def record_accepted(directory: Path, config: Config) -> None:
    """Add to the status of a run that is done the code that ``training.accept_code`` counts it as finished for."""
    files = other_code(directory, config)
    status = read_status(directory)
    if files and status is not None:
        with RunLock.acquire(directory):
            status["accepted_code"] = sorted({*status.get("accepted_code", []), *files})
            write_status(directory, status)


def set_aside(directory: Path) -> Path | None:
    """Move ``directory``, if it is there, to a name of its own beside it; return that.

    Raises:
        HeldError: a process trains there.

    """
    if not directory.is_dir():
        return None
    with RunLock.acquire(directory):
        numbers = [int(path.name.rpartition(ASIDE)[2]) for path in directory.parent.glob(f"{directory.name}{ASIDE}*")]
        aside = directory.with_name(f"{directory.name}{ASIDE}{max(numbers, default=0) + 1}")
        os.rename(directory, aside)
        (aside / LOCK).unlink()
    return aside


def _place_with(directory: Path, stored: dict[str, Any], younger: dict[str, Any], config: Config) -> Path:
    """Where the run in ``directory`` belongs now that keys which it did not have are part of what a run is."""
    changed = {key: pair["run"] for key, pair in (stored.get("differences") or {}).items()} | younger
    return directory.parent.with_name(f"{environment_name(config)}-{short_hash(changed)}") / directory.name


def _stored(directory: Path) -> dict[str, Any] | None:
    try:
        stored = yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stored if isinstance(stored, dict) else {}


def _unreadable(stored: dict[str, Any]) -> str | None:
    form = stored.get("format", 1)
    if form not in range(1, FORMAT + 1):
        return f"it has format {form} and this version of droq-exp knows those up to {FORMAT}: update droq-exp"
    return None if "identity" in stored else "its config.yaml has no identity"


def _has_results(directory: Path) -> bool:
    status = read_status(directory) or {}
    return status.get("state") in DONE or any((directory / "checkpoint").glob("state_*.pt"))
