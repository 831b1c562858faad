"""Whether a command may take over a run directory: it holds the same run, made by the same code; or is set aside."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from droq_exp.config.errors import OtherRunError, shown
from droq_exp.config.schema import Config
from droq_exp.config.task import tried
from droq_exp.runs.checkpoint_files import FOLDER, state_steps
from droq_exp.runs.code import changed, code_of
from droq_exp.runs.files import LEFTOVERS, DamagedError, load_yaml, remove_leftovers, unreadable
from droq_exp.runs.identity import conflict, environment_name, short_hash, younger_keys
from droq_exp.runs.lock import HeldError, RunLock
from droq_exp.runs.log import LOG
from droq_exp.runs.owner import LOCK
from droq_exp.runs.results import RESULTS, changed_results
from droq_exp.runs.status import ASIDE, DONE, read_status, write_status

# Of run directories. 1 had neither a format nor the digests of its code; the transitions of 2 had no `truncated`.
FORMAT = 3
RESTART = "training.restart=true starts it over and keeps the old results aside"


def check_directory(directory: Path, config: Config) -> None:
    """Refuse a directory in which the command would do harm; nothing is read but small files.

    Raises:
        OtherRunError: it holds another run, one made by other code, files from which it cannot be told, or results that
            would be deleted. Code counts only where something would come of the old one: a run that is done, or a
            checkpoint to go on from. With ``training.restart``, which deletes nothing, only another run is refused.

    """
    stored = _stored(directory)
    damage = _damage(directory, stored)
    if damage is not None and not config.training.restart:
        raise OtherRunError("output_dir", f"{damage}; {RESTART}")
    if damage is not None or stored is None:
        return
    problem = other_format(stored) or conflict(stored["identity"], config) or _other_seed(directory, stored)
    problem = problem or other_observation(stored, config)
    if problem is not None:
        ways = "experiment_name=<name> trains the new one elsewhere"
        younger = younger_keys(stored.get("identity", {}), config)
        if younger:
            given = " ".join(f"{key}={shown(value)}" for key, value in younger.items())
            place = _place_with(directory, stored, younger, config)
            old = f"the old one, which knew no {', '.join(younger)}"
            ways += f"; to continue {old}, move it to {place} and give {given}"
        raise OtherRunError("output_dir", f"{directory} holds another run: {problem}; {ways}")
    if config.training.restart:
        return
    status, steps = read_status(directory) or {}, state_steps(directory / FOLDER)
    files = other_code(directory, config)
    if files and not config.training.accept_code and (status.get("state") in DONE or steps):
        raise OtherRunError(
            "training.accept_code",
            f"{directory} was made by other code, changed since in {', '.join(files)}; "
            f"experiment_name=<name> trains anew beside it, {RESTART}, training.accept_code=true continues it",
        )
    _check_steps(directory, status, steps, config.training.total_steps)


def check_checkpoints(directory: Path, usable: Collection[int], total_steps: int) -> None:
    """Refuse to extend a finished run of whose checkpoints none is whole: ``usable`` are the steps of those that are.

    Raises:
        OtherRunError: so it is, and its results would be deleted.

    """
    _check_extension(directory, read_status(directory) or {}, usable, total_steps)


def _check_extension(directory: Path, status: dict[str, Any], usable: Collection[int], total_steps: int) -> None:
    if status.get("state") == "finished" and not usable:
        raise OtherRunError(
            "training.total_steps",
            f"{directory} finished at step {status['step']} and has no whole checkpoint from which to go on to "
            f"{total_steps}: only checkpoint.keep_replay=true, given beforehand, keeps one; experiment_name=<name> "
            f"trains anew beside it, {RESTART}",
        )


def check_results(directory: Path) -> None:
    """Refuse to count a run as done whose results are not what it left.

    Raises:
        OtherRunError: a file of them is missing, or its checksum differs.

    """
    names = changed_results(directory)
    if names:
        raise OtherRunError("output_dir", f"{directory} was done, but {', '.join(names)} is damaged since; {RESTART}")


def _check_steps(directory: Path, status: dict[str, Any], steps: Collection[int], total_steps: int) -> None:
    if status.get("state") in DONE:
        if status["step"] < total_steps:
            _check_extension(directory, status, steps, total_steps)
        return
    reached = status.get("step", 0)
    if max([reached, *steps]) > total_steps:
        from droq_exp.runs.checkpoint import Checkpoints  # imports torch: only where a file's name says what may be

        reached = max([reached, *Checkpoints(directory / FOLDER).whole()])
    if reached > total_steps:
        raise OtherRunError(
            "training.total_steps",
            f"{directory} has come to step {reached}, and {total_steps} would delete what is beyond; "
            f"training.total_steps={reached} or more goes on from there, {RESTART}",
        )


def _damage(directory: Path, stored: dict[str, Any] | None) -> str | None:
    """What of the files that tell whose results there are is missing or unreadable, in words; None: nothing."""
    try:
        status = read_status(directory)
    except DamagedError as error:
        return str(error)
    for path in (*(directory / name for name in (*RESULTS, LOG)), directory / FOLDER):
        if path.exists() and not (path.is_dir() if path.name == FOLDER else path.is_file()):
            kind = "a directory" if path.is_dir() else "no directory" if path.name == FOLDER else "no file"
            return f"{path} is {kind}"
    steps = state_steps(directory / FOLDER)
    # Whether there is anything that a start from step 0 would delete.
    results = steps or any((directory / name).exists() for name in RESULTS)
    if stored is None:
        return f"{directory / 'config.yaml'} is missing: nobody knows whose results are there" if results else None
    if other_format(stored) is None and (not isinstance(stored.get("identity"), dict) or not _complete(stored)):
        return f"{directory / 'config.yaml'} is damaged: nobody knows whose results are there"
    if status is None and results and not steps:
        return f"{directory / 'status.json'} is missing: nobody knows whether the results there are all"
    return None


def _other_seed(directory: Path, stored: dict[str, Any]) -> str | None:
    """What is wrong where a run of one seed lies in the directory of another: it was renamed or copied."""
    seed = stored.get("seed")
    return f"seed is {seed} there and {directory.name} is asked for" if directory.name != f"seed_{seed}" else None


def other_observation(stored: dict[str, Any], config: Config) -> str | None:
    """Where a suite has got another version, whose observations are none that the run's policy knows."""
    there, here = stored.get("observation"), [list(part) for part in tried(config.env).order]
    if there is None or there == here:  # older runs do not tell
        return None
    return f"the parts of an observation are {there} there and {here} here"


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


