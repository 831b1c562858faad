"""What a call of the C++ needs to know of networks, and the way tensors are passed to it."""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from droq_exp.learner.native.library import gemm_address
from droq_exp.learner.networks import Shapes
from droq_exp.learner.spec import LearnerSpec

TABLES = ["widths", "weight", "bias", "norm_scale", "norm_shift"]


class Geometry(ctypes.Structure):
    """Where the tensors of some networks lie in a flat vector; mirrors the structure in ``layers.h``."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ["copies", "in_dim", "layers", "out_dim"]),
        *((name, ctypes.c_void_p) for name in TABLES),
        ("parameters", ctypes.c_int64),
        ("dropout_rate", ctypes.c_double),
        ("gemm", ctypes.c_void_p),
        ("gemm_bf16", ctypes.c_void_p),
    ]


def known_shapes(spec: LearnerSpec) -> tuple[Shapes, Shapes]:
    """The tensors of one seed's critics and actor that the C++ was written for, in their order."""
    inputs = spec.obs_dim + spec.act_dim
    critics = _layers(spec.num_critics, [inputs, *spec.hidden_sizes, 1])
    if spec.layer_norm:
        norm = [(i, (spec.num_critics, 1, width)) for i, width in enumerate(spec.hidden_sizes)]
        critics |= {f"{name}{i}": shape for i, shape in norm for name in ("norm_scale", "norm_shift")}
    return critics, _layers(1, [spec.obs_dim, *spec.hidden_sizes, 2 * spec.act_dim])


def _layers(copies: int, widths: list[int]) -> Shapes:
    shapes: Shapes = {}
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        shapes |= {f"weight{i}": (copies, fan_in, fan_out), f"bias{i}": (copies, 1, fan_out)}
    return shapes


def geometry(shapes: Shapes, spec: LearnerSpec, dropout_rate: float = 0.0) -> Geometry:
    """Describe the networks of one seed, whose tensors ``shapes`` names in their order."""
    starts, size = {}, 0
    for name, shape in shapes.items():
        starts[name] = size
        size += math.prod(shape)
    weights = [shape for name, shape in shapes.items() if name.startswith("weight")]
    layers = range(len(weights))
    tables = {"widths": [shape[2] for shape in weights[:-1]]}
    tables |= {name: [starts.get(f"{name}{i}", 0) for i in layers] for name in TABLES[1:]}
    arrays = {name: (ctypes.c_int64 * len(table))(*table) for name, table in tables.items()}
    described = Geometry(
        copies=weights[0][0],
        in_dim=weights[0][1],
        layers=len(weights) - 1,
        out_dim=weights[-1][2],
        parameters=size,
        dropout_rate=dropout_rate,
        gemm=gemm_address(spec.dtype),
        gemm_bf16=gemm_address(torch.bfloat16) if spec.bf16 else None,
        **{name: ctypes.addressof(array) for name, array in arrays.items()},
    )
    described.arrays = arrays  # it points into them
    return described


class NativeCall:
    """A structure of arguments, its workspace, and the C++ function that takes it."""

    def __init__(self, library: ctypes.CDLL, name: str, call: ctypes.Structure, dtype: torch.dtype) -> None:
        """``<name>`` does the work; ``<name>_workspace`` says how many numbers of ``dtype`` it needs for that."""
        self.call = call
        self._run: Callable[..., None] = getattr(library, name)
        self._size = getattr(library, f"{name}_workspace")
        self._size.restype = ctypes.c_int64
        self._workspace = torch.empty(0, dtype=dtype)

    def run(
        self, state: dict[str, Tensor], by_seed: dict[str, Tensor | None], shared: dict[str, Tensor | None]
    ) -> None:
        """Run it on tensors, named as the structure's fields.

        Args:
            state: contiguous, changed in place.
            by_seed: read; seeds may lie apart, as ``<name>_stride`` then tells. What belongs to a seed is copied where
                it does not lie in one piece.
            shared: read, contiguous where they are not None.

        """
        read = {name: None if tensor is None else _in_order(tensor) for name, tensor in by_seed.items()}
        assert all(tensor is None or tensor.is_contiguous() for tensor in [*state.values(), *shared.values()])
        for name, tensor in {**state, **read, **shared}.items():
            setattr(self.call, name, None if tensor is None else tensor.data_ptr())
        for name, tensor in read.items():
            setattr(self.call, f"{name}_stride", 0 if tensor is None else tensor.stride(0))
        self.call.workspace = None
        size = self._size(ctypes.byref(self.call))
        if self._workspace.numel() < size:
            self._workspace = self._workspace.new_empty(size)
        self.call.workspace = self._workspace.data_ptr()  # torch aligns it to 64 bytes
        self._run(ctypes.byref(self.call))


def _in_order(tensor: Tensor) -> Tensor:
    return tensor if tensor[0].is_contiguous() else tensor.contiguous()
