"""A reward for distance alone, in steps: what ``env.sparse_threshold`` makes of a task."""

from __future__ import annotations

import math
from typing import Any

import gymnasium

DENSE_RETURN = "dense_return"  # in ``info``: what the task's own rewards of the episode so far add up to


class NoPositionsError(ValueError):
    """A task that does not say where its body is."""


class SparseReward(gymnasium.Wrapper):
    """Pays for every whole ``threshold`` that the body has come forward from where its episode began.

    With x = qpos[0] after a step and x0 = qpos[0] after the reset, its noise included, the reward is
    floor((x - x0) / threshold), or 0 where that is negative: it grows with the distance and replaces the task's own.
    """

    def __init__(self, env: gymnasium.Env, threshold: float) -> None:
        """Wrap a MuJoCo task; ``threshold`` is in metres, greater than 0.

        Raises:
            NoPositionsError: the task has no ``data.qpos``.
        """
        super().__init__(env)
        self._data: Any = getattr(env.unwrapped, "data", None)
        if not hasattr(self._data, "qpos"):
            raise NoPositionsError("it has no qpos, the positions of a body that MuJoCo simulates")
        self._threshold = threshold
        self._start = self._dense_return = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        result = self.env.reset(seed=seed, options=options)
        self._start, self._dense_return = self._position, 0.0
        return result

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act; ``info`` has the task's own return so far."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._dense_return += float(reward)
        distance = self._position - self._start
        paid = float(math.floor(distance / self._threshold)) if distance >= self._threshold else 0.0
        return obs, paid, terminated, truncated, {**info, DENSE_RETURN: self._dense_return}

    @property
    def _position(self) -> float:
        return float(self._data.qpos[0])
