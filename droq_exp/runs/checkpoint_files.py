"""The names of a checkpoint's files, for those that only look which are there: loading them takes torch."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = "checkpoint"  # in a run's directory
WEIGHTS = "weights.pt"
STATE = "state_{step:09d}.pt"
STATES = re.compile(r"state_(\d{9,})\.pt")
REPLAY_FILE = "replay.bin"
WIDENED_FILE = "replay-2.bin"  # in its place where the run was begun with rows of another layout


def state_steps(folder: Path) -> list[int]:
    """Steps that there is a state of in ``folder``, the newest first; whether it is whole shows when it is loaded."""
    try:
        names = [STATES.fullmatch(path.name) for path in folder.iterdir() if path.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    steps = {int(name[1]) for name in names if name is not None and name[0] == STATE.format(step=int(name[1]))}
    return sorted(steps, reverse=True)
