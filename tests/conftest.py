"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


def pytest_configure() -> None:
    """One thread: the tests' tensors are small, and threads that wait for each other cost more than they save."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start
    torch.set_num_threads(1)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory, in which only ``outputs/`` may appear; torch's threads are put back afterwards."""
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    threads = torch.get_num_threads()
    with monkeypatch.context() as patch:
        patch.chdir(directory)
        yield directory
    torch.set_num_threads(threads)
    assert set(os.listdir(directory)) <= {"outputs"}
