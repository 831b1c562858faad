"""Functions of device tensors as CUDA graphs: captured at the first call, launched as a whole from then on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

WARM_UP_CALLS = 3  # as torch.cuda.make_graphed_callables makes; compilers and libraries set themselves up meanwhile


class Captured:
    """A function whose work on the device is recorded once and then launched as one CUDA graph.

    The function must launch the same kernels on the same memory whenever it is called: shapes are fixed, what changes
    from call to call is held in tensors that are changed in place, and nothing is read back to the host. Its results
    are overwritten by the next call. Where the device is a CPU, the function itself is called, in the same order and
    with results at one place too: so all but the recording can be tried without a GPU.
    """

    def __init__(
        self, function: Callable[..., Any], device: torch.device, changes: Callable[[], Sequence[Tensor]]
    ) -> None:
        """``changes`` lists the tensors that ``function`` changes in place, which the warm-up leaves as they were."""
        self._function = function
        self._device = device
        self._changes = changes
        self._arguments: tuple[Any, ...] = ()
        self._results: Any = None
        self._replay: Callable[[], None] | None = None

    def __call__(self, *arguments: Any) -> Any:
        """Run the function on ``arguments``; where they are other objects than the last time's, capture it anew."""
        if self._replay is None or any(a is not b for a, b in zip(arguments, self._arguments, strict=True)):
            self._arguments, self._replay = arguments, None  # should the capture fail, nothing stale is replayed
            self._replay = self._capture() if self._device.type == "cuda" else self._imitate()
        self._replay()
        return self._results

    def _capture(self) -> Callable[[], None]:
        """Warm up and record, on a stream of its own, as CUDA asks; recording computes nothing."""
        with torch.cuda.device(self._device):
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self._try(WARM_UP_CALLS)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                self._results = self._function(*self._arguments)
        return graph.replay

    def _imitate(self) -> Callable[[], None]:
        """Make the place of the results, which every replay overwrites."""
        self._results = self._try(1)
        place = _tensors(self._results)
        return lambda: _overwrite(place, _tensors(self._function(*self._arguments)))

    def _try(self, times: int) -> Any:
        """Call the function so often and take back what it has changed; return the last results."""
        before = [tensor.clone() for tensor in self._changes()]
        for _ in range(times):
            results = self._function(*self._arguments)
        _overwrite(self._changes(), before)
        return results


def _overwrite(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)


def _tensors(results: Any) -> list[Tensor]:
    """All tensors in results made of tensors, tuples, dictionaries and dataclasses."""
    if isinstance(results, Tensor):
        return [results]
    if isinstance(results, dict):
        results = list(results.values())
    if is_dataclass(results):
        results = [getattr(results, field.name) for field in fields(results)]
    return [tensor for part in results or () for tensor in _tensors(part)]
