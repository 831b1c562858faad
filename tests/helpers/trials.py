"""Trials of ``droq-exp tune`` whose runs are made up: files as training leaves them, at each look a step further."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from droq_exp.callbacks.prune import Prune
from droq_exp.cli.app import main
from droq_exp.config import Config
from droq_exp.jobs.plan import PlannedRun
from droq_exp.jobs.queue import LocalJob
from droq_exp.jobs.record import LOCAL, JobRecord
from droq_exp.runs.status import DONE, now, write_status
from droq_exp.tune import head

EVERY, STEPS = 50, 100  # of debug=default: it evaluates twice
SMALL = ("debug=default", "hardware.device=cpu", "env=inverted_pendulum")
Outcome = float | str  # of an evaluation: a return, or how the run ends there


class KilledError(BaseException):
    """What a test kills a head by."""


class World:
    """Runs that do what ``outcome`` says of a configuration, a seed and a step: return, "failed" or "interrupted"."""

    def __init__(self, outcome: Callable[[Config, int], Outcome]) -> None:
        self._outcome = outcome
        self._running: dict[Path, tuple[Config, list[tuple[int, float]]]] = {}
        self.begun: list[Path] = []  # each time that a job of a run began
        self.looks = 0
        self.after_look: dict[int, Callable[[], None]] = {}
        self.killed_at: int | None = None
        self.killed_by: type[BaseException] = KilledError

    def submit(self, runs: Sequence[PlannedRun], tell: Any, at_once: int) -> None:
        for run in runs:
            status = _status(run.directory)
            if status["state"] in DONE or run.directory in self._running:
                continue
            self.begun.append(run.directory)
            run.directory.mkdir(parents=True, exist_ok=True)
            write_status(run.directory, status | {"state": "running", "ended": None})
            job = str(LocalJob.of(os.getpid(), waiting=False))
            JobRecord(LOCAL, job, now(), "no.log", run.overrides).write(run.directory)
            self._running[run.directory] = (run.config, [])

    def sleep(self, seconds: float) -> None:
        self.looks += 1
        if self.looks == self.killed_at:
            raise self.killed_by
        for directory in list(self._running):
            self._step(directory)
        self.after_look.get(self.looks, lambda: None)()

    def _step(self, directory: Path) -> None:
        config, rows = self._running[directory]
        step = EVERY * (len(rows) + 1)
        found = self._outcome(config, step)
        if isinstance(found, str):
            self._end(directory, found, step, error={"summary": "it broke", "traceback": None})
            return
        rows.append((step, found))
        text = "".join(f"{step},{value!r}\n" for step, value in rows)
        (directory / "eval.csv").write_text("step,return_mean\n" + text)
        prune = Prune()
        prune.placed(directory)
        if (stop := prune.evaluated(step, {"eval/return_mean": found})) is not None:
            self._end(directory, stop.state, step, reason=stop.reason)
        elif step == STEPS:
            self._end(directory, "finished", step)

    def _end(self, directory: Path, state: str, step: int, **more: Any) -> None:
        del self._running[directory]
        if state == "interrupted":
            (directory / "job.json").unlink()
        write_status(directory, _status(directory) | {"state": state, "step": step, "ended": now(), **more})


def _status(directory: Path) -> dict[str, Any]:
    path = directory / "status.json"
    fresh = {"state": "missing", "step": 0, "total_steps": STEPS, "started": now()}
    return json.loads(path.read_text()) if path.exists() else fresh


def tune(*arguments: str, world: World | None = None) -> int:
    """Run ``droq-exp tune`` in this process, on a small task; return its exit code.

    Raises:
        KilledError: where ``world`` says so.
    """
    with pytest.MonkeyPatch.context() as patch:
        if world is not None:
            patch.setattr(head, "submit", world.submit)
            patch.setattr(head, "sleep", world.sleep)
        try:
            main(["tune", *SMALL, *arguments])
        except SystemExit as leaving:
            return int(leaving.code or 0)
    raise AssertionError("a command that does not exit")


def search_directory(place: Path | str = ".") -> Path:
    """The one search below ``place``."""
    (found,) = Path(place).glob("outputs/tune/*")
    return found


def trials(place: Path | str = ".") -> list[dict[str, str]]:
    """The rows of ``trials.csv`` of the one search below ``place``."""
    with (search_directory(place) / "search" / "trials.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
