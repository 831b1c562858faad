"""Residual blocks with batch normalisation and weights of unit length: the networks of FlashSAC (arXiv:2604.04539)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from droq_exp.config.rules import POSITIVE, at_least
from droq_exp.config.schema import AlgoConfig, key
from droq_exp.learner.batch_norm import BatchNormActor, BatchNormCritic, BatchNormPerceptrons
from droq_exp.learner.networks import Shapes, linear
from droq_exp.learner.normalisation import norm_shapes, orthogonal_parameters, rms_normalise


@dataclass(frozen=True)
class ResidualNetworks(BatchNormPerceptrons):
    """The input is normalised and brought to the width of the stream; RMS norm and a linear layer end it.

    Each hidden size stands for a block, ``x + ReLU(BN(W2 ReLU(BN(W1 x))))``, with ``expansion`` times as many units
    inside. No layer but the last has a bias.
    """

    eps: float = key(1e-5, "added to variances", POSITIVE)
    unbiased: bool = key(True, "whether the running variance estimates that of all data, by B / (B - 1)")
    expansion: int = key(4, "times the width of the stream that a block has inside", at_least(1))

    def layers(self, copies: int, widths: tuple[int, ...], out: int) -> Shapes:
        """Named shapes of ``copies`` networks: the width of the input, that of each block, the outputs."""
        width, inside = widths[1], self.expansion * widths[1]
        fans = [(widths[0], width), *[(width, inside), (inside, width)] * len(widths[1:]), (width, out)]
        weights: Shapes = {f"weight{i}": (copies, *fan) for i, fan in enumerate(fans)}
        norms = norm_shapes(copies, self.norm_widths(widths)) | {"norm_scale_last": (copies, 1, width)}
        return weights | {"bias": (copies, 1, out)} | norms

    def forward(
        self, params: dict[str, Tensor], buffers: dict[str, Tensor], hidden: Tensor, *, training: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate K networks on ``[S, K, B, in]``; return ``[S, K, B, out]`` and the moved statistics."""
        last = sum(name.startswith("weight") for name in params) - 1
        hidden, moved = self.normalise(params, buffers, hidden, 0, training=training)
        stream = linear(hidden, params["weight0"])
        for first in range(1, last, 2):
            hidden = stream
            for i in (first, first + 1):
                hidden = linear(hidden, params[f"weight{i}"])
                hidden, statistics = self.normalise(params, buffers, hidden, i, training=training)
                moved |= statistics
                hidden = torch.relu(hidden)
            stream = stream + hidden
        hidden = rms_normalise(stream) * params["norm_scale_last"]
        return linear(hidden, params[f"weight{last}"]) + params["bias"], moved

    def norm_widths(self, widths: tuple[int, ...]) -> tuple[int, ...]:
        """Widths of the batch norms: that of the input, then the two of each block."""
        return (widths[0], *[self.expansion * widths[1], widths[1]] * len(widths[1:]))

    def first_weights(self, shapes: Shapes, rng: np.random.Generator, heads: int) -> np.ndarray:
        """Draw one seed's parameters, ``[n]``."""
        return orthogonal_parameters(shapes, rng, 1.0, [1.0] * heads)


@dataclass(frozen=True)
class ResidualCritic(ResidualNetworks, BatchNormCritic):
    """K critics of (s, a) with as many output units as the objective asks for."""

    reads: ClassVar[tuple[str, ...]] = BatchNormCritic.reads

    def problem_with(self, algo: AlgoConfig) -> str | None:
        """Why these numbers make no such network."""
        return _of_one_width("algo.hidden_sizes", algo.hidden_sizes)


@dataclass(frozen=True)
class ResidualActor(ResidualNetworks, BatchNormActor):
    """A policy of s: a Gaussian, squashed by tanh, whose log-density is exact."""

    reads: ClassVar[tuple[str, ...]] = BatchNormActor.reads

    def problem_with(self, algo: AlgoConfig) -> str | None:
        """As that of :class:`ResidualCritic`."""
        return _of_one_width("algo.actor_hidden_sizes", algo.actor_hidden_sizes or algo.hidden_sizes)


def _of_one_width(key: str, sizes: list[int]) -> str | None:
    return None if len(set(sizes)) == 1 else f"{key}={sizes} must be one number for each block, all equal"
