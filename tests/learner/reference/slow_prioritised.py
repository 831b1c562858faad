"""The slow learner with prioritised replay, as plain as the specification; mutations override the small methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .records import Batch, CriticDraws, CriticRecord, PolicyDraws, PolicyRecord
from .slow_learner import SlowLearner
from .slow_rows import Row


class SlowPrioritised(SlowLearner):
    """One seed with rows, priorities and beta; ``prioritise`` first, then ``enter`` and ``learn`` in turn."""

    alpha_exponent, epsilon = 0.6, 1e-4

    def prioritise(self, error: str, steps: int, capacity: int) -> None:
        """``steps``: environment steps times critic updates of each, of the whole run."""
        self.error, self.steps, self.capacity = error, steps, capacity
        self.beta = 0.4
        self.rows: list[Row] = []
        self.priorities: list[np.float32] = []
        self.entered = 0
        self.weights: Tensor | None = None

    # ---- rows ---------------------------------------------------------------------------------------------------

    def enter(self, row: Row, draws: CriticDraws, pair: Sequence[int]) -> None:
        """Store a row with the error of the networks as they are."""
        target = self.target_values(replace(draws, batch=self.batch_of([row])))
        errors = [abs(float(self.value_of(critic, row, draws) - target[0])) for critic in pair]
        priority = self.priority(self.first_error(errors))
        if len(self.rows) < self.capacity:
            self.rows.append(row)
            self.priorities.append(priority)
        else:
            self.rows[self.entered % self.capacity] = row
            self.priorities[self.entered % self.capacity] = priority
        self.entered += 1

    def first_error(self, errors: list[float]) -> float:
        return sum(errors) / len(errors)

    def value_of(self, critic: int, row: Row, draws: CriticDraws) -> Tensor:
        batch = self.batch_of([row])
        masks = draws.online_masks[critic] if draws.online_masks else None
        return self.critics[critic](batch.obs, batch.action, masks).detach()[0]

    def priority(self, error: float) -> np.float32:
        return np.float32((error + self.epsilon) ** self.alpha_exponent)

    def batch_of(self, rows: Sequence[Row]) -> Batch:
        obs, action, next_obs = (
            torch.tensor(np.array([getattr(row, name) for row in rows]), dtype=torch.float64)
            for name in ("obs", "action", "next_obs")
        )
        reward, bootstrap = (
            torch.tensor([getattr(row, name) for row in rows], dtype=torch.float64) for name in ("reward", "bootstrap")
        )
        return Batch(obs, action, reward, next_obs, torch.full_like(reward, torch.nan), bootstrap)

    # ---- minibatches --------------------------------------------------------------------------------------------

    def grow(self) -> None:
        self.beta = min(1 - 1e-4, self.beta + 0.6 / self.steps)

    def draw(self, uniforms: Tensor) -> tuple[Batch, Tensor, list[int]]:
        """A minibatch, its weights and the places of its rows."""
        self.grow()
        return self.drawn(uniforms)

    def drawn(self, uniforms: Tensor) -> tuple[Batch, Tensor, list[int]]:
        total = sum(float(p) for p in self.priorities)
        places = []
        for uniform in uniforms.tolist():
            reached, place = 0.0, -1
            while reached <= uniform * total:
                place += 1
                reached += float(self.priorities[place])
            places.append(place)
        weights = [(len(self.rows) * float(self.priorities[place]) / total) ** -self.beta for place in places]
        scaled = torch.tensor([weight / max(weights) for weight in weights], dtype=torch.float64)
        return self.batch_of([self.rows[place] for place in places]), scaled, places

    def learned(self, places: list[int], record: CriticRecord) -> None:
        errors = (record.q - record.target).abs()
        of_each = errors[0] if self.error == "first" else errors.mean(0)
        for place, error in zip(places, of_each.tolist(), strict=True):
            self.priorities[place] = self.priority(error)

    # ---- an environment step ------------------------------------------------------------------------------------

    def learn(self, critic_draws: list[CriticDraws], policy: PolicyDraws, uniforms: Tensor) -> None:
        """All updates: as either code base has them, the policy's once, at the end."""
        redq = self.settings.codebase == "redq"
        for number, draws in enumerate(critic_draws):
            batch, self.weights, places = self.draw(uniforms[number])
            record = self.critic_gradients(replace(draws, batch=batch))
            last = number == len(critic_draws) - 1
            if redq and last:
                self.policy_step_of(batch, policy, record, places)
                continue
            self.critic_step(record)
            self.polyak()
            self.learned(places, record)
        if not redq:
            batch, self.weights, _ = self.draw(uniforms[len(critic_draws)])
            told = self.policy_gradients(0, batch, policy)
            self.temperature_step(told)
            self.policy_step(told)

    def policy_step_of(self, batch: Batch, policy: PolicyDraws, record: CriticRecord, places: list[int]) -> None:
        """The last update of ``redq``: all gradients come before all steps."""
        told = self.policy_gradients(0, batch, policy)
        self.temperature_step(told)
        self.critic_step(record)
        self.policy_step(told)
        self.polyak()
        self.learned(places, record)

    # ---- losses -------------------------------------------------------------------------------------------------

    def critic_loss(self, q: Tensor, target: Tensor) -> Tensor:
        assert self.weights is not None
        return sum((self.weights * (q_i - target) ** 2).mean() for q_i in q)  # type: ignore[return-value]

    def policy_gradients(self, update: int, batch: Batch, draws: PolicyDraws) -> PolicyRecord:
        squashed, log_prob = self.actor(batch.obs, draws.noise)
        action = self.critic_action(squashed)
        masks = draws.masks or [None] * len(self.critics)
        q = torch.stack([critic(batch.obs, action, mask) for critic, mask in zip(self.critics, masks, strict=True)])
        loss = self.policy_mean(self.alpha().detach() * log_prob - self.policy_value(q))
        gradients = list(torch.autograd.grad(loss, list(self.actor.parameters())))
        temperature_loss = -self.log_alpha * self.temperature_mean((log_prob + self.settings.target_entropy).detach())
        (gradient,) = torch.autograd.grad(temperature_loss, [self.log_alpha])
        return PolicyRecord(update, loss.detach(), log_prob.detach(), gradients, temperature_loss.detach(), gradient)

    def policy_mean(self, values: Tensor) -> Tensor:
        assert self.weights is not None
        return (self.weights * values).mean()

    def temperature_mean(self, values: Tensor) -> Tensor:
        assert self.weights is not None
        return (self.weights * values).mean()
