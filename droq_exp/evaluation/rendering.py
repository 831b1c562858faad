"""Tasks that draw themselves, and what can draw MuJoCo's pictures here.

The latter is tried in another process, since a broken OpenGL may end its process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Literal

import gymnasium

from droq_exp.envs.make import close
from droq_exp.exits import no_exit

VARIABLE = "MUJOCO_GL"
FOLLOWING = "track"  # the camera of Gymnasium's MuJoCo tasks that moves along
PACKAGES = "Debian packages: libegl1, libopengl0 and libgl1-mesa-dri for EGL, libosmesa6 for OSMesa"
SECONDS = 60.0

# Both leave without a clean-up: MuJoCo's of OSMesa fails even where everything was drawn.
TRIAL = """
import os
try:
    {trial}
except Exception as error:
    print(f"{{type(error).__name__}}: {{error}}", flush=True)
    os._exit(3)
os._exit(0)
"""
# The way that Gymnasium draws, on a scene of one ball.
DRAW = """
    import mujoco
    from gymnasium.envs.mujoco.mujoco_rendering import OffScreenViewer
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><light pos='0 0 3'/><geom size='.5'/></worldbody></mujoco>")
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    assert OffScreenViewer(model, data, 16, 16).render("rgb_array").any(), "an empty picture"
"""
OPEN_DISPLAY = """
    import glfw
    glfw.ERROR_REPORTING = "exception"
    glfw.init()
"""


class RenderingError(Exception):
    """Nothing can be drawn here; ``str`` of it is one line that says why and what helps."""


def drawing_env(
    make: Callable[..., gymnasium.Env],
    task: str,
    mode: Literal["human", "rgb_array"],
    arguments: Callable[[Any], dict[str, Any]],
) -> gymnasium.Env:
    """Make a task that draws itself, off screen where it is no window; it has been reset, and has drawn once.

    Args:
        make: makes it with further arguments of the task.
        task: its name, for messages.
        mode: a window, or pictures.
        arguments: of the task, by its MuJoCo model; None where that is not what draws it.

    Raises:
        RenderingError: that cannot be done.
    """
    plain = make()
    model = getattr(plain.unwrapped, "model", None) if hasattr(plain.unwrapped, "mujoco_renderer") else None
    modes = plain.metadata.get("render_modes") or []
    close(plain)
    if mode not in modes:
        raise RenderingError(f"{task} cannot be drawn: its render modes are {', '.join(modes) or 'none'}")
    kwargs = arguments(model)
    try:
        if mode == "human":
            use_window()
        elif model is not None:
            use_offscreen()
        else:
            os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # Gymnasium's other tasks: not to look for a display
        env = make(render_mode=mode, **kwargs)
        env.reset(seed=0)
        if mode == "rgb_array":
            with no_exit():
                env.render()  # what is missing shows here, not in the midst of an episode
    except RenderingError:
        raise
    except Exception as error:  # a task's own renderer may need any package and raise anything
        raise RenderingError(f"{task} cannot be drawn: {' '.join(str(error).split())}") from error
    return env


def cameras(model: Any) -> list[str]:
    """Names of the cameras of a MuJoCo model."""
    return [model.camera(number).name for number in range(model.ncam)]


def following(model: Any) -> dict[str, Any]:
    """The argument of a MuJoCo task by which its picture follows the robot: its default is to stand still."""
    return {"camera_name": FOLLOWING} if model is not None and FOLLOWING in cameras(model) else {}


def use_offscreen() -> str:
    """Make MuJoCo draw without a display: by what ``MUJOCO_GL`` says, else by EGL, else by OSMesa.

    To be called before MuJoCo draws for the first time in this process; sets ``MUJOCO_GL``, and returns it.

    Raises:
        RenderingError: none of them works.
    """
    asked = os.environ.get(VARIABLE)
    problems = []
    for backend in [asked] if asked else _backends():
        problem = _failure(DRAW, backend)
        if problem is None:
            os.environ[VARIABLE] = backend
            return backend
        problems.append(f"{backend}: {problem}")
    hint = f"unset {VARIABLE} to have the others tried" if asked else PACKAGES
    raise RenderingError(f"MuJoCo cannot draw here ({'; '.join(problems)}); {hint}")


def use_window() -> None:
    """Make MuJoCo draw into a window.

    Raises:
        RenderingError: there is no display.
    """
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise RenderingError("a window needs a display, and neither DISPLAY nor WAYLAND_DISPLAY is set")
    problem = _failure(OPEN_DISPLAY, "glfw")
    if problem is not None:
        raise RenderingError(f"a window needs a display, and none can be opened ({problem})")
    os.environ[VARIABLE] = "glfw"  # the only one that has windows


def _backends() -> list[str]:
    return ["egl", "osmesa"] if sys.platform == "linux" else ["glfw"]


def _failure(trial: str, backend: str) -> str | None:
    """Why the lines ``trial`` do not run with ``MUJOCO_GL=backend``, in one line; None where they do."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", TRIAL.format(trial=trial.strip())],
            env={**os.environ, VARIABLE: backend},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS:.0f} s"
    if done.returncode < 0:
        return f"ended by signal {-done.returncode}"
    said = " ".join(done.stdout.split()) or f"ended with code {done.returncode}"
    return said if done.returncode else None
