"""What ends this process: a signal may; a task, a logger or another's part may not, whatever it calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class SignalExit(SystemExit):
    """A signal ends the process, wherever it is: within a task's code too."""


class ForeignExitError(RuntimeError):
    """Code that is not this project's called ``sys.exit``."""


def as_error(leaving: SystemExit) -> BaseException:
    """What a ``SystemExit`` out of such code is: an error like any other, so that other seeds and runs go on."""
    return leaving if isinstance(leaving, SignalExit) else ForeignExitError(f"it called sys.exit({leaving.code!r})")


@contextmanager
def no_exit() -> Iterator[None]:
    """Within the block, or the function that it decorates, code that is not this project's may run.

    Raises:
        ForeignExitError: it called ``sys.exit``.
    """
    try:
        yield
    except SystemExit as leaving:
        raise as_error(leaving) from leaving
