"""The state of a run, judged by its own files and by the queue; never by how its job or the head process ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from droq_exp.jobs.queue import QUEUED, RUNNING, Queue
from droq_exp.jobs.record import JobRecord
from droq_exp.runs.files import DamagedError, unreadable
from droq_exp.runs.owner import LOCK, Owner, owner
from droq_exp.runs.process import Process
from droq_exp.runs.status import CUT_SHORT, read_status

State = Literal["finished", "stopped", "pruned", "running", "queued", "failed", "interrupted", "vanished", "missing"]
STATES: tuple[State, ...] = get_args(State)
LIVE: tuple[State, ...] = ("running", "queued")  # a process trains there, or will


def point_state(directory: Path, total_steps: int, queue: Queue) -> State:
    """What has become of the run in ``directory``, which may not exist, that is to reach ``total_steps``.

    "finished": all steps done. "stopped" and "pruned": a callback has ended it, whatever it was to reach. "queued" and
    "running": a job, or a process that holds the lock, is on it. "failed": it ended with an error, or its files are
    damaged. "interrupted": it ended by a signal, finished fewer steps, or was cancelled. "vanished": it was submitted
    or started, and nothing is on it any more, though it never said that it ended. "missing": nothing was ever tried.

    Raises:
        QueueUnreachableError: the answer depends on SLURM's queue, and SLURM does not answer.
    """
    try:
        return judged(directory, total_steps, queue)
    except DamagedError:
        return "failed"


def judged(directory: Path, total_steps: int, queue: Queue) -> State:
    """As ``point_state``; raises DamagedError too, where the state cannot be told from the run's files."""
    status, record = read_status(directory), JobRecord.read(directory)
    if status is not None and status["state"] == "finished" and status["step"] >= total_steps:
        return "finished"
    if status is not None and status["state"] in CUT_SHORT:
        return status["state"]
    job = None if record is None else queue.state(record)
    if job == QUEUED:
        return "running" if held(directory, queue) else "queued"  # by another process than the one that it waits for
    if job is not None:
        # Other seeds of the job may still train when this one has failed.
        return "failed" if status is not None and status["state"] == "failed" and _by(record, status) else "running"
    if held(directory, queue):
        return "running"
    if status is not None and _told(record, status):
        return "failed" if status["state"] == "failed" else "interrupted"
    if record is not None and record.cancelled:
        return "interrupted"
    return "missing" if status is None and record is None else "vanished"


def summary(state: str, status: Mapping[str, Any], record: JobRecord | None) -> str | None:
    """One line that says what went wrong with a run in ``state``; None: nothing.

    ``status`` is that of its ``status.json``, empty where there is none; ``record`` is that of its job.
    """
    if state not in ("failed", "interrupted", "vanished"):
        return None
    if state == "vanished":
        if record is None:
            return "its process is gone without reporting an end; the same command, or droq-exp retry, continues"
        last = f": {words}" if (words := record.last_words) else ""
        return f"its job {record.job_id} is gone without reporting an end{last}"
    if record is not None and record.cancelled and not _told(record, status):
        return f"cancelled at {record.cancelled}"
    return (status.get("error") or {}).get("summary")


def _told(record: JobRecord | None, status: Mapping[str, Any]) -> bool:
    """Whether the run has told an end of its own since the job of ``record`` was submitted."""
    return bool(status) and _by(record, status) and status["state"] in ("failed", "interrupted", "finished")


def _by(record: JobRecord | None, status: Mapping[str, Any]) -> bool:
    """Whether ``status`` was last written after the job of ``record`` was submitted, or without any job."""
    if record is None:
        return True
    written = status.get("ended") or status["started"]
    return datetime.fromisoformat(written) >= datetime.fromisoformat(record.submitted)


def held(directory: Path, queue: Queue) -> bool:
    """Whether a living process holds the run's lock; raises as ``judged``."""
    return holder_of(directory, queue) is not None


def holder_of(directory: Path, queue: Queue) -> Owner | None:
    """The living process that holds the run's lock; None where there is none. Raises as ``judged``."""
    path = directory / LOCK
    try:
        if not path.exists():
            return None
        holder = owner(directory, queue.filesystem_time(directory))
    except OSError as error:
        raise unreadable(path, error) from error

    def gone(process: Process) -> bool:
        return process.job_id is not None and queue.slurm(process.job_id) != RUNNING

    return holder if holder is not None and holder.alive(gone) else None
