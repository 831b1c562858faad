"""The runs below a directory, as their files and the queue tell; reads no more of them than the tables show.

The tables of runs that are done are read whole, for their checksums.
"""

from __future__ import annotations

import difflib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

from droq_exp.cli.errors import RefusedError
from droq_exp.jobs.queue import Queue, QueueUnreachableError
from droq_exp.jobs.record import FILE as JOB_FILE
from droq_exp.jobs.record import JobRecord
from droq_exp.jobs.state import State, judged, summary
from droq_exp.runs.files import REMEDY, DamagedError, walk
from droq_exp.runs.log import LOG
from droq_exp.runs.results import TABLES, damaged_results
from droq_exp.runs.status import ASIDE, CUT_SHORT, read_status
from droq_exp.runs.status import FILE as STATUS_FILE

TAIL_BYTES = 4096  # of a CSV: some ten rows, enough for a rate


@dataclass(frozen=True)
class ListedRun:
    """What is known of one run.

    Args:
        directory: as found, relative where the directory asked for was.
        name: ``directory`` below the one asked for.
        state: of ``droq_exp.jobs.state``, or "unknown" where it depends on a queue that does not answer.
        step: reached at the last evaluation or at the end.
        total_steps: None before the run starts, unless its overrides say.
        last_return: mean return of the last evaluation; None before the first.
        seconds_left: of a running run that has begun to learn, by its rate over the last intervals; else None.
        error: one line that says what went wrong, or None.
        damage: what is wrong with one of its files, where that is the error.
        reason: one line that says why a callback has ended it, or None.
        log: where to read more about the error; None where there is none.
        record: the job last submitted for it.
        overrides: what makes exactly this run; None where neither job.json nor status.json has them.
    """

    directory: Path
    name: str
    state: State | Literal["unknown"]
    step: int
    total_steps: int | None
    last_return: float | None
    seconds_left: float | None
    error: str | None
    damage: str | None
    reason: str | None
    log: Path | None
    record: JobRecord | None
    overrides: list[str] | None


class _Unreachable(Queue):
    """A queue that is known not to answer is not asked again for each run."""

    def __init__(self, error: QueueUnreachableError) -> None:
        self.error = error

    def slurm(self, job_id: str) -> str | None:
        raise self.error


def find(directory: Path) -> list[Path]:
    """The run directories at or below ``directory``, by name: those with a status or a job.

    Raises:
        RefusedError: ``directory`` is none, or holds no run.
    """
    if not directory.is_dir():
        near = difflib.get_close_matches(str(directory), map(str, directory.parent.glob("*/")), n=1)
        raise RefusedError(f"{directory} is not a directory" + (f"; did you mean {near[0]}?" if near else ""))
    found = []
    for place, directories, files in walk(directory):
        if STATUS_FILE in files or JOB_FILE in files:
            found.append(Path(place))
            directories.clear()
        else:
            directories[:] = [name for name in directories if not name.startswith(".") and ASIDE not in name]
    if not found:
        raise RefusedError(f"{directory} has no runs; give outputs or a directory below it")
    return sorted(found, key=_by_number)


def only(directory: Path) -> Path:
    """The one run directory at or below ``directory``; a copy of one that has no status.json any more is one too.

    Raises:
        RefusedError: there is none, or there are several.
    """
    if (directory / "config.yaml").exists():
        return directory
    found = find(directory)
    if len(found) > 1:
        names = ", ".join(str(place) for place in found[:3])
        raise RefusedError(
            f"{directory} has {len(found)} runs; give one of them: {names}{', ...' if found[3:] else ''}"
        )
    return found[0]


def survey(directory: Path) -> tuple[list[ListedRun], str | None]:
    """All runs at or below ``directory``, and why the queue does not answer where it does not (None: it does).

    Raises:
        RefusedError: as ``find``.
    """
    queue, problem = Queue(), None
    views = []
    for place in find(directory):
        try:
            views.append(_view(place, directory, queue))
        except QueueUnreachableError as error:
            queue, problem = _Unreachable(error), str(error)
            views.append(_view(place, directory, None))
    return views, problem


def view(directory: Path, queue: Queue) -> ListedRun:
    """The one run in ``directory``.

    Raises:
        QueueUnreachableError: its state depends on a queue that does not answer.
    """
    return _view(directory, directory.parent, queue)


