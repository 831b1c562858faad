"""Calls ``critic_updates.h``: the same updates as :func:`droq_exp.learner.updates.critic_updates`, on CPU."""

from __future__ import annotations

import ctypes
import math

import torch
from torch import Tensor

from droq_exp.learner.dropout import KeyedMasks
from droq_exp.learner.native.geometry import Geometry, NativeCall, geometry
from droq_exp.learner.native.library import library
from droq_exp.learner.spec import LearnerSpec

TARGET_MODES = {"min": 0, "ave": 1, "rem": 2}

_COUNTS = ["seeds", "passes", "target_passes", "updates", "batch", "target_mode", "keep_size", "first_keep"]
_STATE = ["critic", "before_last", "target", "moment1", "moment2", "sums"]
_BULK = ["inputs", "next_inputs", "reward", "discount"]
_DRAWN = ["subset", "in_subset", "rem_weights"]


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
        """Compile and load the C++.

        Raises:
            BuildError: that does not work here.

        """
        self._geometry = geometry(spec.critic.shapes(spec), spec, spec.dropout_rate)
        self._critics = spec.num_critics
        call = CriticCall(
            network=self._geometry,
            passes=spec.target_forwards,
            target_passes=spec.target_passes,
            batch=spec.batch_size,
            target_mode=TARGET_MODES[spec.target_mode],
            keep_size=spec.critic_mask_size,
            tau=spec.tau,
        )
        self._native = NativeCall(library(spec), "critic_updates", call, spec.dtype)

    def __call__(
        self,
        critic: Tensor,
        buffers: Tensor,
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
        dropout_masks: KeyedMasks | None,
        subset: Tensor | None,
        in_subset: Tensor | None,
        rem_weights: Tensor | None,
    ) -> None:
        """Run the updates, in place on the first seven tensors, as ``updates.critic_updates`` does.

        The networks that it knows have no ``buffers``. The masks of ``keep`` are drawn by the thread that needs them.
        """
        call = self._native.call
        call.updates = inputs.shape[1]
        call.first_keep = dropout_masks.first if dropout_masks else 0
        state = dict(zip(_STATE, [critic, critic_before_last, target, moment1, moment2, sums], strict=True))
        read = [inputs, next_inputs, reward, discount, subset, in_subset, rem_weights]
        by_seed = dict(zip([*_BULK, *_DRAWN], read, strict=True))
        # Seeds do not depend on each other. Those that the threads have no use for wait their turn, because all updates
        # of a few seeds stay in the caches, and an update of many does not.
        at_once = math.ceil(torch.get_num_threads() / self._critics)
        for first in range(0, len(critic), at_once):
            seeds = slice(first, first + at_once)
            call.seeds = len(critic[seeds])
            self._native.run(
                {name: tensor[seeds] for name, tensor in state.items()},
                {name: None if tensor is None else tensor[seeds] for name, tensor in by_seed.items()},
                {"coefficients": coefficients, "keep": dropout_masks.keys[seeds] if dropout_masks else None},
            )
