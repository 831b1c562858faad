"""How long an episode may be: whether a task says so, in whatever way it is made."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator
from typing import Any

import gymnasium
from gymnasium.wrappers import TimeLimit

INNER = ("env", "_env", "gym_env")  # under which wrappers and adapters hold what is within them
# Of Gymnasium's TimeLimit and its like, and of dm_control's two kinds of environment (in steps, in seconds).
DECLARED = ("max_episode_steps", "_max_episode_steps", "_step_limit", "_time_limit")


def declares_limit(env: gymnasium.Env) -> bool:
    """Whether a layer of ``env`` (the task, a wrapper, an adapter and what it adapts) has a finite limit."""
    return any(_is_limit(getattr(layer, name, None)) for layer in layers(env) for name in DECLARED)


def step_limit(env: gymnasium.Env) -> int | None:
    """The task's own steps after which Gymnasium's TimeLimit, or an adapter, truncates episodes; None: neither does."""
    found = [getattr(layer, "_max_episode_steps", None) for layer in layers(env) if isinstance(layer, TimeLimit)]
    found += [vars(layer).get("max_episode_steps") for layer in layers(env) if hasattr(layer, "observation_order")]
    return min((steps for steps in found if steps is not None), default=None)


def layers(env: Any) -> Iterator[Any]:
    """``env`` and what lies within it: wrappers, adapters, the task; the outermost first."""
    seen: set[int] = set()
    while env is not None and id(env) not in seen:
        seen.add(id(env))
        yield env
        held = getattr(env, "__dict__", {})
        env = next((held[name] for name in INNER if held.get(name) is not None), None)


def _is_limit(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and 0 < float(value) < math.inf
