"""Video files, decoded again."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import imageio.v3
import imageio_ffmpeg
import numpy as np
import pytest
from video_files import read

from droq_exp.evaluation.video import frame_rate, writing


def moving_square(number: int) -> np.ndarray:
    frame = np.full((48, 64, 3), (20, 40, 200), dtype=np.uint8)
    frame[16:32, 2 * number : 2 * number + 16] = (230, 220, 30)
    return frame


def test_mp4_has_every_frame_at_its_time(tmp_path: Path) -> None:
    with writing(tmp_path / "a.mp4", 125.0) as video:
        for number in range(20):
            video.add(moving_square(number))
    assert (video.frames, video.size, video.fps) == (20, (64, 48), 125.0)
    frames = read(tmp_path / "a.mp4")
    assert frames.shape == (20, 48, 64, 3)
    told = next(imageio_ffmpeg.read_frames(str(tmp_path / "a.mp4")))
    assert told["fps"] == 125
    assert told["codec"] == "h264"
    for number in (0, 10, 19):
        assert np.abs(frames[number].astype(int) - moving_square(number)).mean() < 12  # it is compressed
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_gif_leaves_out_what_no_viewer_would_show_in_time(tmp_path: Path) -> None:
    with writing(tmp_path / "a.gif", 125.0) as video:
        for number in range(20):
            video.add(moving_square(number))
    assert (video.frames, video.fps) == (7, pytest.approx(125 / 3))
    frames = imageio.v3.imread(tmp_path / "a.gif")
    assert frames.shape == (7, 48, 64, 3)
    for kept, frame in enumerate(frames):
        assert np.abs(frame.astype(int) - moving_square(3 * kept)).mean() < 12
    assert imageio.v3.immeta(tmp_path / "a.gif")["loop"] == 0


def _break_off(path: Path) -> None:
    with writing(path, 30) as video:
        video.add(moving_square(0))
        _ = 1 / 0


def test_a_file_that_is_not_completed_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        _break_off(path)
    with writing(path, 30):
        pass  # no frames, no video
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.mp4"]


def test_the_frame_rate_is_the_tasks() -> None:
    assert frame_rate(gymnasium.make("Hopper-v5")) == pytest.approx(125)
    assert frame_rate(gymnasium.make("Hopper-v5", frame_skip=2)) == pytest.approx(250)
    assert frame_rate(gymnasium.make("Pendulum-v1")) == pytest.approx(20)  # its metadata say 30
    assert frame_rate(gymnasium.make("MountainCarContinuous-v0")) == 30


def test_a_place_where_nothing_can_be_written_is_told_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OSError, match="No such file"), writing(tmp_path / "no" / "a.mp4", 30):
        pytest.fail("it was tried")
    assert capfd.readouterr().err == ""
