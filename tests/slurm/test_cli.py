"""``droq-exp`` on the jobs of a real SLURM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import forks
from sweep import ROOT, SECONDS, Sweep, slurm, until


def _droq_exp(sweep: Sweep, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(str(ROOT / path) for path in (".", "tests/helpers"))
    return forks.run(
        [sys.executable, "-c", "from droq_exp.cli.app import main; main()", *arguments],
        cwd=sweep.directory,
        env=os.environ
        | {"PYTHONPATH": paths, "DROQ_EXP_TRUST": "gated_env", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        timeout=SECONDS,
    )


def _states(sweep: Sweep) -> list[str]:
    told: dict[str, Any] = json.loads(_droq_exp(sweep, "status", "outputs", "--json").stdout)
    assert told["problem"] is None
    return [run["state"] for run in told["runs"]]


def test_status_cancel_and_retry_of_packed_jobs(sweep: Sweep) -> None:
    command = ["seed=0,1,2", *sweep.gated, "hardware.seeds_per_job=2", "hardware.array_parallelism=1"]
    heads = [sweep.start(*command, "hardware.wait=false") for _ in range(2)]
    ends = [sweep.wait(head) for head in heads]
    assert [end.code for end in ends] == [0, 0], ends
    assert sorted("2 jobs submitted" in end.out for end in ends) == [False, True], ends  # by the faster head
    assert len(sweep.submissions()) == 1
    sweep.wait_for_step(50)
    sweep.wait_for_step(50, seed=1)
    assert _states(sweep) == ["running", "running", "queued"]

    refused = _droq_exp(sweep, "cancel", str(sweep.run(0)))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"{sweep.run(1)} is running in the same job, {sweep.job_id(0)}" in refused.stderr
    assert _states(sweep) == ["running", "running", "queued"]

    cancelled = _droq_exp(sweep, "cancel", "outputs")
    assert (cancelled.returncode, cancelled.stderr) == (0, "")
    assert cancelled.stdout == "cancelling 3 runs: 2 SLURM jobs, 0 local runs\n"
    until(lambda: not slurm("squeue", "--noheader"))
    assert _states(sweep) == ["interrupted"] * 3

    sweep.open_gate()
    retried = _droq_exp(sweep, "retry", "outputs")
    assert retried.returncode == 0, retried.stderr
    assert retried.stdout.startswith("3 of 3 runs to retry: 3 interrupted\n")
    until(lambda: not slurm("squeue", "--noheader"))  # as the launch was, this did not wait
    assert _states(sweep) == ["finished"] * 3
    assert _droq_exp(sweep, "retry", "outputs").stdout == "0 of 3 runs to retry\n"
