"""What is kept of a run for evaluation and playing: the weights, without pickled code."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor

from droq_exp.files import write_atomically

WEIGHTS = "weights.pt"


def save_weights(directory: Path, tensors: dict[str, Tensor], step: int) -> None:
    """Write ``directory/weights.pt``: one seed's tensors and the environment step, loadable with ``weights_only``."""
    buffer = io.BytesIO()
    torch.save({"step": step, **tensors}, buffer)
    directory.mkdir(exist_ok=True)
    write_atomically(directory / WEIGHTS, buffer.getvalue())
