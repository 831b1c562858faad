"""The way from the host to the device, on which nobody waits."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a host tensor's content on ``device``. The host goes on at once; what it launches afterwards sees it.

    The way goes through pinned memory, which torch gives to nobody else before the copy is done: a copy from ordinary
    memory is one that the host waits for.
    """
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
