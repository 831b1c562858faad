"""Rows of several transitions each, for ``algo.n_step`` above 1, made as the transitions come in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from droq_exp.agent.priorities import Priorities
from droq_exp.agent.replay import Replay
from droq_exp.learner.hyperparameters import Hyperparameters
from droq_exp.learner.transfer import to_device
from droq_exp.learner.transitions import TransitionLayout

RECENT = 4096  # transitions that are kept for the file on disk


def episode_ends(transitions: np.ndarray, layout: TransitionLayout) -> np.ndarray:
    """Tell which of consecutive transitions, ``[m, row]``, are the last of their episode, ``[m]`` booleans."""
    columns = layout.columns
    ends = (transitions[:, columns.terminated] + transitions[:, columns.truncated] > 0)[:, 0]
    # An episode that could not be resumed was broken off: what follows does not begin where it was.
    ends[:-1] |= (transitions[1:, columns.obs] != transitions[:-1, columns.next_obs]).any(-1)
    return np.asarray(ends)


class NStepRows:
    """Makes the rows of one seed of its transitions, the same ones in whatever pieces these come.

    The row that starts at a transition has its observation and action and the rewards R of it and the next k - 1,
    discounted to it; next_obs and the ends are those of the last of the k, and ``bootstrap`` is gamma^k (1 - d). k is
    ``n``, or as many as there are where the episode ends before, in whatever way. No row reaches into another episode.

    In the form ``ku`` the reward is R / n, and a start with fewer than n transitions makes no row.
    """

    def __init__(self, spec: Hyperparameters) -> None:
        """``spec`` has n, gamma, the form and the layout of rows."""
        self._n, self._gamma, self._ku = spec.n_step, spec.gamma, spec.n_step_form == "ku"
        self._layout = replace(spec.layout, n_step=True)
        self._open = np.empty((0, self._layout.single.size), dtype=np.float32)  # the starts whose rows are not complete

    def made_of(self, transitions: np.ndarray) -> np.ndarray:
        """Take in the next transitions, float32 ``[m, row]``; return the rows that they complete, in order."""
        given = np.concatenate([self._open, transitions])
        ends, count = np.flatnonzero(episode_ends(given, self._layout.single)), len(given)
        starts = np.arange(count)
        last = np.append(ends, count)[np.searchsorted(ends, starts)]  # of the episode; count where it goes on
        complete = int(np.sum((starts + self._n <= count) | (last < count)))
        self._open = given[complete:].copy()
        starts, last = starts[:complete], last[:complete]
        lengths = np.minimum(self._n, last - starts + 1)
        if self._ku:
            starts, lengths = starts[lengths == self._n], lengths[lengths == self._n]
        return self._rows(given, starts, lengths)

    def _rows(self, given: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        single, columns = self._layout.single, self._layout.columns
        rewards = given[:, columns.reward].astype(np.float64)
        total = np.zeros((len(starts), 1))
        for i in range(self._n):
            within = i < lengths
            total[within] += self._gamma**i * rewards[starts[within] + i]
        lasts = given[starts + lengths - 1]
        rows = np.empty((len(starts), self._layout.size), dtype=np.float32)
        rows[:, : single.size] = lasts
        for part in (columns.obs, columns.action):
            rows[:, part] = given[starts, part]
        rows[:, columns.reward] = total / self._n if self._ku else total
        rows[:, columns.bootstrap] = self._gamma ** lengths[:, None] * (1 - lasts[:, columns.terminated])
        return rows


class NStepReplay(Replay):
    """The last ``capacity`` rows of each seed, of which they have as many as their episodes have made."""

    def __init__(self, spec: Hyperparameters, capacity: int, device: torch.device) -> None:
        """Reserve ``[seeds, capacity, row_size]`` float32, and a little for the newest transitions."""
        super().__init__(spec.seeds, capacity, spec.row_size, device)
        self._made = [0] * spec.seeds
        self._makers = [NStepRows(spec) for _ in range(spec.seeds)] if spec.n_step > 1 else None
        self._recent = Replay(spec.seeds, RECENT, spec.layout.single.size, torch.device("cpu"))

    @property
    def made(self) -> list[int]:
        """As of :class:`Replay`."""
        return self._made

    @property
    def kept(self) -> int:
        """As of :class:`Replay`."""
        return self._recent.kept

    def add(self, rows: Tensor) -> None:
        """Take in one transition per seed, ``[S, single row]``, and store what rows they complete."""
        self._recent.add(rows)
        self.added += 1
        for seed_index, transition in enumerate(rows.numpy()):
            self.store(seed_index, transition[None])

    def since(self, seed_index: int, start: int) -> np.ndarray:
        """As of :class:`Replay`."""
        return self._recent.since(seed_index, start)

    def first_needed(self, added: int) -> int:
        """The first: only all of them tell how many rows they have made."""
        return 0

    def restore(self, seed_index: int, start: int, rows: np.ndarray) -> None:
        """As of :class:`Replay`."""
        self.store(seed_index, rows)
        self.added = self._recent.added = start + len(rows)

    def store(self, seed_index: int, transitions: np.ndarray) -> None:
        """Take in the next transitions of one seed, ``[m, single row]``, and store what rows they complete."""
        rows = transitions if self._makers is None else self._makers[seed_index].made_of(transitions)
        self._made[seed_index] += len(rows)
        rows = rows[-self.capacity :]
        slots = np.arange(self._made[seed_index] - len(rows), self._made[seed_index]) % self.capacity
        device = self._rows.device
        self._rows[seed_index, to_device(torch.from_numpy(slots), device)] = to_device(torch.from_numpy(rows), device)


def replay_of(spec: Hyperparameters, capacity: int, device: torch.device) -> Replay:
    """An empty replay buffer for a learner of ``spec``."""
    replay = (
        NStepReplay(spec, capacity, device) if spec.n_step > 1 else Replay(spec.seeds, capacity, spec.row_size, device)
    )
    if spec.per is not None:
        replay.priorities = Priorities(spec.per, spec.seeds, capacity, device)
    return replay
