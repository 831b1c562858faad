"""Prioritised replay (Schaul et al. 2016, arXiv:1511.05952): how likely each row is drawn, and how much it counts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from droq_exp.learner.hyperparameters import Prioritisation

LARGEST_BETA = 1 - 1e-4


class Priorities:
    """The priority of each row that S seeds hold, p = (error + epsilon)^alpha, in the order of their places.

    Row i of M is drawn with probability P = p_i / sum p, with replacement, and weighs (M P)^-beta, by the largest of
    its minibatch. Beta grows with each minibatch that is drawn, before it is used. A row's priority is overwritten
    with the row.
    """

    def __init__(self, per: Prioritisation, seeds: int, capacity: int, device: torch.device) -> None:
        """None has a priority yet, which is to be never drawn; memory is reserved and not touched."""
        self._per = per
        self._values = torch.zeros(seeds, capacity, device=device)
        self._growth = per.growth
        self.beta = per.beta
        self.entered = [0] * seeds  # rows of each seed that have got one, by number since the start

    def enter(self, seed_index: int, errors: Tensor) -> None:
        """Give the next rows of seed ``seed_index`` their first priorities, from their errors ``[n]``."""
        first, device = self.entered[seed_index], self._values.device
        self.entered[seed_index] += len(errors)
        places = torch.arange(first, self.entered[seed_index], device=device) % self._values.shape[1]
        self._values[seed_index, places] = self._of(errors)

    def draw(self, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """Draw one minibatch of each seed: places and weights ``[S, B]`` from float64 in [0, 1), ``[S, B]``.

        The running sum of all priorities is searched: 1.5 ms for a million rows, which a tree would save and which
        is less than an update takes.
        """
        self.beta = min(LARGEST_BETA, self.beta + self._growth)
        sizes = [max(1, min(entered, self._values.shape[1])) for entered in self.entered]
        held = self._values[:, : max(sizes)]
        sums = held.cumsum(1, dtype=torch.float64)
        places = torch.searchsorted(sums, uniforms * sums[:, -1:], right=True)
        last = torch.tensor(sizes, device=places.device)[:, None] - 1
        places = places.minimum(last)  # rounding may lead to the end of the sum
        drawn = held.gather(1, places).double()
        return places, (drawn.amin(1, keepdim=True) / drawn) ** self.beta

    def update(self, places: Tensor, errors: Tensor) -> None:
        """Give the rows of a minibatch their priorities, from their errors ``[S, B]``; of a row drawn twice, the later.

        All of its errors are replaced by the last, since nothing orders what ``scatter_`` writes to one place.
        """
        same = places[:, :, None] == places[:, None, :]
        last = (same * torch.arange(places.shape[1], device=places.device)).amax(-1)
        self._values.scatter_(1, places, self._of(errors.gather(1, last)))

    def state_of(self, seed_index: int) -> dict[str, Any]:
        """All of seed ``seed_index`` that changes; a copy, on the CPU. Growth, since a run may be made longer."""
        held = min(self.entered[seed_index], self._values.shape[1])
        values = self._values[seed_index, :held].cpu().clone()
        return {"values": values, "entered": self.entered[seed_index], "beta": self.beta, "growth": self._growth}

    def load_state_of(self, seed_index: int, state: dict[str, Any]) -> None:
        """Go on where :meth:`state_of` was asked; beta is common to all seeds."""
        self._values[seed_index, : len(state["values"])] = state["values"].to(self._values.device)
        self.entered[seed_index] = state["entered"]
        self.beta, self._growth = state["beta"], state["growth"]

    def _of(self, errors: Tensor) -> Tensor:
        return ((errors.double() + self._per.epsilon) ** self._per.alpha).float()
