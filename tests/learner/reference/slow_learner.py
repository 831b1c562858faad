"""One environment step of updates for one seed, as slow and plain as it can be written.

It follows the description of the algorithms, uses modules, autograd and ``torch.optim`` and shares no code with
``droq_exp.learner``. All randomness is passed in. The small methods are what the mutation tests override.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .networks import Actor, Critic
from .records import Batch, CriticDraws, CriticRecord, PolicyDraws, PolicyRecord, Settings, StepRecord


class SlowLearner:
    """The learner of one seed; ``update`` makes all updates of one environment step."""

    def __init__(self, settings: Settings, dtype: torch.dtype = torch.float64) -> None:
        s = self.settings = settings
        sizes = (s.obs_dim, s.act_dim, s.hidden)
        self.actor = Actor(*sizes).to(dtype)
        self.critics = [Critic(*sizes, s.dropout_rate, s.layer_norm).to(dtype) for _ in range(s.num_critics)]
        self.targets = [Critic(*sizes, s.dropout_rate, s.layer_norm).to(dtype) for _ in range(s.num_critics)]
        self.log_alpha = torch.zeros((), dtype=dtype, requires_grad=True)
        self.temperature_was_stepped = False
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=s.actor_learning_rate)
        self.critic_optimizers = [torch.optim.Adam(c.parameters(), lr=s.critic_learning_rate) for c in self.critics]
        self.temperature_optimizer = torch.optim.Adam([self.log_alpha], lr=s.temperature_learning_rate)

    # ---- what one environment step does -------------------------------------------------------------------------

    def update(self, critic_draws: list[CriticDraws], policy_draws: list[PolicyDraws]) -> StepRecord:
        """All updates of one environment step in the settings' codebase; raises when draws are left over or missing."""
        record = StepRecord()
        policy_iterator = iter(policy_draws)
        codebase = {"redq": self.redq_step, "ku": self.ku_step}[self.settings.codebase]
        codebase(critic_draws, policy_iterator, record)
        if next(policy_iterator, None) is not None:
            raise ValueError("more policy draws than policy updates")
        return record

    def redq_step(
        self, critic_draws: list[CriticDraws], policy_iterator: Iterator[PolicyDraws], record: StepRecord
    ) -> None:
        """Policy and temperature on the critics' own batch, with the critics before that update's step."""
        last = len(critic_draws) - 1
        for i, draws in enumerate(critic_draws):
            has_policy_update = (i + 1) % self.settings.policy_update_delay == 0 or i == last
            self.redq_update(i, draws, next(policy_iterator) if has_policy_update else None, record)

    def redq_update(self, i: int, draws: CriticDraws, policy: PolicyDraws | None, record: StepRecord) -> None:
        critic_record = self.critic_gradients(draws)
        record.critics.append(critic_record)
        if policy is None:
            self.critic_step(critic_record)
        else:
            policy_record = self.policy_gradients(i, draws.batch, policy)
            record.policies.append(policy_record)
            self.temperature_step(policy_record)
            self.critic_step(critic_record)
            self.policy_step(policy_record)
        self.polyak()

    def ku_step(
        self, critic_draws: list[CriticDraws], policy_iterator: Iterator[PolicyDraws], record: StepRecord
    ) -> None:
        """All critic updates, then one policy and temperature update on another batch."""
        for draws in critic_draws:
            record.critics.append(self.critic_gradients(draws))
            self.critic_step(record.critics[-1])
            self.polyak()
        policy = next(policy_iterator)
        assert policy.batch is not None
        record.policies.append(self.policy_gradients(len(critic_draws) - 1, policy.batch, policy))
        self.policy_step(record.policies[-1])
        self.temperature_step(record.policies[-1])

    # ---- losses ---------------------------------------------------------------------------------------------------

    def critic_action(self, squashed: Tensor) -> Tensor:
        """The action as the critics see it (and the replay stores it)."""
        if self.settings.codebase == "ku":
            return squashed
        return squashed * self.settings.action_scale + self.settings.action_bias

    def target_values(self, draws: CriticDraws) -> Tensor:
        """``y [B]``."""
        batch = draws.batch
        with torch.no_grad():
            squashed, log_prob = self.actor(batch.next_obs, draws.next_noise)
            action = self.critic_action(squashed)
            passes = torch.stack(
                [
                    self.targets[critic](batch.next_obs, action, draws.target_masks[j] if draws.target_masks else None)
                    for j, critic in enumerate(draws.target_critics)
                ]
            )
            if self.settings.target_mode == "min":
                value = passes.min(dim=0).values
            elif self.settings.target_mode == "ave":
                value = passes.mean(dim=0)
            elif self.settings.target_mode == "rem":
                assert draws.rem_uniforms is not None
                weights = draws.rem_uniforms / draws.rem_uniforms.sum(dim=0, keepdim=True)
                value = (weights * passes).sum(dim=0)
            else:
                raise ValueError(self.settings.target_mode)
            value = value - self.alpha() * log_prob
            if batch.bootstrap is not None:
                return batch.reward + batch.bootstrap * value
            return batch.reward + self.settings.gamma * (1.0 - batch.terminated) * value

    def critic_loss(self, q: Tensor, target: Tensor) -> Tensor:
        """``sum_i mean_B (Q_i - y)^2``."""
        return torch.stack([((q_i - target) ** 2).mean() for q_i in q]).sum()

    def policy_value(self, q: Tensor) -> Tensor:
        """``[B]``: what the policy maximises, of ``q [N, B]``."""
        if self.settings.codebase == "ku" and len(q) == 2 and self.settings.dropout_rate == 0.0:
            return torch.minimum(q[0], q[1])
        return q.mean(dim=0)  # N = 1: Q1; N = 2: (Q1 + Q2) / 2

    def alpha(self) -> Tensor:
        """The temperature: a constant until it is stepped for the first time, whatever log_alpha is."""
        if self.settings.first_alpha is not None and not self.temperature_was_stepped:
            return torch.full_like(self.log_alpha, self.settings.first_alpha)
        return self.log_alpha.exp()

    def temperature_loss(self, log_prob: Tensor) -> Tensor:
        return -self.log_alpha * (log_prob + self.settings.target_entropy).detach().mean()

    # ---- gradients ------------------------------------------------------------------------------------------------

    def critic_gradients(self, draws: CriticDraws) -> CriticRecord:
        target = self.target_values(draws)
        batch = draws.batch
        q = torch.stack(
            [
                critic(batch.obs, batch.action, draws.online_masks[i] if draws.online_masks else None)
                for i, critic in enumerate(self.critics)
            ]
        )
        loss = self.critic_loss(q, target)
        parameters = [list(c.parameters()) for c in self.critics]
        flat = iter(torch.autograd.grad(loss, [p for of_critic in parameters for p in of_critic]))
        gradients = [[next(flat) for _ in of_critic] for of_critic in parameters]
        return CriticRecord(loss.detach(), q.detach(), target, gradients)

    def policy_gradients(self, update: int, batch: Batch, draws: PolicyDraws) -> PolicyRecord:
        squashed, log_prob = self.actor(batch.obs, draws.noise)
        action = self.critic_action(squashed)
        q = torch.stack(
            [
                critic(batch.obs, action, draws.masks[i] if draws.masks else None)
                for i, critic in enumerate(self.critics)
            ]
        )
        alpha = self.alpha().detach()
        loss = (alpha * log_prob - self.policy_value(q)).mean()
        gradients = list(torch.autograd.grad(loss, list(self.actor.parameters())))
        temperature_loss = self.temperature_loss(log_prob)
        (temperature_gradient,) = torch.autograd.grad(temperature_loss, [self.log_alpha])
        return PolicyRecord(
            update, loss.detach(), log_prob.detach(), gradients, temperature_loss.detach(), temperature_gradient
        )

    # ---- steps ----------------------------------------------------------------------------------------------------

    def critic_step(self, record: CriticRecord) -> None:
        for critic, optimizer, gradients in zip(self.critics, self.critic_optimizers, record.gradients, strict=True):
            _step(list(critic.parameters()), gradients, optimizer)

    def policy_step(self, record: PolicyRecord) -> None:
        _step(list(self.actor.parameters()), record.gradients, self.actor_optimizer)

    def temperature_step(self, record: PolicyRecord) -> None:
        if self.settings.learn_temperature:
            _step([self.log_alpha], [record.temperature_gradient], self.temperature_optimizer)
            self.temperature_was_stepped = True

    def polyak(self) -> None:
        tau = self.settings.tau
        with torch.no_grad():
            for critic, target in zip(self.critics, self.targets, strict=True):
                for p, t in zip(critic.parameters(), target.parameters(), strict=True):
                    t.copy_((1.0 - tau) * t + tau * p)


def _step(parameters: list[Tensor], gradients: list[Tensor], optimizer: torch.optim.Optimizer) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
    optimizer.zero_grad()
