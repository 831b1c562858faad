"""What loggers make of the video of an evaluation."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import imageio.v3
import numpy as np
import pytest
from logged import make_info, read_wandb, warnings_of

from droq_exp.evaluation.video import writing
from droq_exp.loggers import RunInfo
from droq_exp.loggers.csv import CsvLogger
from droq_exp.loggers.tensorboard import TensorBoardLogger
from droq_exp.loggers.wandb import WandbLogger
from droq_exp.runs.videos import video_file


def film(info: RunInfo, step: int, frames: int = 100) -> Path:
    path = video_file(info.directory, step)
    path.parent.mkdir(exist_ok=True)
    with writing(path, 50) as video:
        for number in range(frames):
            video.add(np.full((320, 480, 3), 2 * number, dtype=np.uint8))
    return path


def test_tensorboard_shows_a_small_gif(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    film(info := make_info(tmp_path), 1000)
    video_file(info.directory, 2000).write_text("no video")
    logger = TensorBoardLogger(info)
    for step in (500, 1000, 2000):
        logger.log(step, {"eval/return_mean": 1.5})
    logger.close("finished")
    events = EventAccumulator(str(info.directory / "tensorboard")).Reload()
    (event,) = events.Images("eval/video")
    assert (event.step, event.width, event.height) == (1000, 240, 160)
    shown = imageio.v3.imread(io.BytesIO(event.encoded_image_string), extension=".gif")
    assert shown.shape == (20, 160, 240, 3)  # two seconds
    assert [each.step for each in events.Scalars("eval/return_mean")] == [500, 1000, 2000]
    (warning,) = warnings_of(info)
    assert warning.startswith("TensorBoard has no video of step 2000: ")


@pytest.mark.program
def test_wandb_gets_the_file_with_its_row(tmp_path: Path, wandb_session: pytest.MonkeyPatch) -> None:
    """Where wandb lacks a row, the video comes with it again."""
    path = film(info := make_info(tmp_path), 1000)
    rows = {step: {"eval/return_mean": step / 2} for step in (1000, 2000)}
    logged = CsvLogger(info)
    for step, row in rows.items():
        logged.log(step, row)
    logger = WandbLogger(replace(info, resumed_at=2000))
    logger.close("finished")
    first, second = read_wandb(info)["history"]
    video = {name: first.pop(name) for name in sorted(first) if name.startswith("eval/video/")}
    assert [first, second] == [{"_step": step, "global_step": step, **row} for step, row in rows.items()]
    assert video["eval/video/_type"] == "video-file"
    (kept,) = info.directory.glob(f"wandb/offline-run-*/files/{video['eval/video/path']}")
    assert kept.read_bytes() == path.read_bytes()
    assert not warnings_of(info)
