"""Exact Bernoulli dropout masks from a counter: any part of a mask can be drawn by itself, in any thread."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

# SplitMix64 (Steele, Lea and Flood, 2014): word i of a key is the mixed key + (i + 1) * GOLDEN.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)

BLOCK = 2**16  # elements that NumPy draws at once, so that its intermediate results stay in the cache


def draw_keys(rng: np.random.Generator) -> np.ndarray:
    """Draw the two keys of a mask, uint64 ``[2]``."""
    return rng.integers(0, 2**64, 2, dtype=np.uint64)


@dataclass(frozen=True)
class KeyedMasks:
    """Masks of consecutive updates, for the C++, which draws the same as :class:`DropoutMask` where they are used."""

    keys: Tensor  # [S, 2] int64, the bits of each seed's keys
    first: int  # element of its stream at which a seed's masks begin
    size: int  # elements an update

    def from_update(self, update: int) -> KeyedMasks:
        """Return the masks from an update on, counted from these."""
        return replace(self, first=self.first + update * self.size)


class DropoutMask:
    """A 0/1 mask of ``size`` elements, each 0 with probability ``rate``, redrawn in place.

    An element has 16 random bits, which are compared with ``rate * 2**16``. Where they equal its whole part, one time
    in 65,536, 53 more bits decide by the rest, so the probability is exact to double precision at a sixteenth of a
    double's cost.
    """

    def __init__(self, out: np.ndarray, rate: float) -> None:
        """Take ``out`` (uint8, one-dimensional) as the mask's memory; it starts as all ones."""
        self._out = out
        self._whole = int(rate * 2**16)
        self._rest = rate * 2**16 - self._whole
        out.fill(1)

    def redraw(self, rng: np.random.Generator) -> None:
        """Draw a fresh mask; ``rng`` gives its two keys."""
        key, tie_key = draw_keys(rng)
        for start in range(0, self._out.size, BLOCK):
            out = self._out[start : start + BLOCK]
            words = _words(key, np.arange(start // 4, (start + out.size + 3) // 4, dtype=np.uint64))
            bits = words.astype("<u8", copy=False).view("<u2")[: out.size]
            np.greater_equal(bits, self._whole, out=out.view(bool))
            ties = np.flatnonzero(bits == self._whole)
            uniform = (_words(tie_key, (start + ties).astype(np.uint64)) >> np.uint64(11)) * 2.0**-53
            out[ties] = uniform >= self._rest


def _words(key: np.uint64, indices: np.ndarray) -> np.ndarray:
    """Words number ``indices`` of a key's stream, 64 bits each."""
    x = (indices + np.uint64(1)) * GOLDEN + key
    x = (x ^ (x >> np.uint64(30))) * FACTORS[0]
    x = (x ^ (x >> np.uint64(27))) * FACTORS[1]
    return x ^ (x >> np.uint64(31))
