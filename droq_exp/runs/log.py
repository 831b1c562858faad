"""Where a run's log goes: to ``train.log`` and, what is urgent, to the terminal."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TextIO

from droq_exp.runs.guard import check

LOG = "train.log"


class LogFile(logging.FileHandler):
    """``train.log``; where it cannot be written, the terminal is told once."""

    def emit(self, record: logging.LogRecord) -> None:
        """Look at the run's lock, then write."""
        check(Path(self.baseFilename))
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Say what is wrong with the file."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._told:
            self._told = True
            print(f"{self.baseFilename} cannot be written: {error.strerror}", file=sys.stderr, flush=True)

    _told = False


class Terminal(logging.Handler):
    """Warnings and errors for the user's eyes, on the stderr of the moment (a live progress line replaces it)."""

    def __init__(self, directory: Path) -> None:
        """For the run in ``directory``."""
        super().__init__(logging.WARNING)
        self.directory = directory

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; of an error, also where to read more."""
        stream: TextIO = sys.stderr
        where = f" (see {self.directory / LOG})" if record.levelno >= logging.ERROR else ""
        try:
            stream.write(f"{self.directory.name}: {record.getMessage()}{where}\n")
            stream.flush()
        except OSError:  # a closed terminal; train.log has the message
            self.handleError(record)
