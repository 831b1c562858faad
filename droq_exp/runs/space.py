"""Room on the disk: a run that cannot begin says so and leaves nothing, and one on a full disk can tell its end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from droq_exp.config.errors import ConfigError
from droq_exp.runs.files import write_atomically
from droq_exp.runs.guard import check

RESERVE = ".reserve.tmp"  # as a leftover of a killed process is named, which it may become
RESERVE_BYTES = 1 << 16  # a status with its traceback, and lines of the log


def reserve(directory: Path) -> None:
    """Take the room in which a run tells its end. Raises OSError where there is none."""
    write_atomically(directory / RESERVE, os.urandom(RESERVE_BYTES))  # which no file system can compress


def give_back(directory: Path) -> None:
    """Give back what ``reserve`` took, if it is there."""
    check(directory / RESERVE)
    with suppress(OSError):
        (directory / RESERVE).unlink(missing_ok=True)


@contextmanager
def refused_without_room(directory: Path) -> Iterator[None]:
    """Around the first writes in ``directory``: where they fail, the command is refused.

    Raises:
        ConfigError: the disk is full, say.

    """
    try:
        yield
    except OSError as error:
        where = error.filename or directory
        raise ConfigError("output_dir", f"{where} cannot be written: {error.strerror or error}") from error


@contextmanager
def none_left_empty(directories: Iterable[Path]) -> Iterator[None]:
    """Where an error leaves the block, remove what it made of ``directories`` and their parents, if it is empty."""
    places = {place for directory in directories for place in (directory, *directory.parents)}
    missing = [place for place in places if not place.exists()]
    try:
        yield
    except BaseException:
        for place in sorted(missing, key=lambda place: len(place.parts), reverse=True):
            with suppress(OSError):
                place.rmdir()
        raise
