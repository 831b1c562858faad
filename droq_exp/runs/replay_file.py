"""The transitions of one run on disk: a file that only grows, so that a checkpoint costs what is new and no more."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from droq_exp.runs.guard import check

Blocks = list[tuple[int, int]]  # rows and CRC-32 of each piece, in the order written

READ_BYTES = 1 << 24


class ReplayFileError(Exception):
    """The file does not hold what its checkpoint says it holds."""


class ReplayFile:
    """Rows of float32, all of one size, appended in blocks.

    ``blocks`` describes the part of the file that counts: a checkpoint stores it, and whatever a killed process wrote
    behind it is cut off when the checkpoint is loaded.
    """

    def __init__(self, path: Path, row_size: int) -> None:
        """Start an empty file of transitions at ``path``; the file appears with the first rows."""
        self._path = path
        self._row_size = row_size
        self.blocks: Blocks = []

    @property
    def name(self) -> str:
        """The file's own name, by which a checkpoint refers to it."""
        return self._path.name

    @property
    def rows(self) -> int:
        """How many rows have been appended."""
        return sum(count for count, _ in self.blocks)

    def append(self, rows: np.ndarray) -> None:
        """Add rows ``[n, row_size]`` and see them safely on disk."""
        if not len(rows):
            return
        self._path.parent.mkdir(exist_ok=True)
        data = np.ascontiguousarray(rows, dtype=np.float32).tobytes()
        check(self._path)
        with open(self._path, "r+b" if self.blocks else "wb", buffering=0) as file:
            end = file.seek(self._bytes(self.rows))
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):  # what was written of it would be room for others' last words
                    os.ftruncate(file.fileno(), end)
                raise
        self.blocks.append((len(rows), zlib.crc32(data)))

    def verify(self, blocks: Blocks) -> None:
        """Check that the file begins with ``blocks``.

        Raises:
            ReplayFileError: the file is too short, or a block's checksum differs.

        """
        try:
            with open(self._path, "rb") as file:
                for number, (count, checksum) in enumerate(blocks, start=1):
                    if _checksum(file, self._bytes(count)) != checksum:
                        raise ReplayFileError(f"{self._path}: block {number} of {len(blocks)} is damaged")
        except FileNotFoundError as error:
            raise ReplayFileError(f"{self._path} is missing") from error
        except OSError as error:
            raise ReplayFileError(f"{self._path} cannot be read: {error.strerror}") from error

    def restore(self, blocks: Blocks) -> None:
        """Go on at the end of ``blocks``, which have been verified; what lies behind them is cut off."""
        self.blocks = [(count, checksum) for count, checksum in blocks]
        check(self._path)
        os.truncate(self._path, self._bytes(self.rows))

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop`` (exclusive) as ``[n, row_size]``."""
        count = (stop - start) * self._row_size
        if not count:
            return np.empty((0, self._row_size), dtype=np.float32)
        flat = np.fromfile(self._path, dtype=np.float32, count=count, offset=self._bytes(start))
        return flat.reshape(-1, self._row_size)

    def copy_to(self, other: ReplayFile, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """Append all rows, ``[n, row_size]``, to ``other``, a block at a time and as ``change`` returns them."""
        start = 0
        for count, _ in self.blocks:
            other.append(change(self.read(start, start + count)))
            start += count

    def _bytes(self, rows: int) -> int:
        return rows * self._row_size * 4


def _checksum(file: BinaryIO, size: int) -> int | None:
    """CRC-32 of the next ``size`` bytes; None where the file ends before."""
    checksum = 0
    while size:
        piece = file.read(min(size, READ_BYTES))
        if not piece:
            return None
        checksum = zlib.crc32(piece, checksum)
        size -= len(piece)
    return checksum
