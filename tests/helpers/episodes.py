"""Episodes of a task as they are compared: all that it gives, bit by bit."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np


def episode(env: gymnasium.Env, seed: int | None, acts: np.ndarray) -> list[tuple[Any, ...]]:
    """(observation, reward, terminated, truncated, info) of the reset and of each step up to the end."""
    obs, info = env.reset(seed=seed)
    seen = [(obs.tobytes(), 0.0, False, False, info)]
    for action in acts:
        obs, *rest = env.step(action)
        seen.append((obs.tobytes(), *rest))
        if rest[1] or rest[2]:
            break
    return seen
