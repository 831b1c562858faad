"""Weights & Biases: one wandb run per seed, several at once in a process; training never waits for it or stops."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from droq_exp.loggers.base import RunInfo
from droq_exp.runs.files import discard, write_atomically

if TYPE_CHECKING:
    import wandb

Mode = Literal["online", "offline"]

EXIT_CODES = {"finished": 0, "stopped": 0, "interrupted": 130, "failed": 1}
TAG_LENGTH = 64  # what wandb accepts
RETRY_SECONDS = 600.0

_refusal: tuple[float, Exception] | None = None  # when and why wandb could not go online, for the seeds that start next


class WandbLogger:
    """Writes below ``<run>/wandb/``; ``mode`` "online" also uploads, "offline" touches no network.

    Whatever goes wrong with wandb is said once (train.log and terminal) and ends nothing: a server that does not
    answer within ``init_timeout`` seconds, or no login, means offline files that ``wandb sync`` can upload later.
    A resumed run keeps its wandb id and leaves out the steps that wandb has already.
    """

    def __init__(
        self,
        info: RunInfo,
        mode: Mode = "offline",
        project: str = "droq_exp",
        entity: str | None = None,
        init_timeout: float = 60.0,
    ) -> None:
        """Start the wandb run."""
        self._info = info
        self._project = project
        self._entity = entity
        self._timeout = init_timeout
        self._said: set[str] = set()
        self._notes = info.directory / "wandb" / "resume.json"
        self._id, self._last_step = "", -1
        if not info.resumed_at:
            discard(self._notes.parent)
        if info.resumed_at and self._notes.exists():
            notes = json.loads(self._notes.read_text(encoding="utf-8"))
            self._id, self._last_step = notes["id"], notes["last_step"]
        self._resumes = bool(self._id)
        self._logged_before = self._last_step
        self._run = self._start(mode)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log metrics under their names at an environment step (wandb's own step, so its default x axis)."""
        if self._run is None or step <= self._logged_before:
            return
        try:
            self._run.log(dict(metrics), step=step)
            self._last_step = step
            self._note()
        except Exception as error:
            self._warn("wandb takes no more metrics", error)

    def close(self, state: str) -> None:
        """Finish the wandb run with an exit code for ``state``; waits for uploads ``init_timeout`` at most."""
        if self._run is None:
            return
        try:
            self._run.finish(exit_code=EXIT_CODES[state])
        except Exception as error:
            self._warn("wandb did not upload everything", error)
        self._run = None

    def _start(self, mode: Mode) -> wandb.Run | None:
        if mode == "online" and (run := self._start_online()) is not None:
            return run
        try:
            return self._init("offline")
        except Exception as error:
            self._warn("wandb cannot start; the run continues without it", error)
            return None

    def _start_online(self) -> wandb.Run | None:
        global _refusal
        # The seeds of a command start one after another: only the first is to wait in vain.
        if _refusal is None or time.monotonic() - _refusal[0] > RETRY_SECONDS:
            before = self._online_files()
            try:
                return self._init("online")
            except Exception as error:
                _refusal = (time.monotonic(), error)
                # The attempt's directory would be uploaded too, as an empty run beside the real one.
                for path in self._online_files() - before:
                    shutil.rmtree(path, ignore_errors=True)
        self._warn("wandb cannot go online, the run is kept offline", _refusal[1])
        return None

    def _online_files(self) -> set[Path]:
        return set((self._info.directory / "wandb").glob("run-*"))

    def _note(self) -> None:
        text = json.dumps({"id": self._id, "last_step": self._last_step})
        write_atomically(self._notes, text + "\n")

    def _init(self, mode: Mode) -> wandb.Run:
        # Given, since WANDB_RUN_ID would be every seed's; for each attempt another, since a failed one keeps its own.
        if not self._resumes:
            self._id = secrets.token_hex(6)
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # wandb's own crash reports use the network
        import wandb

        wandb.setup(wandb.Settings(silent=True))
        # init() would ask for a key on a terminal, and wait for the answer. The key is verified there.
        if mode == "online" and not wandb.login(prompt=False, verify=False):
            raise RuntimeError("not logged in, see `wandb login`")
        run = wandb.init(
            mode=mode,
            project=self._project,
            entity=self._entity,
            dir=str(self._info.directory),
            id=self._id,
            name=self._info.name,
            group=self._info.group,
            tags=[tag[:TAG_LENGTH] for tag in self._info.tags],
            config=self._info.config,
            reinit="create_new",
            resume="allow" if self._resumes and mode == "online" else None,
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_save_requirements=False,
                init_timeout=self._timeout,
                finish_timeout=self._timeout,
                finish_timeout_raises=True,
            ),
        )
        self._note()
        return run

    def _warn(self, what: str, error: Exception) -> None:
        if what not in self._said:
            self._said.add(what)
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            directory = self._info.directory / "wandb"
            self._info.log.warning("%s (%s); `wandb sync` can upload %s later", what, reason, directory)
