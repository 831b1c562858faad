"""Calls ``actor.h``: the same as :func:`droq_exp.learner.updates.target_inputs` and ``policy_update``, on CPU."""

from __future__ import annotations

import ctypes

from torch import Tensor

from droq_exp.learner.dropout import KeyedMasks
from droq_exp.learner.native.geometry import Geometry, NativeCall, geometry
from droq_exp.learner.native.library import library
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.transitions import TransitionLayout

OBJECTIVES = {"mean": 0, "min": 1}

_PARTS_READ = ["obs", "action", "reward", "next_obs", "terminated", "bootstrap"]  # of a row
_POLICY_COUNTS = ["seeds", "batch", "obs_dim", "act_dim", "objective", "learn_temperature"]
_POLICY_STATE = ["params", "moment1", "moment2", "log_alpha", "log_alpha_moment1", "log_alpha_moment2", "alpha", "sums"]


class RowColumns(ctypes.Structure):
    """How long a row is, and where its parts begin or 0; mirrors the structure in the source, as do the next two."""

    _fields_ = [(name, ctypes.c_int64) for name in ["size", *_PARTS_READ]]


class TargetInputsCall(ctypes.Structure):
    """What ``target_inputs`` needs."""

    _fields_ = [
        ("actor", Geometry),
        ("row", RowColumns),
        *((name, ctypes.c_int64) for name in ["seeds", "updates", "batch", "obs_dim", "act_dim"]),
        ("gamma", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ["params", "alpha", "rows", "noise", "action_map"]),
        *((name, ctypes.c_void_p) for name in ["inputs", "next_inputs", "reward", "discount"]),
        *((name, ctypes.c_int64) for name in ["rows_stride", "noise_stride"]),
        ("workspace", ctypes.c_void_p),
    ]


class PolicyCall(ctypes.Structure):
    """What ``policy_update`` needs."""

    _fields_ = [
        *((name, Geometry) for name in ["actor", "critics"]),
        *((name, ctypes.c_int64) for name in _POLICY_COUNTS),
        ("target_entropy", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in _POLICY_STATE),
        *((name, ctypes.c_void_p) for name in ["critic", "obs", "noise", "action_map", "coefficients", "keep"]),
        *((name, ctypes.c_int64) for name in ["first_keep", "obs_stride", "noise_stride"]),
        ("workspace", ctypes.c_void_p),
    ]


class TargetInputs:
    """``updates.target_inputs`` with the spec fixed."""

    def __init__(self, spec: LearnerSpec) -> None:
        """Compile and load the C++.

        Raises:
            BuildError: that does not work here.

        """
        self._geometry = geometry(spec.actor.shapes(spec), spec)
        call = TargetInputsCall(
            actor=self._geometry,
            row=_row_columns(spec.layout),
            seeds=spec.seeds,
            batch=spec.batch_size,
            obs_dim=spec.obs_dim,
            act_dim=spec.act_dim,
            gamma=spec.gamma,
        )
        self._native = NativeCall(library(spec), "target_inputs", call, spec.dtype)
        self._input_dim = spec.obs_dim + spec.act_dim

    def __call__(
        self,
        actor: Tensor,
        actor_buffers: Tensor,
        alpha: Tensor,
        rows: Tensor,
        noise: Tensor,
        action_map: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what ``updates.target_inputs`` does; the actor that it knows has no buffers."""
        size = rows.shape[:3]
        inputs, next_inputs = (rows.new_empty(*size, self._input_dim) for _ in range(2))
        reward, discount = (rows.new_empty(size) for _ in range(2))
        self._native.call.updates = size[1]
        self._native.run(
            {"inputs": inputs, "next_inputs": next_inputs, "reward": reward, "discount": discount},
            {"rows": rows, "noise": noise},
            {"params": actor, "alpha": alpha, "action_map": action_map},
        )
        return inputs, next_inputs, reward, discount


def _row_columns(layout: TransitionLayout) -> RowColumns:
    columns = layout.columns._asdict()
    return RowColumns(size=layout.size, **{name: columns[name].start for name in _PARTS_READ if columns[name]})


class PolicyUpdate:
    """``updates.policy_update`` with the spec fixed."""

    def __init__(self, spec: LearnerSpec) -> None:
        """Compile and load the C++.

        Raises:
            BuildError: that does not work here.

        """
        self._geometries = [
            geometry(spec.actor.shapes(spec), spec),
            geometry(spec.critic.shapes(spec), spec, spec.dropout_rate),
        ]
        call = PolicyCall(
            actor=self._geometries[0],
            critics=self._geometries[1],
            seeds=spec.seeds,
            batch=spec.batch_size,
            obs_dim=spec.obs_dim,
            act_dim=spec.act_dim,
            objective=OBJECTIVES[spec.policy_value],
            learn_temperature=spec.learn_temperature,
            target_entropy=spec.target_entropy,
        )
        self._native = NativeCall(library(spec), "policy_update", call, spec.dtype)

    def __call__(
        self,
        actor: Tensor,
        buffers: Tensor,
        moment1: Tensor,
        moment2: Tensor,
        log_alpha: Tensor,
        log_alpha_moment1: Tensor,
        log_alpha_moment2: Tensor,
        alpha: Tensor,
        sums: Tensor,
        critic: Tensor,
        critic_buffers: Tensor,
        obs: Tensor,
        noise: Tensor,
        action_map: Tensor,
        coefficients: Tensor,
        dropout_masks: KeyedMasks | None,
    ) -> None:
        """Run one update, in place on the first nine tensors, as ``updates.policy_update`` does; none has buffers."""
        self._native.call.first_keep = dropout_masks.first if dropout_masks else 0
        state = [actor, moment1, moment2, log_alpha, log_alpha_moment1, log_alpha_moment2, alpha, sums]
        self._native.run(
            dict(zip(_POLICY_STATE, state, strict=True)),
            {"obs": obs, "noise": noise},
            {
                "critic": critic,
                "action_map": action_map,
                "coefficients": coefficients,
                "keep": dropout_masks.keys if dropout_masks else None,
            },
        )
