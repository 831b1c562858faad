"""Time a call, the device's work included."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

WARM_UP_STEPS = 3


def timed(function: Callable[[], object]) -> float:
    """Seconds that a call takes, the device's work included."""
    synchronise()
    start = time.perf_counter()
    function()
    synchronise()
    return time.perf_counter() - start


def synchronise() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
