"""Truncated quantile critics (Kuznetsov et al. 2020, arXiv:2005.04269) as three parts of an algorithm.

Each critic gives the quantiles of the return instead of its mean. The target pools those of all target critics and cuts
off the largest, which are the ones that overestimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from droq_exp.config.rules import at_least
from droq_exp.config.schema import key
from droq_exp.learner.hyperparameters import Hyperparameters
from droq_exp.learner.losses import td_target
from droq_exp.learner.networks import EnsembleCritic


@dataclass(frozen=True)
class QuantileCritic(EnsembleCritic):
    """The usual perceptrons with one output unit a quantile."""

    quantiles: int = key(25, "M, quantiles of each critic (section 4)", at_least(2))

    @property
    def units(self) -> int:
        """M."""
        return self.quantiles


@dataclass(frozen=True)
class TruncatedQuantiles:
    """Quantile regression towards the smallest quantiles of all target critics."""

    reads: ClassVar[tuple[str, ...]] = ()  # of the shared keys, in particular not algo.target_mode

    dropped: int = key(2, "d, largest quantiles left out of the target for each critic (section 4)", at_least(0))

    def value(self, outputs: Tensor) -> Tensor:
        """Q ``[S, K, B]``: the mean of the quantiles ``[S, K, B, M]``."""
        return outputs.mean(-1)

    def target(
        self,
        outputs: Tensor,
        soft_reward: Tensor,
        discount: Tensor,
        in_subset: Tensor | None,
        rem_weights: Tensor | None,
        spec: Hyperparameters,
    ) -> Tensor:
        """The atoms of the target, ``[S, B, K (M - d)]``."""
        atoms = outputs.transpose(1, 2).flatten(2).sort(-1).values
        kept = atoms[..., : atoms.shape[-1] - self.dropped * outputs.shape[1]]
        return td_target(soft_reward[..., None], discount[..., None], kept)

    def loss(self, outputs: Tensor, target: Tensor, spec: Hyperparameters) -> Tensor:
        """The quantile Huber loss of each critic at each transition, ``[S, N, B]`` (equation 9)."""
        quantiles = outputs.shape[-1]
        levels = (torch.arange(quantiles, dtype=outputs.dtype, device=outputs.device) + 0.5) / quantiles
        error = target[:, None, :, None, :] - outputs[..., None]  # [S, N, B, M, atoms]
        size = error.abs()
        huber = torch.where(size > 1, size - 0.5, 0.5 * error * error)
        weight = (levels[:, None] - (error < 0).to(outputs.dtype)).abs()
        return (weight * huber).mean((-2, -1))


@dataclass(frozen=True)
class MeanOfCritics:
    """The policy follows the mean over all critics in both code bases (equation 10)."""

    reads: ClassVar[tuple[str, ...]] = ()

    def loss(self, values: Tensor, log_prob: Tensor, alpha: Tensor, spec: Hyperparameters) -> Tensor:
        """``alpha log pi - Q`` at each state, ``[S, B]``."""
        return alpha * log_prob - values.mean(1)
