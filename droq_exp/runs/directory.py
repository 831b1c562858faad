"""One seed's run directory: its configuration, state and log."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from droq_exp.config.schema import Config
from droq_exp.config.task import tried
from droq_exp.loggers.base import RunInfo
from droq_exp.runs import provenance
from droq_exp.runs.checkpoint import Checkpoints
from droq_exp.runs.checkpoint_files import FOLDER
from droq_exp.runs.code import code_of
from droq_exp.runs.files import discard, dump_yaml, remove_leftovers, write_atomically
from droq_exp.runs.guard import check
from droq_exp.runs.identity import differences, environment_name, group_parts, identity, run_directory
from droq_exp.runs.log import LOG, LogFile, Terminal
from droq_exp.runs.results import checksums
from droq_exp.runs.space import give_back, reserve
from droq_exp.runs.status import DONE, now, read_status, summary_of, write_status
from droq_exp.runs.takeover import FORMAT, other_code, records_code
from droq_exp.runs.videos import keep_until

__all__ = ["RunDirectory", "differences", "identity", "read_status", "run_directory"]


class RunDirectory:
    """The directory of one seed, from start to end.

    Its end is told by ``finish``, ``stop``, ``interrupt`` or ``fail``; the first of them stands, later ones do nothing.
    Loggers are closed before, so that what they have to say is still in train.log.
    """

    def __init__(self, info: RunInfo, status: dict[str, Any]) -> None:
        """Use ``RunDirectory.open``."""
        self.directory = info.directory
        self.seed = info.seed
        self.info = info
        self.log = info.log
        self.checkpoints = Checkpoints(info.directory / FOLDER)
        self._status = status

    @classmethod
    def open(cls, config: Config, recipe: Config, seed: int, *, device: str, overrides: Sequence[str]) -> RunDirectory:
        """Make (or take over) the directory of ``seed``, whose lock is held, and say there that it is running.

        ``begin`` comes next.

        Args:
            config: what to train.
            recipe: what the group choices alone give.
            seed: one of ``config.seed``.
            device: what training uses, in words for ``status.json``.
            overrides: the Hydra overrides that make exactly this run.

        Raises OSError where nothing can be written.
        """
        directory = run_directory(config, recipe, seed)
        before = read_status(directory) or {}
        accepted = other_code(directory, config) if before else []
        unknown = bool(before) and not records_code(directory)
        one_seed = asdict(replace(config, seed=seed, training=replace(config.training, restart=False)))
        status = {
            "state": "running",
            "seed": seed,
            "step": before.get("step", 0),
            "total_steps": config.training.total_steps,
            "versions": provenance.versions(),
            "mujoco_versions": provenance.mujoco_versions(before),
            "device": device,
            "git_commit": provenance.git_commit(),
            "started": before.get("started") or now(),
            "attempts": before.get("attempts", 0) + 1,
            "ended": None,
            "error": None,
            "reason": None,
            "results": None,
            "phases": before.get("phases"),
            "overrides": list(overrides),
            "accepted_code": sorted({*before.get("accepted_code", []), *accepted}),
        }
        run = cls(_info(config, recipe, seed, directory, one_seed), status)
        for folder in (directory, directory / FOLDER):
            remove_leftovers(folder)
        reserve(directory)
        try:
            run._write_beginning(config, recipe, before, one_seed)
        except OSError as error:
            run.fail(status["step"], error)
            raise
        if accepted:
            run.log.warning("continuing with other code than this run began with: %s", ", ".join(accepted))
        if unknown:
            run.log.warning("begun by a version that did not record its code: whether it is the same is not known")
        return run

    def _write_beginning(
        self, config: Config, recipe: Config, before: dict[str, Any], one_seed: dict[str, Any]
    ) -> None:
        self._write_status()
        changed = differences(config, recipe)
        listed = {key: {"recipe": recipes, "run": runs} for key, (recipes, runs) in changed.items()}
        order = [list(part) for part in tried(config.env).order]
        told = {"format": FORMAT, "differences": listed, "identity": identity(config)}
        told |= {"observation": order, "code": code_of(config)}  # the code is last: takeover looks whether it is there
        content = {**one_seed, **told}
        text = dump_yaml(content, sort_keys=False, allow_unicode=True)
        write_atomically(self.directory / "config.yaml", text)
        self._open_log(before)

    def begin(self, step: int) -> None:
        """Start from ``step``: 0, or that of a checkpoint. Later checkpoints and videos go; loggers see to theirs."""
        self.info = replace(self.info, resumed_at=step)
        keep_until(self.directory, step)
        if step:
            self.checkpoints.keep_only(step)
            self.log.info("continuing from the checkpoint of step %s", step)
        else:
            self._status["started"] = now()
            checkpoint = self.directory / FOLDER
            if (lost := self._status["step"]) or checkpoint.exists():
                self.log.warning("no checkpoint to go on from: starting over from step 0, it had come to step %s", lost)
            elif self._status["attempts"] > 1:
                self.log.info("starting over from step 0")
            discard(checkpoint)
        self._status["step"] = step
        self._write_status()

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

    def note_phases(self, told: dict[str, dict[str, Any]]) -> None:
        """Note how far the phases without environment steps are; written with whatever is noted next."""
        self._status["phases"] = told

    def finish(self, step: int) -> None:
        """End the run with everything done."""
        self._end("finished", step, None, logging.INFO, f"finished at step {step}")

    def stop(self, step: int, reason: str, state: str = "stopped") -> None:
        """End the run in order, before its last step or at it, because a callback asks for it.

        Args:
            step: where it is.
            reason: why, in a line.
            state: one of ``CUT_SHORT``.
        """
        self._status["reason"] = reason
        message = f"{state} at step {step}: {reason}"
        self._end(state, step, None, logging.INFO, message)
        print(f"{self.directory.name}: {message}", flush=True)

    def interrupt(self, step: int, signal_name: str) -> None:
        """End the run because of a signal, such as "SIGTERM"."""
        error = {"summary": f"interrupted by {signal_name}", "traceback": None}
        self._end("interrupted", step, error, logging.INFO, f"interrupted by {signal_name} at step {step}")

    def fail(self, step: int, error: str | BaseException) -> None:
        """End the run because of an error: a line that says what, or an exception, kept with its traceback."""
        if self.ended:
            return
        if isinstance(error, BaseException):
            summary = summary_of(error)
            trace = "".join(traceback.format_exception(error))
            self.log.info("traceback:\n%s", trace.rstrip())
        else:
            summary, trace = error, None
        message = f"failed at step {step}: {summary}"
        self._end("failed", step, {"summary": summary, "traceback": trace}, logging.ERROR, message)

    def check_lock(self) -> None:
        """End this process where another one has taken over: for those who write here by means of their own."""
        check(self.directory / "status.json")

    @property
    def state(self) -> str:
        """One of running, finished, stopped, pruned, interrupted, failed."""
        return self._status["state"]

    @property
    def step(self) -> int:
        """The environment step last noted."""
        return self._status["step"]

    @property
    def ended(self) -> bool:
        """Whether ``finish``, ``stop``, ``interrupt`` or ``fail`` was called."""
        return self.state != "running"

    def _end(self, state: str, step: int, error: dict[str, Any] | None, level: int, message: str) -> None:
        if self.ended:
            return
        give_back(self.directory)
        self._status.update(state=state, step=step, ended=now(), error=error)
        try:
            self.log.log(level, message)
        finally:
            self._close_log()
            self._tell_end(message)

    def _tell_end(self, message: str) -> None:
        try:
            if self.state in DONE:
                self._status["results"] = checksums(self.directory)
            self._write_status()
            for folder in (self.directory, self.directory / FOLDER):
                remove_leftovers(folder)
        except OSError as problem:
            self._status["state"] = "failed"
            print(
                f"{self.directory}: {message}; this could not be recorded: {problem.strerror}",
                file=sys.stderr,
                flush=True,
            )

    def _write_status(self) -> None:
        write_status(self.directory, self._status)

    def _open_log(self, before: dict[str, Any]) -> None:
        path = self.directory / LOG
        if path.exists():
            with path.open("a", encoding="utf-8") as file:
                file.write("-" * 80 + "\n")
        handler = LogFile(path, encoding="utf-8")
        formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
        self.log.addHandler(handler)
        self.log.info("run %s, device %s", self.info.name, self._status["device"])
        if before:
            self.log.info(
                "attempt %s: the last was %s at step %s", self._status["attempts"], before["state"], before["step"]
            )

    def _close_log(self) -> None:
        for handler in list(self.log.handlers):
            if isinstance(handler, logging.FileHandler):
                with suppress(OSError):  # a full disk
                    handler.close()
                self.log.removeHandler(handler)


def _info(config: Config, recipe: Config, seed: int, directory: Path, resolved: dict[str, Any]) -> RunInfo:
    # A logger outside logging's global tree: seeds cannot collide, nothing reaches the root's handlers twice, and it is
    # forgotten together with the run.
    log = logging.Logger(f"droq_exp.{directory}", logging.INFO)
    log.addHandler(Terminal(directory))
    group = "/".join(group_parts(config, recipe))
    tags = (config.experiment_name, config.codebase.name, config.algo.name, environment_name(config))
    return RunInfo(directory, f"{group}/seed_{seed}", group, tags, resolved, seed, log)
