"""A disk that is soon full."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path


def fill(disk: Path) -> None:
    """To the last byte."""
    with open(disk / "others", "ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    file.write(b"x" * size)
    assert shutil.disk_usage(disk).free == 0
