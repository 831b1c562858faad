"""Rows of several transitions, episode by episode and start by start, as the specification has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Transition(NamedTuple):
    """A single one; ``ended``: by a time limit."""

    obs: np.ndarray
    action: np.ndarray
    reward: float
    next_obs: np.ndarray
    terminated: bool
    ended: bool


class Row(NamedTuple):
    """What is learned from; numbers that are not the transition's own are float32, as a replay row is."""

    obs: np.ndarray
    action: np.ndarray
    reward: float
    next_obs: np.ndarray
    bootstrap: float


def rows_of(transitions: Sequence[Transition], n: int, form: str, gamma: float) -> list[Row]:
    """The rows that ``transitions`` have completed, in the order of their starts."""
    rows, start = [], 0
    while start < len(transitions):
        end = start  # the last transition of the episode, or where there is no end yet the last of all
        while end < len(transitions) - 1 and not (transitions[end].terminated or transitions[end].ended):
            end += 1
        whole = transitions[end].terminated or transitions[end].ended
        for first in range(start, end + 1):
            last = min(first + n - 1, end)
            k = last - first + 1
            if k < n and (form == "ku" or not whole):
                continue
            total = sum(gamma**i * transitions[first + i].reward for i in range(k))
            bootstrap = 0.0 if transitions[last].terminated else gamma**k
            bootstrap = bootstrap if n == 1 else float(np.float32(bootstrap))  # a row of one has none: gamma (1 - d)
            reward = np.float32(total / n if form == "ku" else total)
            rows.append(Row(*transitions[first][:2], float(reward), transitions[last].next_obs, bootstrap))
        start = end + 1
    return rows
