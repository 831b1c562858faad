"""One seed's run directory: its configuration, state and log."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import yaml

from droq_exp import provenance
from droq_exp.config.schema import Config
from droq_exp.files import discard, remove_leftovers, write_atomically
from droq_exp.identity import differences, environment_name, group_parts, identity, run_directory
from droq_exp.loggers.base import RunInfo

__all__ = ["Run", "differences", "identity", "read_status", "run_directory"]

# What a run that starts over replaces; train.log stays and is continued.
OUTPUTS = ("train.csv", "eval.csv", "checkpoint", "tensorboard", "wandb")


def read_status(directory: Path) -> dict[str, Any] | None:
    """Content of a run directory's ``status.json``; None where there is none, ValueError where it is no JSON."""
    path = directory / "status.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); remove it to start this run over") from error


class Run:
    """The directory of one seed, from start to end.

    Its end is told by ``finish``, ``interrupt`` or ``fail``; the first of them stands, later ones do nothing.
    Loggers are closed before, so that what they have to say is still in train.log.
    """

    def __init__(self, directory: Path, seed: int, info: RunInfo, status: dict[str, Any]) -> None:
        """Use ``Run.open``."""
        self.directory = directory
        self.seed = seed
        self.info = info
        self.log = info.log
        self._status = status

    @classmethod
    def open(cls, config: Config, recipe: Config, seed: int, *, device: str) -> Run:
        """Make (or take over) the directory of ``seed`` and say there that it is running, from step 0.

        ``device`` is what training uses, in words for ``status.json``. Outputs of an earlier attempt are removed;
        they are unusable from the moment the state is ``running`` again. Raises OSError where nothing can be written.
        """
        directory = run_directory(config, recipe, seed)
        directory.mkdir(parents=True, exist_ok=True)
        before = read_status(directory)
        changed = differences(config, recipe)
        one_seed = asdict(replace(config, seed=seed))
        status = {
            "state": "running",
            "seed": seed,
            "step": 0,
            "total_steps": config.training.total_steps,
            "versions": provenance.versions(),
            "device": device,
            "git_commit": provenance.git_commit(),
            "started": _now(),
            "ended": None,
            "error": None,
        }
        run = cls(directory, seed, _info(config, recipe, seed, directory, one_seed), status)
        # In this order: whoever looks in between sees a running run, never a finished one without its results.
        run._write_status()
        for name in OUTPUTS:
            discard(directory / name)
        remove_leftovers(directory)
        listed = {key: {"recipe": recipes, "run": runs} for key, (recipes, runs) in changed.items()}
        text = yaml.safe_dump({**one_seed, "differences": listed}, sort_keys=False, allow_unicode=True)
        write_atomically(directory / "config.yaml", text)
        run._open_log(before)
        return run

    @staticmethod
    def finished_steps(directory: Path) -> int | None:
        """Step at which the run in ``directory`` finished; None where it did not (or is not there)."""
        status = read_status(directory)
        return status["step"] if status is not None and status["state"] == "finished" else None

    def update(self, step: int) -> None:
        """Note the environment step reached. Raises RuntimeError after the end."""
        if self.ended:
            raise RuntimeError(f"{self.directory} has ended as {self._status['state']}")
        self._status["step"] = step
        self._write_status()

    def finish(self, step: int) -> None:
        """End the run with everything done."""
        self._end("finished", step, None, logging.INFO, f"finished at step {step}")

    def interrupt(self, step: int, signal_name: str) -> None:
        """End the run because of a signal, such as "SIGTERM"."""
        error = {"summary": f"interrupted by {signal_name}", "traceback": None}
        self._end("interrupted", step, error, logging.INFO, f"interrupted by {signal_name} at step {step}")

    def fail(self, step: int, error: str | BaseException) -> None:
        """End the run because of an error: a line that says what, or an exception, kept with its traceback."""
        if self.ended:
            return
        if isinstance(error, BaseException):
            summary = " ".join("".join(traceback.format_exception_only(error)).split())
            trace = "".join(traceback.format_exception(error))
            self.log.info("traceback:\n%s", trace.rstrip())
        else:
            summary, trace = error, None
        message = f"failed at step {step}: {summary}"
        self._end("failed", step, {"summary": summary, "traceback": trace}, logging.ERROR, message)

    @property
    def state(self) -> str:
        """One of running, finished, interrupted, failed."""
        return self._status["state"]

    @property
    def step(self) -> int:
        """The environment step last noted."""
        return self._status["step"]

    @property
    def ended(self) -> bool:
        """Whether ``finish``, ``interrupt`` or ``fail`` was called."""
        return self.state != "running"

    def _end(self, state: str, step: int, error: dict[str, Any] | None, level: int, message: str) -> None:
        if self.ended:
            return
        self._status.update(state=state, step=step, ended=_now(), error=error)
        try:
            self.log.log(level, message)
        finally:
            self._close_log()
            self._write_status()

    def _write_status(self) -> None:
        write_atomically(self.directory / "status.json", json.dumps(self._status, indent=2) + "\n")

    def _open_log(self, before: dict[str, Any] | None) -> None:
        path = self.directory / "train.log"
        if path.exists():
            with path.open("a", encoding="utf-8") as file:
                file.write("-" * 80 + "\n")
        handler = logging.FileHandler(path, encoding="utf-8")
        formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
        self.log.addHandler(handler)
        self.log.info("run %s, device %s", self.info.name, self._status["device"])
        if before is not None:
            self.log.info("starting over: the last attempt was %s at step %s", before["state"], before["step"])

    def _close_log(self) -> None:
        for handler in list(self.log.handlers):
            if isinstance(handler, logging.FileHandler):
                handler.close()
                self.log.removeHandler(handler)


class _Terminal(logging.Handler):
    """Warnings and errors for the user's eyes, on the stderr of the moment (a live progress line replaces it)."""

    def __init__(self, directory: Path) -> None:
        super().__init__(logging.WARNING)
        self.directory = directory

    def emit(self, record: logging.LogRecord) -> None:
        stream: TextIO = sys.stderr
        where = f" (see {self.directory / 'train.log'})" if record.levelno >= logging.ERROR else ""
        try:
            stream.write(f"{self.directory.name}: {record.getMessage()}{where}\n")
            stream.flush()
        except OSError:  # a closed terminal; train.log has the message
            self.handleError(record)


def _info(config: Config, recipe: Config, seed: int, directory: Path, resolved: dict[str, Any]) -> RunInfo:
    # A logger outside logging's global tree: seeds cannot collide, nothing reaches the root's handlers twice, and it is
    # forgotten together with the run.
    log = logging.Logger(f"droq_exp.{directory}", logging.INFO)
    log.addHandler(_Terminal(directory))
    group = "/".join(group_parts(config, recipe))
    tags = (config.experiment_name, config.codebase.name, config.algo.name, environment_name(config))
    return RunInfo(directory, f"{group}/seed_{seed}", group, tags, resolved, seed, log)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
