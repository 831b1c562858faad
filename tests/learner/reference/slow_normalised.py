"""XQC and FlashSAC as their implementations have them, one seed and one network at a time.

Written from the description alone, in float64, by autograd and torch's own Adam, with loops over transitions and atoms:
nothing of the learner is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

ATOMS = [-5 + 0.1 * j for j in range(101)]
MOMENTUM = 0.01
DOUBLE: dict[str, Any] = {"dtype": torch.float64}


class SlowNorm(nn.Module):
    """Batch normalisation of one layer; ``pending`` is what its statistics become once its pass was used."""

    def __init__(self, width: int, eps: float, unbiased: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width, **DOUBLE))
        self.shift = nn.Parameter(torch.zeros(width, **DOUBLE))
        self.mean, self.variance = torch.zeros(width, **DOUBLE), torch.ones(width, **DOUBLE)
        self.eps, self.unbiased = eps, unbiased
        self.pending: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor, training: bool) -> Tensor:
        mean, variance = self.mean, self.variance
        if training:
            mean, variance = x.mean(0), x.var(0, unbiased=False)
            self.pending = mean.detach(), x.detach().var(0, unbiased=self.unbiased)
        return (x - mean) / torch.sqrt(variance + self.eps) * self.scale + self.shift

    def move(self) -> None:
        assert self.pending is not None
        self.mean = (1 - MOMENTUM) * self.mean + MOMENTUM * self.pending[0]
        self.variance = (1 - MOMENTUM) * self.variance + MOMENTUM * self.pending[1]


class SlowNetwork(nn.Module):
    """Linear layers, all but the last without bias, and norms; which comes where is for a subclass to say."""

    def __init__(self, fans: list[tuple[int, int]], norms: list[SlowNorm]) -> None:
        super().__init__()
        last = len(fans) - 1
        self.layers = nn.ModuleList([nn.Linear(*fan, bias=i == last, **DOUBLE) for i, fan in enumerate(fans)])
        self.norms = nn.ModuleList(norms)

    def move(self) -> None:
        for norm in self.norms:
            norm.move()

    @torch.no_grad()
    def project(self) -> None:
        for layer in self.layers:
            for unit in range(layer.out_features):
                layer.weight[unit] /= layer.weight[unit].norm()


class XqcNetwork(SlowNetwork):
    """``x = BN(x)``, then ``x = ReLU(BN(W x))`` for each hidden layer, then the last layer."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], outputs: int) -> None:
        widths = [inputs, *hidden]
        fans = list(zip(widths, [*hidden, outputs], strict=True))
        super().__init__(fans, [SlowNorm(width, 1e-3, unbiased=False) for width in widths])

    def forward(self, x: Tensor, training: bool) -> Tensor:
        x = self.norms[0](x, training)
        for layer, norm in zip(list(self.layers)[:-1], list(self.norms)[1:], strict=True):
            x = torch.relu(norm(layer(x), training))
        return self.layers[-1](x)


