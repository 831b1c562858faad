"""Writing files so that a reader never sees half of one, and reading them with an error that says what to do.

Whatever changes files here looks at the lock of their run directory first (``guard``).
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from droq_exp.runs.guard import check

LEFTOVERS = ".*.tmp"  # files that are not yet, or no longer, what they will be


def read_json(path: Path, remedy: str) -> Any:
    """Content of a JSON file; what is wrong with it is one line that ends with ``remedy``.

    Raises:
        FileNotFoundError, NotADirectoryError: it is not there.
        ValueError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); {remedy}") from error


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace ``path`` by ``content`` (text as UTF-8) in one step that survives a crash or a power cut.

    Readers see the old file or the new one, whole. The directory must exist; raises OSError where it cannot be
    written, and leaves the old file then.
    """
    check(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        # Not tempfile: it makes files that only their owner can read, whatever the umask says.
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        check(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the directory's entries (renames, new files) survive a power cut."""
    if os.name == "nt":  # Windows cannot open directories
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard(path: Path) -> None:
    """Remove a file or a whole directory; it disappears in one step, so nobody reads half of a directory.

    A path that does not exist is fine.
    """
    check(path)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside)
    else:
        aside.unlink()


def remove_leftovers(directory: Path) -> None:
    """Remove what a killed ``write_atomically`` or ``discard`` left in ``directory``."""
    for path in directory.glob(LEFTOVERS):
        check(path)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
