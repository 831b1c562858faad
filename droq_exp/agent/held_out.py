"""Replay that keeps some whole episodes away from learning: how well critics generalise is told by them."""

from __future__ import annotations

import numpy as np
import torch

from droq_exp.agent.n_step import NStepReplay, episode_ends
from droq_exp.learner.hyperparameters import Hyperparameters

FIRST = 3  # number, counted from 0, of the first episode that is held out
SHARE = 10  # what is held out has so many times less room than what is learned from


class EpisodeSplit:
    """Tells which transitions of one seed are held out, the same ones in whatever pieces they come."""

    def __init__(self, spec: Hyperparameters, every: int) -> None:
        """Hold out one episode of ``every``; 0: none."""
        self._layout, self._every = spec.layout.single, every
        self._last = np.empty((0, self._layout.size), dtype=np.float32)
        self._number = 0  # of the last transition's episode

    @property
    def episode(self) -> int:
        """Number, from 0, of the episode that the next transition is of."""
        return self._number + int(episode_ends(self._last, self._layout).any())

    def held_out(self, transitions: np.ndarray) -> np.ndarray:
        """Take in the next transitions, float32 ``[m, row]``, m at least 1; tell which are held out, ``[m]`` bool."""
        ends = episode_ends(np.concatenate([self._last, transitions]), self._layout)[:-1]
        numbers = self._number + np.cumsum(ends if len(self._last) else [False, *ends])
        self._number, self._last = int(numbers[-1]), transitions[-1:].copy()
        return np.asarray(numbers % self._every == FIRST % self._every if self._every else numbers < 0)


class HeldOutReplay(NStepReplay):
    """As :class:`NStepReplay`, without the rows of the episodes that are held out, which ``held_out`` has."""

    def __init__(self, spec: Hyperparameters, capacity: int, device: torch.device, every: int) -> None:
        """Hold out one episode of ``every``; 0: none."""
        super().__init__(spec, capacity, device)
        self.held_out = NStepReplay(spec, max(1, capacity // SHARE), device)
        self._splits = [EpisodeSplit(spec, every) for _ in range(spec.seeds)]

    @property
    def episodes(self) -> list[int]:
        """Number, from 0, of the training episode that each seed is in."""
        return [split.episode for split in self._splits]

    def store(self, seed_index: int, transitions: np.ndarray) -> None:
        """As of :class:`NStepReplay`."""
        held = self._splits[seed_index].held_out(transitions)
        super().store(seed_index, transitions[~held])
        self.held_out.store(seed_index, transitions[held])
