"""Video files of episodes, frame by frame, by the ffmpeg that imageio-ffmpeg brings along."""

from __future__ import annotations

import math
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

SUFFIXES = (".mp4", ".gif")
GIF_FPS = 50.0  # what browsers play at its real speed: a GIF counts hundredths of a second, and they slow down 1/100
SMALL_FPS, SMALL_WIDTH = 10, 240
PALETTE = "split[a][b];[a]palettegen[p];[b][p]paletteuse"


class Video:
    """One file being written: MP4 (H.264, playable everywhere) or GIF. Use :func:`writing`."""

    def __init__(self, path: Path, fps: float) -> None:
        """Nothing is written before the first frame, which tells the size."""
        self._every = math.ceil(fps / GIF_FPS) if path.suffix == ".gif" else 1
        self.fps = fps / self._every
        self.frames = 0  # in the file
        self.size = (0, 0)  # width, height
        self._path = path
        self._added = 0
        self._process: Any = None

    def add(self, frame: np.ndarray) -> None:
        """Append a frame, uint8 ``[height, width, 3]``; a GIF takes one of several where they come too fast for it.

        Raises:
            OSError: ffmpeg cannot write.
        """
        self._added += 1
        if (self._added - 1) % self._every:
            return
        if self._process is None:
            self.size = (frame.shape[1], frame.shape[0])
            self._process = self._start()
            self._process.send(None)
        self._process.send(np.ascontiguousarray(frame))
        self.frames += 1

    def end(self) -> None:
        """Complete the file."""
        if self._process is not None:
            self._process.close()

    def _start(self) -> Any:
        import imageio_ffmpeg

        if self._path.suffix == ".gif":
            options = ["-vf", PALETTE, "-loop", "0"]
            form: dict[str, Any] = {"codec": "gif", "pix_fmt_out": "pal8", "quality": None, "output_params": options}
        else:
            form = {"codec": "libx264", "quality": 8, "output_params": ["-movflags", "+faststart"]}
        # H.264 wants even sizes; imageio's default is multiples of 16.
        return imageio_ffmpeg.write_frames(
            str(self._path), self.size, fps=self.fps, macro_block_size=2, ffmpeg_log_level="error", **form
        )


@contextmanager
def writing(path: Path, fps: float) -> Iterator[Video]:
    """A video that becomes ``path`` when the block ends, and leaves no trace where the block raises.

    Args:
        path: ends in one of ``SUFFIXES``; the directory must exist.
        fps: frames a second. A GIF of more than ``GIF_FPS`` leaves frames out and plays as fast.

    Raises:
        OSError: it cannot be written there; at the beginning, where that is known.
    """
    aside = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.tmp{path.suffix.lower()}")  # ffmpeg goes by the suffix
    aside.touch()  # ffmpeg would say in lines of its own that it cannot
    video = Video(aside, fps)
    try:
        try:
            yield video
        finally:
            video.end()
        if video.frames:
            aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


class Filmed(gymnasium.Wrapper):
    """Hands pictures of the environment to ``add``: one after the reset, one after each step, or after some of them."""

    def __init__(self, env: gymnasium.Env, add: Callable[[np.ndarray], None], every: int = 1) -> None:
        """``env`` was made with ``render_mode="rgb_array"``; one of ``every`` steps has a picture."""
        super().__init__(env)
        self._add, self._every = add, every
        self._steps = 0

    def reset(self, **kwargs: Any) -> Any:
        """As the environment's."""
        result = super().reset(**kwargs)
        self._steps = 0
        self._film()
        return result

    def step(self, action: Any) -> Any:
        """As the environment's."""
        result = super().step(action)
        self._steps += 1
        self._film()
        return result

    def _film(self) -> None:
        if self._steps % self._every:
            return
        picture = self.env.render()
        assert isinstance(picture, np.ndarray)
        self._add(picture)


def small_gif(path: Path) -> bytes:
    """The video in ``path`` as a GIF of some hundred kB, for where nothing else can be shown.

    Raises:
        OSError: ffmpeg cannot read it.
    """
    import imageio_ffmpeg

    scaled = f"fps={SMALL_FPS},scale='min({SMALL_WIDTH},iw)':-2,{PALETTE}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path), "-vf", scaled, "-f", "gif", "-"]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise OSError(" ".join(done.stderr.decode(errors="replace").split()))
    return done.stdout


def frame_rate(env: gymnasium.Env) -> float:
    """Frames a second at which the task plays as fast as it is: by its time step, else as its metadata say, else 30."""
    step = getattr(env.unwrapped, "dt", None)
    return 1 / step if isinstance(step, float) and step > 0 else float(env.metadata.get("render_fps") or 30)
