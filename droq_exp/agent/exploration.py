"""Exploration's noise, kept for some environment steps, as FlashSAC (arXiv:2604.04539) does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class KeptNoise:
    """The noise of S seeds, each kept for n environment steps: P(n) in proportion to 1 / n^2, up to the longest.

    An episode's end does not renew it.
    """

    def __init__(self, seeds: int, act_dim: int, longest: int) -> None:
        """Begin with nothing kept."""
        weights = 1 / np.arange(1, longest + 1) ** 2
        self._up_to = np.cumsum(weights / weights.sum())[:-1]  # the probability of n or less, of all but the longest
        self._noise = np.zeros((seeds, act_dim), dtype=np.float32)
        self._steps = [0] * seeds  # that each seed's noise still serves

    def draw(self, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """Give the noise of the next environment step, ``[S, act]``; each seed's generator renews its own."""
        for index, rng in enumerate(rngs):
            if not self._steps[index]:
                self._noise[index] = rng.standard_normal(self._noise.shape[1], dtype=np.float32)
                self._steps[index] = 1 + int(np.searchsorted(self._up_to, rng.random(), side="right"))
            self._steps[index] -= 1
        return self._noise.copy()

    def state_of(self, index: int) -> dict[str, Any]:
        """What is kept of one seed."""
        return {"noise": self._noise[index].tolist(), "steps": self._steps[index]}

    def load_state_of(self, index: int, state: dict[str, Any]) -> None:
        """Go on where :meth:`state_of` was asked."""
        self._noise[index], self._steps[index] = state["noise"], state["steps"]
