"""Tasks of packages that are extras of this project: known to Gymnasium once they are asked for, or why not."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import gymnasium

from droq_exp.envs.dmc import register_dmc
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
            gymnasium.register_envs(import_module(suite.module))


def missing_package(id: str) -> str | None:
    """The package that ``id`` needs, where it is not installed, and the way to it."""
    for extra, suite in SUITES.items():
        if id.startswith(suite.begins) and find_spec(suite.module) is None:
            return f"{suite.package}, which is not installed; pip install 'droq-exp[{extra}]' keeps this MuJoCo"
    return None
