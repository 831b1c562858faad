"""``droq-exp play``: watch a run's policy, in a window or a video file, or only its returns."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gymnasium
import numpy as np
from rich.console import Console

from droq_exp.cli.errors import RefusedError, check_place
from droq_exp.envs.make import close
from droq_exp.evaluation.rendering import RenderingError, cameras, drawing_env, following
from droq_exp.evaluation.video import SUFFIXES, Filmed, frame_rate, writing

if TYPE_CHECKING:
    from droq_exp.evaluation.load import LoadedPolicy


@dataclass(frozen=True)
class Picture:
    """What is to be seen; None: as the task has it.

    Args:
        video: the file to write.
        window: whether to open one instead.
        width: in pixels, of a MuJoCo task's picture.
        height: likewise.
        fps: frames a second of the video; None: as fast as the task is.
        camera: name or number of one of a MuJoCo task's cameras; None: one that follows, where there is one.
    """

    video: Path | None = None
    window: bool = False
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    camera: str | None = None

    def check(self) -> None:
        """Raise RefusedError for what does not go together, or a file that cannot be written."""
        if self.video is None:
            given = [name for name in ("width", "height", "fps", "camera") if getattr(self, name) is not None]
            if given and not (self.window and given != ["fps"]):
                raise RefusedError(f"--{given[0]} needs --video FILE")
            return
        if self.window:
            raise RefusedError("--video and --window cannot be combined")
        if self.video.suffix.lower() not in SUFFIXES:
            raise RefusedError(f"--video: {self.video.name} does not end in {' or '.join(SUFFIXES)}")
        check_place("--video", self.video)
        odd = [name for name in ("width", "height") if (getattr(self, name) or 0) % 2]
        if odd and self.video.suffix.lower() == ".mp4":
            raise RefusedError(f"--{odd[0]}: {getattr(self, odd[0])} is odd; MP4 needs even sizes")


def play(directory: Path, episodes: int, seed: int, stochastic: bool, picture: Picture) -> None:
    """Play ``episodes`` episodes with the stored weights and print the return and length of each.

    Raises:
        RefusedError: there is not exactly one run, its weights cannot be used, or nothing can be drawn as asked.
        ConfigError: its config.yaml cannot be used, or its task cannot be made here.
    """
    picture.check()
    from droq_exp.cli.evaluate import open_run  # imports torch

    run = open_run(directory)
    env = _make(run, picture)
    try:
        if picture.video is None:
            _episodes(run, env, episodes, seed, stochastic)
        else:
            _film(run, env, episodes, seed, stochastic, picture.video, picture.fps)
    finally:
        close(env)


def _film(
    run: LoadedPolicy, env: gymnasium.Env, episodes: int, seed: int, stochastic: bool, path: Path, fps: float | None
) -> None:
    console = Console(stderr=True)
    try:
        with writing(path, fps or frame_rate(env)) as video, console.status("drawing") as status:

            def add(frame: np.ndarray) -> None:
                video.add(frame)
                status.update(f"drawing: {video.frames:,} frames")

            _episodes(run, Filmed(env, add), episodes, seed, stochastic)
    except OSError as error:
        raise RefusedError(
            f"--video: {path} cannot be written: {error.strerror or ' '.join(str(error).split())}"
        ) from error
    width, height = video.size
    print(f"{path}: {video.frames:,} frames of {width} x {height}, {video.fps:g} a second")


def _episodes(run: LoadedPolicy, env: gymnasium.Env, episodes: int, seed: int, stochastic: bool) -> None:
    for number, trajectory in enumerate(run.episodes([env], episodes, seed, stochastic=stochastic), 1):
        end = "terminated" if trajectory.terminated else "time limit"
        print(f"episode {number}: return {trajectory.reward.sum():,.1f}, {len(trajectory):,} steps, {end}", flush=True)


def _make(run: LoadedPolicy, picture: Picture) -> gymnasium.Env:
    """The run's task, drawing what is asked for."""
    if picture.video is None and not picture.window:
        return run.make_env()
    task = run.config.env.id
    mode: Literal["human", "rgb_array"] = "human" if picture.window else "rgb_array"
    try:
        return drawing_env(run.make_env, task, mode, lambda model: _mujoco_arguments(picture, model, task))
    except RenderingError as error:
        raise RefusedError(str(error)) from error


def _mujoco_arguments(picture: Picture, model: Any, task: str) -> dict[str, Any]:
    """Arguments of ``gymnasium.make`` for size and camera, which MuJoCo's tasks have."""
    asked = {name: getattr(picture, name) for name in ("width", "height") if getattr(picture, name) is not None}
    if model is None:
        if asked or picture.camera is not None:
            raise RefusedError(
                f"--{next(iter(asked), 'camera')}: {task} draws its own picture; only MuJoCo tasks take this option"
            )
        return {}
    if picture.camera is None:
        return {**asked, **following(model)}
    names = cameras(model)
    if picture.camera.isdecimal() and int(picture.camera) < model.ncam:
        return {**asked, "camera_id": int(picture.camera)}
    if picture.camera not in names:
        near = difflib.get_close_matches(picture.camera, names, n=1, cutoff=0)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise RefusedError(
            f"--camera: {task} has no camera {picture.camera!r}; it has {', '.join(names) or 'none'}{hint}"
        )
    return {**asked, "camera_name": picture.camera}
