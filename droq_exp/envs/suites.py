"""Tasks of packages that are extras of this project: known to Gymnasium once they are asked for, or why not."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import gymnasium

from droq_exp.envs.dmc import dmc_id, dmc_tasks, register_dmc
from droq_exp.envs.robopianist import register_robopianist


class Suite(NamedTuple):
    """A package whose tasks have ids that begin in one of these ways."""

    package: str
    module: str
    begins: tuple[str, ...]


SUITES = {  # by the extra that installs it
    "robotics": Suite(
        "gymnasium-robotics",
        "gymnasium_robotics",
        ("Fetch", "HandManipulate", "HandReach", "Adroit", "AntMaze", "PointMaze", "FrankaKitchen"),
    ),
    "box2d": Suite("Box2D", "Box2D", ("LunarLander", "BipedalWalker")),
}


OWN_NAMES = ("dm_control/", "robopianist/")


def register(id: str) -> None:
    """Make Gymnasium know ``id``, where it is of one of these packages, of dm_control's suite or RoboPianist's.

    Raises:
        gymnasium.error.Error: dm_control or RoboPianist is missing, or has no such task.
        Exception: whatever importing a package raises.
    """
    register_dmc(id)
    register_robopianist(id)
    for suite in SUITES.values():
        # Box2D's tasks are Gymnasium's own.
        if id.startswith(suite.begins) and id not in gymnasium.registry and find_spec(suite.module):
            _import(suite)


def installed() -> list[str]:
    """The ids of the newest versions of all tasks that are installed, by name; some cannot be learned."""
    with suppress(gymnasium.error.DependencyNotInstalled):  # ``broken_suites`` tells
        if find_spec(SUITES["robotics"].module):
            _import(SUITES["robotics"])
    newest: dict[str, int] = {}
    for spec in gymnasium.registry.values():
        if not spec.id.startswith("GymV2") and ":" not in spec.id:
            name = spec.id.rpartition("-v")[0] if spec.version is not None else spec.id
            newest[name] = max(newest.get(name, -1), -1 if spec.version is None else spec.version)
    ids = [name if version < 0 else f"{name}-v{version}" for name, version in newest.items()]
    with suppress(gymnasium.error.DependencyNotInstalled):
        ids += [dmc_id(task) for task in (dmc_tasks() if find_spec("dm_control") else ())]
    return sorted(set(ids))


def is_of_a_suite(id: str) -> bool:
    """Whether ``id`` is one that this project gives a suite's tasks: who registers it says why it cannot."""
    return id.startswith(OWN_NAMES)


def broken_suites() -> list[tuple[str, str]]:
    """The packages with tasks that are installed and cannot be imported, and why."""
    imports: dict[str, Callable[[], Any]] = {"dm-control": dmc_tasks} if find_spec("dm_control") else {}
    imports |= {
        suite.package: partial(_import, suite) for suite in SUITES.values() if find_spec(suite.module) is not None
    }
    found = []
    for package, importing in imports.items():
        try:
            importing()
        except gymnasium.error.DependencyNotInstalled as error:
            found.append((package, str(error)))
    return found


def missing_suites() -> list[tuple[str, str]]:
    """The packages with tasks that are not installed, and what installs each."""
    modules = {"dmc": ("dm-control", "dm_control")} | {extra: suite[:2] for extra, suite in SUITES.items()}
    modules["robopianist"] = ("RoboPianist", "robopianist")
    after = {"robopianist": " after the Debian packages in docs/robopianist.md"}
    return [
        (package, f"pip install 'droq-exp[{extra}]'{after.get(extra, '')}")
        for extra, (package, module) in modules.items()
        if find_spec(module) is None
    ]


def missing_package(id: str) -> str | None:
    """The package that ``id`` needs, where it is not installed, and the way to it."""
    for extra, suite in SUITES.items():
        if id.startswith(suite.begins) and find_spec(suite.module) is None:
            return f"{suite.package}, which is not installed; pip install 'droq-exp[{extra}]' keeps this MuJoCo"
    return None


def _import(suite: Suite) -> None:
    """Import a package, which registers its tasks, and keep its words about old versions from the output.

    Raises:
        DependencyNotInstalled: it cannot be imported.
    """
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            gymnasium.register_envs(import_module(suite.module))
    except Exception as error:  # whatever a package does
        reason = " ".join(str(error).split()) or type(error).__name__
        problem = f"{suite.module} cannot be imported: {type(error).__name__}: {reason}"
        raise gymnasium.error.DependencyNotInstalled(problem) from error
