"""The layout of a transition: which numbers of a row are what, named here and nowhere else.

A replay row, the rows of a minibatch and those of ``replay.bin`` are all float32 of this layout:

    obs, action, reward, next_obs, terminated, truncated

``terminated`` and ``truncated`` are Gymnasium's, 1 or 0: the task reached a terminal state; the episode was cut off
without one, by a time limit say. Bootstrapping looks at ``terminated`` alone.

With ``algo.n_step`` above 1 the rows that are learned from are made of several transitions each (``agent/n_step.py``):
``reward`` is that of all of them, what follows it is that of the last, and a number more, ``bootstrap``, says how much
the value of ``next_obs`` counts. ``replay.bin`` holds single transitions all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from torch import Tensor

T = TypeVar("T")


class Transitions(NamedTuple, Generic[T]):
    """One ``T`` for each part of a transition, in the order of a row: a view, a slice or a width."""

    obs: T
    action: T
    reward: T
    next_obs: T
    terminated: T
    truncated: T  # the last on disk: rows of before it was kept are the same without it
    bootstrap: T | None = None  # of n-step rows alone


@dataclass(frozen=True)
class TransitionLayout:
    """The rows of a task whose observations and actions have these lengths."""

    obs_dim: int
    act_dim: int
    n_step: bool = False  # whether rows have ``bootstrap``

    @property
    def single(self) -> TransitionLayout:
        """That of the transitions themselves, as they come and as ``replay.bin`` holds them."""
        return replace(self, n_step=False)

    @property
    def widths(self) -> Transitions[int]:
        """How many numbers each part has."""
        return Transitions(
            obs=self.obs_dim,
            action=self.act_dim,
            reward=1,
            next_obs=self.obs_dim,
            terminated=1,
            truncated=1,
            bootstrap=1 if self.n_step else None,
        )

    @property
    def size(self) -> int:
        """Numbers in a row."""
        return sum(self._lengths)

    @property
    def columns(self) -> Transitions[slice]:
        """Where each part is in a row's last dimension."""
        lengths = self._lengths
        starts = [sum(lengths[:number]) for number in range(len(lengths))]
        return Transitions(*(slice(start, start + length) for start, length in zip(starts, lengths, strict=True)))

    def split(self, rows: Tensor) -> Transitions[Tensor]:
        """Return views of ``rows`` ``[..., size]``: ``[..., obs]`` and ``[..., act]``, and ``[...]`` of single numbers.

        It slices and no more, so it costs nothing in a compiled or captured graph.
        """
        obs, action, reward, next_obs, terminated, truncated, *more = rows.split(self._lengths, -1)
        return Transitions(
            obs=obs,
            action=action,
            reward=reward[..., 0],
            next_obs=next_obs,
            terminated=terminated[..., 0],
            truncated=truncated[..., 0],
            bootstrap=more[0][..., 0] if more else None,
        )

    def pack(
        self,
        obs: np.ndarray,
        action: np.ndarray,
        reward: float,
        next_obs: np.ndarray,
        *,
        terminated: bool,
        truncated: bool,
    ) -> np.ndarray:
        """Make the row of one transition, float32 ``[size]``.

        ``obs`` and ``next_obs`` are ``[obs]``, ``action`` is ``[act]``. ``next_obs`` is what the action led to, also
        where the episode ends there.
        """
        ends = [float(terminated), float(truncated)]
        return np.concatenate([obs, action, [reward], next_obs, ends], dtype=np.float32)

    def widened(self, rows: np.ndarray) -> np.ndarray:
        """Give rows of before ``truncated`` was kept, ``[n, size - 1]``, as ``[n, size]`` with ``truncated`` 0.

        What it was is unknown: such a row may have been the last before a time limit.

        Raises:
            ValueError: the rows have another size.

        """
        if rows.shape[-1] != self.size - 1:
            raise ValueError(f"rows of {rows.shape[-1]} numbers are none of this task, whose rows have {self.size}")
        return np.pad(rows, ((0, 0), (0, 1)))

    @property
    def _lengths(self) -> list[int]:
        return [width for width in self.widths if width is not None]
