"""Exact Bernoulli dropout masks at a cost that grows with the rate, not with the number of elements."""

from __future__ import annotations

import math

import numpy as np


class KeepMask:
    """A 0/1 mask of ``size`` elements, each 0 with probability ``rate``, redrawn in place.

    The gaps between zeros of a Bernoulli sequence are geometric, so it suffices to draw the gaps: at rate 0.01 a
    hundredth of the random numbers, exact at every rate.
    """

    def __init__(self, out: np.ndarray, rate: float) -> None:
        """Take ``out`` (uint8, one-dimensional) as the mask's memory; it starts as all ones."""
        self._out = out
        self._rate = rate
        self._zeros = np.empty(0, dtype=np.int64)
        mean = out.size * rate
        self._chunk = int(mean + 6 * math.sqrt(mean) + 16)
        out.fill(1)

    def redraw(self, rng: np.random.Generator) -> None:
        """Draw a fresh mask."""
        size = self._out.size
        positions = np.cumsum(rng.geometric(self._rate, self._chunk)) - 1
        while positions[-1] < size:
            positions = np.concatenate([positions, positions[-1] + np.cumsum(rng.geometric(self._rate, self._chunk))])
        self._out[self._zeros] = 1
        self._zeros = positions[: np.searchsorted(positions, size)]
        self._out[self._zeros] = 0
