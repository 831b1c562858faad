"""Critics that give a distribution over fixed returns (Bellemare et al. 2017, arXiv:1707.06887): XQC's, FlashSAC's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from droq_exp.config.rules import FINITE, at_least, one_of
from droq_exp.config.schema import key
from droq_exp.learner.hyperparameters import Hyperparameters
from droq_exp.learner.losses import td_target


@dataclass(frozen=True)
class CategoricalTd:
    """Cross-entropy towards the whole distribution of the target critic of the smallest Q, moved by the reward."""

    reads: ClassVar[tuple[str, ...]] = ()
    metrics: ClassVar[tuple[str, ...]] = ("clipped_atoms",)

    atoms: int = key(101, "M, returns between which each critic distributes its probability", at_least(2))
    low: float = key(-5.0, "the smallest of them, in units of the scaled reward", FINITE)
    high: float = key(5.0, "the largest of them", FINITE)
    over_critics: str = key("sum", "what the loss is over the critics", one_of("sum", "mean"))

    def __post_init__(self) -> None:
        """Refuse a range that is none."""
        if not self.low < self.high:
            raise ValueError(f"low={self.low:g} must be less than high={self.high:g}")

    @property
    def units(self) -> int:
        """Outputs that each critic needs."""
        return self.atoms

    def value(self, outputs: Tensor) -> Tensor:
        """Q ``[S, K, B]``: the mean of the distributions whose logits are ``[S, K, B, M]``."""
        return (outputs.softmax(-1) * self._atoms(outputs)).sum(-1)

    def target(
        self,
        outputs: Tensor,
        soft_reward: Tensor,
        discount: Tensor,
        in_subset: Tensor | None,
        rem_weights: Tensor | None,
        spec: Hyperparameters,
    ) -> Tensor:
        """The distribution to learn, ``[S, B, M]``; arguments as :meth:`droq_exp.learner.parts.Objective.target`.

        An atom's probability goes to the two atoms between which the reward moves it, the nearer one having more.
        """
        least = self.value(outputs).argmin(1)  # the first of equal ones
        chosen = outputs.take_along_dim(least[:, None, :, None], 1)[:, 0]
        step = (self.high - self.low) / (self.atoms - 1)
        moved = td_target(soft_reward[..., None], discount[..., None], self._atoms(outputs))
        places = (moved.clamp(self.low, self.high) - self.low) / step
        below = places.floor().clamp(max=self.atoms - 1)  # rounding may carry a place above the last atom
        above = (below + 1).clamp(max=self.atoms - 1)
        share, probability = places - below, chosen.softmax(-1)
        distribution = torch.zeros_like(probability)
        distribution = distribution.scatter_add(-1, below.long(), probability * (1 - share))
        return distribution.scatter_add(-1, above.long(), probability * share)

    def loss(self, outputs: Tensor, target: Tensor, spec: Hyperparameters) -> Tensor:
        """Cross-entropy at each transition, ``[S, N, B]``; added up over critics it is their sum, or their mean."""
        losses = -(target[:, None] * outputs.log_softmax(-1)).sum(-1)
        return losses / spec.num_critics if self.over_critics == "mean" else losses

    def measure(self, soft_reward: Tensor, discount: Tensor, spec: Hyperparameters) -> Tensor:
        """``metrics`` of an update, ``[S, 1]``: the share of atoms that the reward moves out of their range."""
        moved = td_target(soft_reward[..., None], discount[..., None], self._atoms(soft_reward))
        outside = (moved < self.low) | (moved > self.high)
        return outside.to(soft_reward.dtype).mean((1, 2))[:, None]

    def _atoms(self, like: Tensor) -> Tensor:
        return torch.linspace(self.low, self.high, self.atoms, dtype=like.dtype, device=like.device)
