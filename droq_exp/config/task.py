"""Whether the learner can train on a task, asked of the task itself."""

from __future__ import annotations

import json
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from droq_exp.config.errors import ConfigError, nearest
from droq_exp.config.schema import EnvConfig

if TYPE_CHECKING:
    import gymnasium


def action_dimensions(env: EnvConfig) -> int:
    """dim(A) of the task, having checked that the learner can train on it. Each task is made once per process.

    Raises:
        ConfigError: no such task, a task that cannot be made, arguments that it does not take, actions that are not a
            bounded box, or observations that are not a vector.
    """
    return _action_dimensions(env._target_, env.name, env.id, json.dumps(env.kwargs, sort_keys=True))


@lru_cache(maxsize=64)
def _action_dimensions(target: str, name: str, task_id: str, kwargs: str) -> int:
    from droq_exp.envs import space_dims  # imports Gymnasium

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium's advice: what is refused is refused in one line
        _check_registered(task_id)
        env = _make(target, name, task_id, json.loads(kwargs))
        try:
            return space_dims(env)[1]
        except ValueError as error:
            raise ConfigError("env.id", str(error)) from error
        finally:
            env.close()


def _check_registered(task_id: str) -> None:
    import gymnasium

    try:
        gymnasium.spec(task_id)
    except (gymnasium.error.Error, ImportError) as error:
        registered = [known for known in gymnasium.registry if not known.startswith("GymV2")]
        raise ConfigError(
            "env.id",
            f"{task_id} is not a task registered with Gymnasium; continuous actions, a vector to observe",
            nearest(task_id, registered),
        ) from error


def _make(target: str, name: str, task_id: str, kwargs: dict[str, Any]) -> gymnasium.Env:
    import gymnasium
    from hydra.utils import instantiate

    try:
        return instantiate({"_target_": target, "name": name, "id": task_id, "kwargs": kwargs}, _convert_="all")
    except Exception as error:
        cause = error.__cause__ or error
        reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        if isinstance(cause, gymnasium.error.DependencyNotInstalled):
            raise ConfigError("env.id", f"{task_id} cannot be made here: {reason}") from error
        key = "env.kwargs" if kwargs else "env.id"
        raise ConfigError(key, f"{task_id} cannot be made{f' with {kwargs}' if kwargs else ''}: {reason}") from error
