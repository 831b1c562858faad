"""Nothing is changed below a directory whose lock this process has lost: every write looks at the lock file first.

A process may stand still for minutes, at any instruction: stopped, swapped out, cut off from the file server. Others
take it for dead then and go on with its run. Whatever it wrote afterwards would replace their results.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

LOCK_LOST = 75  # exit code, "try again later" in sysexits.h
LOST = "another process has taken over this run, or its lock was removed; this process ends"

_guarded: dict[Path, Callable[[], bool]] = {}


def guard(directory: Path, holds: Callable[[], bool]) -> None:
    """From now on ``check`` asks ``holds`` before anything below ``directory``, an absolute path, is changed."""
    _guarded[_plain(directory)] = holds


def unguard(directory: Path, holds: Callable[[], bool]) -> None:
    """Take back what ``guard`` was told; another guard of the directory stays."""
    if _guarded.get(_plain(directory)) == holds:
        del _guarded[_plain(directory)]


def check(path: Path, temporary: Path | None = None) -> None:
    """End this process on the spot, in a line, where it has lost the lock of a directory that ``path`` is in.

    Call it right before ``path`` is changed; ``temporary``, a file of this process beside it, is removed then.
    """
    place = _plain(path)
    for directory in (place, *place.parents):
        holds = _guarded.get(directory)
        if holds is not None and not holds():
            with suppress(OSError):
                if temporary is not None:
                    temporary.unlink(missing_ok=True)
            with suppress(OSError, ValueError):  # a terminal that is gone
                sys.stdout.flush()
                print(f"{directory}: {LOST}", file=sys.stderr)
                sys.stderr.flush()
            os._exit(LOCK_LOST)


def _plain(path: Path) -> Path:
    return Path(os.path.abspath(path))  # without "..", which different users of a directory may write differently
