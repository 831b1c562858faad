"""Whether the learner can train on a task, asked of the task itself."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Mapping
from contextlib import closing
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from droq_exp.config.errors import ConfigError, nearest
from droq_exp.config.schema import EnvConfig
from droq_exp.config.targets import import_part

if TYPE_CHECKING:
    import gymnasium


def dimensions(env: EnvConfig) -> tuple[int, int]:
    """dim(S) and dim(A) of the task, having checked that the learner can train on it; each is made once per process.

    Raises:
        ConfigError: no such task, a task that cannot be made, arguments that it does not take, actions that are not a
            bounded box, or observations that are not a vector.
    """
    return _dimensions(env._target_, env.name, env.id, json.dumps(env.kwargs, sort_keys=True))


@lru_cache(maxsize=64)
def _dimensions(target: str, name: str, task_id: str, kwargs: str) -> tuple[int, int]:
    from droq_exp.envs.make import space_dims  # imports Gymnasium

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium's advice: what is refused is refused in one line
        _check_registered(task_id)
        arguments = json.loads(kwargs)
        with closing(_make(target, name, task_id, arguments)) as env:
            try:
                sizes = space_dims(env)
            except ValueError as error:
                raise ConfigError("env.id", str(error)) from error
            _try_step(env, task_id, arguments)
            return sizes


def _spec(task_id: str) -> Any:
    """The registered EnvSpec; of "module:Task-v0" once that module is imported, as ``gymnasium.make`` does it."""
    import gymnasium

    module, colon, task = task_id.rpartition(":")
    if colon:
        import_part("env.id", module)
    return gymnasium.spec(task)


def _check_registered(task_id: str) -> None:
    import gymnasium

    try:
        _spec(task_id)
    except ConfigError:
        raise
    except Exception as error:  # an id may be wrong in many ways
        registered = [known for known in gymnasium.registry if not known.startswith("GymV2")]
        raise ConfigError(
            "env.id",
            f"{task_id} is not registered with Gymnasium; allowed: tasks of continuous actions and vector observations",
            nearest(task_id, registered),
        ) from error


def _make(target: str, name: str, task_id: str, kwargs: dict[str, Any]) -> gymnasium.Env:
    from hydra.utils import instantiate

    _check_arguments(task_id, kwargs)
    try:
        env = instantiate(
            {"_target_": target, "name": name, "id": task_id, "kwargs": kwargs}, _convert_="all", _recursive_=False
        )
        env.reset(seed=0)  # where a wrong value of an argument often shows first
    except Exception as error:
        raise _broken("made", task_id, kwargs, error) from error
    return env


def _try_step(env: gymnasium.Env, task_id: str, kwargs: dict[str, Any]) -> None:
    """Refuse what shows only once the task is stepped, such as a weight that is not a number."""
    try:
        env.step(env.action_space.sample())
    except Exception as error:
        raise _broken("stepped", task_id, kwargs, error) from error


def _broken(what: str, task_id: str, kwargs: dict[str, Any], error: Exception) -> ConfigError:
    import gymnasium

    cause = error.__cause__ or error
    reason = str(cause).strip().partition("\n")[0].partition(" was raised from")[0] or type(cause).__name__
    missing = isinstance(cause, (gymnasium.error.DependencyNotInstalled, ImportError))
    key = "env.kwargs" if kwargs and not missing else "env.id"
    return ConfigError(key, f"{task_id} cannot be {what}{f' with {kwargs}' if kwargs else ''}: {reason}")


def _check_arguments(task_id: str, kwargs: dict[str, Any]) -> None:
    """Refuse an argument that nothing names; a task that takes any (``**kwargs`` to the last) tells when it is made."""
    import gymnasium
    from gymnasium.envs.registration import load_env_creator

    entry = _spec(task_id).entry_point
    try:
        signatures = _signatures(load_env_creator(entry) if isinstance(entry, str) else entry)
    except Exception:
        return  # a missing package or an unusual entry point: making the task tells
    if all(any(each.kind is each.VAR_KEYWORD for each in signature.values()) for signature in signatures):
        return
    known = {name for signature in [*signatures, inspect.signature(gymnasium.make).parameters] for name in signature}
    allowed = sorted(known - {"self", "id", "args", "kwargs", "disable_env_checker"})
    for argument in set(kwargs).difference(allowed):
        problem = f"unknown argument; {task_id} takes {', '.join(allowed)}"
        raise ConfigError(f"env.kwargs.{argument}", problem, nearest(argument, allowed))


def _signatures(creator: Any) -> list[Mapping[str, inspect.Parameter]]:
    """The parameters of a function, or of a class and of its bases, to which it passes on what it does not name."""
    from gymnasium.utils import EzPickle  # takes and keeps anything

    if not inspect.isclass(creator):
        return [inspect.signature(creator).parameters]
    bases = [base for base in inspect.getmro(creator)[:-1] if base is not EzPickle and "__init__" in vars(base)]
    return [inspect.signature(vars(base)["__init__"]).parameters for base in bases]
