"""Video files, read back."""

from __future__ import annotations

from pathlib import Path

import imageio_ffmpeg
import numpy as np


def read(path: Path) -> np.ndarray:
    """All frames of a video, uint8 [frames, height, width, 3]."""
    frames = imageio_ffmpeg.read_frames(str(path))
    width, height = next(frames)["size"]
    return np.stack([np.frombuffer(frame, dtype=np.uint8).reshape(height, width, 3) for frame in frames])
