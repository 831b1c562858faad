"""wandb's offline run files below a directory: which there are, whether they can be read, what they say."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from droq_exp.runs.files import walk

HEADER = b":W&B"
HEADER_BYTES = 7  # the letters, a magic number, a version
BLOCK = 32768  # LevelDB's log format: a record is cut where a block ends
WHOLE, LAST = 1, 4  # kinds of a record's parts; the others go on


class DamagedFileError(Exception):
    """A file is no run file of wandb, or its beginning is lost; ``str`` of it is one line."""


class EmptyFileError(DamagedFileError):
    """A run file without a single record: wandb's process was killed before it wrote what it had in memory."""


@dataclass(frozen=True)
class OfflineRun:
    """One run file, as far as it was written.

    Args:
        path: the file, ``<run>/wandb/offline-run-<start>-<id>/run-<id>.wandb``.
        run_id: wandb's; the parts of a resumed run share it.
        project: where it would be uploaded, if nothing else is said.
        entity: likewise; "" is the user's default.
        steps: environment steps of the rows, in the order in which they were logged.
        exit_code: None where the process was killed before it could say.
        synced: whether wandb has noted that it was uploaded.
    """

    path: Path
    run_id: str
    project: str
    entity: str
    steps: tuple[int, ...]
    exit_code: int | None
    synced: bool


def find(directory: Path) -> list[Path]:
    """The offline run files at or below ``directory``: by run directory, then in the order in which they were begun."""
    found = set(directory.glob("run-*.wandb")) if directory.resolve().name.startswith("offline-run-") else set()
    for place, directories, _ in walk(directory):
        for name in list(directories):
            if name.startswith("offline-run-"):
                found |= set(Path(place, name).glob("run-*.wandb"))
                directories.remove(name)
    return sorted(found, key=lambda path: (path.parent.parent, path.parent.name))


def synced_marker(path: Path) -> Path:
    """The file that ``wandb sync`` leaves beside a run file that is uploaded."""
    return path.with_name(f"{path.name}.synced")


def read(path: Path) -> OfflineRun:
    """Read one run file; what a killed process left half written at its end is left out.

    Raises:
        EmptyFileError: it has no record.
        DamagedFileError: it is no run file, or its first records are lost.
    """
    from wandb.proto import wandb_internal_pb2

    run: Any = None
    steps, exit_code = [], None
    for data in records(path):
        record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = run or record.run
        elif kind == "history":
            steps.append(metrics(record)["_step"])
        elif kind == "exit":
            exit_code = record.exit.exit_code
    if run is None:
        if path.stat().st_size <= HEADER_BYTES:
            raise EmptyFileError(f"{path} has no record: wandb was killed before it wrote any")
        raise DamagedFileError(f"{path} does not say which run it is of")
    synced = synced_marker(path).exists()
    return OfflineRun(path, run.run_id, run.project, run.entity, tuple(steps), exit_code, synced)


def is_complete(path: Path) -> bool:
    """Whether a run file has been written to its end."""
    try:
        return read(path).exit_code is not None
    except DamagedFileError:
        return False


def metrics(record: Any) -> dict[str, Any]:
    """The names and values of a history record, wandb's own ("_step", ...) included."""
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}


def records(path: Path) -> Iterator[bytes]:
    """The records of a run file, each a serialised ``wandb_internal_pb2.Record``, up to the first that is not whole.

    Raises:
        DamagedFileError: the file cannot be read, or does not begin as wandb's do.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedFileError(f"{path}: {error.strerror}") from error
    if data and data[: len(HEADER)] != HEADER:
        raise DamagedFileError(f"{path} is no run file of wandb")
    position, parts = HEADER_BYTES, b""
    while position + 7 <= len(data):
        if (room := BLOCK - position % BLOCK) < 7:  # a part's header never crosses a block; the rest is padding
            position += room
            continue
        checksum, length, kind = struct.unpack_from("<IHB", data, position)
        part = data[position + 7 : position + 7 + length]
        if len(part) < length or zlib.crc32(part, zlib.crc32(bytes([kind]))) != checksum:
            return
        parts += part
        position += 7 + length
        if kind in (WHOLE, LAST):
            yield parts
            parts = b""
