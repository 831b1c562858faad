"""Submitting jobs to SLURM through submitit."""

from __future__ import annotations

import io
import json
import math
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import asdict
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from droq_exp.config.schema import SlurmHardwareConfig
from droq_exp.import_path import package_root
from droq_exp.jobs.plan import PlannedJob
from droq_exp.jobs.record import SLURM
from droq_exp.jobs.turns import SLURM_FOLDER
from droq_exp.runs.process import slurm_setting
from droq_exp.runs.slurm_environment import asking
from droq_exp.runs.status import now

ARRAY_SIZE = 1001  # SLURM's default limit


class SubmissionError(RuntimeError):
    """Jobs could not be handed over; ``str`` is one line."""


def submit(jobs: Sequence[PlannedJob]) -> None:
    """Submit ``jobs``, as one array for each experiment and each resource request, and write their records.

    Where the cluster takes no such long arrays, they are several.

    Raises:
        SubmissionError: SLURM's commands are not here, or sbatch refuses; arrays submitted before stay.
    """
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise SubmissionError("SLURM is not installed here: there is no sbatch")
    arrays: dict[str, list[PlannedJob]] = {}
    for job in jobs:
        arrays.setdefault(f"{job.experiment_directory} {json.dumps(asdict(job.hardware))}", []).append(job)
    longest = int(slurm_setting("MaxArraySize") or ARRAY_SIZE) or 1  # 0: the cluster takes no arrays
    for array in arrays.values():
        for start in range(0, len(array), longest):
            _submit_array(array[start : start + longest])


def _submit_array(jobs: Sequence[PlannedJob]) -> None:
    hardware, experiment = jobs[0].hardware, jobs[0].experiment_directory
    assert isinstance(hardware, SlurmHardwareConfig)
    executor = submitit.AutoExecutor(
        experiment / SLURM_FOLDER,
        cluster="slurm",
        slurm_max_num_timeout=hardware.max_requeues,
        slurm_python=f"{shlex.quote(sys.executable)} -P",  # else Python puts the job's directory before everything
    )
    executor.update_parameters(name=experiment.name, **parameters(hardware))
    submitted = now()
    try:
        # submitit prints what sbatch says, and raises it too
        with _outside_any_job(), redirect_stderr(io.StringIO()), executor.batch():
            handles = [executor.submit(job.job) for job in jobs]
    except (FailedJobError, FailedSubmissionError) as error:
        raise SubmissionError(" ".join(str(error).split())) from error
    for job, handle in zip(jobs, handles, strict=True):
        job.record(SLURM, handle.job_id, submitted, Path(handle.paths.stdout))


@contextmanager
def _outside_any_job() -> Iterator[None]:
    """Let sbatch, and through it the jobs, see the variables of a user who is logged in and has asked for nothing."""
    left_out = asking()
    for name in left_out:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(left_out)


def parameters(hardware: SlurmHardwareConfig) -> dict[str, Any]:
    """What submitit is to ask SLURM for."""
    named = ("partition", "account", "qos", "constraint")
    asked = {f"slurm_{name}": getattr(hardware, name) for name in named if getattr(hardware, name) is not None}
    if hardware.gpus_per_node:
        asked["gpus_per_node"] = hardware.gpus_per_node
    return asked | {
        "cpus_per_task": hardware.cpus,
        "mem_gb": hardware.memory_gb,
        "timeout_min": math.ceil(hardware.hours * 60),
        "stderr_to_stdout": True,
        "slurm_array_parallelism": hardware.array_parallelism,
        "slurm_setup": [*_search_path(), *hardware.setup],
        "slurm_srun_args": [f"--cpus-per-task={hardware.cpus}"],  # from SLURM 22.05 on srun does not inherit it
        # Whatever the cluster's default is, and whichever signal SUBMITIT_PREEMPT_SIGNAL names here.
        "slurm_additional_parameters": {"requeue": True, "signal": f"USR2@{hardware.signal_delay_seconds}"},
    }


def _search_path() -> list[str]:
    """Where the job finds this package: a checkout that is not installed is on the head process's path alone.

    A user's own parts are found by what the job itself holds (``Job.look_in``).
    """
    root = package_root()
    if root is None:
        return []
    return [f"export PYTHONPATH={shlex.quote(str(root))}${{PYTHONPATH:+:$PYTHONPATH}}"]
