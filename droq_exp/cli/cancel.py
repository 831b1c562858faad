"""``droq-exp cancel``: end the jobs of the runs below a directory, and no others."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from droq_exp.cli.errors import RefusedError
from droq_exp.cli.runs import ListedRun, find, survey, view
from droq_exp.jobs.queue import LocalJob, Queue, QueueUnreachableError
from droq_exp.jobs.record import SLURM, withdraw
from droq_exp.jobs.state import LIVE

IDS_PER_CALL = 1_000  # of scancel: far below what a command line may hold


def cancel(directory: Path, whole_jobs: bool) -> None:
    """Cancel the SLURM jobs, and end the local processes, of all queued and running runs below ``directory``.

    Args:
        directory: any level of the output directory.
        whole_jobs: also jobs that train runs outside ``directory`` as well (seeds trained together).

    Raises:
        RefusedError: there is no run, or a job has others too.
        QueueUnreachableError: SLURM does not answer, so which jobs there are is not known.
        SystemExit: with code 1 where something could not be cancelled.
    """
    runs, problem = survey(directory)
    if problem is not None:
        raise QueueUnreachableError(problem)
    live = [run for run in runs if run.state in LIVE]
    if not live:
        print("nothing is queued or running")
        return
    if not whole_jobs:
        _refuse_others(live, {run.directory.resolve() for run in runs})
    jobs = sorted({run.record.job_id for run in live if run.record is not None and run.record.backend == SLURM})
    local = [run for run in live if run.record is None or run.record.backend != SLURM]
    print(f"cancelling {len(live)} runs: {len(jobs)} SLURM jobs, {len(local)} local runs", flush=True)
    problems = [*_scancel(jobs), *_end_local(local)]
    for line in problems:
        print(line, file=sys.stderr)
    if problems:
        sys.exit(1)


def _refuse_others(live: Sequence[ListedRun], ours: set[Path]) -> None:
    """Only other seeds of the same run can be in its job, and they are its neighbours."""
    jobs = {run.record.job_id for run in live if run.record is not None}
    queue = Queue()
    for parent in sorted({run.directory.resolve().parent for run in live}):
        for place in find(parent):
            if place in ours:
                continue
            other = view(place, queue)
            if other.record is not None and other.record.job_id in jobs and other.state in LIVE:
                job = other.record.job_id
                raise RefusedError(f"{place} is {other.state} in the same job, {job}; --whole-jobs ends it too")


def _scancel(jobs: Sequence[str]) -> list[str]:
    """Cancel ``jobs``; what went wrong, in a line each. SLURM says nothing of jobs that have ended meanwhile."""
    problems = []
    for first in range(0, len(jobs), IDS_PER_CALL):
        ids = jobs[first : first + IDS_PER_CALL]
        done = subprocess.run(["scancel", *ids], capture_output=True, text=True)
        if done.returncode != 0:
            problems.append(" ".join(done.stderr.split()) or f"scancel ended with code {done.returncode}")
    return problems


def _end_local(runs: Sequence[ListedRun]) -> list[str]:
    """SIGTERM, on which training ends in order; a job that waits for its turn is not started."""
    problems, processes = [], set()
    for run in runs:
        job = _process(run)
        if job is None:
            problems.append(f"{run.name}: its process is unknown")
        elif job.host != socket.gethostname():
            problems.append(f"{run.name}: runs on {job.host}; cancel it there")
        elif job.waiting:
            withdraw(run.directory)
        elif job.alive:
            processes.add(job.pid)
    for pid in processes:
        os.kill(pid, signal.SIGTERM)
    return problems


def _process(run: ListedRun) -> LocalJob | None:
    """The process of a local job, or the one that holds the lock where there is no job."""
    job = LocalJob.parse(run.record.job_id) if run.record is not None else None
    if job is not None and job.alive:
        return job
    try:
        holder = json.loads((run.directory / "lock.json").read_text(encoding="utf-8"))
        return LocalJob(holder["host"], holder["pid"], holder["process_start"], waiting=False)
    except (FileNotFoundError, ValueError, KeyError):
        return job
