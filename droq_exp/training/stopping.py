"""Ctrl-C, SIGTERM, a terminal that goes away and a cluster's warning end training in order, at the next step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from droq_exp.exits import SignalExit


class StopSignal:
    """While entered, remembers the first SIGINT, SIGTERM or SIGHUP; a second one ends the process at once.

    SIGHUP is left alone where it is ignored, as under nohup. SIGUSR2 counts too where somebody handles it already:
    submitit, whose jobs are warned by it before they are preempted or out of time. What comes with these two (a
    terminal's shell and its system both send SIGHUP, SIGTERM beside it; SIGTERM follows when a job is taken off its
    node) does not cut short what is being saved.

    Python lets the main thread alone handle signals, so that within another thread nothing is received.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    WARNING = signal.SIGUSR2
    PATIENT = frozenset({signal.SIGHUP, WARNING})  # that others come with

    def __init__(self) -> None:
        """Nothing is handled before the context is entered."""
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Install the handlers, but where one is in place that Python could not put back."""
        if threading.current_thread() is threading.main_thread():
            warned = callable(signal.getsignal(self.WARNING))
            for number in (*self.SIGNALS, *([self.WARNING] if warned else [])):
                ignored = number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN
                if signal.getsignal(number) is not None and not ignored:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the earlier handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def name(self) -> str:
        """Name of the signal received, such as "SIGTERM"; empty before."""
        return self.received.name if self.received is not None else ""

    @property
    def exit_code(self) -> int:
        """The shell's code for an end by the signal received: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP."""
        if self.received is None:
            raise ValueError("no signal was received")
        return 128 + self.received

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number)
        elif not self.PATIENT & {self.received, number}:
            raise SignalExit(128 + number)
