"""Perceptrons with batch normalisation in front of ReLU and weights of unit length: those of XQC (arXiv:2509.25174)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from droq_exp.config.rules import FINITE, one_of
from droq_exp.config.schema import key
from droq_exp.learner.hyperparameters import Hyperparameters
from droq_exp.learner.networks import LOG_STD_MAX, Buffers, Shapes, linear
from droq_exp.learner.normalisation import (
    BatchNormalised,
    norm_shapes,
    orthogonal_parameters,
    running_statistics,
)
from droq_exp.learner.squashing import squashed_sample

GAIN = math.sqrt(2)  # of first weights where nothing projects them; that of log standard deviations is 1


@dataclass(frozen=True)
class BatchNormPerceptrons(BatchNormalised):
    """The input is normalised; each hidden layer is Linear without bias, batch norm, ReLU; the last one has a bias."""

    def layers(self, copies: int, widths: tuple[int, ...], out: int) -> Shapes:
        """Named shapes of ``copies`` perceptrons: the width of the input, those of the hidden layers, the outputs."""
        fans = zip(widths, [*widths[1:], out], strict=True)
        weights: Shapes = {f"weight{i}": (copies, *fan) for i, fan in enumerate(fans)}
        return weights | {"bias": (copies, 1, out)} | norm_shapes(copies, widths)

    def forward(
        self, params: dict[str, Tensor], buffers: dict[str, Tensor], hidden: Tensor, *, training: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate K perceptrons on ``[S, K, B, in]``; return ``[S, K, B, out]`` and the moved statistics."""
        layers = sum(name.startswith("weight") for name in params) - 1
        hidden, moved = self.normalise(params, buffers, hidden, 0, training=training)
        for i in range(layers):
            hidden = linear(hidden, params[f"weight{i}"])
            hidden, statistics = self.normalise(params, buffers, hidden, i + 1, training=training)
            moved |= statistics
            hidden = torch.relu(hidden)
        return linear(hidden, params[f"weight{layers}"]) + params["bias"], moved

    def norm_widths(self, widths: tuple[int, ...]) -> tuple[int, ...]:
        """Widths of the norms of a network whose input and hidden layers have these."""
        return widths

    def first_weights(self, shapes: Shapes, rng: np.random.Generator, heads: int) -> np.ndarray:
        """Draw one seed's parameters, ``[n]``."""
        return orthogonal_parameters(shapes, rng, GAIN, [GAIN, 1.0][:heads])


@dataclass(frozen=True)
class BatchNormCritic(BatchNormPerceptrons):
    """K critics of (s, a) with as many output units as the objective asks for."""

    reads: ClassVar[tuple[str, ...]] = ("num_critics", "hidden_sizes", "units")

    def shapes(self, spec: Hyperparameters) -> Shapes:
        """Named shapes of the N critics of one seed."""
        return self.layers(spec.num_critics, self._widths(spec), spec.units)

    def buffers(self, spec: Hyperparameters) -> Buffers:
        """Running statistics of the N critics of one seed."""
        return running_statistics(spec.num_critics, self.norm_widths(self._widths(spec)))

    def initial(self, spec: Hyperparameters, rng: np.random.Generator) -> np.ndarray:
        """Draw one seed's parameters, ``[n]``."""
        return self.first_weights(self.shapes(spec), rng, heads=1)

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
        return self.forward(params, buffers, copies, training=training)

    def _widths(self, spec: Hyperparameters) -> tuple[int, ...]:
        return (spec.critic_inputs, *spec.hidden_sizes)


@dataclass(frozen=True)
class BatchNormActor(BatchNormPerceptrons):
    """A policy of s: a Gaussian, squashed by tanh, whose log-density is exact."""

    reads: ClassVar[tuple[str, ...]] = ("hidden_sizes", "actor_hidden_sizes")

    log_std: str = key(
        "clip", "how the network's output becomes a log standard deviation: clipped, or by tanh", one_of("clip", "tanh")
    )
    log_std_min: float = key(-10.0, "least log standard deviation", FINITE)

    def shapes(self, spec: Hyperparameters) -> Shapes:
        """Named shapes of the actor of one seed; its last layer gives the mean, then the log standard deviation."""
        return self.layers(1, self._widths(spec), 2 * spec.act_dim)

    def buffers(self, spec: Hyperparameters) -> Buffers:
        """Running statistics of the actor of one seed."""
        return running_statistics(1, self.norm_widths(self._widths(spec)))

    def initial(self, spec: Hyperparameters, rng: np.random.Generator) -> np.ndarray:
        """Draw one seed's parameters, ``[n]``."""
        return self.first_weights(self.shapes(spec), rng, heads=2)

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
        heads, moved = self.forward(params, buffers, obs.unsqueeze(1), training=training)
        mean, log_std = heads[:, 0].chunk(2, -1)
        if self.log_std == "tanh":
            log_std = self.log_std_min + (LOG_STD_MAX - self.log_std_min) / 2 * (1 + torch.tanh(log_std))
        else:
            log_std = log_std.clamp(self.log_std_min, LOG_STD_MAX)
        action, log_prob = squashed_sample(mean, log_std, noise)
        return action, log_prob, moved

    def _widths(self, spec: Hyperparameters) -> tuple[int, ...]:
        return (spec.actor_inputs, *spec.actor_widths)
