"""One process at a time says which jobs the runs of an experiment have: commands take turns, on all hosts.

Whoever submits, starts or cancels jobs holds the lock of the experiment's folder from its look at the runs until every
``job.json`` says what it has done. So two commands never submit the same run, and none cancels a job that is just
being replaced.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from droq_exp.runs.lock import HeldError, RunLock

SLURM_FOLDER, LOCAL_FOLDER = ".submitit", ".jobs"  # below an experiment's own: what its jobs are made of, and say
LOOK_SECONDS = 0.5
PATIENCE = 5.0  # seconds after which a command that waits says so


@contextmanager
def turn(experiments: Iterable[Path]) -> Iterator[None]:
    """Wait for the turn in these folders, which are made where they are missing, and keep it for the block.

    Raises:
        OSError: one of them cannot be written.
    """
    with ExitStack() as locks:
        for place in sorted({os.path.realpath(experiment) for experiment in experiments}):  # one order for all
            os.makedirs(place, exist_ok=True)
            locks.enter_context(_waited_for(Path(place)))
        yield


def experiment_of(run: Path) -> Path | None:
    """The experiment's folder above a ``run`` directory; None where no job of it has ever been submitted."""
    above = run.resolve().parents
    return next(
        (place for place in above if any((place / name).is_dir() for name in (SLURM_FOLDER, LOCAL_FOLDER))), None
    )


def _waited_for(experiment: Path) -> RunLock:
    started, told = time.monotonic(), False
    while True:
        try:
            return RunLock.acquire(experiment)
        except HeldError as error:
            if not told and time.monotonic() - started > PATIENCE:
                told = True
                print(f"waiting for its turn: jobs of {experiment} are in the hands of {error.owner}", file=sys.stderr)
        time.sleep(LOOK_SECONDS)