def _view(place: Path, below: Path, queue: Queue | None) -> ListedRun:
    status, record, damage = _files(place)
    total = _total_steps(status, record)
    state: State | Literal["unknown"] = "unknown"
    if queue is not None:
        try:
            state = judged(place, total or 0, queue)
        except DamagedError as error:
            state, damage = "failed", str(error)
    if damage is None and (names := damaged_results(place, status, TABLES)):
        state, damage = "failed", f"was done, but {', '.join(names)} is damaged since; {REMEDY}"
    evaluations = _last_rows(place / "eval.csv") if damage is None else []
    phases = status.get("phases") or {}
    overrides = record.overrides if record is not None else status.get("overrides")
    trouble = state in ("failed", "interrupted", "vanished")
    return ListedRun(
        directory=place,
        name=shown(str(place.relative_to(below)) if place != below else place.resolve().name),
        state=state,
        step=status.get("step", 0),
        total_steps=total,
        last_return=_finite(evaluations[-1].get("return_mean")) if evaluations else None,
        seconds_left=_seconds_left(_last_rows(place / "train.csv"), total, phases) if state == "running" else None,
        error=shown(damage or summary(state, status, record)),
        damage=damage,
        reason=shown(status.get("reason")) if state in CUT_SHORT else None,
        log=_log(state, place, record) if trouble else None,
        record=record,
        overrides=overrides,
    )


@overload
def shown(text: str) -> str: ...
@overload
def shown(text: str | None) -> str | None: ...
def shown(text: str | None) -> str | None:
    """Without what would steer a terminal: a directory may be anybody's."""
    return text and "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _files(place: Path) -> tuple[dict[str, Any], JobRecord | None, str | None]:
    """The status ({} where there is none), the job, and what is wrong with the two files."""
    status, record, damage = None, None, None
    try:
        status = read_status(place)
    except DamagedError as error:
        damage = str(error)
    try:
        record = JobRecord.read(place)
    except DamagedError as error:
        damage = str(error)
    return status or {}, record, damage


def _total_steps(status: dict[str, Any], record: JobRecord | None) -> int | None:
    """What the run is to reach: by its job, which may extend what the status tells of, else by the status."""
    asked = [line.partition("=")[2] for line in record.overrides if _sets_steps(line)] if record else []
    return int(asked[-1]) if asked and asked[-1].isdecimal() else status.get("total_steps")


def _sets_steps(line: str) -> bool:
    return line.lstrip("+").startswith("training.total_steps=")


def _last_rows(path: Path) -> list[dict[str, float]]:
    """Some last rows of a run's CSV; damaged rows are left out."""
    try:
        with path.open("rb") as file:
            names = file.readline().decode(errors="replace").strip().split(",")
            first = file.tell()
            start = max(first, file.seek(0, os.SEEK_END) - TAIL_BYTES)
            file.seek(start)
            lines = file.read().decode(errors="replace").split("\n")[:-1]
    except OSError:  # not there yet, or not to be read
        return []
    rows = [_numbers(line) for line in (lines[1:] if start > first else lines)]
    whole = [row for row in rows if len(row) == len(names)]
    return [dict(zip(names, row, strict=True)) for row in whole]


def _numbers(line: str) -> list[float]:
    """NaN where a value is missing; nothing at all of a line that holds anything else."""
    try:
        return [float(value or "nan") for value in line.strip().split(",")]
    except ValueError:
        return []


def _seconds_left(rows: list[dict[str, float]], total: int | None, phases: dict[str, Any]) -> float | None:
    """The random steps at the start take next to no time, so what counts begins with the last row before updates.

    What phases without environment steps take is told apart, by ``phases`` of the status; until there was one, by the
    time of ordinary updates.
    """
    before = [index for index, row in enumerate(rows) if row.get("updates") == 0]
    learning = rows[before[-1] :] if before else rows
    if len(learning) < 2 or total is None or not {"step", "wall_seconds"} <= learning[0].keys():
        return None
    first, last = learning[0], learning[-1]
    steps, seconds = (last[key] - first[key] for key in ("step", "wall_seconds"))
    seconds -= sum(row.get("phase_seconds", 0.0) for row in learning[1:])
    if steps <= 0 or seconds <= 0:
        return None
    updates = last.get("updates", 0.0) - first.get("updates", 0.0)
    updating = sum(row.get("sample_seconds", 0.0) + row.get("update_seconds", 0.0) for row in learning[1:])
    left = (total - last["step"]) * seconds / steps
    for each in phases.values():
        made, its = (each["updates"], each["seconds"]) if each["updates"] else (updates, updating)
        left += (each["of"] - each["updates"]) * its / made if made else 0.0
    return left


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _log(state: str, place: Path, record: JobRecord | None) -> Path | None:
    """The run's own log, which has the traceback; of what died without a word, the job's output tells more."""
    logs = [place / LOG, *([Path(record.log)] if record is not None else [])]
    existing = [log for log in (reversed(logs) if state == "vanished" else logs) if log.exists()]
    return existing[0] if existing else None


def _by_number(path: Path) -> tuple[list[str], int]:
    """seed_2 before seed_10."""
    stem, _, number = path.name.rpartition("_")
    return [*path.parts[:-1], stem], int(number) if number.isdecimal() else -1
