"""Calls ``critic_updates.cpp``: the same updates as :func:`droq_exp.learner.updates.critic_updates`, on CPU."""

from __future__ import annotations

import ctypes

from torch import Tensor

from droq_exp.learner.dropout import KeyedMasks
from droq_exp.learner.native.build import library
from droq_exp.learner.native.geometry import Geometry, NativeCall, geometry
from droq_exp.learner.networks import critic_shapes
from droq_exp.learner.spec import LearnerSpec

SOURCE = "critic_updates"
TARGET_MODES = {"min": 0, "ave": 1, "rem": 2}

_COUNTS = ["seeds", "passes", "target_passes", "updates", "batch", "target_mode", "keep_size", "first_keep"]
_STATE = ["critic", "before_last", "target", "moment1", "moment2", "sums"]
_BULK = ["inputs", "next_inputs", "reward", "discount"]
_DRAWN = ["subset", "valid", "mixture"]


class CriticCall(ctypes.Structure):
    """All that a call needs; mirrors the structure in the source, field by field."""

    _fields_ = [
        ("network", Geometry),
        *((name, ctypes.c_int64) for name in _COUNTS),
        ("tau", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in [*_STATE, *_BULK, "coefficients", "keep", *_DRAWN]),
        *((f"{name}_stride", ctypes.c_int64) for name in [*_BULK, *_DRAWN]),
        ("workspace", ctypes.c_void_p),
    ]


class CriticUpdates:
    """``updates.critic_updates`` with the spec fixed; any number of updates in a call."""

    def __init__(self, spec: LearnerSpec) -> None:
        """Compile and load the source.

        Raises:
            BuildError: that does not work here.

        """
        self._geometry = geometry(critic_shapes(spec), spec.dtype, spec.dropout_rate)
        call = CriticCall(
            network=self._geometry,
            seeds=spec.seeds,
            passes=spec.target_forwards,
            target_passes=spec.target_passes,
            batch=spec.batch_size,
            target_mode=TARGET_MODES[spec.target_mode],
            keep_size=spec.critic_keep_size,
            tau=spec.tau,
        )
        self._native = NativeCall(library(SOURCE, spec.dtype), SOURCE, call, spec.dtype)

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
        keep: KeyedMasks | None,
        subset: Tensor | None,
        valid: Tensor | None,
        mixture: Tensor | None,
    ) -> None:
        """Run the updates, in place on the first six tensors, as ``updates.critic_updates`` does.

        The masks of ``keep`` are drawn by the thread that needs them.
        """
        self._native.call.updates = inputs.shape[1]
        state = [critic, critic_before_last, target, moment1, moment2, sums]
        self._native.call.first_keep = keep.first if keep else 0
        read = [inputs, next_inputs, reward, discount, subset, valid, mixture]
        self._native.run(
            dict(zip(_STATE, state, strict=True)),
            dict(zip([*_BULK, *_DRAWN], read, strict=True)),
            {"coefficients": coefficients, "keep": keep.keys if keep else None},
        )
