"""Gymnasium tasks: how they are made, and which of them the algorithms can learn."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import cache
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from omegaconf import DictConfig, OmegaConf

from droq_exp.envs.exchange import task_name
from droq_exp.envs.suites import register
from droq_exp.exits import no_exit

log = logging.getLogger(__name__)


def make_env(name: str, id: str, kwargs: Mapping[str, Any]) -> gymnasium.Env:
    """Make one environment.

    Args:
        name: the configuration's name for the task (``env.name``); the environment does not depend on it.
        id: Gymnasium's id, such as ``Hopper-v5``, or ``dm_control/cheetah-run-v0``.
        kwargs: keyword arguments of ``gymnasium.make``; a plain mapping, or Hydra's (turned into plain containers).

    Returns:
        The environment, its observations as they come (float64 for the MuJoCo tasks).

    Raises:
        gymnasium.error.Error: no such task, or a package that it needs is missing.
        TypeError: the task knows no such keyword.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # its greeting would stand among what a command prints
    _log_mujoco_warnings()
    register(id)
    plain = OmegaConf.to_container(kwargs, resolve=True) if isinstance(kwargs, DictConfig) else dict(kwargs)
    assert isinstance(plain, dict)
    # The checker looks at each step's types again; check_env and the tests cover what it would find.
    return gymnasium.make(id, disable_env_checker=True, **{str(key): value for key, value in plain.items()})


def space_dims(env: gymnasium.Env) -> tuple[int, int]:
    """Give the lengths (obs_dim, act_dim) of observations and actions; ValueError where ``check_env`` raises it."""
    observation, action = _boxes(env)
    return observation.shape[0], action.shape[0]


def action_bounds(env: gymnasium.Env) -> tuple[np.ndarray, np.ndarray]:
    """Give the action box's (low, high), float32 [act_dim] each; ValueError where ``check_env`` raises it.

    The bounds of a float64 box are rounded inwards: what lies between them lies in the box.
    """
    _, action = _boxes(env)
    return _float32_bounds(action)


def check_env(env: gymnasium.Env) -> None:
    """Raise ValueError, one line, unless observations are a vector and actions a bounded box of continuous numbers."""
    _boxes(env)


def close(*envs: gymnasium.Env) -> None:
    """Close environments that are done with; where a task's own ``close`` raises, that is said and changes nothing."""
    for env in envs:
        try:
            with no_exit():
                env.close()
        except Exception as error:  # it may do anything
            _say_once(f"{task_name(env)} raises when it is closed: {type(error).__name__}: {error}")


@cache
def _say_once(line: str) -> None:
    log.warning("%s", line)


def _boxes(env: gymnasium.Env) -> tuple[spaces.Box, spaces.Box]:
    task = task_name(env)
    observation, action = env.observation_space, env.action_space
    # Spaces are described by kind and shape: a Box prints its bounds, over several lines.
    if not isinstance(action, spaces.Box) or not np.issubdtype(action.dtype, np.floating):
        raise ValueError(
            f"{task} has {_kind(action)} actions; allowed: tasks with continuous actions (a Box of floats)"
        )
    if len(action.shape) != 1 or action.shape[0] == 0:
        raise ValueError(f"{task} has actions of shape {action.shape}; allowed: tasks whose actions are a vector")
    if not (action.is_bounded("both") and np.all(action.low < action.high)):
        raise ValueError(f"{task} has an unbounded or empty action box; allowed: tasks with low < high, both finite")
    with np.errstate(over="ignore"):
        low, high = _float32_bounds(action)
        fits = np.isfinite(high - low) & (low < high)
    if not fits.all():
        raise ValueError(f"{task} has an action box that float32 cannot hold; allowed: tasks whose bounds it can")
    if not isinstance(observation, spaces.Box) or len(observation.shape) != 1 or observation.shape[0] == 0:
        raise ValueError(
            f"{task} has {_kind(observation)} observations; allowed: tasks whose observations are a vector"
        )
    return observation, action


def _float32_bounds(box: spaces.Box) -> tuple[np.ndarray, np.ndarray]:
    low, high = box.low.astype(np.float32), box.high.astype(np.float32)
    inwards = np.nextafter(low, np.float32(np.inf)), np.nextafter(high, np.float32(-np.inf))
    return np.where(low < box.low, inwards[0], low), np.where(high > box.high, inwards[1], high)


def _kind(space: spaces.Space) -> str:
    kind = type(space).__name__
    return f"{kind}{space.shape} ({space.dtype})" if isinstance(space, spaces.Box) else kind


def _log_mujoco_warnings() -> None:
    """Send MuJoCo's warnings to Python's logging; left alone, it appends to MUJOCO_LOG.TXT in the current directory.

    MuJoCo has one handler per process: one that somebody else installed stays.
    """
    try:
        import mujoco
    except ImportError:  # tasks of other simulators do without; a MuJoCo task then fails in gymnasium.make, by name
        return
    if mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(_log_mujoco_warning)


def _log_mujoco_warning(message: str) -> None:
    log.warning("MuJoCo: %s", message.strip())
