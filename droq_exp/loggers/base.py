"""What a logger is told about its run, and what it has to do."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from droq_exp.runs.videos import video_file


@dataclass(frozen=True)
class RunInfo:
    """One seed's run, as loggers see it."""

    directory: Path
    name: str  # group and seed
    group: str  # what the seeds share: experiment/codebase/algo/env
    tags: tuple[str, ...]  # experiment, codebase, algo, env
    config: dict[str, Any]  # resolved, of this seed
    seed: int
    log: logging.Logger  # the run's train.log; warnings also reach the terminal
    resumed_at: int = 0  # step of the checkpoint that the run goes on from; what was logged later is logged again
    logged: Any = None  # what this logger's ``state`` was at that checkpoint; None where it had none

    def video(self, step: int) -> Path | None:
        """The video of the evaluation at ``step``, an MP4 file, where one was made before its metrics are logged."""
        path = video_file(self.directory, step)
        return path if path.exists() else None


class Logger(Protocol):
    """Takes the metrics of one seed.

    It owns the files that it writes below the run's directory: made for a run that starts from step 0, it removes what
    an earlier attempt has left there. A method ``state()`` may return plain values, which checkpoints keep: made for a
    run that goes on from one, it finds them in ``info.logged``. A method ``log_phase(name, step, metrics)`` takes what
    updates of a phase without environment steps gave, many times within one step: ``metrics["updates"]`` counts on.
    """

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write metrics named "eval/return_mean" or "train/critic_loss" at an environment step."""

    def close(self, state: str) -> None:
        """End with the run's state: finished, stopped, pruned, interrupted or failed. Always called, once."""
