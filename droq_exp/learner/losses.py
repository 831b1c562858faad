"""Losses and targets: tensors in, tensors out.

The target of a critic update, whole:

    y = r + gamma (1 - d) (V(s', a') - alpha log pi(a' | s'))

for a transition (s, a, r, s', d) of the minibatch, with a' sampled anew from the policy of the moment, d = 1 where the
task itself ended the episode (a time limit does not), and V the target critics' value: the minimum over a random subset
of them, or over all, or a mean (:meth:`SquaredTdError.next_value`). :func:`soft_reward` is the part of y that stands
still while the policy does, r - gamma (1 - d) alpha log pi, so ``updates.target_inputs`` computes it in bulk;
:func:`td_target` is y.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from droq_exp.learner.hyperparameters import Hyperparameters


def soft_reward(reward: Tensor, discount: Tensor, alpha: Tensor, log_prob: Tensor) -> Tensor:
    """``r - gamma (1 - d) alpha log pi``: the reward with the next state's discounted entropy bonus.

    ``discount`` is gamma (1 - d); all broadcast to ``[S, U, B]``.
    """
    return reward - discount * (alpha * log_prob)


def td_target(soft_reward: Tensor, discount: Tensor, next_value: Tensor) -> Tensor:
    """``y`` of the module's docstring, of the shape to which its three parts broadcast."""
    return soft_reward + discount * next_value


@dataclass(frozen=True)
class SquaredTdError:
    """``(Q_i - y)^2`` for critics of one output unit: that of SAC, REDQ, DroQ and DUVN."""

    reads: ClassVar[tuple[str, ...]] = ("num_min", "target_mode", "target_passes")

    def value(self, outputs: Tensor) -> Tensor:
        """Q ``[S, K, B]``, which is the one output."""
        return outputs.squeeze(-1)

    def target(
        self,
        outputs: Tensor,
        soft_reward: Tensor,
        discount: Tensor,
        in_subset: Tensor | None,
        rem_weights: Tensor | None,
        spec: Hyperparameters,
    ) -> Tensor:
        """``y``, ``[S, B]``; the arguments are those of :meth:`droq_exp.learner.parts.Objective.target`."""
        next_value = self.next_value(self.value(outputs), in_subset, rem_weights, spec)
        return td_target(soft_reward, discount, next_value)

    def next_value(
        self, values: Tensor, in_subset: Tensor | None, rem_weights: Tensor | None, spec: Hyperparameters
    ) -> Tensor:
        """Combine the target critics' values.

        Args:
            values: those of T passes, ``[S, T, B]``.
            in_subset: which of them count this time, ``[S, T]`` booleans, for a fractional ``num_min``; else None.
            rem_weights: weights ``[S, N, B]`` that sum to 1 over N, for target mode ``rem``; else None.
            spec: the learner's numbers.

        Returns:
            ``[S, B]``.

        """
        if spec.target_mode == "ave":
            return values.mean(1)
        if rem_weights is not None:
            passes = values.unflatten(1, (spec.num_critics, spec.target_passes)).mean(2)
            return (rem_weights * passes).sum(1)
        if in_subset is not None:
            values = values.masked_fill(~in_subset[..., None], torch.inf)
        return values.amin(1)

    def error(self, outputs: Tensor, target: Tensor, spec: Hyperparameters) -> Tensor:
        """``Q_i - y`` at each transition, ``[S, N, B]``."""
        return self.value(outputs) - target[:, None]

    def loss(self, outputs: Tensor, target: Tensor, spec: Hyperparameters) -> Tensor:
        """``(Q_i - y)^2`` at each transition, ``[S, N, B]``."""
        return self.error(outputs, target, spec) ** 2


@dataclass(frozen=True)
class HalfSquaredTdError(SquaredTdError):
    """``(Q_i - y)^2 / 2``: that of CrossQ. To Adam the half is a matter of its epsilon alone."""

    def loss(self, outputs: Tensor, target: Tensor, spec: Hyperparameters) -> Tensor:
        """``(Q_i - y)^2 / 2`` at each transition, ``[S, N, B]``."""
        return 0.5 * super().loss(outputs, target, spec)


@dataclass(frozen=True)
class SoftPolicyObjective:
    """``alpha log pi - Q``, Q the mean or the minimum over all N critics as the code base has it."""

    reads: ClassVar[tuple[str, ...]] = ()

    def loss(self, values: Tensor, log_prob: Tensor, alpha: Tensor, spec: Hyperparameters) -> Tensor:
        """Loss at each state, ``[S, B]``; the arguments are those of ``parts.PolicyObjective``."""
        value = values.amin(1) if spec.policy_value == "min" else values.mean(1)
        return alpha * log_prob - value


@dataclass(frozen=True)
class PessimisticPolicyObjective:
    """``alpha log pi - min_i Q_i``, whatever the code base: the policy's loss of CrossQ and of the original SAC."""

    reads: ClassVar[tuple[str, ...]] = ()

    def loss(self, values: Tensor, log_prob: Tensor, alpha: Tensor, spec: Hyperparameters) -> Tensor:
        """Loss at each state, ``[S, B]``; the arguments are those of ``parts.PolicyObjective``."""
        return alpha * log_prob - values.amin(1)


def temperature_gradient(log_prob_mean: Tensor, spec: Hyperparameters) -> Tensor:
    """Gradient of ``-log_alpha * mean(log pi + target_entropy)``, ``[S, 1]`` from ``[S]``; not multiplied by alpha."""
    return -(log_prob_mean + spec.target_entropy)[:, None]
