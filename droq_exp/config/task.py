"""Whether the learner can train on a task, asked of the task itself."""

from __future__ import annotations

import inspect
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
    except Exception as error:  # "module:Task-v0" imports that module, which may do anything
        registered = [known for known in gymnasium.registry if not known.startswith("GymV2")]
        raise ConfigError(
            "env.id",
            f"{task_id} is not registered with Gymnasium; allowed: tasks of continuous actions and vector observations",
            nearest(task_id, registered),
        ) from error


def _make(target: str, name: str, task_id: str, kwargs: dict[str, Any]) -> gymnasium.Env:
    import gymnasium
    from hydra.utils import instantiate

    _check_arguments(task_id, kwargs)
    try:
        env = instantiate({"_target_": target, "name": name, "id": task_id, "kwargs": kwargs}, _convert_="all")
        env.reset(seed=0)  # where a wrong value of an argument often shows first
    except Exception as error:
        cause = error.__cause__ or error
        reason = str(cause).strip().partition("\n")[0].partition(" was raised from")[0] or type(cause).__name__
        missing = isinstance(cause, (gymnasium.error.DependencyNotInstalled, ImportError))
        key = "env.kwargs" if kwargs and not missing else "env.id"
        raise ConfigError(key, f"{task_id} cannot be made{f' with {kwargs}' if kwargs else ''}: {reason}") from error
    return env


def _check_arguments(task_id: str, kwargs: dict[str, Any]) -> None:
    """Refuse an argument that nothing names; where the task takes any (``**kwargs``), one that is nearly a known name."""
    import gymnasium
    from gymnasium.envs.registration import load_env_creator

    entry = gymnasium.spec(task_id).entry_point
    try:
        creator = load_env_creator(entry) if isinstance(entry, str) else entry
        own = _parameters(creator)
    except Exception:
        return  # a missing package or an unusual entry point: making the task tells
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values())
    makers = inspect.signature(gymnasium.make).parameters
    allowed = sorted({*own, *makers} - {"self", "id", "args", "kwargs", "disable_env_checker"})
    for argument in set(kwargs).difference(allowed):
        close = nearest(argument, allowed)
        if close or not takes_any:
            raise ConfigError(
                f"env.kwargs.{argument}", f"unknown argument; {task_id} takes {', '.join(allowed)}", close
            )


def _parameters(creator: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a function, or of a class and its bases, to which it passes on what it does not name."""
    creators = [base.__init__ for base in creator.__mro__[:-1]] if inspect.isclass(creator) else [creator]
    found: dict[str, inspect.Parameter] = {}
    for each in reversed(creators):
        found.update(inspect.signature(each).parameters)
    return found
