"""What a configuration may have built: the targets of this project, and those of packages that the user trusts.

A package's name is no boundary by itself: a function within Gymnasium imports whatever its argument names. So targets
are listed one by one. They stand at named places only and are never built recursively; anything like a target
elsewhere is refused, in lists too.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from droq_exp.config import schema
from droq_exp.config.errors import ConfigError, nearest
from droq_exp.config.habits import way_instead
from droq_exp.exits import no_exit

VARIABLE = "DROQ_EXP_TRUST"
WRAPPERS = (  # of Gymnasium, that call nothing which they are given and keep nothing beyond an episode
    *("ClipAction", "RescaleAction", "StickyAction", "RepeatAction", "ClipReward", "TimeLimit"),
    *("DelayObservation", "DtypeObservation", "FilterObservation", "FlattenObservation", "FrameStackObservation"),
    *("MaxAndSkipObservation", "RescaleObservation", "ReshapeObservation", "TimeAwareObservation"),
)
ALLOWED: dict[str, tuple[str, ...]] = {  # this project's own targets, by the place at which each may stand
    "algo": (schema.AlgoConfig._target_,),
    **{
        f"algo.{name}": (*filter(None, [block._target_]), *schema.OTHER_PARTS.get(name, ()))
        for name, block in schema.PARTS.items()
    },
    "env": (schema.EnvConfig._target_,),
    "codebase": (schema.RedqCodebaseConfig._target_, schema.KuCodebaseConfig._target_),
    "logger": (schema.CsvConfig._target_, schema.TensorBoardConfig._target_, schema.WandbConfig._target_),
    "callbacks": (schema.EarlyStopConfig._target_, "droq_exp.callbacks.prune.Prune"),
    "env.wrappers": tuple(f"gymnasium.wrappers.{name}" for name in WRAPPERS),
}
BUILT_IN = tuple(target for targets in ALLOWED.values() for target in targets)
RENAMED = {  # as older versions wrote them into run directories
    "droq_exp.styles.redq.RedqStyle": "droq_exp.codebases.redq.RedqCodebase",
    "droq_exp.styles.ku.KuStyle": "droq_exp.codebases.ku.KuCodebase",
}
ASKED_AGAIN = ("hydra.searchpath", "hydra/sweeper", "hardware.setup")  # stored overrides that are not just repeated
HYDRAS_OWN = ("_target_", "_args_", "_partial_", "_recursive_", "_convert_")
LAUNCHERS = (
    "hydra_plugins.droq_exp_launcher.launcher.DroqExpLauncher",
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
)
SWEEPERS = ("hydra_plugins.droq_exp_sweeper.sweeper.DroqExpSweeper",)
_NO_LOGGING = {"version": 1, "root": None, "disable_existing_loggers": False}
FIXED: dict[str, Any] = {  # settings of Hydra's own, as conf/config.yaml has them
    "job_logging": _NO_LOGGING,
    "hydra_logging": _NO_LOGGING,
    "callbacks": {},
    "env": {},
    "mode": None,
    "verbose": False,
    "output_subdir": None,
    "run": {"dir": "."},
    "sweep": {"dir": ".", "subdir": "."},
    "job.chdir": False,
    "job.name": "app",  # as the Compose API has it
    "job.env_set": {},
    "job.env_copy": [],
}
LIBRARIES = {"droq_exp", "gymnasium", "torch"}  # whose names say nothing of a user's own parts
_given: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())


def current_target(name: str) -> str:
    """The name that a target has now."""
    return RENAMED.get(name, name)


@contextmanager
def trusting(packages: Iterable[str]) -> Iterator[None]:
    """Trust packages, or keys such as ``hardware.setup``, within the block; other threads are not concerned.

    "module:" stands for the tasks of a module alone, not for targets in it. A string is one of them, not its letters.
    """
    token = _given.set((*_given.get(), *([packages] if isinstance(packages, str) else packages)))
    try:
        yield
    finally:
        _given.reset(token)


def trusted() -> list[str]:
    """What the user trusts by name: within ``trusting``, and by DROQ_EXP_TRUST (names with commas between them)."""
    lasting = os.environ.get(VARIABLE, "").split(",")
    return [name for name in dict.fromkeys([*lasting, *_given.get()]) if name]


def is_trusted(name: str) -> bool:
    """Whether a module, or what is in it, lies within a package that is trusted."""
    return any(name == package or name.startswith(f"{package}.") for package in trusted())


def check_target(key: str, target: str) -> None:
    """Raise ConfigError unless ``target`` may be built at ``key``: one of this project's, or one that is trusted.

    Args:
        key: ends with the place, as in ``algo.critic._target_``; a file's name and a colon may stand before it.
        target: its full name.
    """
    place = key.rpartition(": ")[2].removesuffix("._target_").partition("[")[0]
    allowed = ALLOWED.get(place) or ALLOWED.get(place.partition(".")[0], ())
    if target in allowed or is_trusted(target):
        return
    if target in BUILT_IN:
        raise ConfigError(key, f"{target} does not belong here; this project's own: {', '.join(allowed)}")
    package = target.partition(".")[0]
    problem = f"{target} is not one of this project's; --trust {package} builds what {package} has"
    raise ConfigError(key, problem, nearest(target, allowed))


def import_target(key: str, target: str) -> Any:
    """What ``target`` names, which ``key`` has and which may be built.

    Raises:
        ConfigError: it may not be, or it cannot be imported.
    """
    check_target(key, target)
    module, _, name = target.rpartition(".")
    found = getattr(import_part(key, module), name, None)
    if found is None:
        raise ConfigError(key, f"there is no {target}", nearest(target, BUILT_IN))
    return found


def targets_in(value: Any) -> Iterator[str]:
    """All targets that stand anywhere in mappings and lists."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "_target_" and isinstance(inner, str):
                yield inner
            yield from targets_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from targets_in(inner)


