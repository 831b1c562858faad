"""Minibatches of prioritised replay: drawn between the updates, unlike the uniform ones, which are drawn in one go."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from droq_exp.agent.replay import Replay, RowScale
from droq_exp.learner.draws import Draws
from droq_exp.learner.prioritised import Minibatch


class PrioritisedMinibatches:
    """The minibatches of one environment step, each drawn when it is first asked for: after the updates before it."""

    def __init__(self, replay: Replay, scales: Sequence[RowScale], draws: Draws) -> None:
        """``draws`` have the uniform numbers of them all."""
        assert draws.uniforms is not None
        assert replay.priorities is not None
        self._replay, self._priorities, self._scales = replay, replay.priorities, scales
        self._uniforms = draws.uniforms
        self._drawn: dict[int, tuple[Minibatch, Tensor]] = {}

    def drawn(self, number: int) -> Minibatch:
        """As of :class:`~droq_exp.learner.prioritised.Minibatches`."""
        if number not in self._drawn:
            places, weights = self._priorities.draw(self._uniforms[:, number])
            rows = self._replay.minibatches(places, places.shape[1], self._scales)[:, 0]
            self._drawn[number] = Minibatch(rows, weights), places
        return self._drawn[number][0]

    def learned(self, number: int, errors: Tensor) -> None:
        """As of :class:`~droq_exp.learner.prioritised.Minibatches`."""
        self._priorities.update(self._drawn[number][1], errors)
