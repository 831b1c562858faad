"""OFENet and its learning, as slow and plain as can be: a module per block, ``torch.optim.Adam``, one seed."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """``concat[swish(W x + b), x]``."""

    def __init__(self, size: int, units: int, normalisation: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(size, units)
        self.norm = nn.LayerNorm(units) if normalisation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        z = self.norm(self.linear(x))
        return torch.cat([z / (1 + torch.exp(-z)), x], dim=1)


class SlowOFENet(nn.Module):
    """Both branches and the head."""

    def __init__(
        self, obs_dim: int, act_dim: int, layers: int, units: int, predicted: int, normalisation: bool = False
    ) -> None:
        super().__init__()
        self.predicted = predicted
        self.states = nn.ModuleList(Block(obs_dim + i * units, units, normalisation) for i in range(layers))
        pair = obs_dim + layers * units + act_dim
        self.actions = nn.ModuleList(Block(pair + i * units, units, normalisation) for i in range(layers))
        self.head = nn.Linear(pair + layers * units, predicted)

    def state(self, obs: Tensor) -> Tensor:
        for block in self.states:
            obs = block(obs)
        return obs

    def pair(self, obs: Tensor, action: Tensor) -> Tensor:
        x = torch.cat([self.state(obs), action], dim=1)
        for block in self.actions:
            x = block(x)
        return x

    def loss(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        error = self.head(self.pair(obs, action)) - next_obs[:, : self.predicted]
        return (error * error).sum() / error.numel()

    def linears(self) -> list[nn.Linear]:
        """In the order of the layers, the head last."""
        return [block.linear for block in (*self.states, *self.actions)] + [self.head]  # type: ignore[misc]
