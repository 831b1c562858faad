"""Run directories as training and the launcher leave them, without the training; stand-ins for SLURM's commands."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from droq_exp.cli.app import main
from droq_exp.jobs.record import JobRecord

STARTED, SUBMITTED, ENDED = (f"2026-01-01T00:00:0{second}+00:00" for second in (1, 0, 2))


def write_run(
    directory: Path,
    state: str | None,
    *,
    step: int = 5_000,
    evaluations: int = 5,
    error: str | None = None,
    reason: str | None = None,
) -> Path:
    """A run of 10,000 steps, evaluated every 1,000; None: it has not started.

    The first 1,000 steps, which are random, took a second, the others ten.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if state is None:
        return directory
    status = {"state": state, "step": step, "total_steps": 10_000, "started": STARTED, "ended": ENDED}
    told = {"summary": error, "traceback": "many\nlines"} if error else None
    (directory / "status.json").write_text(json.dumps(status | {"error": told, "reason": reason}))
    measured = range(1, evaluations + 1)
    rows = [f"{at}000,{at}.5,0.0,{at * 10 - 9}.0\n" for at in measured]
    (directory / "eval.csv").write_text("step,return_mean,return_std,wall_seconds\n" + "".join(rows))
    rows = [f"{at}000,,{20_000 * (at - 1)},{at * 10 - 9}.0\n" for at in measured]
    (directory / "train.csv").write_text("step,critic_loss,updates,wall_seconds\n" + "".join(rows))
    (directory / "train.log").write_text("started\n")
    return directory


def write_job(directory: Path, job_id: str, *overrides: str, backend: str = "slurm", log: str = "/none") -> None:
    JobRecord(backend, job_id, SUBMITTED, log, list(overrides)).write(directory)


def stand_in(directory: Path, name: str, output: str, code: int = 0) -> Path:
    """A command ``name`` in ``directory`` that prints ``output`` and exits with ``code``; its calls go to a file."""
    directory.mkdir(exist_ok=True)
    (directory / f"{name}.out").write_text(output)
    calls = directory / f"{name}.calls"
    calls.touch()
    script = directory / name
    script.write_text(f'#!/bin/sh\necho "$*" >> {calls}\ncat {directory / name}.out\nexit {code}\n')
    script.chmod(0o755)
    return calls


def droq_exp(*arguments: str) -> int:
    """Run the command in this process; return its exit code."""
    with pytest.raises(SystemExit) as leaving:
        main(list(arguments))
    return leaving.value.code or 0  # type: ignore[return-value]


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What a refused command has printed: one line of error, and nothing else."""
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


PROGRAM = [sys.executable, "-c", "from droq_exp.cli.app import main; main()"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
