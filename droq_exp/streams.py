"""The program's standard streams, whatever its caller has made of them: closed ones, and readers that go away."""

from __future__ import annotations

import errno
import io
import os
import sys

GONE = (errno.EPIPE, errno.EIO)  # the reader of a pipe; a terminal


def prepare_streams() -> None:
    """Make the standard streams such that to write a line is no error, for all of this process."""
    _fill()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # Whoever has put another in its place, a test say, knows what for; and once is enough.
        if stream is getattr(sys, f"__{name}__") and not isinstance(stream, _Outliving):
            setattr(sys, name, made := _Outliving(stream))
            setattr(sys, f"__{name}__", made)


class _Outliving(io.TextIOWrapper):
    """A standard stream whose reader may go, as of ``| head -1``: what is written after that goes nowhere."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        raw = _Descriptor(stream.fileno(), "w", closefd=False)
        super().__init__(
            raw if stream.write_through else io.BufferedWriter(raw),  # as Python's own with -u
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        stream.flush()


class _Descriptor(io.FileIO):
    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            if error.errno not in GONE:
                raise
            _to_nowhere(self.fileno())
            return memoryview(data).nbytes  # type: ignore[arg-type]


def _fill() -> None:
    """Put the null device where the caller has closed stdin, stdout or stderr.

    Otherwise the next file that anybody opens takes the number, and libraries write into it, or fail to start others.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            _to_nowhere(number)
            stream = os.fdopen(number, "r" if number == 0 else "w", closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _to_nowhere(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if null != number:
        os.dup2(null, number)
        os.close(null)
    os.set_inheritable(number, True)
