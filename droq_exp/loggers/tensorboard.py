"""TensorBoard event files below ``<run>/tensorboard/``."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from droq_exp.evaluation.video import small_gif
from droq_exp.loggers.base import RunInfo
from droq_exp.runs.files import discard, dump_yaml


class TensorBoardLogger:
    """Metrics as scalars under their names; name, group, tags and configuration as text."""

    def __init__(self, info: RunInfo) -> None:
        """Open an event file and write the texts; of a resumed run, events after its checkpoint's step are disowned."""
        from torch.utils.tensorboard import SummaryWriter

        self._info = info
        directory = info.directory / "tensorboard"
        if not info.resumed_at:
            discard(directory)
        self._writer = SummaryWriter(str(directory), purge_step=info.resumed_at + 1 if info.resumed_at else None)
        for tag, value in (("name", info.name), ("group", info.group), ("tags", list(info.tags))):
            self._writer.add_text(tag, value if isinstance(value, str) else dump_yaml(value))
        # Indented by four: TensorBoard shows texts as Markdown, where that is code.
        lines = dump_yaml(info.config, sort_keys=False).splitlines()
        self._writer.add_text("config", "\n".join(f"    {line}" for line in lines))
        self._writer.flush()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write metrics at an environment step, visible at once."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        video = self._info.video(step)
        if video is not None:
            self._add_video(video, step)
        self._writer.flush()

    def _add_video(self, path: Path, step: int) -> None:
        """Add a small GIF of it: TensorBoard shows no other videos, and keeps this one in its event file."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        try:
            gif = small_gif(path)
        except OSError as error:
            self._info.log.warning("TensorBoard has no video of step %s: %s", step, error)
            return
        width, height = struct.unpack_from("<HH", gif, 6)
        image = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=gif)
        assert self._writer.file_writer is not None
        self._writer.file_writer.add_summary(Summary(value=[Summary.Value(tag="eval/video", image=image)]), step)

    def close(self, state: str) -> None:
        """Write the state as text and close the file."""
        self._writer.add_text("state", state)
        self._writer.close()
