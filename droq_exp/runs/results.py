"""What a run that is done leaves behind, with checksums in its status: later damage does not pass for a result."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from droq_exp.runs.checkpoint_files import FOLDER, WEIGHTS

RESULTS = ("eval.csv", "train.csv", "offline.csv", "pretraining.csv", f"{FOLDER}/{WEIGHTS}")


def checksums(directory: Path) -> dict[str, int]:
    """CRC-32 of the files that are the results of the run in ``directory``, by name; of those that are there."""
    paths = {name: directory / name for name in RESULTS}
    return {name: zlib.crc32(path.read_bytes()) for name, path in paths.items() if path.is_file()}


def damaged_results(directory: Path, status: dict[str, Any]) -> list[str]:
    """Names of the results that are not as the run left them; a ``status`` of before there were checksums says none."""
    told = status.get("results") or {}
    there = checksums(directory) if told else {}
    return [name for name in told if there.get(name) != told[name]]
