"""The policy where it acts: the learner's network on few observations, so in as few calls as it takes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from droq_exp.learner.networks import actor_shapes, clamped_distribution, log_density, named, squashed
from droq_exp.learner.spec import LearnerSpec


class ActingPolicy:
    """The policies of S seeds; observations come from the host, actions of the environments' scale go back to it."""

    def __init__(self, flat: Tensor, spec: LearnerSpec, action_map: Tensor) -> None:
        """Look at the actors' parameters ``flat`` ``[S, n]`` from now on: they are changed in place.

        ``action_map`` is ``[2, act]``: scale and offset from [-1, 1] to what the environment sees.
        """
        params = named(flat, actor_shapes(spec))
        layers = range(len(params) // 2)
        self._layers = [(params[f"weight{i}"][:, 0], params[f"bias{i}"][:, 0]) for i in layers]
        self._scale, self._offset = action_map
        self._dtype, self._device = spec.dtype, flat.device

    @torch.no_grad()
    def sample(self, obs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Act at ``obs`` ``[S, n, obs]`` with standard normal ``noise`` ``[S, n, act]``: actions ``[S, n, act]``.

        Where the noise is 0 the action is that of the deterministic policy, tanh(mean).
        """
        mean, log_std = self._distribution(obs)
        return self._to_env(squashed(mean, log_std, self._tensor(noise)))

    @torch.no_grad()
    def sample_with_density(self, obs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`sample`; also the actions' log-densities ``[S, n]`` (before their scale)."""
        mean, log_std = self._distribution(obs)
        drawn = self._tensor(noise)
        action = squashed(mean, log_std, drawn)
        return self._to_env(action), log_density(log_std, drawn, action).cpu().numpy()

    def _distribution(self, obs: np.ndarray) -> tuple[Tensor, Tensor]:
        """As ``networks.policy_distribution``; the bias is added within the multiplication."""
        hidden = self._tensor(obs)
        for weight, bias in self._layers[:-1]:
            hidden = torch.baddbmm(bias, hidden, weight).relu_()
        weight, bias = self._layers[-1]
        return clamped_distribution(torch.baddbmm(bias, hidden, weight))

    def _tensor(self, array: np.ndarray) -> Tensor:
        # A copy: torch aligns its memory, NumPy does not, and matrix multiplications may round by alignment.
        return torch.tensor(array, dtype=self._dtype, device=self._device)

    def _to_env(self, action: Tensor) -> np.ndarray:
        return (action * self._scale + self._offset).cpu().numpy()
