"""The task of a configuration with all that stands around it: alike in training, evaluation, play and export."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation, RepeatAction, TimeLimit
from hydra.utils import get_object, instantiate

from droq_exp.envs.flatten import FlatObservation
from droq_exp.envs.limits import layers
from droq_exp.envs.sparse import DENSE_RETURN, SparseReward
from droq_exp.exits import no_exit


class TaskKeys(Protocol):
    """What is read of ``droq_exp.config.schema.EnvConfig``, which imports this package."""

    _target_: str
    name: str
    id: str
    kwargs: dict[str, Any]
    sparse_threshold: float
    wrappers: list[dict[str, Any]]
    action_repeat: int
    frame_stack: int
    max_episode_steps: int | None
    info_metrics: list[str]


@no_exit()
def build_env(env: TaskKeys) -> gymnasium.Env:
    """Make one environment: the task, its reward, its wrappers from the innermost, and what else has keys.

    An action is held before observations are stacked, so that stacked ones are those at which the agent acts. The
    limit of ``env.max_episode_steps`` counts the agent's steps; a task's own counts its own.

    Raises:
        NoPositionsError: a sparse reward of a task that does not say where its body is.
        ValueError: observations that no vector can hold.
        Exception: whatever the task or a wrapper raises.
    """
    made: gymnasium.Env = instantiate(
        {"_target_": env._target_, "name": env.name, "id": env.id, "kwargs": env.kwargs},
        _convert_="all",
        _recursive_=False,
    )
    if env.sparse_threshold:
        made = SparseReward(made, env.sparse_threshold)
    if env.wrappers:
        made = OwnAction(made)
    for wrapper in env.wrappers:
        arguments = {name: value for name, value in wrapper.items() if name != "_target_"}
        made = get_object(wrapper["_target_"])(made, **arguments)
    if env.action_repeat > 1:
        made = RepeatAction(OwnAction(made), env.action_repeat)
    if env.frame_stack > 1:
        made = FlatObservation(FrameStackObservation(FlatObservation(made), env.frame_stack))
    elif not _is_vector(made.observation_space):
        made = FlatObservation(made)
    if env.max_episode_steps is not None:
        made = TimeLimit(made, env.max_episode_steps)
    metrics = [*env.info_metrics, *([DENSE_RETURN] if env.sparse_threshold else [])]
    return InfoMetrics(made, metrics) if metrics else made


class OwnAction(gymnasium.Wrapper):
    """Gives what it wraps a copy of each action: whoever steps twice with one array may have it changed in between."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the task does."""
        return self.env.step(np.array(action))


class InfoMetrics(gymnasium.Wrapper):
    """Says which numbers of an episode's last ``info`` an evaluation logs."""

    def __init__(self, env: gymnasium.Env, names: Sequence[str]) -> None:
        """``names`` are keys of the task's info."""
        super().__init__(env)
        self.info_metrics = tuple(names)


def observation_order(env: gymnasium.Env) -> list[tuple[str, int]]:
    """The (path, length) of each part of the task's observations, in the order in which the learner sees them.

    What wrappers add to them is left out.
    """
    found = [order for layer in layers(env) if (order := getattr(layer, "observation_order", None)) is not None]
    return found[-1] if found else [("observation", math.prod(env.observation_space.shape or ()))]


def _is_vector(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and len(space.shape) == 1
