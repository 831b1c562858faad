"""What runs as a job: one or more seeds, from its overrides alone, so that a later start of it does the same."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from submitit.helpers import DelayedSubmission

from droq_exp.config import compose
from droq_exp.config.errors import OtherRunError
from droq_exp.config.schema import HardwareConfig, ParallelHardwareConfig, SlurmHardwareConfig
from droq_exp.config.targets import trusting
from droq_exp.cpu import threads_of_user, usable_cores
from droq_exp.import_path import looking_in
from droq_exp.jobs.queue import Queue, QueueUnreachableError
from droq_exp.jobs.state import held
from droq_exp.learner.native import early_build
from droq_exp.runs.files import DamagedError
from droq_exp.runs.identity import run_directory
from droq_exp.runs.status import DONE, now, read_status, summary_of, write_status

REQUEUE = 128 + signal.SIGUSR2  # training's exit code when it has saved and is to be started again


@dataclass(frozen=True)
class Job:
    """A callable that submitit can pickle, and start again after a time limit or a preemption.

    Args:
        overrides: of the job, absolute paths only.
        directories: its runs', as the head process computed them.
        total_steps: that they are to reach.
        trust: what the command that submitted it trusts by name.
        look_in: where that command finds a user's own parts.
    """

    overrides: list[str]
    directories: list[str]
    total_steps: int
    trust: Sequence[str] = ()
    look_in: Sequence[str] = ()

    def __call__(self) -> None:
        """Train, and leave by SystemExit with training's code where it is not 0: SLURM then says FAILED.

        Where training has saved for a requeue, the handler that submitit installed for the signal has the last word.
        """
        started = now()
        try:
            with looking_in(self.look_in), trusting(self.trust):
                code = self._train()
        except (OtherRunError, DamagedError) as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            code = 2
        except Exception as error:
            traceback.print_exc()
            for directory in map(Path, self.directories):
                _tell_failure(directory, error, started, self.total_steps)
            code = 1
        sys.stdout.flush()
        handler = signal.getsignal(signal.SIGUSR2)
        if code == REQUEUE and callable(handler):
            handler(signal.SIGUSR2, None)
        if code:
            sys.exit(code)

    def checkpoint(self) -> DelayedSubmission:
        """Submitit's hook for requeueing: the same again, since all state is in the run directories."""
        return DelayedSubmission(self)

    def _train(self) -> int:
        config, recipe = compose(self.overrides)
        config = replace(config, hardware=hardware_of_process(config.hardware))
        here = [str(run_directory(config, recipe, seed)) for seed in config.seeds]
        if here != self.directories:
            raise RuntimeError(f"the job was submitted for {self.directories}, but what is installed now makes {here}")
        if config.hardware.threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(config.hardware.threads)
        early_build.begin(config)
        from droq_exp.training.train import train  # after the threads are known: torch reads them when it is imported

        return train(config, recipe, self.overrides)


def hardware_of_process(hardware: HardwareConfig) -> HardwareConfig:
    """What of ``hardware`` concerns the training process, on the machine where it is now."""
    values = {field.name: getattr(hardware, field.name) for field in fields(HardwareConfig)}
    threads = hardware.threads
    if threads is None and isinstance(hardware, SlurmHardwareConfig):
        # Not the cores that the process may use: without confinement these are all of the node's.
        threads = int(os.environ.get("SLURM_CPUS_PER_TASK", hardware.cpus))
    elif threads is None and isinstance(hardware, ParallelHardwareConfig):
        threads = threads_of_user() or max(1, usable_cores() // hardware.jobs)
    return HardwareConfig(**values | {"launcher": "here", "threads": threads})


def _tell_failure(directory: Path, error: Exception, started: str, total_steps: int) -> None:
    """Make ``error`` the end of a run that training did not come to, or that did not tell its end itself."""
    if _held_by_other(directory):
        return
    directory.mkdir(parents=True, exist_ok=True)
    seed = int(directory.name.removeprefix("seed_"))
    status: dict[str, Any] = {"state": None, "seed": seed, "step": 0, "total_steps": total_steps, "started": started}
    status |= read_status(directory) or {}
    told = status["state"] in ("failed", "interrupted") and status["ended"] >= started
    if told or status["state"] in DONE:
        return
    trace = "".join(traceback.format_exception(error))
    status |= {"state": "failed", "ended": now(), "error": {"summary": summary_of(error), "traceback": trace}}
    write_status(directory, status)


def _held_by_other(directory: Path) -> bool:
    try:
        return held(directory, Queue())
    except QueueUnreachableError:
        return True  # then its files are not for us to change


def main(arguments: Sequence[str]) -> None:
    """``python -m droq_exp.jobs.job <json>``: the job of a local pool, its fields by name."""
    Job(**json.loads(arguments[0]))()


if __name__ == "__main__":
    main(sys.argv[1:])
