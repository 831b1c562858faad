"""Phases of updates without environment steps: when they are due, how far they are, and how long they take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a look at runs does without Hydra and torch
    from droq_exp.config.schema import Config
    from droq_exp.learner.spec import LearnerSpec

OFFLINE, PRETRAINING = "offline", "pretraining"  # as the learner's spec names them
LOG_EVERY = 1000  # updates of a phase
LARGEST_CHUNK = 20  # updates between two looks at signals: some tens of milliseconds


def chunk_of(updates: int) -> int:
    """How many of a phase's updates are made at a time: a divisor of them and of ``LOG_EVERY``."""
    common = gcd(updates, LOG_EVERY)
    return max(size for size in range(1, LARGEST_CHUNK + 1) if common % size == 0)


@dataclass(frozen=True)
class Phase:
    """``updates`` after the environment step ``first``, before those of that step, and again every ``every`` steps.

    With ``every`` 0 it comes once.
    """

    name: str  # that of the CSV with its rows
    updates: int
    first: int
    every: int

    @property
    def chunk(self) -> int:
        """Updates made at a time."""
        return chunk_of(self.updates)

    def times(self, step: int) -> int:
        """How often it comes up to environment step ``step``."""
        if step < self.first:
            return 0
        return 1 + (step - self.first) // self.every if self.every else 1

    def due(self, step: int) -> bool:
        """Whether it comes after environment step ``step``."""
        return self.times(step) > self.times(step - 1)


def phases_of(config: Config, spec: LearnerSpec, first_update: int) -> list[Phase]:
    """Return the phases of a run whose updates begin after environment step ``first_update``, in their order."""
    phases, every = [], config.training.offline_every
    if spec.features is not None and spec.pretraining_chunk:
        phases.append(Phase(PRETRAINING, spec.features.pretraining, first_update, 0))
    if spec.offline_chunk:
        phases.append(Phase(OFFLINE, config.training.offline_updates, -(-first_update // every) * every, every))
    return phases


class Phases:
    """The phases of a run and where they are; ``under_way`` and ``done`` tell of the one that has begun."""

    def __init__(self, phases: Sequence[Phase], total_steps: int) -> None:
        """``total_steps`` is how far the run goes."""
        self._phases, self._total_steps = phases, total_steps
        self.under_way: Phase | None = None
        self.done = 0  # updates of it
        self._updates = {phase.name: 0 for phase in phases}  # of all that have been
        self._seconds = {phase.name: 0.0 for phase in phases}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._phases)

    def to_do(self, step: int) -> Iterator[Phase]:
        """Begin those that are due at ``step`` one after another; after a resume, go on with the one under way."""
        due = [phase for phase in self._phases if phase.due(step)]
        for phase in due[due.index(self.under_way) if self.under_way else 0 :]:
            if self.under_way is not phase:
                self.under_way, self.done = phase, 0
            yield phase
            self.under_way = None

    def count(self, phase: Phase, seconds: float) -> None:
        """Note that a chunk of ``phase`` has been made and how long it took."""
        self.done += phase.chunk
        self._updates[phase.name] += phase.chunk
        self._seconds[phase.name] += seconds

    def passes(self, interval: int) -> bool:
        """Whether the last chunk has reached a multiple of ``interval`` updates."""
        assert self.under_way is not None
        return self.done // interval > (self.done - self.under_way.chunk) // interval

    @property
    def updates(self) -> int:
        """Critic updates that were made in phases."""
        return self._updates.get(OFFLINE, 0)

    @property
    def seconds(self) -> float:
        """What all of them have taken."""
        return sum(self._seconds.values())

    def seconds_left(self, seconds_per_update: float) -> float:
        """What those still to come take; ``seconds_per_update`` where none of a kind has been made yet."""
        return sum(
            (each["of"] - each["updates"])
            * (each["seconds"] / each["updates"] if each["updates"] else seconds_per_update)
            for each in self.told().values()
        )

    def told(self) -> dict[str, dict[str, Any]]:
        """What ``status.json`` says of them: updates made and to be made in the whole run, and seconds."""
        return {
            phase.name: {
                "updates": self._updates[phase.name],
                "of": phase.updates * phase.times(self._total_steps),
                "seconds": round(self._seconds[phase.name], 3),
            }
            for phase in self._phases
        }

    def text(self) -> list[str]:
        """How far the one under way is, such as ["offline 1,200/75,000"]; [] where none is."""
        return [f"{self.under_way.name} {self.done:,}/{self.under_way.updates:,}"] if self.under_way else []

    def state(self) -> dict[str, Any]:
        """Return where they are, as plain values."""
        under_way = [self.under_way.name, self.done] if self.under_way else None
        return {"under_way": under_way, "updates": dict(self._updates), "seconds": dict(self._seconds)}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on where :meth:`state` was asked."""
        self._updates.update(state["updates"])
        self._seconds.update(state["seconds"])
        if state["under_way"] is not None:
            name, self.done = state["under_way"]
            (self.under_way,) = (phase for phase in self._phases if phase.name == name)


Position = tuple[int, str, int]  # environment step; the phase under way ("" for none) and how many updates it has made
START: Position = (0, "", 0)


def position(state: dict[str, Any]) -> Position:
    """Where a checkpoint was taken. There is one of a step at most, so positions are in order by their steps."""
    name, done = state["loop"].get("phases", {}).get("under_way") or ("", 0)
    return state["step"], name, done
