"""Damage to the files of a run that was killed, and what becomes of it when it is started again."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from campaign_runs import ROOT, Case, compare, find_runs

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def delete(path: Path, randomness: random.Random) -> None:
    """The file is gone."""
    path.unlink()


def empty(path: Path, randomness: random.Random) -> None:
    """The file is there, with nothing in it."""
    path.write_bytes(b"")


def cut(path: Path, randomness: random.Random) -> None:
    """A random part of its end is missing."""
    path.write_bytes(path.read_bytes()[: randomness.randrange(1, path.stat().st_size)])


def zero(path: Path, randomness: random.Random) -> None:
    """All its bytes are 0, as after a power cut on some file systems."""
    path.write_bytes(bytes(path.stat().st_size))


def flip(path: Path, randomness: random.Random) -> None:
    """A random bit is another."""
    content = bytearray(path.read_bytes())
    content[randomness.randrange(len(content))] ^= 1 << randomness.randrange(8)
    path.write_bytes(content)


DAMAGES: tuple[Callable[[Path, random.Random], None], ...] = (delete, empty, cut, zero, flip)


def damaged_runs(
    case: Case, steps: int, killed: Path, reference: Path, place: Path, randomness: random.Random
) -> Iterator[tuple[str, str, list[str]]]:
    """Damage a copy of ``killed`` in each way, start it again, and yield what was done, what came of it and problems.

    ``killed``, ``reference`` (the run left alone) and ``place`` (for the copies) are directories that runs are below.
    What may come of it is "identical" or "refused" (in one line).
    """
    (run,) = find_runs(killed)
    names = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    for name in names:
        for damage in DAMAGES:
            copy = place / f"{name.replace('/', '-')}-{damage.__name__}"
            shutil.copytree(killed, copy)
            (again,) = find_runs(copy)
            damage(again / name, randomness)
            command = [sys.executable, "launch.py", *case.overrides(steps, copy)]
            done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
            outcome, problems = _judge(done, again, find_runs(reference)[0])
            yield f"{damage.__name__} {name}", outcome, problems
            if not problems:
                shutil.rmtree(copy)


def _judge(done: subprocess.CompletedProcess[str], run: Path, reference: Path) -> tuple[str, list[str]]:
    errors = done.stderr.strip().splitlines()
    if done.returncode == 0:
        return "identical", compare(reference, run)
    if done.returncode in (1, 2) and len(errors) == 1 and errors[0].startswith("error: "):
        return "refused", []
    return "failed", [f"exit code {done.returncode}: {json.dumps(errors[-3:])}"]
