"""What a code base decides: when updates begin and in which order they come, the policy objective, what is measured."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from droq_exp.evaluation.returns import EnvPool, EvaluatedAgent, Measurement
from droq_exp.learner.parts import Order


class Codebase(Protocol):
    """One published way to run the algorithms; an instance is built from ``conf/codebase/<name>.yaml``."""

    @property
    def name(self) -> str:
        """That of its file, and of the folder of its runs."""

    @property
    def first_alpha(self) -> float | None:
        """The temperature up to and including the first policy update; None: the initial one."""

    @property
    def actor_heads(self) -> int:
        """Output heads of the actor that are initialised each with its own fan-out."""

    @property
    def order(self) -> Order:
        """In which order critics and policy learn where the algorithm has none of its own."""

    def random_steps(self, start_steps: int) -> int:
        """Environment steps with random actions."""

    def first_update_step(self, start_steps: int, batch_size: int) -> int:
        """Environment step (from 1) after which the first updates run."""

    def action_map(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Scale and offset ``[2, act]`` from [-1, 1] to what critics and environment see, for the box ``low, high``."""

    def policy_objective(self, num_critics: int, num_min: float, dropout_rate: float) -> str:
        """How the critics enter the policy's objective: ``mean`` or ``min`` over all N."""

    def measure(
        self,
        agent: EvaluatedAgent,
        seed_index: int,
        envs: EnvPool,
        seed: int,
        step: int,
        episodes: int,
        bias: Any,
        gamma: float,
    ) -> Measurement[dict[str, float]]:
        """Evaluate one seed after environment step ``step``: returns, and the critics' bias where ``bias`` enables it.

        Args:
            agent: acts for all seeds that train together.
            seed_index: which of them is measured.
            envs: lends environments of the task.
            seed: of the run, from which its resets and draws follow.
            step: environment step.
            episodes: of the deterministic policy.
            bias: the ``bias`` block of this code base.
            gamma: the discount of the returns that the critics estimate.
        """
