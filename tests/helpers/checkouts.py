"""Copies of the project whose files a test edits, as a researcher does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import forks
import torch
from real_runs import ROOT

RUN = (
    *("debug=default", "algo=droq", "env=inverted_pendulum", "hardware=cpu", "hardware.threads=1"),
    *("hardware.updates=auto", "training.total_steps=60", "eval.interval=60", "bias.enabled=false"),
)


class Checkout:
    """A copy of the project in which files may be edited."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("droq_exp", "conf", "hydra_plugins"):
            shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "launch.py", directory)

    def edit(self, file: str, before: str, after: str) -> None:
        path = self.directory / "droq_exp" / "learner" / file
        text = path.read_text()
        assert text.count(before) == 1, f"{before!r} is {text.count(before)} times in {file}"
        path.write_text(text.replace(before, after))

    def launch(self, place: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
        """A default run on a CPU, but a short one."""
        place.mkdir(exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(self.directory)}
        command = [sys.executable, str(self.directory / "launch.py"), *RUN, *overrides]
        return forks.run(command, cwd=place, env=environment)

    def train(self, place: Path, *overrides: str) -> tuple[dict[str, torch.Tensor], str]:
        """The weights of a run, and what it printed to stderr."""
        done = self.launch(place, *overrides)
        assert done.returncode == 0, done.stderr
        (path,) = place.rglob("weights.pt")
        return torch.load(path, weights_only=True), done.stderr
