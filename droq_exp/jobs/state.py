"""The state of a run, judged by its own files and by the queue; never by how its job or the head process ended."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from droq_exp.jobs.queue import QUEUED, RUNNING, Queue
from droq_exp.jobs.record import JobRecord
from droq_exp.runs.owner import LOCK, owner
from droq_exp.runs.process import Process
from droq_exp.runs.status import read_status

State = Literal["finished", "stopped", "running", "queued", "failed", "interrupted", "vanished", "missing"]
STATES: tuple[State, ...] = get_args(State)
LIVE: tuple[State, ...] = ("running", "queued")  # a process trains there, or will


def point_state(directory: Path, total_steps: int, queue: Queue) -> State:
    """What has become of the run in ``directory``, which may not exist, that is to reach ``total_steps``.

    "finished": all steps done. "stopped": a callback has ended it, whatever it was to reach. "queued" and "running": a
    job, or a process that holds the lock, is on it. "failed": it ended with an error, or its files are damaged.
    "interrupted": it ended by a signal, or finished fewer steps. "vanished": it was submitted or started, and nothing
    is on it any more, though it never said that it ended. "missing": nothing was ever tried.

    Raises:
        QueueUnreachableError: the answer depends on SLURM's queue, and SLURM does not answer.
    """
    try:
        status = _status(directory)
        record = JobRecord.read(directory)
    except ValueError:
        return "failed"
    if status is not None and status["state"] == "finished" and status["step"] >= total_steps:
        return "finished"
    if status is not None and status["state"] == "stopped":
        return "stopped"
    job = None if record is None else queue.state(record)
    if job == QUEUED:
        return "queued"
    if job is not None:
        # Other seeds of the job may still train when this one has failed.
        return "failed" if status is not None and status["state"] == "failed" and _by(record, status) else "running"
    if held(directory, queue):
        return "running"
    if status is None or not _by(record, status):
        return "missing" if record is None else "vanished"
    ended: dict[str, State] = {"failed": "failed", "interrupted": "interrupted", "finished": "interrupted"}
    return ended.get(status["state"], "vanished")


def _status(directory: Path) -> dict[str, Any] | None:
    content = read_status(directory)
    if content is None:
        return None
    if not {"state", "step", "started"} <= content.keys():
        raise ValueError(f"{directory / 'status.json'} is no status")
    return content


def _by(record: JobRecord | None, status: dict[str, Any]) -> bool:
    """Whether ``status`` was last written after the job of ``record`` was submitted, or without any job."""
    if record is None:
        return True
    written = status.get("ended") or status["started"]
    return datetime.fromisoformat(written) >= datetime.fromisoformat(record.submitted)


def held(directory: Path, queue: Queue) -> bool:
    """Whether a living process holds the run's lock; raises as ``point_state``."""
    if not (directory / LOCK).exists():
        return False
    holder = owner(directory, queue.filesystem_time(directory))

    def gone(process: Process) -> bool:
        return process.job_id is not None and queue.slurm(process.job_id) != RUNNING

    return holder is not None and holder.alive(gone)
