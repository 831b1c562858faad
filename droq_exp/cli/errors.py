"""How a command is refused; apart from ``droq_exp.config``, which takes long to import."""

from __future__ import annotations

from pathlib import Path


class RefusedError(Exception):
    """A command that cannot be carried out; ``str`` of it is one line that says why."""


def check_place(option: str, file: Path) -> None:
    """Raise RefusedError where the ``file`` of an option cannot be made: told before the work, not after it."""
    if file.is_dir():
        raise RefusedError(f"{option}: {file} is a directory")
    if not file.absolute().parent.is_dir():
        raise RefusedError(f"{option}: {file.parent} is not a directory")
