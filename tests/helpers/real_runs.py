"""Real training at the size of ``debug=default``, by the command line, in this process or another."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import counting_env  # noqa: F401  (registers its tasks)
import numpy as np
import pytest
import torch
from forks import Python

from droq_exp.config import compose
from droq_exp.launch import main
from droq_exp.random_streams import Stream, derived_seed
from droq_exp.training import train as training
from droq_exp.training.loop import TrainingLoop

ROOT = Path(__file__).resolve().parents[2]
# By the C++, as runs are by default: PyTorch's own updates take nearly all of the time of so small a run.
SMALL = ("debug=default", "hardware.device=cpu", "hardware.threads=1", "hardware.updates=auto")
LITTLE_BIAS = "bias.min_pairs=10"  # an estimate of code base redq takes 1,000 steps otherwise
TIMING = {
    "updates_per_second",
    *(f"{name}_seconds" for name in ("env", "sample", "update", "phase", "evaluate", "wall")),
}


def launch(*overrides: str) -> int:
    """Run ``launch.py debug=default <overrides>`` in this process; return its exit code."""
    with pytest.raises(SystemExit) as leaving:
        main([*SMALL, *overrides])
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


def train(*overrides: str) -> int:
    """As ``launch``, without Hydra's own way through the same configuration, which takes longer than the run."""
    return training.train(*compose([*SMALL, *overrides]))


def train_in(directory: Path, *overrides: str) -> list[Path]:
    """As ``train``, in a current directory of its own, to the end; return the seeds' directories."""
    directory.mkdir()
    before = Path.cwd()
    os.chdir(directory)
    try:
        assert train(*overrides) == 0
    finally:
        os.chdir(before)
    return runs(directory)


def runs(directory: Path | str = ".") -> list[Path]:
    """The directories of all seeds below ``directory``, by name."""
    return sorted(Path(directory).resolve().glob("outputs/*/*/*/*/seed_*"))


def only_run(directory: Path | str = ".") -> Path:
    (run,) = runs(directory)
    return run


def breaking(seed: int, at: int, how: str) -> list[str]:
    """Overrides for a task that breaks at step ``at`` of the training of ``seed``."""
    return [
        *("env=gym", "env.id=Counting-v0", LITTLE_BIAS),
        f"env.kwargs={{broken_seed: {derived_seed(seed, Stream.TRAINING_ENV)}, breaks_at: {at}, how: {how}}}",
    ]


def status(run: Path) -> dict[str, Any]:
    return json.loads((run / "status.json").read_text())


def log_text(run: Path) -> str:
    return (run / "train.log").read_text()


def rows(run: Path, name: str) -> list[dict[str, str]]:
    """Rows of ``eval`` or ``train``, as text."""
    with (run / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def untimed(run: Path, name: str) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key not in TIMING} for row in rows(run, name)]


def numbers(run: Path, name: str) -> np.ndarray:
    """All values but the timing columns, ``[rows, columns]``; NaN where empty."""
    return np.array([[float(value or "nan") for value in row.values()] for row in untimed(run, name)])


def steps(run: Path, name: str = "eval") -> list[int]:
    return [int(row["step"]) for row in rows(run, name)]


def weights(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoint" / "weights.pt", weights_only=True)


def same_weights(first: Path, second: Path) -> bool:
    """To the bit."""
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in a)


def assert_same(one: Path, other: Path) -> None:
    """Both runs have the same results: rows to the digit, timing aside, and weights to the bit."""
    for group in ("train", "eval"):
        assert untimed(one, group) == untimed(other, group)
    assert same_weights(one, other)


def contents(run: Path) -> dict[str, tuple[int, bytes]]:
    """Times and bytes of all files of ``run``."""
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in run.rglob("*") if path.is_file()}


def taken_for_dead(run: Path) -> None:
    """Make the holder of the lock of ``run``, which stands still, one of another host, silent for minutes."""
    lock = run / "lock.json"
    told = json.loads(lock.read_text())
    lock.write_text(json.dumps(told | {"host": "elsewhere", "boot_id": "another"}))
    then = time.time() - 130
    os.utime(lock, (then, then))


def start(directory: Path, *overrides: str, stderr: int = subprocess.PIPE, **environment: str) -> subprocess.Popen[str]:
    """Start the real ``launch.py`` in ``directory``, in a process group of its own."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])
    variables = os.environ | {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} | environment
    return Python(
        [sys.executable, str(ROOT / "launch.py"), *SMALL, *overrides],
        cwd=directory,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str], seconds: float = 300) -> None:
    """Wait until ``condition`` holds, while ``process`` runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"ended early: {process.communicate()}"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch, number: signal.Signals = signal.SIGTERM) -> None:
    """Send this process ``number`` during environment step ``step``."""
    act = TrainingLoop._act

    def interrupted(self: TrainingLoop, random: bool) -> None:
        act(self, random)
        if self.step == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(TrainingLoop, "_act", interrupted)


def assert_interruptions_change_nothing(directory: Path, command: Sequence[str], *at: int) -> None:
    """Train in one go in ``directory``, and here interrupted at these steps: the same runs, without a warning."""
    whole = train_in(directory, *command)
    for step in at:
        with pytest.MonkeyPatch.context() as patch:
            interrupt_at(step, patch)
            assert train(*command) == 143
    assert train(*command) == 0
    for run, same in zip(runs(), whole, strict=True):
        assert_same(run, same)
        assert "WARNING" not in log_text(run)
