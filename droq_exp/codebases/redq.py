"""REDQ's original code base (Chen et al., 2021): the policy learns on the last critic minibatch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import cycle
from typing import ClassVar

import numpy as np

from droq_exp.config.schema import RedqBiasConfig
from droq_exp.evaluation.bias import soft_bias
from droq_exp.evaluation.episodes import Episode
from droq_exp.evaluation.returns import EnvPool, EvaluatedAgent, Measurement, evaluate, evaluation_seeds
from droq_exp.learner.orders import PolicyBesideCritics
from droq_exp.random_streams import Stream, derived_seed, generator


@dataclass(frozen=True)
class RedqCodebase:
    """Policy and temperature are updated every ``policy_update_delay`` critic updates, and on the last of a step."""

    name: str = "redq"
    policy_update_delay: int = 20
    first_alpha: float | None = 0.2

    actor_heads: ClassVar[int] = 2  # mean and log std, each Xavier-initialised with its own fan-out

    @staticmethod
    def random_steps(start_steps: int) -> int:
        """Environment steps with random actions: while ``len(replay) <= start_steps``."""
        return start_steps + 1

    @staticmethod
    def first_update_step(start_steps: int, batch_size: int) -> int:
        """Environment step (from 1) after which the first updates run: ``len(replay) > start_steps``."""
        return start_steps + 1

    @staticmethod
    def action_map(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Scale and offset ``[2, act]`` from [-1, 1] to the action box."""
        return np.stack([(high - low) / 2, (high + low) / 2])

    @staticmethod
    def policy_objective(num_critics: int, num_min: float, dropout_rate: float) -> str:
        """How the critics enter the policy's objective: the mean over all N, for every algorithm."""
        return "mean"

    @property
    def order(self) -> PolicyBesideCritics:
        """Critics and policy side by side."""
        return PolicyBesideCritics(self.policy_update_delay)

    def measure(
        self,
        agent: EvaluatedAgent,
        seed_index: int,
        envs: EnvPool,
        seed: int,
        step: int,
        episodes: int,
        bias: RedqBiasConfig,
        gamma: float,
    ) -> Measurement[dict[str, float]]:
        """Evaluate seed ``seed_index`` after environment step ``step``: returns, and Q-bias along fresh rollouts.

        The bias rollouts follow the stochastic policy from resets. So many are played at once as it takes of long ones.
        """
        metrics, _ = yield from evaluate(envs(episodes), evaluation_seeds(seed, step, episodes))
        if bias.enabled:
            own = envs(math.ceil(bias.min_pairs / bias.steps_per_episode))
            rollouts = (
                Episode(
                    env,
                    derived_seed(seed, Stream.BIAS_ENV, step, number),
                    generator(seed, Stream.BIAS_ACTION, step, number),
                )
                for number, env in enumerate(cycle(own))
            )
            metrics |= yield from soft_bias(
                agent,
                seed_index,
                rollouts,
                len(own),
                gamma,
                bias.min_pairs,
                bias.steps_per_episode,
                bias.temperature,
                generator(seed, Stream.BIAS_ACTION, step),
            )
        return metrics
