"""``droq-exp play`` on real runs, each in a process of its own: which OpenGL is used is decided once per process."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import forks
import numpy as np
import pytest
from real_runs import LITTLE_BIAS, train_in
from run_files import ENVIRONMENT, PROGRAM, droq_exp, error_line
from video_files import read

pytestmark = pytest.mark.program

NO_DISPLAY = {name: value for name, value in ENVIRONMENT.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
NO_DISPLAY.pop("MUJOCO_GL", None)


@pytest.fixture(scope="module")
def hopper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_in(tmp_path_factory.mktemp("hopper") / "here", "env=hopper", LITTLE_BIAS)[0]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a task that is drawn without MuJoCo; its episodes take 200 steps."""
    overrides = ["env=gym", "env.id=Pendulum-v1", "bias.enabled=false"]
    return train_in(tmp_path_factory.mktemp("pendulum") / "here", *overrides)[0]


def play(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, "play", *map(str, arguments)]
    return forks.run(command, env=NO_DISPLAY | variables)


def steps(line: str) -> int:
    return int(line.split(", ")[1].removesuffix(" steps").replace(",", ""))


def test_returns_alone_are_those_of_evaluate(hopper: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert droq_exp("evaluate", str(hopper), "--episodes", "2", "--seed", "4") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert droq_exp("play", str(hopper), "--episodes", "2", "--seed", "4") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("episode 1: return ")
    assert second.endswith(" steps, terminated")
    assert f'"lengths": [{steps(first)}, {steps(second)}]' in line


@pytest.mark.parametrize(("backend", "count"), [(None, 2), ("osmesa", 1)])
def test_mp4_of_mujoco(hopper: Path, tmp_path: Path, backend: str | None, count: int) -> None:
    path = tmp_path / "hopper.mp4"
    size = ("--width", 64, "--height", 48)
    done = play(hopper, "--video", path, "--episodes", count, *size, **({"MUJOCO_GL": backend} if backend else {}))
    assert (done.returncode, done.stderr) == (0, "")
    *episodes, last = done.stdout.splitlines()
    drawn = sum(steps(line) + 1 for line in episodes)  # each reset, each step
    assert last == f"{path}: {drawn} frames of 64 x 48, 125 a second"
    frames = read(path)
    assert frames.shape == (drawn, 48, 64, 3)
    assert all(frame.std() > 10 for frame in frames)
    assert len(np.unique(frames.reshape(drawn, -1), axis=0)) > drawn // 2
    assert [each.name for each in tmp_path.iterdir()] == ["hopper.mp4"]


def test_mp4_of_another_simulator_without_a_display(other: Path, tmp_path: Path) -> None:
    path = tmp_path / "pendulum.mp4"
    done = play(other, "--video", path, MUJOCO_GL="osmesa", PYOPENGL_PLATFORM="none")  # it needs no OpenGL
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"{path}: 201 frames of 500 x 500, 20 a second"
    refused = play(other, "--video", path, "--width", 100)
    assert refused.returncode == 2
    assert refused.stderr == "error: --width: Pendulum-v1 draws its own picture; only MuJoCo tasks take this option\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_video_that_is_broken_off_leaves_nothing(other: Path, tmp_path: Path, number: int, code: int) -> None:
    command = [*PROGRAM, "play", str(other), "--video", str(tmp_path / "pendulum.mp4"), "--episodes", "1000"]
    process = forks.Python(command, env=NO_DISPLAY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    told, there = process.stdout.readline(), [path.suffix for path in tmp_path.iterdir()]
    process.send_signal(number)  # whatever it has said: it would play for minutes beside the other tests
    process.communicate(timeout=300)
    assert (told.startswith("episode 1: "), there) == (True, [".mp4"]), told
    assert process.returncode == code
    assert not list(tmp_path.iterdir())


def test_neither_backend_is_told_with_what_to_install(hopper: Path, tmp_path: Path) -> None:
    done = play(hopper, "--video", tmp_path / "a.mp4", PYOPENGL_PLATFORM="none")  # no library is of that name
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: MuJoCo cannot draw here (egl: ")
    assert "osmesa: " in done.stderr
    assert "libosmesa6" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_users_choice_of_backend_is_not_overruled(hopper: Path, tmp_path: Path) -> None:
    done = play(hopper, "--video", tmp_path / "a.mp4", MUJOCO_GL="glfw")  # which needs a display
    assert done.returncode == 2
    assert done.stderr.startswith("error: MuJoCo cannot draw here (glfw: ")
    assert "unset MUJOCO_GL" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("display", [{}, {"DISPLAY": ":77"}])
def test_a_window_without_a_display(hopper: Path, display: dict[str, str]) -> None:
    done = play(hopper, "--window", **display)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: a window needs a display")
    assert done.stderr.count("\n") == 1


def test_a_task_that_cannot_be_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train_in(tmp_path / "here", "env=gym", "env.id=Counting-v0", LITTLE_BIAS)[0]
    capsys.readouterr()
    assert droq_exp("play", str(run), "--video", str(tmp_path / "a.mp4")) == 2
    assert capsys.readouterr().err == "error: Counting-v0 cannot be drawn: its render modes are none\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--video", "a.avi"], "--video: a.avi does not end in .mp4 or .gif"),
        (["--video", "no/a.mp4"], "--video: no is not a directory"),
        (["--video", "taken.mp4"], "--video: taken.mp4 is a directory"),
        (["--video", "a.mp4", "--window"], "--video and --window cannot be combined"),
        (["--video", "a.mp4", "--width", "101"], "--width: 101 is odd"),
        (["--video", "a.mp4", "--camera", "trak"], "--camera: Hopper-v5 has no camera 'trak'; it has track; did you"),
        (["--fps", "30"], "--fps needs --video"),
        (["--window", "--fps", "30"], "--fps needs --video"),
        (["--width", "100"], "--width needs --video"),
        (["--episodes", "0"], "--episodes"),
    ],
)
def test_what_does_not_go_is_told_in_one_line(
    hopper: Path,
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.mp4").mkdir()
    assert droq_exp("play", str(hopper), *arguments) == 2
    assert words in error_line(capsys)
    assert list(tmp_path.rglob("*")) == [tmp_path / "taken.mp4"]
