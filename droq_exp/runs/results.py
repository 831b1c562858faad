"""What a run that is done leaves behind, with checksums in its status: later damage does not pass for a result."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from droq_exp.runs.checkpoint_files import FOLDER, WEIGHTS
from droq_exp.runs.files import REMEDY, damaged
from droq_exp.runs.status import DONE, read_status

TABLES = ("eval.csv", "train.csv", "offline.csv", "pretraining.csv")
RESULTS = (*TABLES, f"{FOLDER}/{WEIGHTS}")


def checksums(directory: Path, names: Sequence[str] = RESULTS) -> dict[str, int]:
    """CRC-32 of the files that are the results of the run in ``directory``, by name; of those that are there."""
    paths = {name: directory / name for name in names}
    return {name: zlib.crc32(path.read_bytes()) for name, path in paths.items() if path.is_file()}


def damaged_results(directory: Path, status: dict[str, Any], names: Sequence[str] = RESULTS) -> list[str]:
    """Those of ``names`` that are not as a run that is done left them.

    A run that is not done has none yet, and a ``status`` of before there were checksums tells none.
    """
    told = (status.get("results") or {}) if status.get("state") in DONE else {}
    asked = [name for name in names if name in told]
    there = checksums(directory, asked)
    return [name for name in asked if there.get(name) != told[name]]


def changed_results(directory: Path, *names: str) -> list[str]:
    """As ``damaged_results`` of the run's own status; without ``names`` of all results."""
    return damaged_results(directory, read_status(directory) or {}, names or RESULTS)


def check_table(path: Path) -> None:
    """Refuse the table ``path`` of a run that was done where it is not what the run left.

    Raises:
        DamagedError: so it is.
    """
    if changed_results(path.parent, path.name):
        raise damaged(path, "changed since the run was done", REMEDY)