def tidy(directory: Path) -> None:
    """Remove from a run that is done what killed processes have left there, if nobody is at work and it can be."""
    folders = (directory, directory / FOLDER)
    if any(any(folder.glob(LEFTOVERS)) for folder in folders):
        with suppress(HeldError, OSError), RunLock.acquire(directory):
            for folder in folders:
                remove_leftovers(folder)


def _place_with(directory: Path, stored: dict[str, Any], younger: dict[str, Any], config: Config) -> Path:
    """Where the run in ``directory`` belongs now that keys which it did not have are part of what a run is."""
    changed = {key: pair["run"] for key, pair in (stored.get("differences") or {}).items()} | younger
    return directory.parent.with_name(f"{environment_name(config)}-{short_hash(changed)}") / directory.name


def _stored(directory: Path) -> dict[str, Any] | None:
    """What config.yaml holds: None where there is none, nothing where it is damaged."""
    path = directory / "config.yaml"
    try:
        stored = load_yaml(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(path, error) from error
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    mappings = ("identity", "differences", "code")
    whole = isinstance(stored, dict) and all(isinstance(stored.get(key, {}), dict | None) for key in mappings)
    return stored if whole else {}


def other_format(stored: dict[str, Any]) -> str | None:
    """Why this version does not know a run whose config.yaml is ``stored``, in words; None: it does."""
    form = stored.get("format", 1)
    if type(form) is int and 1 <= form <= FORMAT:
        return None
    return f"it has format {form} and this version of droq-exp knows those up to {FORMAT}: update droq-exp"


def _complete(stored: dict[str, Any]) -> bool:
    """Whether the last thing that a config.yaml holds is there."""
    return stored.get("format", 1) == 1 or isinstance(stored.get("code"), dict)
