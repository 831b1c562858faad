"""Sweeps of small runs by the real ``launch.py``, and what one asks of SLURM about them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from forks import Python

from droq_exp.jobs.record import SLURM, JobRecord
from droq_exp.random_streams import Stream, derived_seed

ROOT = Path(__file__).resolve().parents[2]
GATED_STEPS = 800  # 150 s for a gated run: longer than it takes until a time limit of minutes is warned of
SECONDS = 180.0  # longest wait for anything
TINY = (
    "debug=default",
    "hardware.updates=auto",
    "env=gym",
    "env.id=gated_env:Gated-v0",
    "bias.enabled=false",
    "hardware.poll_seconds=0.5",
)
ON_SLURM = ("hardware=slurm_cpu", "hardware.cpus=1", "hardware.memory_gb=1")


# A directory's name: with what is special to a shell, to Hydra or to sbatch, and works for all of them.
ODD = "it's [1], {2} $HOME; \"`~#&*?!|<>=@:^+é"


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Sweep:
    """Commands in one directory."""

    def __init__(self, directory: Path, hardware: Sequence[str] = ON_SLURM) -> None:
        self.hardware = hardware
        self.directory = directory / ODD
        self.directory.mkdir()
        self.gate = directory / "gate"
        self._started: list[subprocess.Popen[str]] = []

    def launch(self, *overrides: str, multirun: bool = True) -> Done:
        """Run a command to its end."""
        return self.wait(self.start(*overrides, multirun=multirun))

    def start(self, *overrides: str, multirun: bool = True) -> subprocess.Popen[str]:
        """Start a command in a process group of its own."""
        return self._start([str(ROOT / "launch.py"), *(["-m"] if multirun else [])], overrides)

    def tune(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``droq-exp tune``, likewise."""
        return self._start(["-m", "droq_exp.cli.app", "tune"], arguments)

    def _start(self, program: Sequence[str], arguments: Sequence[str]) -> subprocess.Popen[str]:
        paths = os.pathsep.join(str(ROOT / path) for path in (".", "tests/helpers"))
        process = Python(
            [sys.executable, *program, *TINY, *self.hardware, *arguments],
            cwd=self.directory,
            env=os.environ
            | {"PYTHONPATH": paths, "DROQ_EXP_TRUST": "gated_env", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def wait(self, process: subprocess.Popen[str]) -> Done:
        """Wait for a command's end."""
        out, err = process.communicate(timeout=SECONDS)
        return Done(process.returncode, out, err)

    @property
    def gated(self) -> list[str]:
        """Overrides for runs that take minutes, or until ``open_gate``."""
        return [f"env.kwargs.gate={self.gate}", f"training.total_steps={GATED_STEPS}"]

    def open_gate(self) -> None:
        self.gate.touch()

    def run(self, seed: int = 0) -> Path:
        """Directory of the one run of ``seed``."""
        (found,) = self.directory.glob(f"outputs/debug/*/*/*/seed_{seed}")
        return found

    def status(self, seed: int = 0) -> dict[str, Any]:
        return json.loads((self.run(seed) / "status.json").read_text())

    def job_id(self, seed: int = 0) -> str:
        record = JobRecord.read(self.run(seed))
        assert record is not None
        return record.job_id

    def log(self, seed: int = 0) -> str:
        """What the job of ``seed`` has printed."""
        record = JobRecord.read(self.run(seed))
        assert record is not None
        return Path(record.log).read_text()

    def wait_for_step(self, step: int, seed: int = 0) -> None:
        """Wait until the run of ``seed`` trains and has passed ``step``."""

        def reached() -> bool:
            path = next(self.directory.glob(f"outputs/debug/*/*/*/seed_{seed}/status.json"), None)
            status = json.loads(path.read_text()) if path is not None else {"state": None}
            return status["state"] == "running" and status["step"] >= step

        until(reached)

    def submissions(self) -> list[str]:
        """Names of submitit's batch files: one for each call of sbatch."""
        return sorted(path.name for path in self.directory.glob("outputs/*/.submitit/*_submission.sh"))

    def end(self) -> None:
        """Cancel the jobs that are left, and kill the commands."""
        self.open_gate()
        for path in self.directory.glob("outputs/*/*/*/*/seed_*"):
            record = JobRecord.read(path)
            if record is not None and record.backend == SLURM:
                subprocess.run(["scancel", record.job_id], check=False, timeout=SECONDS, capture_output=True)
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate(timeout=SECONDS)


def heed_ctrl_c() -> None:
    """For a process that is started: what runs in the background of a shell ignores SIGINT, and its children do too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def broken(seed: int) -> list[str]:
    """Overrides for a task that breaks in the training of ``seed``."""
    derived = derived_seed(seed, Stream.TRAINING_ENV)
    return [f"env.kwargs.broken_seed={derived}", "env.kwargs.breaks_at=60"]


def slurm(*command: str) -> str:
    """Output of one of SLURM's commands."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS).stdout


def job_field(job_id: str, name: str) -> str:
    """One field of what SLURM knows of a job, such as JobState or Restarts."""
    (line,) = slurm("scontrol", "-o", "show", "job", job_id).splitlines()
    return next(field.removeprefix(f"{name}=") for field in line.split() if field.startswith(f"{name}="))


def job_end(job_id: str) -> str:
    """SLURM's word for how a job ended, such as "COMPLETED", once it has."""
    until(lambda: job_field(job_id, "JobState") not in ("RUNNING", "COMPLETING"))
    return job_field(job_id, "JobState")


def kill(job_id: str) -> None:
    """SIGKILL for the job's processes, as by the out-of-memory killer."""
    for pid, step in processes(job_id).items():
        if step == "0":
            os.kill(pid, signal.SIGKILL)


def processes(job_id: str) -> dict[int, str]:
    """The job's processes, each with its step: "batch", or "0" for what trains."""
    lines = [line.split() for line in slurm("scontrol", "listpids", job_field(job_id, "JobId")).splitlines()[1:]]
    return {int(pid): step for pid, _, step, *_ in lines if int(pid) > 1}


def until(condition: Callable[[], object]) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
