"""Whether the learner can train on a task, asked of the task itself."""

from __future__ import annotations

import inspect
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from droq_exp.config.errors import ConfigError, nearest
from droq_exp.config.schema import EnvConfig, KuCodebaseConfig
from droq_exp.config.targets import import_part
from droq_exp.exits import ForeignExitError, no_exit

if TYPE_CHECKING:
    import gymnasium


# What no task is tried with: these neither change what it does nor can fail.
WITHOUT: dict[str, Any] = {"max_episode_steps": None, "normalize_observation": False, "info_metrics": []}
LONGER = {  # how the episodes of a suite's tasks get longer; Gymnasium's arguments do not reach its limits
    "dmc": "env.kwargs.task_kwargs.time_limit=<seconds> replaces that limit",
    "robopianist": "env.kwargs.stretch=<factor> makes the song so many times as long",
}


class Task(NamedTuple):
    """What trying a task has shown."""

    obs_dim: int
    act_dim: int
    declares_limit: bool  # on the steps of an episode
    step_limit: int | None  # of Gymnasium's TimeLimit
    remarks: tuple[str, ...]  # why runs on it cannot be repeated exactly, a line each
    order: tuple[tuple[str, int], ...]  # of the observation's parts: their paths and lengths
    refusal: str | None  # what it answers to actions of 1 or -1 where these lie outside its box


def tried(env: EnvConfig) -> Task:
    """Make the task, play a few steps of it and return what that shows; each is tried once per process.

    Raises:
        ConfigError: no such task, a task that cannot be made or stepped, arguments that it does not take, actions that
            are not a bounded box, observations that are not a vector, or a task that does not keep to its own spaces.
    """
    return _tried(json.dumps(asdict(env) | WITHOUT, sort_keys=True))


def dimensions(env: EnvConfig) -> tuple[int, int]:
    """dim(S) and dim(A) of the task, having tried it; ConfigError where ``tried`` raises it."""
    task = tried(env)
    return task.obs_dim, task.act_dim


def check_limit(env: EnvConfig) -> None:
    """Raise ConfigError for a task whose episodes need not end, or a limit that would have no effect."""
    task, limit, key = tried(env), env.max_episode_steps, "env.max_episode_steps"
    if limit is None and not task.declares_limit:
        problem = f"{env.id} declares no time limit, so an evaluation might never end; {key}=1000 gives it one"
        raise ConfigError(key, problem)
    if limit is not None and task.step_limit is not None and limit * env.action_repeat > task.step_limit:
        problem = f"{limit} has no effect: the episodes of {env.id} end after {task.step_limit} steps of its own"
        way = f"env.kwargs.max_episode_steps={limit * env.action_repeat} replaces that limit"
        raise ConfigError(key, f"{problem}; {LONGER.get(env.name, way)}")


def check_actions(env: EnvConfig, codebase: str) -> None:
    """Raise ConfigError for a task that refuses actions outside its box where ``codebase``, a target, sends such."""
    refusal = tried(env).refusal
    if codebase == KuCodebaseConfig._target_ and refusal is not None:
        problem = f"ku sends actions in [-1, 1] whatever the action box, and {env.id} refuses those outside: {refusal}"
        raise ConfigError("codebase", problem, "codebase=redq")


@lru_cache(maxsize=64)
def _tried(content: str) -> Task:
    from droq_exp.envs.build import observation_order  # these import Gymnasium
    from droq_exp.envs.limits import declares_limit, step_limit
    from droq_exp.envs.make import close, space_dims
    from droq_exp.envs.trial import watching_global_draws

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium's advice: what is refused is refused in one line
        asked = EnvConfig(**json.loads(content))
        _check_registered(asked)
        with watching_global_draws() as drawn:
            env = _make(asked)
            try:
                sizes = space_dims(env)
                differs, refusal = _play(env, asked)
            except ValueError as error:
                if isinstance(error, ConfigError):
                    raise
                raise ConfigError("env.id", str(error)) from error
            finally:
                close(env)
        remarks = tuple(_remarks(asked.id, drawn, differs))
        order = tuple(observation_order(env))
        return Task(*sizes, declares_limit(env), step_limit(env), remarks, order, refusal)


def _remarks(task_id: str, drawn: list[str], differs: str | None) -> Iterator[str]:
    so = "equal seeds may not give equal numbers, and a run that goes on may differ from one in one go"
    if drawn:
        yield f"{task_id} draws from {' and '.join(drawn)}, which no seed of a run sets: {so}"
    elif differs:
        yield f"{task_id} does not repeat itself (from the same seed, {differs}): {so}"


def _spec(task_id: str) -> Any:
    """The registered EnvSpec; of "module:Task-v0" once that module is imported, as ``gymnasium.make`` does it."""
    import gymnasium

    from droq_exp.envs.suites import register

    register(task_id)
    module, colon, task = task_id.rpartition(":")
    if colon:
        import_part("env.id", module)
    return gymnasium.spec(task)


