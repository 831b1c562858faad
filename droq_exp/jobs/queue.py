"""Which jobs are queued or running now, by SLURM's word and by this machine's processes."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from droq_exp.jobs.record import SLURM, JobRecord
from droq_exp.runs.owner import filesystem_time
from droq_exp.runs.process import lives, start_of
from droq_exp.runs.slurm_environment import plain_environment
from droq_exp.runs.slurm_states import fate

QUEUED, RUNNING = "QUEUED", "RUNNING"
PATIENCE = 60  # seconds that squeue may take: a busy controller answers late


class QueueUnreachableError(RuntimeError):
    """The queue could not be asked, so nothing is known about any job: none of them may be taken for gone."""


class LocalJob(NamedTuple):
    """A job of ``hardware=cpu_parallel``: its process, or the one that will start it when its turn comes."""

    host: str
    pid: int
    started: int  # the process's start, in clock ticks since boot: tells it from a later one with the same pid
    waiting: bool  # the process is the pool, not yet the job's own

    @classmethod
    def of(cls, pid: int, *, waiting: bool) -> LocalJob:
        """The living process ``pid`` of this host.

        Raises:
            ProcessLookupError: there is none.
        """
        started = start_of(pid)
        if started is None:
            raise ProcessLookupError(f"no process {pid}")
        return cls(socket.gethostname(), pid, started, waiting)

    @classmethod
    def parse(cls, job_id: str) -> LocalJob:
        """From ``str`` of a local job; ValueError where it is none."""
        host, pid, started, what = job_id.split(":")
        return cls(host, int(pid), int(started), what == "waiting")

    def __str__(self) -> str:
        """As ``job.json`` keeps it: host:pid:start:waiting, or :started."""
        return f"{self.host}:{self.pid}:{self.started}:{'waiting' if self.waiting else 'started'}"

    @property
    def alive(self) -> bool:
        """Whether the process lives on this host; of other hosts' nothing is known, which is False as well."""
        return self.host == socket.gethostname() and lives(self.pid, self.started) is True


class Queue:
    """What is queued or running, asked for at most once and only when an answer depends on it."""

    def __init__(self) -> None:
        """Nothing is asked yet."""
        self._time: float | None = None

    def state(self, record: JobRecord) -> str | None:
        """``QUEUED`` or ``RUNNING``; None for a job that is gone.

        Raises:
            QueueUnreachableError: SLURM does not answer.
        """
        if record.backend == SLURM:
            return self.slurm(record.job_id)
        job = LocalJob.parse(record.job_id)
        if not job.alive or (job.waiting and record.cancelled):  # its pool goes on, for others
            return None
        return QUEUED if job.waiting else RUNNING

    def slurm(self, job_id: str) -> str | None:
        """As ``state``, for a SLURM job."""
        return self._slurm.get(job_id)

    def filesystem_time(self, directory: Path) -> float:
        """Seconds since the epoch by the clock of the file system of ``directory``, asked for once for all runs."""
        if self._time is None:
            self._time = filesystem_time(directory)
        return self._time

    @cached_property
    def _slurm(self) -> dict[str, str]:
        return _squeue()


def slurm_states(job_ids: Collection[str]) -> dict[str, str]:
    """``QUEUED`` or ``RUNNING`` for those of ``job_ids`` ("123", "123_4") that SLURM still has; the others are gone.

    One call of squeue for all of the user's jobs.

    Raises:
        QueueUnreachableError: squeue is not there, fails or does not answer.
    """
    states = _squeue() if job_ids else {}
    return {job_id: states[job_id] for job_id in job_ids if job_id in states}


def partitions() -> list[str]:
    """Names of SLURM's partitions; the default one has a star.

    Raises:
        QueueUnreachableError: sinfo is not there, fails or does not answer.
    """
    return asked("sinfo", "--noheader", "--format", "%P").split()


def _squeue() -> dict[str, str]:
    # -r: one line for each task of an array; a user id, since not every name server knows the name.
    told = asked("squeue", "--noheader", "--array", "--user", str(os.getuid()), "--format", "%i %T")
    states = dict(line.split(maxsplit=1) for line in told.splitlines() if line.strip())
    fates = {job_id: fate(state) for job_id, state in states.items()}
    return {job_id: RUNNING if what == "on a node" else QUEUED for job_id, what in fates.items() if what != "over"}


def asked(program: str, *arguments: str) -> str:
    """What a program of SLURM prints.

    Raises:
        QueueUnreachableError: it is not there, fails or does not answer.
    """
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=PATIENCE, env=plain_environment()
        )
    except FileNotFoundError:
        raise QueueUnreachableError(f"{program} is not installed here, so SLURM cannot be asked") from None
    except subprocess.TimeoutExpired:
        raise QueueUnreachableError(f"{program} has not answered for {PATIENCE} s") from None
    if done.returncode != 0:
        raise QueueUnreachableError(" ".join(done.stderr.split()) or f"{program} ended with code {done.returncode}")
    return done.stdout
