"""Replay: one row per transition, S seeds side by side; ``n_step.py`` has the rows of several transitions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from droq_exp.agent.priorities import Priorities
from droq_exp.learner.transfer import to_device


class RowScale(Protocol):
    """Scales what updates see of transitions, which are held as the task gave them."""

    def scale_rows(self, rows: Tensor, seeds: slice = ...) -> None:
        """Scale the transitions ``rows`` ``[S, n, row]`` of ``seeds``, by default of all, in place."""


class Replay:
    """The last ``capacity`` transitions of each seed, float32 rows (``learner/transitions.py`` has their layout).

    The memory is reserved, not touched: a run pays only for what it has stored.
    """

    def __init__(self, seeds: int, capacity: int, row_size: int, device: torch.device) -> None:
        """Reserve ``[seeds, capacity, row_size]`` float32."""
        self._rows = torch.empty(seeds, capacity, row_size, device=device)
        self._offsets = torch.arange(seeds, device=device)[:, None] * capacity
        self.added = 0  # transitions of each seed since the start, those that were overwritten included
        self.priorities: Priorities | None = None  # of the rows, with prioritised replay

    @property
    def made(self) -> list[int]:
        """Rows that each seed has stored since the start, those that were overwritten included."""
        return [self.added] * len(self._rows)

    @property
    def sizes(self) -> list[int]:
        """Rows of each seed to draw from: those that are held, or 1 of a seed that has none (it has failed)."""
        return [max(1, min(made, self.capacity)) for made in self.made]

    @property
    def kept(self) -> int:
        """How many of the newest transitions :meth:`since` can return."""
        return self.capacity

    @property
    def capacity(self) -> int:
        """Rows that one seed can hold."""
        return self._rows.shape[1]

    def add(self, rows: Tensor) -> None:
        """Store one transition per seed, ``[S, row_size]``, in place of the oldest one when full."""
        self._rows[:, self.added % self.capacity] = to_device(rows, self._rows.device)
        self.added += 1

    def gather(self, indices: Tensor) -> Tensor:
        """Return the rows at ``indices`` ``[S, n]`` as ``[S, n, row_size]``."""
        flat = (indices + self._offsets).flatten()
        return self._rows.flatten(0, 1).index_select(0, flat).unflatten(0, indices.shape)

    def rows_at(self, seed_index: int, slots: np.ndarray) -> Tensor:
        """Return seed ``seed_index``'s rows in ``slots``, ``[n, row_size]``."""
        return self._rows[seed_index, torch.from_numpy(slots).to(self._rows.device)]

    def minibatches(self, indices: Tensor, batch_size: int, scales: Sequence[RowScale]) -> Tensor:
        """Return the rows at ``indices`` as the learner sees them, ``[S, minibatches, B, row_size]``."""
        rows = self.gather(indices)
        for scale in scales:
            scale.scale_rows(rows)
        return rows.unflatten(1, (-1, batch_size))

    def newest(self, count: int) -> Tensor:
        """Return copies of each seed's newest transitions, ``count`` or as many as are held, ``[S, n, row_size]``."""
        first = self.added - min(count, self.added, self.capacity)
        return self._rows[:, torch.arange(first, self.added, device=self._rows.device) % self.capacity]

    def since(self, seed_index: int, start: int) -> np.ndarray:
        """Return seed ``seed_index``'s transitions from number ``start`` (from 0) to the newest, ``[n, row_size]``.

        Raises ValueError where some of them have been overwritten.
        """
        if self.added - start > self.capacity:
            raise ValueError(f"transition {start} is no longer held")
        slots = torch.arange(start, self.added, device=self._rows.device) % self.capacity
        return self._rows[seed_index, slots].cpu().numpy()

    def without_priority(self) -> Iterator[tuple[int, Tensor]]:
        """Of each seed with rows that have no priority yet, its index and copies of them, ``[1, n, row]``."""
        assert self.priorities is not None
        for seed_index, (entered, made) in enumerate(zip(self.priorities.entered, self.made, strict=True)):
            if entered < made:
                slots = torch.arange(entered, made, device=self._rows.device) % self.capacity
                yield seed_index, self._rows[seed_index, slots][None]

    def first_needed(self, added: int) -> int:
        """The first transition, by number from 0, that it takes to restore what was held after ``added`` of them."""
        return max(0, added - self.capacity)

    def restore(self, seed_index: int, start: int, rows: np.ndarray) -> None:
        """Take in transitions of seed ``seed_index`` from number ``start`` on, ``[n, row_size]``, n up to the capacity.

        Those of before, from :meth:`first_needed` on, have been restored.
        """
        self.added = start + len(rows)
        slots = torch.arange(start, self.added, device=self._rows.device) % self.capacity
        self._rows[seed_index, slots] = torch.from_numpy(rows).to(self._rows.device)