class FlashNetwork(SlowNetwork):
    """``x = W0 BN(x)``, blocks ``x + ReLU(BN(W2 ReLU(BN(W1 x))))``, RMS norm, the last layer."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], outputs: int) -> None:
        width, blocks = hidden[0], len(hidden)
        fans = [(inputs, width)]
        for _ in range(blocks):
            fans += [(width, 4 * width), (4 * width, width)]
        widths = [inputs, *[4 * width, width] * blocks]
        norms = [SlowNorm(each, 1e-5, unbiased=True) for each in widths]
        super().__init__([*fans, (width, outputs)], norms)
        self.last_scale = nn.Parameter(torch.ones(width, **DOUBLE))

    def forward(self, x: Tensor, training: bool) -> Tensor:
        x = self.layers[0](self.norms[0](x, training))
        for i in range(1, len(self.norms), 2):
            inner = torch.relu(self.norms[i](self.layers[i](x), training))
            x = x + torch.relu(self.norms[i + 1](self.layers[i + 1](inner), training))
        x = x / torch.sqrt((x**2).mean(1, keepdim=True) + 1e-6) * self.last_scale
        return self.layers[-1](x)

    @torch.no_grad()
    def project(self) -> None:
        super().project()
        for norm in self.norms:
            factor = math.sqrt(len(norm.scale) / ((norm.scale**2).sum() + (norm.shift**2).sum() + 1e-8))
            norm.scale *= factor
            norm.shift *= factor
        self.last_scale *= math.sqrt(len(self.last_scale) / ((self.last_scale**2).sum() + 1e-8))


@dataclass
class Batch:
    obs: Tensor
    action: Tensor
    reward: Tensor
    next_obs: Tensor
    terminated: Tensor


class SlowCategorical:
    """What both have in common: one seed's networks, optimisers and temperature."""

    network: type[SlowNetwork]
    gamma: float
    tau: float

    def __init__(
        self, sizes: dict[str, Any], target_entropy: float, horizon: int, scale: Tensor, offset: Tensor
    ) -> None:
        obs, act = sizes["obs_dim"], sizes["act_dim"]
        self.act_dim, self.target_entropy, self.horizon = act, target_entropy, horizon
        self.scale, self.offset = scale, offset
        critic = (obs + act, sizes["hidden_sizes"], len(ATOMS))
        self.critics, self.targets = ([self.network(*critic) for _ in range(2)] for _ in range(2))
        self.actor = self.network(obs, sizes["actor_hidden_sizes"], 2 * act)
        self.log_alpha = torch.zeros(1, **DOUBLE, requires_grad=True)
        parameters = [[p for critic in self.critics for p in critic.parameters()], [*self.actor.parameters()]]
        self.optimizers = [torch.optim.Adam(each) for each in (*parameters, [self.log_alpha])]
        self.counts = [0, 0, 0]
        self.updates = 0
        self.clipped: list[float] = []
        self.critic_losses: list[float] = []

    def rate(self, count: int) -> float:
        raise NotImplementedError

    def log_std(self, raw: Tensor) -> Tensor:
        raise NotImplementedError

    def over_critics(self, losses: list[Tensor]) -> Tensor:
        raise NotImplementedError

    def alpha(self) -> float:
        return self.log_alpha.exp().item()

    def act(self, obs: Tensor, noise: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        out = self.actor(obs, training)
        mean, log_std = out[:, : self.act_dim], self.log_std(out[:, self.act_dim :])
        u = mean + log_std.exp() * noise
        log_normal = -((u - mean) ** 2) / (2 * log_std.exp() ** 2) - log_std - 0.5 * math.log(2 * math.pi)
        log_prob = (log_normal - 2 * (math.log(2) - u - nn.functional.softplus(-2 * u))).sum(1)
        return torch.tanh(u) * self.scale + self.offset, log_prob

    def q(self, logits: Tensor) -> Tensor:
        return (torch.softmax(logits, 1) * torch.tensor(ATOMS, **DOUBLE)).sum(1)

    def step(self, which: int, loss: Tensor) -> None:
        optimizer = self.optimizers[which]
        for group in optimizer.param_groups:
            group["lr"] = self.rate(self.counts[which])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        self.counts[which] += 1

    @torch.no_grad()
    def target_distribution(self, batch: Batch, noise: Tensor) -> Tensor:
        next_action, log_prob = self.act(batch.next_obs, noise, training=False)
        both = torch.cat([torch.cat([batch.obs, batch.action], 1), torch.cat([batch.next_obs, next_action], 1)])
        logits = [target(both, True)[len(batch.obs) :] for target in self.targets]
        values = [self.q(each) for each in logits]
        self.both = both
        rows, outside = [], 0
        for b in range(len(batch.obs)):
            chosen = 0 if values[0][b] <= values[1][b] else 1
            p = torch.softmax(logits[chosen][b], 0).tolist()
            reward, factor = batch.reward[b].item(), self.gamma * (1 - batch.terminated[b].item())
            entropy_bonus = -self.alpha() * log_prob[b].item()
            row = [0.0] * len(ATOMS)
            for j, z in enumerate(ATOMS):
                moved = reward + factor * (z + entropy_bonus)
                outside += not -5 <= moved <= 5
                place = (min(max(moved, -5.0), 5.0) + 5) / 0.1
                below = min(math.floor(place), 100)
                row[below] += p[j] * (1 - (place - below))
                row[min(below + 1, 100)] += p[j] * (place - below)
            rows.append(row)
        self.clipped.append(outside / len(ATOMS) / len(batch.obs))
        return torch.tensor(rows, **DOUBLE)

    def update_critics(self, batch: Batch, noise: Tensor) -> None:
        target = self.target_distribution(batch, noise)
        count = len(batch.obs)
        losses = [
            -(target * torch.log_softmax(critic(self.both, True)[:count], 1)).sum(1).mean() for critic in self.critics
        ]
        loss = self.over_critics(losses)
        self.critic_losses.append(loss.item())
        self.step(0, loss)
        for critic, target_critic in zip(self.critics, self.targets, strict=True):
            critic.project()
            critic.move()
            with torch.no_grad():
                for ours, follows in zip(critic.parameters(), target_critic.parameters(), strict=True):
                    follows.copy_((1 - self.tau) * follows + self.tau * ours)

    def policy_loss(self, batch: Batch, action: Tensor, log_prob: Tensor) -> Tensor:
        inputs = torch.cat([batch.obs, action], 1)
        values = [self.q(critic(inputs, False)) for critic in self.critics]
        return (self.alpha() * log_prob - torch.minimum(*values)).mean()

    def update_temperature(self, log_prob: Tensor) -> None:
        entropy = -log_prob.detach().mean()
        self.step(2, (self.log_alpha.exp() * (entropy - self.target_entropy)).sum())


class SlowXqc(SlowCategorical):
    network = XqcNetwork
    gamma, tau = 0.995, 0.005

    def rate(self, count: int) -> float:
        return 3e-4 + (3e-5 - 3e-4) * min(count, self.horizon) / self.horizon

    def log_std(self, raw: Tensor) -> Tensor:
        return raw.clip(-10, 2)

    def over_critics(self, losses: list[Tensor]) -> Tensor:
        return losses[0] + losses[1]

    def update(self, batch: Batch, next_noise: Tensor, policy_noise: Tensor) -> None:
        """One critic update; the policy's is used on every third, its statistics always."""
        learns = self.updates % 3 == 0
        self.update_critics(batch, next_noise)
        action, log_prob = self.act(batch.obs, policy_noise, training=True)
        if learns:
            self.step(1, self.policy_loss(batch, action, log_prob))
            self.update_temperature(log_prob)
        self.actor.project()
        self.actor.move()
        self.updates += 1


class SlowFlashSac(SlowCategorical):
    network = FlashNetwork
    gamma, tau = 0.99, 0.01

    def rate(self, count: int) -> float:
        if count == 0:
            return 3e-4
        progress = min((count - 1) / (self.horizon - 1), 1)
        return 1.5e-4 + 1.5e-4 * (1 + math.cos(math.pi * progress)) / 2

    def log_std(self, raw: Tensor) -> Tensor:
        return -10 + 6 * (1 + torch.tanh(raw))

    def over_critics(self, losses: list[Tensor]) -> Tensor:
        return (losses[0] + losses[1]) / 2

    def update(self, batch: Batch, next_noise: Tensor, policy_noise: Tensor) -> None:
        """One critic update; before every second one policy and temperature learn."""
        if self.updates % 2 == 0:
            both = torch.cat([batch.obs, batch.next_obs])
            action, log_prob = self.act(both, torch.cat([policy_noise, torch.randn_like(policy_noise)]), training=True)
            count = len(batch.obs)
            self.step(1, self.policy_loss(batch, action[:count], log_prob[:count]))
            self.actor.project()
            self.actor.move()
            self.update_temperature(log_prob[:count])
        self.update_critics(batch, next_noise)
        self.updates += 1
