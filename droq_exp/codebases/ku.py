"""The code base of ku2482's soft-actor-critic.pytorch: after the critics, the policy learns on its own batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from droq_exp.config.schema import KuBiasConfig
from droq_exp.evaluation.bias import bias_along
from droq_exp.evaluation.returns import EnvPool, EvaluatedAgent, Measurement, evaluate, evaluation_seeds
from droq_exp.learner.orders import PolicyAfterCritics
from droq_exp.random_streams import Stream, generator


@dataclass(frozen=True)
class KuCodebase:
    """One policy and temperature update after the ``G`` critic updates of an environment step."""

    name: str = "ku"
    first_alpha: float | None = None

    actor_heads: ClassVar[int] = 1  # one head of 2 dim(A)
    order: ClassVar[PolicyAfterCritics] = PolicyAfterCritics()

    @staticmethod
    def random_steps(start_steps: int) -> int:
        """Environment steps with random actions: while ``steps < start_steps``."""
        return start_steps

    @staticmethod
    def first_update_step(start_steps: int, batch_size: int) -> int:
        """Environment step (from 1) after which the first updates run: ``steps >= start_steps``.

        The original waits too until ``len(memory) > batch_size``.
        """
        return max(start_steps, batch_size + 1)

    @staticmethod
    def action_map(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Scale and offset ``[2, act]``: none, whatever the action box (it matters on Humanoid)."""
        return np.stack([np.ones_like(low), np.zeros_like(low)])

    @staticmethod
    def policy_objective(num_critics: int, num_min: float, dropout_rate: float) -> str:
        """How the critics enter the policy's objective.

        The minimum where neither dropout nor a random subset is at work (SAC, DroQ without dropout), else the mean
        (DroQ, REDQ); with a single critic both are that critic.
        """
        return "min" if dropout_rate == 0 and num_min == num_critics else "mean"

    def measure(
        self,
        agent: EvaluatedAgent,
        seed_index: int,
        envs: EnvPool,
        seed: int,
        step: int,
        episodes: int,
        bias: KuBiasConfig,
        gamma: float,
    ) -> Measurement[dict[str, float]]:
        """Evaluate seed ``seed_index`` after environment step ``step``: returns, and Q-bias along the same episodes."""
        metrics, trajectories = yield from evaluate(envs(episodes), evaluation_seeds(seed, step, episodes))
        if bias.enabled:
            rng = generator(seed, Stream.BIAS_ACTION, step)
            metrics |= bias_along(agent, seed_index, trajectories, gamma, rng)
        return metrics
