"""Networks with batch renormalisation, which learn without target critics: those of CrossQ (arXiv:1902.05605v4).

Batch renormalisation (Ioffe 2017, arXiv:1702.03275) is batch normalisation for the first ``warmup`` passes of training.
From then on it corrects the batch's statistics towards the running ones, within fixed bounds. Numbers and details are
those of CrossQ's implementation in SBX.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from droq_exp.config.rules import POSITIVE, POSITIVE_FRACTION, at_least
from droq_exp.config.schema import key
from droq_exp.learner.hyperparameters import Hyperparameters
from droq_exp.learner.networks import (
    LOG_STD_MAX,
    LOG_STD_MIN,
    Buffers,
    Shapes,
    drawn_parameters,
    dropped,
    layer_shapes,
    linear,
)
from droq_exp.learner.normalisation import batch_moments, norm_shapes, running_statistics
from droq_exp.learner.squashing import squashed_sample

R_MAX, D_MAX = 3.0, 5.0  # bounds of the correction of the standard deviation and of the mean; never relaxed
TINY = 1e-30  # of a variance: the square root of 0 has no gradient
TRUNCATED_STD = 0.87962566103423978  # of a standard normal within two standard deviations


@dataclass(frozen=True)
class BatchRenorm:
    """Perceptrons whose input and hidden activations are renormalised; the keys of such networks."""

    momentum: float = key(0.01, "step of the running statistics towards those of a batch", POSITIVE_FRACTION)
    eps: float = key(1e-3, "added to variances", POSITIVE)
    warmup: int = key(100_000, "passes of training with plain batch normalisation first", at_least(0))

    def layers(self, copies: int, widths: tuple[int, ...], out: int) -> Shapes:
        """Named shapes: those of the perceptrons, then scale and shift in front of each of their layers."""
        return layer_shapes(copies, widths, out) | norm_shapes(copies, widths)

    def statistics(self, copies: int, widths: tuple[int, ...]) -> Buffers:
        """Running mean and variance in front of each layer, and how many passes of training there were."""
        return {"passes": ((copies, 1, 1), 0.0), **running_statistics(copies, widths)}

    def forward(
        self,
        params: dict[str, Tensor],
        buffers: dict[str, Tensor],
        hidden: Tensor,
        dropout_masks: list[Tensor] | None,
        spec: Hyperparameters,
        *,
        training: bool,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate K perceptrons on ``[S, K, B, in]``; return ``[S, K, B, out]`` and the moved statistics."""
        count = sum(name.startswith("weight") for name in params)
        moved = {"passes": buffers["passes"] + 1} if training else {}
        for i in range(count):
            hidden, statistics = self.normalise(params, buffers, hidden, i, training=training)
            moved |= statistics
            hidden = linear(hidden, params[f"weight{i}"]) + params[f"bias{i}"]
            if i < count - 1:
                if dropout_masks:
                    hidden = dropped(hidden, dropout_masks[i], spec.dropout_rate)
                hidden = torch.relu(hidden)
        return hidden, moved

    def normalise(
        self, params: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, layer: int, *, training: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Renormalise ``x`` ``[S, K, B, width]`` in front of a layer; return it and the moved statistics.

        The batch's statistics carry gradients, their correction does not. Only it sees what they were before.
        """
        running_mean, running_variance = buffers[f"mean{layer}"], buffers[f"variance{layer}"]
        mean, variance, moved = running_mean, running_variance, {}
        if training:
            mean, variance = batch_moments(x)
            moved = {
                f"mean{layer}": torch.lerp(running_mean, mean.detach(), self.momentum),
                f"variance{layer}": torch.lerp(running_variance, variance.detach(), self.momentum),
            }
            std = (running_variance + self.eps).sqrt()
            ratio = ((variance.detach() + self.eps).sqrt() / std).clamp(1 / R_MAX, R_MAX)
            offset = ((mean.detach() - running_mean) / std).clamp(-D_MAX, D_MAX)
            corrects = buffers["passes"] >= self.warmup
            ratio, offset = torch.where(corrects, ratio, 1.0), torch.where(corrects, offset, 0.0)
            mean = mean - offset * variance.clamp_min(TINY).sqrt() / ratio
            variance = variance / (ratio * ratio)
        normal = (x - mean) * torch.rsqrt(variance + self.eps)
        return normal * params[f"norm_scale{layer}"] + params[f"norm_shift{layer}"], moved


@dataclass(frozen=True)
class BatchRenormCritic(BatchRenorm):
    """K critics of (s, a) with one output unit each."""

    reads: ClassVar[tuple[str, ...]] = ("num_critics", "hidden_sizes", "dropout_rate")

    def shapes(self, spec: Hyperparameters) -> Shapes:
        """Named shapes of the N critics of one seed."""
        return self.layers(spec.num_critics, self._widths(spec), 1)

    def buffers(self, spec: Hyperparameters) -> Buffers:
        """Running statistics of the N critics of one seed."""
        return self.statistics(spec.num_critics, self._widths(spec))

    def initial(self, spec: Hyperparameters, rng: np.random.Generator) -> np.ndarray:
        """Draw one seed's parameters, ``[n]``."""
        return lecun_parameters(self.shapes(spec), rng)

    def outputs(
        self,
        params: dict[str, Tensor],
        buffers: dict[str, Tensor],
        inputs: Tensor,
        dropout_masks: list[Tensor] | None,
        spec: Hyperparameters,
        *,
        training: bool,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As :meth:`droq_exp.learner.parts.Critic.outputs`."""
        copies = inputs.unsqueeze(1).expand(-1, params["weight0"].shape[1], -1, -1)
        return self.forward(params, buffers, copies, dropout_masks, spec, training=training)

    def _widths(self, spec: Hyperparameters) -> tuple[int, ...]:
        return (spec.critic_inputs, *spec.hidden_sizes)


@dataclass(frozen=True)
class BatchRenormActor(BatchRenorm):
    """A policy of s: a Gaussian, squashed by tanh, whose log-density is exact."""

    reads: ClassVar[tuple[str, ...]] = ("hidden_sizes", "actor_hidden_sizes")

    def shapes(self, spec: Hyperparameters) -> Shapes:
        """Named shapes of the actor of one seed; its last layer gives the mean, then the log standard deviation."""
        return self.layers(1, self._widths(spec), 2 * spec.act_dim)

    def buffers(self, spec: Hyperparameters) -> Buffers:
        """Running statistics of the actor of one seed."""
        return self.statistics(1, self._widths(spec))

    def initial(self, spec: Hyperparameters, rng: np.random.Generator) -> np.ndarray:
        """Draw one seed's parameters, ``[n]``."""
        return lecun_parameters(self.shapes(spec), rng)

    def sample(
        self,
        params: dict[str, Tensor],
        buffers: dict[str, Tensor],
        obs: Tensor,
        noise: Tensor,
        spec: Hyperparameters,
        *,
        training: bool,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """As :meth:`droq_exp.learner.parts.Actor.sample`."""
        heads, moved = self.forward(params, buffers, obs.unsqueeze(1), None, spec, training=training)
        mean, log_std = heads[:, 0].chunk(2, -1)
        action, log_prob = squashed_sample(mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX), noise)
        return action, log_prob, moved

    def _widths(self, spec: Hyperparameters) -> tuple[int, ...]:
        return (spec.actor_inputs, *spec.actor_widths)


def lecun_parameters(shapes: Shapes, rng: np.random.Generator) -> np.ndarray:
    """Draw one seed's parameters ``[n]``: LeCun-normal weights, truncated at two standard deviations, as Flax has them.

    Biases and shifts are 0, scales 1.
    """

    def lecun(_: str, shape: tuple[int, ...]) -> np.ndarray:
        drawn = rng.standard_normal(shape)
        while (outside := np.abs(drawn) > 2).any():
            drawn[outside] = rng.standard_normal(np.count_nonzero(outside))
        return drawn / (TRUNCATED_STD * math.sqrt(shape[-2]))

    return drawn_parameters(shapes, lecun)
