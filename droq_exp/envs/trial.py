"""A task tried before anything starts: whether it plays as a task should, and whether it does the same again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np

from droq_exp.envs import exchange
from droq_exp.envs.make import action_bounds

STEPS = 50  # at most; they take 2 to 20 ms with the shipped tasks


def difference_when_repeated(env: gymnasium.Env) -> str | None:
    """Play the first steps of an episode twice, from one seed and with the same random actions.

    Returns:
        The first thing that was different the second time, or None.

    Raises:
        TaskError: the task returns what no learner can use.
    """
    low, high = action_bounds(env)
    actions = np.random.default_rng(0).uniform(low, high, (STEPS, len(low))).astype(np.float32)
    first, second = ([*_played(env, actions)] for _ in range(2))
    for number, (one, other) in enumerate(zip(first, second, strict=False)):
        for name in one:
            if not np.array_equal(one[name], other[name]):
                return f"another {name} {f'at step {number}' if number else 'at reset'}"
    return None


def refusal_outside(env: gymnasium.Env) -> str | None:
    """What the task raises when it gets actions of 1 or -1 that lie outside its box, in a line; None where it does not.

    A published code base sends these whatever the box; a task may clip them or refuse them.
    """
    low, high = action_bounds(env)
    for edge in (-1.0, 1.0):
        action = np.full(len(low), edge, dtype=np.float32)
        if (low <= action).all() and (action <= high).all():
            continue
        exchange.reset(env, 0)
        try:
            exchange.step(env, action, 1)
        except Exception as error:  # it may do anything
            return " ".join(str(error).split()) or type(error).__name__
    return None


@contextmanager
def watching_global_draws() -> Iterator[list[str]]:
    """Within the block nothing is named; after it, the generators of the whole process that were drawn from in it.

    They are put back: whose process it is finds them as they were.
    """
    drawn: list[str] = []
    numpys, pythons = np.random.get_state(legacy=False), random.getstate()
    try:
        yield drawn
    finally:
        now = np.random.get_state(legacy=False)
        if _position(now) != _position(numpys):
            drawn.append("np.random")
        if random.getstate() != pythons:
            drawn.append("random")
        np.random.set_state(numpys)
        random.setstate(pythons)


def _played(env: gymnasium.Env, actions: np.ndarray) -> Iterator[dict[str, Any]]:
    """What is seen of an episode: at reset, and at each step."""
    yield {"observation": exchange.reset(env, 0)}
    for number, action in enumerate(actions, start=1):
        done = exchange.step(env, action, number)
        yield {
            "observation": done.obs,
            "reward": done.reward,
            "terminated": done.terminated,
            "truncated": done.truncated,
        }
        if done.terminated or done.truncated:
            return


def _position(state: Any) -> tuple[bytes, int]:
    return state["state"]["key"].tobytes(), state["state"]["pos"]
