"""How far a training run is, for the person who waits."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from droq_exp.training.phases import Phases

REFRESH_SECONDS = 0.25
WINDOW_SECONDS = 60.0  # rates are averages over this: long enough to contain evaluations


class Progress:
    """One live line on a terminal, otherwise a plain line per evaluation; both on stderr.

    Use as a context manager. ``console`` and ``clock`` (seconds) are there for tests.
    """

    def __init__(
        self,
        label: str,
        total_steps: int,
        seeds: Sequence[int],
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show ``label``, such as "droq hopper", the seeds, and how many of ``total_steps`` steps are done."""
        self._label = f"{label} {seed_text(seeds)}"
        self._total_steps = total_steps
        self._console = console or _Console(stderr=True)
        self._clock = clock
        self._live: Live | None = None
        self._return: float | None = None
        self._due = -math.inf
        self._step = self._updates = 0
        self.phases = Phases([], total_steps)  # those of the run, where it has any
        self.first_update = 0  # the environment step after which updates begin; 0: not known
        self._per_step = self._per_update = 0.0  # seconds, those of phases left out; 0: not known yet
        # (seconds, step, updates, seconds of phases, updates of phases), the oldest first
        self._past: deque[tuple[float, int, int, float, int]] = deque()

    def __enter__(self) -> Self:
        """Start the live line, where there is a terminal."""
        if self._console.is_interactive:
            # No refresh thread: it would take time from training. update() draws.
            self._live = Live(self._text(), console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last state of the live line on the screen."""
        if self._live is not None:
            with suppress(OSError):
                self._live.update(self._text(), refresh=True)
                self._live.stop()
            self._live = None

    def update(self, step: int, updates: int, last_return: Sequence[float] | None = None) -> None:
        """Tell where training is; cheap enough for every environment step.

        ``updates`` are the critic updates so far, of one seed. ``last_return`` is given once per evaluation (the mean
        return of each seed, NaN for one that failed) and None in between.
        """
        self._tell(step, updates, last_return)

    def in_phase(self, step: int, updates: int) -> None:
        """Tell where training is within a phase of updates without environment steps, as :meth:`update` does."""
        self._tell(step, updates, None)

    def _tell(self, step: int, updates: int, last_return: Sequence[float] | None) -> None:
        self._step, self._updates = step, updates
        now = self._clock()
        if last_return is None and now < self._due:
            return
        self._due = now + REFRESH_SECONDS
        self._remember(now)
        if last_return is not None:
            good = [value for value in last_return if math.isfinite(value)]
            self._return = sum(good) / len(good) if good else self._return  # all have failed, which is told elsewhere
        try:
            if self._live is not None:
                self._live.update(self._text(), refresh=True)
            elif last_return is not None and good:
                self._console.print(self._text(), soft_wrap=True)
        except OSError:  # the terminal has gone away: training goes on, or ends by its SIGHUP
            self._live, self._console.quiet = None, True

    def _remember(self, now: float) -> None:
        # Random first steps are much faster than learning: they would promise an end that does not come.
        if self._updates and self._past and not self._past[-1][2]:
            self._past.clear()
        self._past.append((now, self._step, self._updates, self.phases.seconds, self.phases.updates))
        while self._past[0][0] < now - WINDOW_SECONDS:
            self._past.popleft()

    def _text(self) -> Text:
        seconds = updates = 0.0
        left = None
        if self._past:
            differences = (last - first for first, last in zip(self._past[0], self._past[-1], strict=True))
            seconds, steps, updates, in_phases, made_in_phases = differences
            if steps > 0:
                self._per_step = (seconds - in_phases) / steps
            if updates > made_in_phases:
                self._per_update = (seconds - in_phases) / (updates - made_in_phases)
        learning = self._updates > 0 and seconds > 0
        if learning and self._per_step:
            left = (self._total_steps - self._step) * self._per_step + self.phases.seconds_left(self._per_update)
        parts = [
            f"{self._step / self._total_steps:.1%}",
            f"step {self._step:,}/{self._total_steps:,}",
            f"return {'-' if self._return is None else format(self._return, ',.1f')}",
            f"{format(updates / seconds, ',.0f') if learning else '-'} updates/s",
            f"{self._without_updates() if left is None else duration(left)} left",
            *self.phases.text(),
            self._label,  # last, since a narrow terminal cuts the end off
        ]
        return Text("  ".join(parts), overflow="ellipsis", no_wrap=self._console.is_interactive)

    def _without_updates(self) -> str:
        """The time left while steps are random: with updates still to come no more than a bound, and when they do."""
        if self._updates or not self._per_step or not self.first_update:
            return "-"
        left = duration((self._total_steps - self._step) * self._per_step)
        if self.first_update > self._total_steps:
            return left
        until = duration((self.first_update - self._step) * self._per_step)
        return f"more than {left}" if until == duration(0) else f"updates in {until}, more than {left}"


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Be quiet: whoever read the lines is gone, and nobody wants training to end for that."""
        self.quiet = True


def seed_text(seeds: Sequence[int]) -> str:
    """Which seeds, or of more than four how many."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    return f"seeds {','.join(map(str, seeds))}" if len(seeds) <= 4 else f"{len(seeds)} seeds"


def duration(seconds: float) -> str:
    """As h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
