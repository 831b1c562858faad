"""What passes between this project and a task: its own copy of each action, and nothing back that cannot be learned.

A task may change the arrays that it is given and hand out the same one at every step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from droq_exp.exits import as_error

LARGEST = float(np.finfo(np.float32).max)  # transitions are float32


class TaskError(RuntimeError):
    """A task gave what no learner can use; ``str`` is one line that names the task, the quantity and the step."""


class Outcome(NamedTuple):
    """What a step led to."""

    action: np.ndarray  # float32 [act], as the task got it
    obs: np.ndarray  # float32 [obs]
    reward: float
    terminated: bool
    truncated: bool
    info: Mapping[str, Any]  # the task's own


def reset(env: gymnasium.Env, seed: int | None) -> np.ndarray:
    """Begin an episode, from ``seed`` or None: wherever the task's generator is; the observation, float32 ``[obs]``.

    Raises:
        TaskError: what the task returns is none, or is not finite.
    """
    try:
        result = env.reset(seed=seed)
    except SystemExit as leaving:
        raise as_error(leaving) from leaving
    if not (isinstance(result, tuple | list) and len(result) == 2):
        raise _wrong(env, f"returns {_kind(result)} and not (observation, info)", 0)
    return _observation(env, result[0], 0)


def step(env: gymnasium.Env, action: np.ndarray, number: int) -> Outcome:
    """Act; ``number`` counts the steps of the episode from 1.

    Raises:
        TaskError: what the task returns is no observation, reward or flag, or is not finite.
    """
    given = np.array(action, dtype=env.action_space.dtype)
    kept = given.astype(np.float32)  # before the task can change it
    try:
        result = env.step(given)
    except SystemExit as leaving:
        raise as_error(leaving) from leaving
    if not (isinstance(result, tuple | list) and len(result) == 5):
        raise _wrong(env, f"returns {_kind(result)} and not (observation, reward, terminated, truncated, info)", number)
    obs, reward, terminated, truncated, info = result
    try:
        return Outcome(
            kept,
            _observation(env, obs, number),
            _reward(env, reward, number),
            _flag(env, "terminated", terminated, number),
            _flag(env, "truncated", truncated, number),
            info,
        )
    except TaskError as error:
        if np.isfinite(kept).all():
            raise
        raise ValueError(f"the policy's action is not finite: {kept}") from error


def info_metrics(env: gymnasium.Env, info: Mapping[str, Any], number: int) -> dict[str, float]:
    """The numbers of ``info``, of an episode's last step ``number``, that evaluations log of ``env``.

    Raises:
        TaskError: one of them is not there, or is no number.
    """
    names: Sequence[str] = env.get_wrapper_attr("info_metrics") if env.has_wrapper_attr("info_metrics") else ()
    for name in names:
        if name not in info:
            there = ", ".join(sorted(map(str, info))) or "nothing"
            raise _wrong(env, f"has no {name} in the info of its last step, as env.info_metrics says: {there}", number)
        if not _is_single(info[name], "biuf"):
            raise _wrong(env, f"has in its info a {name} that is no number but {_kind(info[name])}", number)
    return {name: float(info[name]) for name in names}


def task_name(env: gymnasium.Env) -> str:
    """Gymnasium's id, or else the class of the task."""
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def _observation(env: gymnasium.Env, raw: Any, number: int) -> np.ndarray:
    try:
        if isinstance(raw, np.ma.MaskedArray) or np.iscomplexobj(raw):
            raise TypeError("a part of it would be lost")
        with np.errstate(over="ignore"):  # told below
            obs = np.array(raw, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise _wrong(env, f"returns an observation that is no array of numbers but {_kind(raw)}", number) from error
    if obs.shape != env.observation_space.shape:
        problem = f"returns an observation of shape {obs.shape}, but its space has {env.observation_space.shape}"
        raise _wrong(env, problem, number)
    if not np.isfinite(obs).all():
        place = int(np.flatnonzero(~np.isfinite(obs))[0])
        raise _wrong(env, f"returns an observation whose number {place} is {obs[place]}", number)
    return obs


def _reward(env: gymnasium.Env, raw: Any, number: int) -> float:
    if not isinstance(raw, float) and not _is_single(raw, "biuf"):
        raise _wrong(env, f"returns a reward that is no number but {_kind(raw)}", number)
    reward = float(raw)
    if not abs(reward) <= LARGEST:
        too = "" if not math.isfinite(reward) else ", more than a float32 holds"
        raise _wrong(env, f"returns a reward of {reward}{too}", number)
    return reward


def _flag(env: gymnasium.Env, name: str, raw: Any, number: int) -> bool:
    if not isinstance(raw, bool) and not _is_single(raw, "biu"):
        raise _wrong(env, f"returns {name} that is no truth value but {_kind(raw)}", number)
    return bool(raw)


def _is_single(value: Any, kinds: str) -> bool:
    if isinstance(value, np.ma.MaskedArray):
        return False
    array = np.asarray(value)
    return array.ndim == 0 and array.dtype.kind in kinds


def _kind(value: Any) -> str:
    """What a value is, without its content, which may be long."""
    if value is None:
        return "None"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__}{'' if shape is None else f' of shape {tuple(shape)}'}"


def _wrong(env: gymnasium.Env, problem: str, number: int) -> TaskError:
    where = f"at step {number} of its episode" if number else "at reset"
    return TaskError(f"{task_name(env)} {problem} ({where})")
