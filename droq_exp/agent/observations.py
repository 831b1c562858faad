"""Observations as the learner sees them: by the mean and deviation of those of training so far, or as they are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from droq_exp.learner.spec import LearnerSpec

EPSILON = 1e-8  # beside the variance, as in Gymnasium's NormalizeObservation
ALL = slice(None)
LARGEST = 10.0  # of what has hardly moved in training and then does, as in Stable-Baselines3's VecNormalize


class ObservationScale:
    """Running statistics of S seeds, each of its own training; whoever else acts finds them as they are then.

    The replay holds observations as the task gave them. They are scaled where they are used, with the statistics of
    that moment: (obs - mean) / sqrt(variance + EPSILON), between -LARGEST and LARGEST.
    """

    def __init__(self, spec: LearnerSpec, device: torch.device) -> None:
        """Leave observations as they are until the first is counted."""
        shape = spec.seeds, spec.obs_dim
        self._counts = np.zeros((spec.seeds, 1))
        self._means, self._squares = np.zeros(shape), np.zeros(shape)  # squares: of the differences from the mean
        self._shift, self._factor = np.zeros(shape, np.float32), np.ones(shape, np.float32)
        self._columns = spec.layout.columns
        self._on_device = torch.zeros(2, *shape, device=device)  # changes in place: a CUDA graph reads it
        self._send()

    def count(self, obs: np.ndarray) -> None:
        """Take in one observation of each seed's training, ``[S, obs]``."""
        self._counts += 1
        before = obs - self._means
        self._means += before / self._counts
        self._squares += before * (obs - self._means)
        self._shift[:] = self._means
        self._factor[:] = 1 / np.sqrt(self._squares / self._counts + EPSILON)
        self._send()

    def scaled(self, obs: np.ndarray, seeds: slice = ALL) -> np.ndarray:
        """Give observations of ``seeds``, ``[S, obs]`` or ``[S, n, obs]``, as the learner sees them, float32."""
        between = (seeds, *[None] * (obs.ndim - 2))
        scaled = (obs.astype(np.float32) - self._shift[between]) * self._factor[between]
        return np.clip(scaled, -LARGEST, LARGEST, out=scaled)

    def scale_rows(self, rows: Tensor, seeds: slice = ALL) -> None:
        """Scale both observations of ``rows`` of ``seeds``, ``[S, n, row]``, in place; to the bit as ``scaled``."""
        shift, factor = self._on_device[:, seeds, None]
        for columns in (self._columns.obs, self._columns.next_obs):
            rows[..., columns].sub_(shift).mul_(factor).clamp_(-LARGEST, LARGEST)

    def tensors_of(self, index: int) -> dict[str, Tensor]:
        """What evaluation and play need of one seed, float32 ``[obs]`` each."""
        return {"obs_shift": torch.tensor(self._shift[index]), "obs_factor": torch.tensor(self._factor[index])}

    def load_tensors_of(self, index: int, tensors: dict[str, Tensor]) -> None:
        """Scale as :meth:`tensors_of` says; nothing can be counted then."""
        self._shift[index], self._factor[index] = tensors["obs_shift"].numpy(), tensors["obs_factor"].numpy()
        self._send()

    def state_of(self, index: int) -> dict[str, Tensor]:
        """All of one seed that changes, float64."""
        arrays = {"count": self._counts, "mean": self._means, "squares": self._squares}
        return {name: torch.tensor(array[index]) for name, array in arrays.items()} | self.tensors_of(index)

    def load_state_of(self, index: int, state: dict[str, Tensor]) -> None:
        """Go on where :meth:`state_of` was asked."""
        self._counts[index] = state["count"].numpy()
        self._means[index], self._squares[index] = state["mean"].numpy(), state["squares"].numpy()
        self.load_tensors_of(index, state)

    def _send(self) -> None:
        self._on_device.copy_(torch.from_numpy(np.stack([self._shift, self._factor])))
