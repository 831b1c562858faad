"""Jobs on one machine: a process of its own starts them, so many at once, whatever happens to the head process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from droq_exp.config.schema import ParallelHardwareConfig
from droq_exp.import_path import child_environment
from droq_exp.jobs.plan import PlannedJob
from droq_exp.jobs.queue import LocalJob
from droq_exp.jobs.record import LOCAL, JobRecord
from droq_exp.jobs.turns import LOCAL_FOLDER, turn
from droq_exp.runs.files import DamagedError
from droq_exp.runs.status import now

GO = "go\n"
LOOK_SECONDS = 0.2  # between two looks at the jobs that run


def submit(jobs: Sequence[PlannedJob], at_once: int | None = None) -> None:
    """Start a pool for ``jobs``, which must have the same ``hardware.jobs``, and write their records.

    It runs ``at_once`` of them at a time; None: ``hardware.jobs``.
    """
    hardware = jobs[0].hardware
    assert isinstance(hardware, ParallelHardwareConfig)
    folder = jobs[0].experiment_directory / LOCAL_FOLDER / uuid.uuid4().hex[:8]
    folder.mkdir(parents=True)
    logs = [folder / f"{index}.log" for index in range(len(jobs))]
    work = [{"job": asdict(job.job), "log": str(log)} for job, log in zip(jobs, logs, strict=True)]
    (folder / "jobs.json").write_text(json.dumps({"at_once": at_once or hardware.jobs, "jobs": work}, indent=2))
    with (folder / "pool.log").open("w") as log:
        pool = subprocess.Popen(
            [sys.executable, "-P", "-m", "droq_exp.jobs.pool", str(folder / "jobs.json")],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            env=child_environment(),
            start_new_session=True,  # Ctrl-C is for the head process alone
        )
    waiting, submitted = str(LocalJob.of(pool.pid, waiting=True)), now()
    for job, log_path in zip(jobs, logs, strict=True):
        job.record(LOCAL, waiting, submitted, log_path)
    assert pool.stdin is not None
    with pool.stdin:
        pool.stdin.write(GO)  # a head process that dies before this leaves records of a pool that ends


def main(arguments: Sequence[str]) -> None:
    """``python -m droq_exp.jobs.pool <jobs.json>``: run its jobs, one after the other where their number is reached."""
    if sys.stdin.readline() != GO:
        return
    path = Path(arguments[0])
    content = json.loads(path.read_text())
    me = str(LocalJob.of(os.getpid(), waiting=True))
    running: list[subprocess.Popen[bytes]] = []
    for work in content["jobs"]:
        while len(running) >= content["at_once"]:
            time.sleep(LOOK_SECONDS)
            running = [process for process in running if process.poll() is None]
        try:
            with turn([path.parents[2]]):
                process = _start(work, me)
        except (DamagedError, OSError) as error:  # of this job: those behind it start
            print(f"not started: {', '.join(work['job']['directories'])}: {error}", flush=True)
            continue
        if process is not None:
            running.append(process)
    for process in running:
        process.wait()


def _start(work: dict[str, Any], me: str) -> subprocess.Popen[bytes] | None:
    """Start one job whose runs are all still this pool's: not cancelled, nor submitted anew elsewhere."""
    directories = [Path(directory) for directory in work["job"]["directories"]]
    records = {directory: JobRecord.read(directory) for directory in directories}
    if any(record is None or record.job_id != me or record.cancelled for record in records.values()):
        print(f"cancelled: {', '.join(map(str, directories))}", flush=True)
        return None
    with open(work["log"], "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "droq_exp.jobs.job", json.dumps(work["job"])],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a signal for the pool is not for its jobs
        )
    job_id = str(LocalJob.of(process.pid, waiting=False))
    for directory, record in records.items():
        assert record is not None
        replace(record, job_id=job_id).write(directory)
    return process


if __name__ == "__main__":
    main(sys.argv[1:])
