"""Which OpenGL is used: asked of a process of its own each time, since the answer is kept in the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from droq_exp.import_path import child_environment

pytestmark = pytest.mark.program

CHOOSE = """
import os
import subprocess
from droq_exp.evaluation.rendering import RenderingError, use_offscreen
try:
    use_offscreen()
except RenderingError as error:
    print(error)
else:
    print(os.environ["MUJOCO_GL"])
"""


def choose(**variables: str) -> str:
    mine = {name: value for name, value in child_environment().items() if name not in ("MUJOCO_GL", "DISPLAY")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", CHOOSE],
        env=mine | variables,
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert done.stdout.count("\n") == 1
    return done.stdout.strip()


def test_egl_is_preferred() -> None:
    assert choose() == "egl"


def test_osmesa_is_next() -> None:
    assert choose(PYOPENGL_PLATFORM="osmesa") == "osmesa"  # under which EGL cannot be had


def test_the_users_choice_is_taken() -> None:
    assert choose(MUJOCO_GL="osmesa") == "osmesa"


def test_a_module_in_the_working_directory_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mujoco.py").write_text("raise ImportError('the wrong mujoco')\n")
    monkeypatch.chdir(tmp_path)
    assert choose() == "egl"


def test_a_renderer_that_takes_its_process_along_is_survived(tmp_path: Path) -> None:
    # Python's own start-up hook: the process that tries OpenGL dies as one with a broken driver does.
    hook = "import os, sys\nif 'OffScreenViewer' in ' '.join(sys.orig_argv): os.abort()\n"
    (tmp_path / "sitecustomize.py").write_text(hook)
    told = choose(PYTHONPATH=os.pathsep.join([str(tmp_path), *child_environment().get("PYTHONPATH", "").split(":")]))
    assert told.startswith("MuJoCo cannot draw here (egl: ended by signal 6; osmesa: ended by signal 6); ")
    assert "libegl1" in told
