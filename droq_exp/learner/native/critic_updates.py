"""Calls ``critic_updates.cpp``: the same updates as :func:`droq_exp.learner.updates.critic_updates`, on CPU."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from droq_exp.learner.native.build import gemm_address, library
from droq_exp.learner.networks import critic_shapes
from droq_exp.learner.spec import LearnerSpec

SOURCE = "critic_updates"
TARGET_MODES = {"min": 0, "ave": 1, "rem": 2}

_COUNTS = [
    "seeds",
    "critics",
    "passes",
    "target_passes",
    "updates",
    "batch",
    "in_dim",
    "layers",
    "layer_norm",
    "dropout",
    "target_mode",
]
_TABLES = ["widths", "weight", "bias", "norm_scale", "norm_shift"]
_STATE = ["critic", "before_last", "target", "moment1", "moment2", "sums"]
_SHARED = "coefficients"
_DRAWN = ["keep", "subset", "valid", "mixture"]
_BULK = ["inputs", "next_inputs", "reward", "discount"]


def applies(device: torch.device) -> bool:
    """Whether the C++ does what the process asks of matrix multiplications: on CPU, in full precision."""
    return device.type == "cpu" and torch.get_float32_matmul_precision() == "highest"


class Call(ctypes.Structure):
    """All that a call needs; mirrors the structure of the same name in the source, field by field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in _COUNTS),
        *((name, ctypes.c_void_p) for name in _TABLES),
        ("parameters", ctypes.c_int64),
        ("tau", ctypes.c_double),
        ("keep_scale", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in [*_STATE, *_BULK, _SHARED, *_DRAWN]),
        *((f"{name}_stride", ctypes.c_int64) for name in [*_BULK, *_DRAWN]),
        ("keep_size", ctypes.c_int64),
        ("gemm", ctypes.c_void_p),
        ("workspace", ctypes.c_void_p),
    ]


class CriticUpdates:
    """``updates.critic_updates`` with the spec fixed; any number of updates in a call."""

    def __init__(self, spec: LearnerSpec) -> None:
        """Compile and load the source.

        Raises:
            BuildError: that does not work here.

        """
        self._library = library(SOURCE, spec.dtype)
        self._library.workspace_size.restype = ctypes.c_int64
        shapes = critic_shapes(spec)
        starts: dict[str, int] = {}
        size = 0
        for name, shape in shapes.items():
            starts[name] = size
            size += math.prod(shape)
        layers = range(len(spec.hidden_sizes) + 1)
        tables = [spec.hidden_sizes, *([starts.get(f"{name}{i}", 0) for i in layers] for name in _TABLES[1:])]
        self._tables = [(ctypes.c_int64 * len(table))(*table) for table in tables]  # the call points into them
        self._call = Call(
            seeds=spec.seeds,
            critics=spec.num_critics,
            passes=spec.target_forwards,
            target_passes=spec.target_passes,
            batch=spec.batch_size,
            in_dim=spec.obs_dim + spec.act_dim,
            layers=len(spec.hidden_sizes),
            layer_norm=spec.layer_norm,
            dropout=spec.dropout_rate > 0,
            target_mode=TARGET_MODES[spec.target_mode],
            parameters=size,
            tau=spec.tau,
            keep_scale=1 / (1 - spec.dropout_rate),
            keep_size=sum(math.prod(s) for n in (spec.target_forwards, spec.num_critics) for s in spec.keep_shapes(n)),
            gemm=gemm_address(spec.dtype),
            **{name: ctypes.addressof(table) for name, table in zip(_TABLES, self._tables, strict=True)},
        )
        self._dtype = spec.dtype
        self._workspace = torch.empty(0)

    def __call__(
        self,
        critic: Tensor,
        critic_before_last: Tensor,
        target: Tensor,
        moment1: Tensor,
        moment2: Tensor,
        sums: Tensor,
        inputs: Tensor,
        next_inputs: Tensor,
        reward: Tensor,
        discount: Tensor,
        coefficients: Tensor,
        keep: Tensor | None,
        subset: Tensor | None,
        valid: Tensor | None,
        mixture: Tensor | None,
    ) -> None:
        """Run the updates, in place on the first six tensors, as ``updates.critic_updates`` does."""
        call = self._call
        call.updates = inputs.shape[1]
        # Held until the call is over: a copy that had to be made may belong to nobody else.
        held = [critic, critic_before_last, target, moment1, moment2, sums]
        assert all(tensor.is_contiguous() and tensor.dtype == self._dtype for tensor in held)
        self._point(_STATE, held)
        bulk = [_rows_in_order(tensor) for tensor in (inputs, next_inputs, reward, discount)]
        drawn = [_rows_in_order(tensor) for tensor in (keep, subset, valid, mixture)]
        self._point(_BULK, bulk)
        self._point(_DRAWN, drawn)
        self._point([_SHARED], [coefficients])
        for name, tensor in zip([*_BULK, *_DRAWN], [*bulk, *drawn], strict=True):
            setattr(call, f"{name}_stride", 0 if tensor is None else tensor.stride(0))
        self._call.workspace = self._workspace_address()
        self._library.critic_updates(ctypes.byref(call))

    def _point(self, names: Sequence[str], tensors: Sequence[Tensor | None]) -> None:
        for name, tensor in zip(names, tensors, strict=True):
            setattr(self._call, name, None if tensor is None else tensor.data_ptr())

    def _workspace_address(self) -> int:
        """Memory for as many elements as this many threads need; torch aligns it to 64 bytes."""
        self._call.workspace = None
        size = self._library.workspace_size(ctypes.byref(self._call))
        if self._workspace.numel() < size:
            self._workspace = torch.empty(size, dtype=self._dtype)
        return self._workspace.data_ptr()


def _rows_in_order(tensor: Tensor | None) -> Tensor | None:
    """Copy where what belongs to a seed does not lie in one piece; seeds may lie apart."""
    return tensor if tensor is None or tensor[0].is_contiguous() else tensor.contiguous()
