"""dm_control's suite: every ``<domain>-<task>`` of it as a Gymnasium task, registered once it is asked for."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from droq_exp.envs.importing import importing, nearest_task, register_once

if TYPE_CHECKING:
    from droq_exp.envs.dm_env import DmEnv

# dm_control's later releases bring a later MuJoCo along.
INSTALL = "pip install 'droq-exp[dmc]' installs the release that goes with this MuJoCo"
TOGETHER = (1, 0, 34), (3, 3, 6)  # from these releases on dm_control and MuJoCo need each other
MODEL_SEED = 0  # of the suite's models that are drawn when they are loaded (lqr): the same one in every process


def check_mujoco() -> None:
    """Refuse a MuJoCo with which the installed dm_control's models cannot be made.

    Raises:
        DependencyNotInstalled: it is too new; the way to the right one.
    """
    control, mujoco = metadata.version("dm_control"), metadata.version("mujoco")
    if _numbers(control) < TOGETHER[0] and _numbers(mujoco) >= TOGETHER[1]:
        problem = f"dm_control {control} does not work with MuJoCo {mujoco}; pip install 'mujoco<3.3.6' does"
        raise gymnasium.error.DependencyNotInstalled(problem)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def dmc_id(task: str) -> str:
    """Gymnasium's id of the suite's ``task``: "dm_control/cheetah-run-v0" of "cheetah-run"."""
    return f"dm_control/{task}-v0"


def dmc_tasks() -> list[str]:
    """All tasks of the suite, such as "cheetah-run".

    Raises:
        DependencyNotInstalled: dm_control cannot be imported.
    """
    return ["-".join(each) for each in _suite().ALL_TASKS]


def register_dmc(id: str) -> None:
    """Register what ``id`` names, where it is of the form that :func:`dmc_id` gives; any other is left alone.

    Raises:
        DependencyNotInstalled: dm_control is missing or cannot be imported.
        NameNotFound: the suite has no such task; the line names the nearest one.
    """
    register_once(id, dmc_id, _domain_and_task, "droq_exp.envs.dmc:make_dmc", "task")


def make_dmc(
    task: str,
    *,
    render_mode: str | None = None,
    width: int = 480,
    height: int = 480,
    camera_id: int | None = None,
    camera_name: str | None = None,
    task_kwargs: Mapping[str, Any] | None = None,
    environment_kwargs: Mapping[str, Any] | None = None,
) -> DmEnv:
    """Make a task of dm_control's suite.

    Args:
        task: such as "cheetah-run" and "ball_in_cup-catch".
        render_mode: this, width, height, camera_id and camera_name are those of :class:`DmEnv`.
        width: in pixels.
        height: in pixels.
        camera_id: a number.
        camera_name: or a name.
        task_kwargs: of ``dm_control.suite.load``, such as ``time_limit``, in seconds.
        environment_kwargs: likewise, such as ``control_timestep``, in seconds.

    Raises:
        DependencyNotInstalled: dm_control is missing or cannot be imported.
        NameNotFound: the suite has no such task.
        ValueError: its actions are unbounded (lqr).
        TypeError: the task does not know an argument.
    """
    domain, name = _domain_and_task(task)
    from droq_exp.envs.dm_env import DmEnv

    arguments = {"random": MODEL_SEED, **(task_kwargs or {})}
    env = _suite().load(domain, name, arguments, dict(environment_kwargs) if environment_kwargs else None)
    if domain == "quadruped":
        _keep_from_drawing(env.physics)
    return DmEnv(env, render_mode=render_mode, width=width, height=height, camera_id=camera_id, camera_name=camera_name)


def _domain_and_task(task: str) -> tuple[str, str]:
    """Split at the last hyphen; NameNotFound where the suite has no such task."""
    domain, _, name = task.rpartition("-")
    known = _suite().ALL_TASKS
    if (domain, name) not in known:
        near = nearest_task(task, map("-".join, known))
        raise gymnasium.error.NameNotFound(f"dm_control's suite has no task {task}; did you mean {near}?")
    return domain, name


@cache
def _suite() -> Any:
    with importing("dm_control", INSTALL):
        from dm_control import suite
    check_mujoco()
    if not hasattr(np, "in1d"):
        _give_in1d(suite.quadruped)
    return suite


def _give_in1d(module: Any) -> None:
    """Hand a module a NumPy that has ``in1d``, which NumPy 2.4 dropped; all others keep theirs."""
    numpy: Any = types.ModuleType("numpy")
    vars(numpy).update(vars(np), in1d=np.isin)
    module.np = numpy


def _keep_from_drawing(physics: Any) -> None:
    """Leave ``physics`` without dm_control's renderer: quadruped-escape opens it at each reset, to show it new terrain.

    That takes OpenGL, and time, where nothing is drawn; what is drawn is drawn by Gymnasium's renderer.
    """
    kind = type(physics)
    physics.__class__ = type(kind.__name__, (kind,), {"contexts": None})
