"""The networks of the slow reference, one ordinary module each, written from the algorithms' description."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

LOG_STD_RANGE = (-20.0, 2.0)
LAYER_NORM_EPS = 1e-5


class Critic(nn.Module):
    """Q(s, a): hidden layers ``Linear -> [Dropout] -> [LayerNorm] -> ReLU``, then ``Linear(., 1)``."""

    def __init__(
        self, obs_dim: int, act_dim: int, hidden: Sequence[int], dropout_rate: float, layer_norm: bool
    ) -> None:
        super().__init__()
        self.dropout_rate = dropout_rate
        sizes = [obs_dim + act_dim, *hidden]
        self.linears = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))
        self.norms = nn.ModuleList(nn.LayerNorm(o, eps=LAYER_NORM_EPS) for o in hidden if layer_norm)
        self.output = nn.Linear(sizes[-1], 1)

    def forward(self, obs: Tensor, action: Tensor, masks: Sequence[Tensor] | None) -> Tensor:
        """``[B]`` values; ``masks`` is one ``[B, H]`` keep mask per hidden layer, None where nothing is dropped."""
        if (masks is None) != (self.dropout_rate == 0.0):
            raise ValueError(f"masks do not fit the dropout rate {self.dropout_rate}")
        x = torch.cat([obs, action], dim=1)
        for k, linear in enumerate(self.linears):
            x = linear(x)
            if masks is not None:
                x = x * masks[k].to(x.dtype) / (1.0 - self.dropout_rate)
            if len(self.norms):
                x = self.norms[k](x)
            x = torch.relu(x)
        return self.output(x).squeeze(1)


class Actor(nn.Module):
    """Tanh-squashed diagonal Gaussian; the output is ``[mean, log_std]`` side by side (one head or two is the same)."""

    def __init__(self, obs_dim: int, act_dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        sizes = [obs_dim, *hidden]
        self.linears = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))
        self.output = nn.Linear(sizes[-1], 2 * act_dim)

    def forward(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """``(tanh(u) [B, A], log_prob [B])`` where ``u = mean + std * noise``."""
        x = obs
        for linear in self.linears:
            x = torch.relu(linear(x))
        mean, log_std = self.output(x).chunk(2, dim=1)
        log_std = log_std.clamp(*LOG_STD_RANGE)
        u = mean + log_std.exp() * noise
        log_normal = -0.5 * noise**2 - log_std - 0.5 * math.log(2.0 * math.pi)  # (u - mean) / std is the noise
        squashed = torch.tanh(u)
        log_prob = (log_normal - torch.log(1.0 - squashed**2 + 1e-6)).sum(dim=1)
        return squashed, log_prob
