"""The updates of an environment step as data: what it draws, and what becomes one CUDA graph, follow from it."""

from __future__ import annotations

from typing import NamedTuple


class CriticUpdates(NamedTuple):
    """Critic updates ``start`` to ``stop`` (exclusive) of an environment step, each on the minibatch of its number."""

    start: int
    stop: int


class PolicyUpdate(NamedTuple):
    """An update of policy and temperature on one of the step's minibatches."""

    minibatch: int
    before_last: bool  # at the critics as they were before the last critic update, not as they are


class Program(tuple[CriticUpdates | PolicyUpdate, ...]):
    """The updates of one environment step, in order."""

    __slots__ = ()

    @property
    def runs(self) -> list[CriticUpdates]:
        """Those of the critics between which nothing else happens."""
        return [each for each in self if isinstance(each, CriticUpdates)]

    @property
    def policy_updates(self) -> int:
        """How often the policy learns."""
        return len(self) - len(self.runs)

    @property
    def minibatches(self) -> int:
        """Minibatches that are drawn."""
        return max(each.stop if isinstance(each, CriticUpdates) else each.minibatch + 1 for each in self)
