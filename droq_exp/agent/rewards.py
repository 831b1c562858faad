"""Rewards as the learner sees them: by the deviation of the discounted returns of training so far, or as they are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from droq_exp.agent.observations import ALL
from droq_exp.learner.spec import LearnerSpec

EPSILON = 1e-8  # beside the deviation (return_std), or the variance (return_std_max)
FIRST_COUNT = 1e-4  # of the first variance, 1, in return_std_max
LARGEST = 5.0  # the scaled return that the largest one keeps to, in return_std_max


class RewardScale:
    """Running statistics of S seeds, each of its own training, random steps included.

    The replay holds rewards as the task gave them. They are divided where they are used, by the scale of that moment.
    """

    def __init__(self, spec: LearnerSpec, device: torch.device) -> None:
        """Leave rewards as they are until the first is counted."""
        self._gamma, self._by_largest = spec.gamma, spec.reward_scale == "return_std_max"
        names = ("returns", "count", "mean", "variance", "largest", "scale")
        self._of: dict[str, np.ndarray] = {name: np.zeros(spec.seeds) for name in names}
        self._of["variance"][:] = float(self._by_largest)
        self._of["scale"][:] = 1
        self._columns = spec.layout.columns
        self._on_device = torch.ones(spec.seeds, 1, 1, device=device)  # changes in place: a CUDA graph reads it

    def count(self, rows: np.ndarray) -> None:
        """Take in one transition of each seed's training, ``[S, row]``.

        The reward that ends an episode, by a time limit too, begins the next return, as in both originals.
        """
        of, columns = self._of, self._columns
        reward = rows[:, columns.reward][:, 0].astype(np.float64)
        ended = rows[:, columns.terminated][:, 0] + rows[:, columns.truncated][:, 0] > 0
        of["returns"] = self._gamma * (1 - ended) * of["returns"] + reward
        before, difference = of["count"], of["returns"] - of["mean"]
        of["count"] = before + 1
        weight = before + (FIRST_COUNT if self._by_largest else 0)
        of["variance"] = (of["variance"] * weight + difference**2 * before / of["count"]) / of["count"]
        of["mean"] = of["mean"] + difference / of["count"]
        of["largest"] = np.maximum(of["largest"], np.abs(of["returns"]))
        if self._by_largest:
            of["scale"] = np.maximum(np.sqrt(of["variance"] + EPSILON), of["largest"] / LARGEST)
        else:
            of["scale"] = np.sqrt(of["variance"]) + EPSILON
        self._send()

    def scale_rows(self, rows: Tensor, seeds: slice = ALL) -> None:
        """Scale the rewards of the transitions ``rows`` ``[S, n, row]`` of ``seeds``, in place."""
        rows[..., self._columns.reward].div_(self._on_device[seeds])

    def scale(self, index: int) -> float:
        """By what one seed's rewards are divided: the unit of its critics, in that of the task."""
        return float(self._of["scale"][index])

    def tensors_of(self, index: int) -> dict[str, Tensor]:
        """What the values of one seed's critics mean."""
        return {"reward_scale": torch.tensor(self._of["scale"][index])}

    def load_tensors_of(self, index: int, tensors: dict[str, Tensor]) -> None:
        """Scale as :meth:`tensors_of` says; nothing can be counted then."""
        self._of["scale"][index] = tensors["reward_scale"].item()
        self._send()

    def state_of(self, index: int) -> dict[str, float]:
        """All of one seed that changes."""
        return {name: float(values[index]) for name, values in self._of.items()}

    def load_state_of(self, index: int, state: dict[str, float]) -> None:
        """Go on where :meth:`state_of` was asked."""
        for name, values in self._of.items():
            values[index] = state[name]
        self._send()

    def _send(self) -> None:
        self._on_device.copy_(torch.from_numpy(self._of["scale"][:, None, None]))
