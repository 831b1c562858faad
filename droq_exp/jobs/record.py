"""``job.json``: which job was last submitted for a run directory."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from droq_exp.runs.files import damaged, read_json, write_atomically
from droq_exp.runs.status import is_time

FILE = "job.json"
SLURM, LOCAL = "slurm", "local"
JOB_IDS = {SLURM: r"\d+(_\d+)?", LOCAL: r"[^\s:]+:[1-9]\d{0,6}:\d{1,19}:(waiting|started)"}
REMEDY = "remove it once no job of this run is left"
TAIL_BYTES = 4096  # of a log
REQUIRED = ("backend", "job_id", "submitted", "log", "overrides")  # of a record; older ones have nothing else
LINE_LENGTH = 300  # of what is quoted of it


@dataclass(frozen=True)
class JobRecord:
    """One run's job. Several runs of one job (seeds trained together) have the same ``job_id`` and ``log``.

    Args:
        backend: "slurm" or "local".
        job_id: "123", or "123_4" in an array; for local jobs as ``droq_exp.jobs.queue.LocalJob`` writes it.
        submitted: when, ISO 8601 in UTC.
        log: absolute path of what the job itself prints (standard error).
        overrides: the Hydra overrides that make exactly this run, its seed included.
        cancelled: when ``droq-exp cancel`` ended the job, likewise; None: it did not.
    """

    backend: str
    job_id: str
    submitted: str
    log: str
    overrides: list[str]
    cancelled: str | None = None

    def write(self, directory: Path) -> None:
        """Write ``job.json`` in the run ``directory``, made where it is missing."""
        directory.mkdir(parents=True, exist_ok=True)
        write_atomically(directory / FILE, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, directory: Path) -> JobRecord | None:
        """The record in a run ``directory``; None where no job was submitted for it.

        Raises:
            DamagedError: the file is not a record, or cannot be read.
        """
        path = directory / FILE
        try:
            content = read_json(path, REMEDY)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not _is_record(content):
            raise damaged(path, "no record of a job", REMEDY)
        return cls(**{field.name: content[field.name] for field in fields(cls) if field.name in content})

    @property
    def last_words(self) -> str | None:
        """The last line of the log: all that there is of a job that ended without a word. None where there is none."""
        path = Path(self.log)
        try:
            if not path.is_file():
                return None
            with path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except (OSError, ValueError):  # not to be read; a name that no file has
            return None
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return "".join(filter(str.isprintable, lines[-1]))[:LINE_LENGTH] if lines else None


def _is_record(content: Any) -> bool:
    if not isinstance(content, dict) or not {*REQUIRED} <= content.keys():
        return False
    backend, job_id, submitted, log, overrides = (content[name] for name in REQUIRED)
    cancelled = content.get("cancelled")
    return (
        all(isinstance(text, str) for text in (backend, job_id, log))
        and backend in JOB_IDS
        and re.fullmatch(JOB_IDS[backend], job_id, re.ASCII) is not None
        and all(is_time(time) for time in (submitted, cancelled or submitted))
        and "\0" not in log
        and isinstance(overrides, list)
        and all(isinstance(text, str) for text in overrides)
    )