def _check_registered(asked: EnvConfig) -> None:
    import gymnasium

    from droq_exp.envs.suites import is_of_a_suite, missing_package

    try:
        _spec(asked.id)
    except ConfigError:
        raise
    except Exception as error:  # an id may be wrong in many ways
        if asked.task is not None:  # of a suite, which tells
            raise ConfigError("env.task", " ".join(str(error).split())) from error
        missing = missing_package(asked.id)
        if missing is not None:
            raise ConfigError("env.id", f"{asked.id} is of {missing}") from error
        if is_of_a_suite(asked.id) or not isinstance(error, gymnasium.error.UnregisteredEnv):
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ConfigError("env.id", f"{asked.id} cannot be had: {reason}") from error
        registered = [known for known in gymnasium.registry if not known.startswith("GymV2")]
        module, colon, name = asked.id.rpartition(":")
        near = nearest(name, registered)
        raise ConfigError(
            "env.id",
            f"{asked.id} is not registered with Gymnasium; allowed: tasks of continuous actions, whose observations "
            "are numbers",
            near and f"{module}{colon}{near}",
        ) from error


def _newest(task_id: str) -> str | None:
    """The task's newest version, where that is another one."""
    import gymnasium

    name, _, version = task_id.rpartition("-v")
    versions = [
        int(id.rpartition("-v")[2]) for id in gymnasium.registry if re.fullmatch(rf"{re.escape(name)}-v\d+", id)
    ]
    return f"{name}-v{max(versions)}" if versions and version.isdigit() and max(versions) > int(version) else None


def _make(asked: EnvConfig) -> gymnasium.Env:
    from droq_exp.envs.build import build_env
    from droq_exp.envs.sparse import NoPositionsError

    if "render_mode" in asked.kwargs:  # a window opens for each environment, or the process is aborted
        raise ConfigError("env.kwargs.render_mode", "training draws nothing; droq-exp play draws a trained run")
    if asked._target_ == EnvConfig._target_:  # a maker of the user's own may take what it likes
        if _spec(asked.id).kwargs.get("render_mode") == "human":
            raise ConfigError("env.id", f"{asked.id} is registered with render_mode=human, and training draws nothing")
        _check_arguments(asked.id, asked.kwargs)
    try:
        with no_exit():
            env = build_env(asked)
            env.reset(seed=0)  # where a wrong value of an argument often shows first
    except NoPositionsError as error:
        problem = f"{asked.id} cannot be paid by its position: {error}; 0 leaves it its own reward"
        raise ConfigError("env.sparse_threshold", problem) from error
    except Exception as error:
        raise _broken("made", asked, error) from error
    return env


def _play(env: gymnasium.Env, asked: EnvConfig) -> tuple[str | None, str | None]:
    """What differs when the beginning of an episode is played again, and what is said to actions outside the box.

    Refuses what shows only once the task is stepped, such as a weight that is not a number.
    """
    from droq_exp.envs.exchange import TaskError
    from droq_exp.envs.trial import difference_when_repeated, refusal_outside

    try:
        return difference_when_repeated(env), refusal_outside(env)
    except TaskError as error:
        raise ConfigError(_key_of(asked), str(error)) from error
    except Exception as error:
        raise _broken("stepped", asked, error) from error


def _key_of(asked: EnvConfig) -> str:
    """The key that is most likely to have brought on what a task does."""
    return "env.wrappers" if asked.wrappers else "env.kwargs" if asked.kwargs else "env.id"


def _broken(what: str, asked: EnvConfig, error: Exception) -> ConfigError:
    import gymnasium

    from droq_exp.envs.suites import missing_package

    cause = error if isinstance(error, ForeignExitError) else error.__cause__ or error
    missing = isinstance(cause, (gymnasium.error.DependencyNotInstalled, ImportError))
    if missing and isinstance(cause.__cause__, ImportError) and not isinstance(cause.__cause__, ModuleNotFoundError):
        cause = cause.__cause__  # the package is there and cannot be imported, whatever Gymnasium makes of it
    reason = str(cause).strip().partition("\n")[0].partition(" was raised from")[0] or type(cause).__name__
    if missing and (newest := _newest(asked.id)):
        problem = f"{asked.id} cannot be made: Gymnasium has given that version up"
        return ConfigError("env.id", problem, f"env.id={newest}")
    if missing and (package := missing_package(asked.id)):
        return ConfigError("env.id", f"{asked.id} cannot be made: it needs {package}")
    key = "env.id" if missing else _key_of(asked)
    given = " and ".join(str(each) for each in (asked.kwargs, asked.wrappers) if each)
    return ConfigError(key, f"{asked.id} cannot be {what}{f' with {given}' if given else ''}: {reason}")


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
