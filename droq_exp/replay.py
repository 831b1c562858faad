"""Replay: one row per transition, S seeds side by side."""

from __future__ import annotations

import torch
from torch import Tensor


class Replay:
    """The last ``capacity`` transitions of each seed, float32 rows of (obs, action, reward, next_obs, terminated).

    The memory is reserved, not touched: a run pays only for what it has stored.
    """

    def __init__(self, seeds: int, capacity: int, row_size: int, device: torch.device) -> None:
        """Reserve ``[seeds, capacity, row_size]`` float32."""
        self._rows = torch.empty(seeds, capacity, row_size, device=device)
        self._offsets = torch.arange(seeds, device=device)[:, None] * capacity
        self._next = 0
        self.size = 0

    @property
    def capacity(self) -> int:
        """Transitions that one seed can hold."""
        return self._rows.shape[1]

    def add(self, rows: Tensor) -> None:
        """Store one transition per seed, ``[S, row_size]``, in place of the oldest one when full."""
        self._rows[:, self._next] = rows
        self._next = (self._next + 1) % self.capacity
        self.size = min(self.size + 1, self.capacity)

    def gather(self, indices: Tensor) -> Tensor:
        """Return the rows at ``indices`` ``[S, n]`` as ``[S, n, row_size]``."""
        flat = (indices + self._offsets).flatten()
        return self._rows.flatten(0, 1).index_select(0, flat).unflatten(0, indices.shape)
