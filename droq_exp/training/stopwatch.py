"""Where a run's time goes: seconds by activity."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Stopwatch:
    """Seconds spent in each of some activities since they were last taken.

    What the host waits for counts: of a GPU's work, that is what somebody asks a result of.
    """

    def __init__(self, *activities: str) -> None:
        """Start each of ``activities`` at 0."""
        self.seconds = dict.fromkeys(activities, 0.0)

    @contextmanager
    def __call__(self, activity: str) -> Iterator[None]:
        """Count the time of a ``with`` block, one that raises too."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[activity] += time.perf_counter() - started

    def take(self) -> dict[str, float]:
        """Return the seconds as "<activity>_seconds" and start again at 0."""
        taken = {f"{activity}_seconds": seconds for activity, seconds in self.seconds.items()}
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        return taken

    def resume(self, seconds: Mapping[str, float]) -> None:
        """Go on from what ``seconds`` was when it was stored."""
        self.seconds.update(seconds)
