"""Features that learn to predict the next observation (OFENet), on which actor and critics stand.

Written from a description of the method (Ota et al. 2020, arXiv:2003.01629). Where a number comes from: O the method's
code, N the name of a run of REDQ's authors, G a guess of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from droq_exp.config.rules import NOT_NEGATIVE, POSITIVE, at_least, one_of, or_null
from droq_exp.config.schema import key
from droq_exp.learner.hyperparameters import Hyperparameters
from droq_exp.learner.networks import Shapes, initial_parameters, normalise

if TYPE_CHECKING:
    from droq_exp.learner.parts import Params

LAYERS = 6  # of a task without a row in the code base's table (G)


@dataclass(frozen=True)
class OFENet:
    """Two branches of L blocks that each put new features in front of what they get: phi_s of s, phi_sa of phi_s and a.

    A block is ``y = concat[swish(W x + b), x]``; a linear head on phi_sa predicts the first D components of s' (O).
    """

    reads: ClassVar[tuple[str, ...]] = ()

    total_units: int = key(240, "new features of each branch (O)", at_least(1))
    layers: int | None = key(None, "L, blocks of each branch (O by task); null: 6 (G)", or_null(at_least(1)))
    target_dim: int | None = key(
        None, "D, first components of the next observation that are predicted; null: all", or_null(at_least(1))
    )
    normalisation: str = key("none", "between linear and activation; layer is ours", one_of("none", "layer"))
    learning_rate: float = key(3e-4, "of Adam (O, N)", POSITIVE)
    weight_decay: float = key(
        5e-5, "L2 term of the gradient, on all parameters (N; how it enters is G; O has 0)", NOT_NEGATIVE
    )
    pretraining: int = key(100_000, "updates before the first critic update (N; O has 10,000)", at_least(0))
    updates_per_step: int = key(
        4, "updates of an environment step, before the critics' (G, one for every 5 of theirs; O has 1)", at_least(0)
    )

    def __post_init__(self) -> None:
        """Refuse blocks of different sizes."""
        if self.total_units % self.depth:
            raise ValueError(f"total_units={self.total_units} must be a multiple of layers={self.depth}")

    @property
    def depth(self) -> int:
        """L."""
        return LAYERS if self.layers is None else self.layers

    def widths(self, spec: Hyperparameters) -> tuple[int, int]:
        """Numbers in phi_s and in phi_sa."""
        state = spec.obs_dim + self.total_units
        return state, state + spec.act_dim + self.total_units

    def predicted(self, spec: Hyperparameters) -> int:
        """D.

        Raises ValueError where there are not so many.
        """
        if self.target_dim is not None and self.target_dim > spec.obs_dim:
            raise ValueError(f"target_dim={self.target_dim} must be at most {spec.obs_dim}, the size of an observation")
        return self.target_dim or spec.obs_dim

    def shapes(self, spec: Hyperparameters) -> Shapes:
        """Named shapes of one seed's tensors: layer i of the state branch, L + i of the action branch, 2 L the head."""
        units, state = self.total_units // self.depth, self.widths(spec)[0]
        inputs = [start + i * units for start in (spec.obs_dim, state + spec.act_dim) for i in range(self.depth)]
        shapes: Shapes = {}
        for i, (fan_in, fan_out) in enumerate(
            [*((each, units) for each in inputs), (self.widths(spec)[1], self.predicted(spec))]
        ):
            shapes |= {f"weight{i}": (fan_in, fan_out), f"bias{i}": (1, fan_out)}
            if self.normalisation == "layer" and i < len(inputs):
                shapes |= {f"norm_scale{i}": (1, fan_out), f"norm_shift{i}": (1, fan_out)}
        return shapes

    def initial(self, spec: Hyperparameters, rng: np.random.Generator) -> np.ndarray:
        """Draw one seed's parameters ``[n]``: Glorot-uniform weights, biases 0 (O)."""
        return initial_parameters(self.shapes(spec), 1, rng)

    def state(self, params: Params, obs: Tensor, spec: Hyperparameters) -> Tensor:
        """``phi_s(s)``, ``[S, B, F]`` of ``[S, B, obs]``."""
        return self._branch(params, obs, 0)

    def pair(self, params: Params, features: Tensor, action: Tensor, spec: Hyperparameters) -> Tensor:
        """``phi_sa(s, a)``, ``[S, B, F2]`` of ``phi_s`` ``[S, B, F]`` and ``[S, B, act]``, differentiable in both."""
        return self._branch(params, torch.cat([features, action], -1), self.depth)

    def loss(self, params: Params, obs: Tensor, action: Tensor, next_obs: Tensor, spec: Hyperparameters) -> Tensor:
        """Mean squared error of the prediction of s', over batch and components: ``[S]`` (O)."""
        pair = self.pair(params, self.state(params, obs, spec), action, spec)
        head = 2 * self.depth
        predicted = torch.bmm(pair, params[f"weight{head}"]) + params[f"bias{head}"]
        return ((predicted - next_obs[..., : self.predicted(spec)]) ** 2).mean((1, 2))

    def baseline(self, obs: Tensor, next_obs: Tensor, spec: Hyperparameters) -> Tensor:
        """The loss of who predicts that nothing changes, s' = s: ``[S]``."""
        return ((next_obs - obs)[..., : self.predicted(spec)] ** 2).mean((1, 2))

    def _branch(self, params: Params, hidden: Tensor, first: int) -> Tensor:
        for i in range(first, first + self.depth):
            new = torch.bmm(hidden, params[f"weight{i}"]) + params[f"bias{i}"]
            if self.normalisation == "layer":
                new = normalise(new) * params[f"norm_scale{i}"] + params[f"norm_shift{i}"]
            hidden = torch.cat([functional.silu(new), hidden], -1)
        return hidden
