"""The videos of a run's evaluations: ``videos/step_<step>.mp4``."""

from __future__ import annotations

import re
from pathlib import Path

from droq_exp.runs.files import discard

FOLDER = "videos"
NAME = re.compile(r"step_(\d+)\.mp4")


def video_file(directory: Path, step: int) -> Path:
    """Where the video of the evaluation at ``step`` is, or would be, in a run's directory."""
    return directory / FOLDER / f"step_{step}.mp4"


def keep_until(directory: Path, step: int) -> None:
    """Remove videos of later steps, which are made again, and those that a killed process has left unfinished."""
    for path in (directory / FOLDER).glob("*.mp4") if (directory / FOLDER).is_dir() else ():
        named = NAME.fullmatch(path.name)
        if (named is None and path.name.startswith(".")) or (named is not None and int(named[1]) > step):
            discard(path)