def check_free(key: str, value: Any) -> None:
    """Raise ConfigError where something within ``value`` looks like what Hydra would build."""
    for place, name in _names(key, value):
        if name in HYDRAS_OWN or name.startswith("_"):
            raise ConfigError(place, "names that start with '_' are Hydra's own, and nothing is built here")


def check_stored(source: str, values: dict[str, Any]) -> None:
    """Raise ConfigError where a stored configuration names what must be trusted before it is imported.

    Args:
        source: the file that the line names.
        values: the configuration; renamed targets are brought up to date in place.
    """
    blocks = {group: values.get(group) for group in ("algo", "env", "codebase")}
    if isinstance(blocks["algo"], dict):
        blocks |= {f"algo.{part}": blocks["algo"].get(part) for part in schema.PARTS}
    for key, block in blocks.items():
        if isinstance(block, dict) and isinstance(block.get("_target_"), str):
            block["_target_"] = current_target(block["_target_"])
            check_target(f"{source}: {key}._target_", block["_target_"])
    env = values.get("env")
    if isinstance(env, dict):
        check_task(f"{source}: env.id", str(env.get("id", "")))
        wrappers = env.get("wrappers") or []
        for number, wrapper in enumerate(wrappers if isinstance(wrappers, list) else []):
            for target in targets_in(wrapper):
                check_target(f"{source}: env.wrappers[{number}]._target_", target)


def check_task(key: str, task: str) -> None:
    """Raise ConfigError where the id of a task names a module that is not trusted: making the task would import it."""
    module, colon, _ = task.rpartition(":")
    if colon and not is_trusted(module) and f"{module}:" not in trusted():
        raise ConfigError(key, f"{task} imports {module}; --trust {module.partition('.')[0]} allows that")


def import_part(key: str, module: str) -> ModuleType:
    """Import a user's own ``module``, which ``key`` names and which is trusted; ConfigError where that fails."""
    try:
        with no_exit():
            return importlib.import_module(module)
    except Exception as error:  # the module may do anything
        missing = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
        if missing:
            problem = f"no module {module} is found; PYTHONPATH=<directory> says where it is"
        else:
            problem = f"{module} cannot be imported: {str(error) or type(error).__name__}"
        raise ConfigError(key, problem) from error


def check_stored_overrides(source: str, lines: Iterable[str]) -> None:
    """Raise ConfigError where stored overrides, given again, would run what nobody has typed or trusted now."""
    for line in lines:
        key, _, value = line.lstrip("+~").partition("=")
        value = value.strip("'\"").replace("\\:", ":")
        if key.endswith("_target_"):
            check_target(f"{source}: {key}", current_target(value))
        elif key == "env.id":
            check_task(f"{source}: {key}", value)
        elif key in ASKED_AGAIN and value not in ("[]", "null") and not is_trusted(key):
            raise ConfigError(f"{source}: {key}", f"{value} is not repeated unasked; --trust {key} allows it")


def check_hydra(settings: Any, *, own_sweeper: bool = False) -> None:
    """Raise ConfigError where ``hydra.*``, in an experiment's file say, would have Hydra itself build or set something.

    Args:
        settings: the ``hydra`` node as a plain container.
        own_sweeper: whether the user has typed which sweeper it is; it and its parts are installed plugins.
    """
    for name in ("launcher", "sweeper"):
        if not isinstance(settings[name], dict):
            raise ConfigError(f"hydra.{name}", f"{settings[name]!r} is a choice, which is typed: hydra/{name}=<choice>")
    wrong = [name for name, value in FIXED.items() if _at(settings, name) != value]
    wrong += ["launcher"] * (settings["launcher"]["_target_"] not in LAUNCHERS)
    sweeper = settings["sweeper"]
    if own_sweeper:
        wrong += ["sweeper"] * any(not target.startswith("hydra_plugins.") for target in targets_in(sweeper))
    else:
        wrong += ["sweeper"] * (sweeper["_target_"] not in SWEEPERS)
    for name in wrong:
        problem = "is fixed; of Hydra's settings, hydra.sweeper.params alone may be given, in a file"
        way = way_instead(f"hydra.{name}")
        raise ConfigError(f"hydra.{name}", f"{problem}; {way}" if way else problem)
    for name in ("launcher", *([] if own_sweeper else ["sweeper"])):  # Hydra builds all that stands below them
        below = {key: value for key, value in settings[name].items() if key != "_target_"}
        check_free(f"hydra.{name}", below)


def _at(settings: Any, name: str) -> Any:
    for part in name.split("."):
        settings = settings[part]
    return settings


def _names(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """The names of all mappings within ``value`` with the place of each."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{key}.{name}", str(name)
            yield from _names(f"{key}.{name}", inner)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _names(f"{key}[{number}]", inner)
