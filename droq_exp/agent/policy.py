"""The policy where it acts, at few observations: as ``networks.py`` defines it, or the same in fewer calls.

Between two updates every call finds the processor's caches cold, and takes several times as long as in a loop of its
own. So all but the multiplications is done by NumPy, on the host, where observations come from and actions go to. That
holds for the definitions that it was written for; once they are edited, they themselves act.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from droq_exp.learner import definitions
from droq_exp.learner.backend import say_once
from droq_exp.learner.networks import HALF_LOG_TWO_PI, LOG_STD_MAX, LOG_STD_MIN, named, tensors_of
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.updates import seen_state

CHECKED_ROWS = 2
TOLERANCE = 1e-4  # of actions and log-densities; float32 rounds to 1e-6 of them


class ActingPolicy(Protocol):
    """The policies of S seeds, each at n observations of its own."""

    def sample(self, obs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Act at ``obs`` ``[S, n, obs]`` with standard normal ``noise``: both it and the actions are ``[S, n, act]``.

        Where the noise is 0 the action is that of the deterministic policy, tanh(mean).
        """

    def sample_with_density(self, obs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`sample`; also the log-densities ``[S, n]``, as in ``parts.Actor.sample``."""


def acting_policy(
    flat: Tensor, buffers: Tensor, spec: LearnerSpec, action_map: np.ndarray, features: Tensor | None = None
) -> ActingPolicy:
    """Return the fastest policy that acts as ``networks.py`` says; where that is not NumPy's, say why, once.

    ``flat`` are the actors' parameters and ``buffers`` what moves beside them, ``[S, n]``, on any device; both change
    in place, as do the ``features``, if there are any. ``action_map`` is ``[2, act]``: scale and offset from [-1, 1] to
    what the environment sees.
    """
    against = _why_not_numpy(spec, action_map)
    if against is None:
        return NumpyPolicy(flat, spec, action_map)
    say_once(f"acting: PyTorch, not NumPy: {against}")
    return TorchPolicy(flat, buffers, spec, action_map, features)


def _why_not_numpy(spec: LearnerSpec, action_map: np.ndarray) -> str | None:
    """What stands against NumPy, by the digests and by a few actions of made-up policies, on the CPU."""
    foreign = definitions.foreign_part(spec, ["actor", "features"])
    if foreign:
        return foreign
    edited = definitions.changed(definitions.of_acting(), definitions.known()["acting"])
    if edited:
        return f"{edited[0]} is not what the NumPy policy was written for"
    if spec.activation != "relu":
        return f"it does not know activation={spec.activation}"
    rng = np.random.default_rng(0)  # of this check alone
    size = sum(math.prod(shape) for shape in spec.actor.shapes(spec).values())
    flat = torch.from_numpy(0.1 * rng.standard_normal((spec.seeds, size))).to(spec.dtype)
    obs, noise = (rng.standard_normal((spec.seeds, CHECKED_ROWS, size)) for size in (spec.obs_dim, spec.act_dim))
    policies = NumpyPolicy(flat, spec, action_map), TorchPolicy(flat, flat[:, :0], spec, action_map)
    fast, defined = (policy.sample_with_density(obs, noise) for policy in policies)
    if all(np.allclose(*pair, rtol=TOLERANCE, atol=TOLERANCE) for pair in zip(fast, defined, strict=True)):
        return None
    return "they differ on this machine"


class TorchPolicy:
    """The policy by the functions that define it."""

    def __init__(
        self, flat: Tensor, buffers: Tensor, spec: LearnerSpec, action_map: np.ndarray, features: Tensor | None = None
    ) -> None:
        """As :func:`acting_policy`."""
        self._flat, self._buffers, self._spec, self._features = flat.detach(), buffers, spec, features
        self._scale, self._offset = action_map

    def sample(self, obs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """As :meth:`ActingPolicy.sample`."""
        return self.sample_with_density(obs, noise)[0]

    def sample_with_density(self, obs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`ActingPolicy.sample_with_density`."""
        actor, spec = self._spec.actor, self._spec
        at, sampled = (torch.tensor(array, dtype=spec.dtype, device=self._flat.device) for array in (obs, noise))
        params = tensors_of(actor, self._flat, self._buffers, spec)
        at = seen_state(self._features, at, spec)
        action, log_prob, _ = actor.sample(*params, at, sampled, spec, training=False)
        return action.cpu().numpy() * self._scale + self._offset, log_prob.cpu().numpy()


class NumpyPolicy:
    """The policy with all but its multiplications in NumPy."""

    def __init__(self, flat: Tensor, spec: LearnerSpec, action_map: np.ndarray) -> None:
        """As :func:`acting_policy`."""
        params = named(flat.detach(), spec.actor.shapes(spec))
        self._layers = [(params[f"weight{i}"][:, 0], params[f"bias{i}"][:, 0]) for i in range(len(params) // 2)]
        self._act_dim = spec.act_dim
        # Some BLAS round the rows of a matrix by their position where the result is narrow and its width no multiple of
        # 8 (MKL with AVX2): an episode's actions would depend on how many run beside it.
        weight, bias = self._layers[-1]
        width = -(-weight.shape[-1] // 8) * 8
        self._wide_weight = weight.new_zeros(*weight.shape[:-1], width)
        self._wide_bias = bias.new_zeros(*bias.shape[:-1], width)
        self._scale, self._offset = action_map
        # Observations are copied here: torch aligns its memory, NumPy does not, and multiplications may round by that.
        self._obs = torch.empty(spec.seeds, 1, spec.obs_dim, dtype=spec.dtype)

    def sample(self, obs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """As :meth:`ActingPolicy.sample`."""
        action, _ = self._squashed(obs, noise)
        return action * self._scale + self._offset

    def sample_with_density(self, obs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`ActingPolicy.sample_with_density`."""
        action, log_std = self._squashed(obs, noise)
        log_normal = -0.5 * noise * noise - log_std - HALF_LOG_TWO_PI
        log_prob = (log_normal - np.log(1 - action * action + 1e-6)).sum(-1)
        return action * self._scale + self._offset, log_prob

    def _squashed(self, obs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions in [-1, 1] and log standard deviations of the Gaussian before tanh, each ``[S, n, act]``."""
        out = self._network(obs)
        log_std = np.clip(out[..., self._act_dim :], LOG_STD_MIN, LOG_STD_MAX)
        return np.tanh(out[..., : self._act_dim] + noise * np.exp(log_std)), log_std

    def _network(self, obs: np.ndarray) -> np.ndarray:
        """The last layer's output ``[S, n, 2 act]``, as in ``SquashedGaussianActor.distribution``."""
        if self._obs.shape[1] != obs.shape[1]:
            self._obs = self._obs.new_empty(obs.shape)
        self._obs.numpy()[:] = obs
        hidden = self._obs.to(self._layers[0][0].device)
        for weight, bias in self._layers[:-1]:
            hidden = torch.baddbmm(bias, hidden, weight).relu_()
        weight, bias = self._layers[-1]
        if obs.shape[1] == 1:
            return torch.baddbmm(bias, hidden, weight).cpu().numpy()
        width = weight.shape[-1]
        self._wide_weight[..., :width], self._wide_bias[..., :width] = weight, bias  # they change in place
        return torch.baddbmm(self._wide_bias, hidden, self._wide_weight)[..., :width].cpu().numpy()
