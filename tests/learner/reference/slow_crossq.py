"""CrossQ as its paper and its implementation in SBX have it, one seed and one network at a time.

Written from the description alone, in float64, by autograd and torch's own Adam: nothing of the learner is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

MOMENTUM, EPS, WARM_UP, R_MAX, D_MAX = 0.01, 1e-3, 2, 3.0, 5.0  # the paper's warm-up is 100,000 passes


class SlowRenorm(nn.Module):
    """Batch renormalisation of one network's layer; ``pending`` is what it becomes once its pass was used."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width, dtype=torch.float64))
        self.shift = nn.Parameter(torch.zeros(width, dtype=torch.float64))
        self.mean = torch.zeros(width, dtype=torch.float64)
        self.variance = torch.ones(width, dtype=torch.float64)
        self.passes = 0
        self.pending: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor, training: bool) -> Tensor:
        if not training:
            return (x - self.mean) / torch.sqrt(self.variance + EPS) * self.scale + self.shift
        mean, variance = x.mean(0), x.var(0, unbiased=False)
        self.pending = mean.detach(), variance.detach()
        if self.passes >= WARM_UP:
            with torch.no_grad():
                r = (torch.sqrt(variance + EPS) / torch.sqrt(self.variance + EPS)).clip(1 / R_MAX, R_MAX)
                d = ((mean - self.mean) / torch.sqrt(self.variance + EPS)).clip(-D_MAX, D_MAX)
            mean, variance = mean - d * torch.sqrt(variance) / r, variance / r**2
        return (x - mean) / torch.sqrt(variance + EPS) * self.scale + self.shift

    def move(self) -> None:
        assert self.pending is not None
        mean, variance = self.pending
        self.mean = (1 - MOMENTUM) * self.mean + MOMENTUM * mean
        self.variance = (1 - MOMENTUM) * self.variance + MOMENTUM * variance
        self.passes += 1
        self.pending = None


class SlowNetwork(nn.Module):
    """``x = BRN(x)``, then ``x = BRN(ReLU(W x + b))`` for each hidden layer, then the last layer."""

    def __init__(self, widths: list[int], out: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([SlowRenorm(width) for width in widths])
        ends = [*widths[1:], out]
        self.layers = nn.ModuleList([nn.Linear(a, b, dtype=torch.float64) for a, b in zip(widths, ends, strict=True)])

    def forward(self, x: Tensor, training: bool) -> Tensor:
        x = self.norms[0](x, training)
        for layer, norm in zip(list(self.layers)[:-1], list(self.norms)[1:], strict=True):
            x = norm(torch.relu(layer(x)), training)
        return self.layers[-1](x)

    def move(self) -> None:
        for norm in self.norms:
            norm.move()


@dataclass
class SlowCrossQ:
    """One seed's networks, optimisers and temperature."""

    critics: list[SlowNetwork]
    actor: SlowNetwork
    act_dim: int
    gamma: float
    target_entropy: float
    learning_rate: float
    scale: Tensor
    offset: Tensor
    log_alpha: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.float64, requires_grad=True))
    updates: int = 0
    critic_losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        betas = (0.5, 0.999)
        parameters = [p for critic in self.critics for p in critic.parameters()]
        self.critic_optimizer = torch.optim.Adam(parameters, self.learning_rate, betas)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), self.learning_rate, betas)
        self.temperature_optimizer = torch.optim.Adam([self.log_alpha], self.learning_rate)

    def act(self, obs: Tensor, noise: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        out = self.actor(obs, training)
        mean, log_std = out[:, : self.act_dim], out[:, self.act_dim :].clip(-20, 2)
        u = mean + log_std.exp() * noise
        log_normal = -((u - mean) ** 2) / (2 * log_std.exp() ** 2) - log_std - 0.5 * math.log(2 * math.pi)
        log_prob = (log_normal - 2 * (math.log(2) - u - nn.functional.softplus(-2 * u))).sum(1)
        return torch.tanh(u) * self.scale + self.offset, log_prob

    def update(
        self, obs: Tensor, action: Tensor, reward: Tensor, next_obs: Tensor, terminated: Tensor, noises: list[Tensor]
    ) -> None:
        """One critic update, and on every third one of the policy; ``noises`` are for a' and for the policy."""
        alpha = self.log_alpha.exp().item()
        with torch.no_grad():
            next_action, next_log_prob = self.act(next_obs, noises[0], training=False)
        both = torch.cat([torch.cat([obs, action], 1), torch.cat([next_obs, next_action], 1)])
        outputs = [critic(both, True)[:, 0] for critic in self.critics]
        count = len(obs)
        next_q = torch.stack([q[count:] for q in outputs]).min(0).values.detach()
        y = reward + self.gamma * (1 - terminated) * (next_q - alpha * next_log_prob)
        loss = sum((0.5 * ((q[:count] - y) ** 2).mean() for q in outputs), torch.zeros((), dtype=torch.float64))
        self.critic_losses.append(loss.item())
        self.critic_optimizer.zero_grad()
        loss.backward()
        self.critic_optimizer.step()
        for critic in self.critics:
            critic.move()
        self.updates += 1
        if self.updates % 3 == 0:
            self._update_policy(obs, noises[1], alpha)

    def _update_policy(self, obs: Tensor, noise: Tensor, alpha: float) -> None:
        action, log_prob = self.act(obs, noise, training=True)
        q = torch.stack([critic(torch.cat([obs, action], 1), False)[:, 0] for critic in self.critics]).min(0).values
        self.actor_optimizer.zero_grad()
        (alpha * log_prob - q).mean().backward()
        self.actor_optimizer.step()
        self.actor.move()
        self.temperature_optimizer.zero_grad()
        (-self.log_alpha * (log_prob.detach().mean() + self.target_entropy)).sum().backward()
        self.temperature_optimizer.step()
