"""The floor under a GPU's updates while their kernels are short: starting as many that do next to nothing."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from droq_exp.learner.cuda.graph import Captured
from droq_exp.profiling.timing import synchronise, timed

EMPTY_KERNELS = 2_000


def kernels(function: Callable[[], object]) -> int:
    """Count the kernels that the GPU runs in one call, those of CUDA graphs included; copies and fills are others."""
    with profile(activities=[ProfilerActivity.CUDA]) as trace:
        function()
        synchronise()
    return sum(
        event.device_type == DeviceType.CUDA and not event.name.startswith(("Memcpy", "Memset"))
        for event in trace.events()
    )


def seconds_per_launch(device: torch.device) -> float:
    """Seconds from one kernel to the next in a CUDA graph whose kernels add a number to another."""
    number = torch.zeros((), device=device)

    def add() -> None:
        for _ in range(EMPTY_KERNELS):
            number.add_(1)

    graph = Captured(add, device, lambda: [number])
    graph()
    return median(timed(graph) for _ in range(5)) / EMPTY_KERNELS


def launch_bound(count: int, seconds_per_launch: float, seconds: float) -> dict[str, float]:
    """Return what starting ``count`` kernels takes, and its share of the ``seconds`` that they took."""
    bound = count * seconds_per_launch
    return {"kernels": count, "launch_bound_ms": round(1e3 * bound, 3), "launch_bound_share": round(bound / seconds, 3)}
