"""``droq-exp cancel``: end the jobs of the runs below a directory, and no others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from droq_exp.cli.errors import RefusedError
from droq_exp.cli.runs import ListedRun, find, survey, view
from droq_exp.jobs.queue import LocalJob, Queue, QueueUnreachableError
from droq_exp.jobs.record import SLURM
from droq_exp.jobs.state import LIVE, holder_of
from droq_exp.jobs.turns import experiment_of, turn
from droq_exp.runs.slurm_environment import plain_environment
from droq_exp.runs.status import now

IDS_PER_CALL = 1_000  # of scancel: far below what a command line may hold


def cancel(directory: Path, whole_jobs: bool) -> None:
    """Cancel the SLURM jobs, and end the local processes, of all queued and running runs below ``directory``.

    Each ``job.json`` then says that its job was cancelled.

    Args:
        directory: any level of the output directory.
        whole_jobs: also jobs that train runs outside ``directory`` as well (seeds trained together).

    Raises:
        RefusedError: there is no run, or a job has others too.
        QueueUnreachableError: SLURM does not answer, so which jobs there are is not known.
        SystemExit: with code 1 where something could not be cancelled.
    """
    with turn(filter(None, map(experiment_of, find(directory)))):
        problems = _cancel(directory, whole_jobs)
    for line in problems:
        print(line, file=sys.stderr)
    if problems:
        sys.exit(1)


def _cancel(directory: Path, whole_jobs: bool) -> list[str]:
    """Do it; what went wrong, in a line each."""
    runs, problem = survey(directory)
    if problem is not None:
        raise QueueUnreachableError(problem)
    live = [run for run in runs if run.state in LIVE]
    if not live:
        print("nothing is queued or running")
        return []
    queue = Queue()
    others = _others(live, {run.directory.resolve() for run in runs}, queue)
    if others and not whole_jobs:
        other = others[0]
        same = f"is {other.state} in the same job, {_job(other)[0]}"
        raise RefusedError(f"{other.directory} {same}; --whole-jobs ends it too")
    live += others
    on_it = [_who(run, queue) for run in live]
    jobs = sorted({who.slurm_job for who in on_it if who.slurm_job is not None})
    local = sum(who.slurm_job is None for who in on_it)
    print(f"cancelling {len(live)} runs: {len(jobs)} SLURM jobs, {local} local runs", flush=True)
    left, problems = _scancel(jobs)
    for pid in {pid for who in on_it for pid in who.pids}:
        with suppress(ProcessLookupError):  # has ended meanwhile
            os.kill(pid, signal.SIGTERM)
    for run, who in zip(live, on_it, strict=True):
        problems += [f"{run.name}: {who.problem}"] if who.problem is not None else []
        if run.record is not None and who.has_job and who.slurm_job not in left:
            replace(run.record, cancelled=now()).write(run.directory)
    return problems


@dataclass(frozen=True)
class _Who:
    """What is on a run: its job, and whoever holds its lock without being of that job."""

    has_job: bool  # one that is queued or runs
    slurm_job: str | None
    pids: frozenset[int]  # on this host, to be ended; a job that waits for its turn has none, and is not started
    problem: str | None  # why something goes on


def _who(run: ListedRun, queue: Queue) -> _Who:
    record, job, slurm_job = run.record, None, None
    if record is not None and queue.state(record) is not None:
        if record.backend == SLURM:
            slurm_job = record.job_id
        else:
            job = LocalJob.parse(record.job_id)
    has_job = job is not None or slurm_job is not None
    pids = {job.pid} if job is not None and not job.waiting else set()
    problem = None
    if (holder := holder_of(run.directory, queue)) is not None:
        process = holder.process
        if process is None:
            problem = "its process is unknown: lock.json is damaged"
        elif process.lives():
            pids |= {process.pid} if slurm_job is None or process.job_id != slurm_job else set()
        elif slurm_job is None or process.job_id != slurm_job:
            problem = f"{process} trains it; end it there"
    return _Who(has_job, slurm_job, frozenset(pids), problem)


def _others(live: Sequence[ListedRun], ours: set[Path], queue: Queue) -> list[ListedRun]:
    """Runs in the same jobs: only other seeds of the same run can be in its job, and they are its neighbours."""
    jobs = {_job(run) for run in live if run.record is not None}
    neighbours = [
        view(place, queue)
        for parent in sorted({run.directory.resolve().parent for run in live})
        for place in find(parent)
        if place not in ours
    ]
    return [run for run in neighbours if run.state in LIVE and run.record is not None and _job(run) in jobs]


def _job(run: ListedRun) -> tuple[str, str]:
    """What tells its job from others: those that wait in one pool have its id, but logs of their own."""
    assert run.record is not None
    return run.record.job_id, run.record.log


def _scancel(jobs: Sequence[str]) -> tuple[set[str], list[str]]:
    """Cancel ``jobs``; those that perhaps go on, and what went wrong, in a line each.

    SLURM says nothing of jobs that have ended meanwhile.
    """
    left, problems = set(), []
    for first in range(0, len(jobs), IDS_PER_CALL):
        ids = jobs[first : first + IDS_PER_CALL]
        done = subprocess.run(["scancel", *ids], capture_output=True, text=True, env=plain_environment())
        if done.returncode != 0:
            left |= {*ids}
            problems.append(" ".join(done.stderr.split()) or f"scancel ended with code {done.returncode}")
    return left, problems
