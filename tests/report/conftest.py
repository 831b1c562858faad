"""A sweep that several tests look at, and its report."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up import write_run
from reports import make_report


@pytest.fixture(scope="package")
def partial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some runs finished, some not, one failed before its first evaluation, one seed less than elsewhere."""
    root = tmp_path_factory.mktemp("partial") / "outputs"
    rising = [100.0 * step for step in range(1, 31)]
    write_run(root, seed=0, returns=rising)
    write_run(root, seed=1, returns=[value + 300 for value in rising])
    write_run(
        root, seed=2, returns=rising[:12], state="interrupted", total_steps=30_000, error="interrupted by SIGTERM"
    )
    write_run(root, algo="redq", seed=0, returns=[value / 2 for value in rising])
    write_run(
        root, algo="redq", seed=1, returns=[], state="failed", total_steps=30_000, error="RuntimeError: a_b & 50%"
    )
    write_run(root, algo="sac", env="swimmer", seed=0, returns=[5.0, 6.0, 7.0])
    return root


@pytest.fixture(scope="package")
def partial_report(partial: Path) -> Path:
    assert make_report(partial) == 0
    return partial / "report"
