"""Writing files so that a reader never sees half of one, and reading them with an error that says what to do.

Whatever changes files here looks at the lock of their run directory first (``guard``).
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from droq_exp.runs.guard import check

# libyaml's, where PyYAML was built with it: they do the same seven times as fast.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
REMEDY = "training.restart=true starts this run over"
LEFTOVERS = ".*.tmp"  # files that are not yet, or no longer, what they will be


class DamagedError(ValueError):
    """A run's file cannot be read, or is not what it should be; ``str`` is one line that names it."""


def damaged(path: Path, problem: object, remedy: str) -> DamagedError:
    """What is wrong with the content of the file ``path``, and what to do about it."""
    return DamagedError(" ".join(f"{path} is damaged ({problem}); {remedy}".split()))


def unreadable(path: Path, error: OSError) -> DamagedError:
    """Why the file ``path`` cannot be read."""
    return DamagedError(f"{path} cannot be read: {error.strerror}")


def read_json(path: Path, remedy: str) -> Any:
    """Content of a JSON file; what is wrong with it is one line that ends with ``remedy``.

    Raises:
        FileNotFoundError, NotADirectoryError: it is not there.
        DamagedError: it cannot be read, or is no JSON.
    """
    try:
        if path.is_fifo():  # which would be waited for
            raise damaged(path, "it is no file", remedy)
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, parse_constant=_refuse)
        if "\\ud" in text.casefold():  # half a character of two, which no terminal and no file takes
            json.dumps(content, ensure_ascii=False).encode()
    except (FileNotFoundError, NotADirectoryError, DamagedError):
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, error, remedy) from error
    return content


def load_yaml(content: str | bytes) -> Any:
    """As ``yaml.safe_load``."""
    return yaml.load(content, Loader=_LOADER)


def dump_yaml(content: Any, **style: Any) -> str:
    """As ``yaml.safe_dump``."""
    text: str = yaml.dump(content, Dumper=_DUMPER, **style)
    return text


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


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


def walk(directory: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """As ``os.walk``, also through symbolic links; each directory once, and by a path without links if there is one."""
    seen = set()
    later = [str(directory)]
    while later:
        for place, directories, files in os.walk(later.pop(0)):
            try:
                found = os.stat(place)
            except OSError:  # is gone meanwhile
                directories.clear()
                continue
            if (found.st_dev, found.st_ino) in seen:
                directories.clear()
                continue
            seen.add((found.st_dev, found.st_ino))
            yield place, directories, files
            later += [link for name in directories if os.path.islink(link := os.path.join(place, name))]


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
