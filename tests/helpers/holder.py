"""Another process that takes the lock of a directory, says so in one line, and holds it until its stdin ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from droq_exp.runs.lock import HeldError, RunLock

ROOT = Path(__file__).resolve().parents[2]


def start(directory: Path, **environment: str) -> subprocess.Popen[str]:
    """Start it, with more environment variables than ours; ``answer`` waits for what it says."""
    return subprocess.Popen(
        [sys.executable, __file__, str(directory)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def answer(process: subprocess.Popen[str]) -> str:
    """``held``, or the message of the refusal."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def main() -> None:
    try:
        with RunLock.acquire(Path(sys.argv[1])):
            print("held", flush=True)
            sys.stdin.read()
    except HeldError as error:
        print(error, flush=True)


if __name__ == "__main__":
    main()
