"""Weights & Biases: one wandb run per seed, several at once in a process; training never waits for it or stops."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from droq_exp.loggers import wandb_files
from droq_exp.loggers.base import RunInfo
from droq_exp.loggers.wandb_environment import suitable_environment
from droq_exp.loggers.wandb_rows import Held, Notes, held, logged_rows
from droq_exp.runs.files import discard

if TYPE_CHECKING:
    import wandb

Mode = Literal["online", "offline"]

EXIT_CODES = {"finished": 0, "stopped": 0, "pruned": 0, "interrupted": 130, "failed": 1}
TAG_LENGTH = 64  # what wandb accepts
RETRY_SECONDS = 600.0
WRITTEN_SECONDS = 5.0  # in which a finished run is in its file
NOTES = "resume.json"
STEP = "global_step"  # as other projects call an environment step: charts beside theirs need an x axis of that name

_refusal: tuple[float, Exception] | None = None  # when and why wandb could not go online, for the seeds that start next


class WandbLogger:
    """Writes below ``<run>/wandb/``; ``mode`` "online" also uploads, "offline" touches no network.

    Whatever goes wrong with wandb is said once (train.log and terminal) and ends nothing: a server that does not
    answer within ``init_timeout`` seconds, or no login, means offline files that ``droq-exp sync`` can upload later.
    A resumed run keeps its wandb id, leaves out the steps that wandb has already, and logs again, from the CSVs, the
    rows that wandb has lost; so does the end of a run whose wandb process has died.
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
        self._mode = mode
        self._project = project
        self._entity = entity
        self._timeout = init_timeout
        self._said: set[str] = set()
        self._directory = info.directory / "wandb"
        self._notes = Notes("")
        if not info.resumed_at:
            discard(self._directory)
        elif (path := self._directory / NOTES).exists():
            try:
                self._notes = Notes.read(path)
            except (OSError, ValueError) as error:
                self._warn("wandb's notes are damaged, so a new wandb run begins with all rows", error)
        self._resumes = bool(self._notes.id)  # a wandb run that is there already
        self._held = Held()
        self._run: wandb.Run | None = None
        self._part = ""  # wandb's directory of the run
        self._last_step = info.resumed_at  # that a row was to be logged of
        self._gone = False  # wandb's process, as far as we know
        self._begin()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log metrics under their names, and the environment step, which is wandb's own too, its default x axis."""
        self._last_step = step
        if self._run is None or step in self._held:
            return
        try:
            self._log(step, metrics)
            self._note()
        except Exception as error:
            self._gone = True
            self._warn("wandb takes no more metrics; the end of this run logs them again", error)

    def close(self, state: str) -> None:
        """Finish the wandb run with an exit code for ``state``; waits for uploads ``init_timeout`` at most."""
        if self._run is None:
            return
        self._finish(state)
        if self._lacking():
            self._begin()  # anew, in another process of wandb's
            if self._run is not None:
                self._finish(state)
            if lacking := self._lacking():
                self._warn(f"wandb lacks {len(lacking)} rows of eval.csv and train.csv")
        self._run = None

    def _begin(self) -> None:
        """Start a part of the run, with the rows that wandb lacks up to now."""
        self._held = held(self._directory, self._notes)
        self._run = self._start()
        if self._run is None:
            return
        if self._online:  # what the server has
            self._held = replace(self._held, up_to=max(self._held.up_to, self._run.starting_step - 1))
        try:
            lacking = {step: row for step, row in self._rows().items() if step not in self._held}
            for step, row in lacking.items():
                self._log(step, row)
            self._note()
        except Exception as error:
            self._gone = True
            self._warn("wandb takes no more metrics; the end of this run logs them again", error)

    def _log(self, step: int, metrics: Mapping[str, float]) -> None:
        assert self._run is not None
        self._run.log({**metrics, STEP: step, **self._video(step)}, step=step)
        self._notes.last_step = self._notes.parts[self._part] = step

    def _video(self, step: int) -> dict[str, wandb.Video]:
        import wandb

        path = self._info.video(step)
        if path is None:
            return {}
        try:
            return {"eval/video": wandb.Video(str(path))}
        except Exception as error:
            self._warn(f"wandb has no video of step {step}", error)
            return {}

    def _finish(self, state: str) -> None:
        assert self._run is not None
        try:
            self._run.finish(exit_code=EXIT_CODES[state])
            if self._online and not self._gone:
                self._notes.uploaded = max(self._notes.uploaded, self._notes.parts[self._part])
                self._note()
        except TimeoutError as error:
            self._warn(f"wandb did not upload everything; `wandb sync {self._directory / self._part}` does", error)
        except Exception:
            self._gone = True  # and what it had in memory is lost

    def _lacking(self) -> list[int]:
        """The steps that wandb has not written, where that can be told and mended here."""
        if self._online and not self._gone:
            return []
        if not self._gone:
            self._wait_until_written()
        has = held(self._directory, self._notes)
        return [step for step in self._rows() if step not in has]

    def _wait_until_written(self) -> None:
        """Wandb's process writes the last records shortly after the run is finished."""
        deadline = time.monotonic() + WRITTEN_SECONDS
        path = self._directory / self._part / f"run-{self._notes.id}.wandb"
        while time.monotonic() < deadline and not wandb_files.is_complete(path):
            time.sleep(0.02)

    def _rows(self) -> dict[int, dict[str, float]]:
        return logged_rows(self._info.directory, self._last_step)

    @property
    def _online(self) -> bool:
        return not self._part.startswith("offline-")

    def _start(self) -> wandb.Run | None:
        if self._mode == "online" and (run := self._start_online()) is not None:
            return run
        try:
            return self._start_offline()
        except Exception as error:
            self._warn("wandb cannot start, so only eval.csv and train.csv have this run's metrics", error)
            return None

    def _start_offline(self) -> wandb.Run:
        try:
            return self._init("offline")
        except Exception as error:
            if not isinstance(error, ConnectionError) and type(error).__name__ != "MailboxClosedError":
                raise
            self._gone = True  # it has died while it served another seed
            return self._init("offline")

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
        self._warn("wandb cannot go online, the run is kept offline; `droq-exp sync` uploads it", _refusal[1])
        return None

    def _online_files(self) -> set[Path]:
        return set(self._directory.glob("run-*"))

    def _note(self) -> None:
        self._notes.write(self._directory / NOTES)

    def _init(self, mode: Mode) -> wandb.Run:
        # Given, since WANDB_RUN_ID would be every seed's; for each attempt another, since a failed one keeps its own.
        if not self._resumes:
            self._notes.id = secrets.token_hex(6)
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # wandb's own crash reports use the network
        import wandb

        while any(time.strftime("%Y%m%d_%H%M%S") in part for part in self._notes.parts):
            time.sleep(0.05)  # wandb names its directories by the second
        if self._gone:
            self._gone = False
            with suppress(Exception):
                wandb.teardown()  # what is left of the process that has died; the next setup starts another
        with suitable_environment(self._warn):
            run = self._wandb_init(mode)
        self._part = Path(run.dir).parent.name
        self._notes.parts[self._part] = -1
        self._resumes = True
        self._note()  # and with it the new directory is on disk
        return run

    def _wandb_init(self, mode: Mode) -> wandb.Run:
        import wandb

        wandb.setup(wandb.Settings(silent=True))
        # init() would ask for a key on a terminal, and wait for the answer. The key is verified there.
        if mode == "online" and not wandb.login(prompt=False, verify=False):
            raise RuntimeError("not logged in, see `wandb login`")
        return wandb.init(
            mode=mode,
            project=self._project,
            entity=self._entity,
            dir=str(self._info.directory),
            id=self._notes.id,
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

    def _warn(self, what: str, error: Exception | None = None) -> None:
        if what not in self._said:
            self._said.add(what)
            reason = f" ({' '.join(f'{type(error).__name__}: {error}'.split())})" if error is not None else ""
            self._info.log.warning("%s%s", what, reason)
