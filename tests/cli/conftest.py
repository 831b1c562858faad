"""A directory of SLURM's commands at the head of PATH, empty at first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from run_files import stand_in


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    stand_in(directory, "sinfo", "", code=1)  # whatever other tests have started
    return directory
