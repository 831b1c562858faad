"""What the agent does at every environment step, called from the host: act, draw and gather minibatches, update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from droq_exp.agent.minibatches import PrioritisedMinibatches
from droq_exp.agent.policy import ActingPolicy
from droq_exp.agent.replay import Replay, RowScale
from droq_exp.learner.backend import Backend
from droq_exp.learner.draws import Draws, DrawSampler
from droq_exp.learner.learner import Learner
from droq_exp.learner.prioritised import PrioritisedLearner
from droq_exp.learner.programs import Program
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState


class HostExecution:
    """The learner of one agent with the generators that feed it; :class:`CudaGraphs` is the same as CUDA graphs."""

    def __init__(
        self,
        spec: LearnerSpec,
        state: LearnerState,
        action_map: Tensor,
        seeds: list[int],
        scales: Sequence[RowScale],
        policy: ActingPolicy,
        backend: Backend,
    ) -> None:
        """Nothing is compiled before the first update; ``action_map`` and ``backend`` are :class:`Learner`'s."""
        self.learner = (Learner if spec.per is None else PrioritisedLearner)(spec, state, action_map, backend)
        self._policy, self._scales = policy, scales
        self._sampler = DrawSampler(spec, seeds, state.critic.device, keyed=self.learner.draws_masks)

    def sample(self, replay: Replay) -> tuple[Tensor | PrioritisedMinibatches, Draws]:
        """Draw for the updates of one environment step, and gather their minibatches ``[S, minibatches, B, row]``.

        With prioritised replay they are gathered between the updates.
        """
        draws = self._sampler.draw(replay.sizes)
        if draws.indices is None:
            return PrioritisedMinibatches(replay, self._scales, draws), draws
        return replay.minibatches(draws.indices, self.learner.spec.batch_size, self._scales), draws

    def update(self, rows: Tensor | PrioritisedMinibatches, draws: Draws) -> None:
        """Run the updates of one environment step on what ``sample`` returned."""
        self.run(self.learner.program(), rows, draws)

    def run(self, program: Program, rows: Tensor | PrioritisedMinibatches, draws: Draws) -> None:
        """Run the updates of ``program``."""
        if isinstance(rows, Tensor):
            self.learner.run(program, rows, draws)
        else:
            assert isinstance(self.learner, PrioritisedLearner)
            self.learner.run_drawing(program, rows, draws)

    def stored(self, replay: Replay) -> None:
        """Give the rows that ``replay`` has stored since the last call their priorities, by today's critics."""
        assert replay.priorities is not None
        assert isinstance(self.learner, PrioritisedLearner)
        for seed_index, rows in replay.without_priority():
            seed = slice(seed_index, seed_index + 1)
            for scale in self._scales:
                scale.scale_rows(rows, seed)
            each = rows.split(1, 1)
            errors = [self.learner.error_of(seed_index, row, self._sampler.draw_new_row(seed_index)) for row in each]
            replay.priorities.enter(seed_index, torch.cat(errors))

    def explore(self, obs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Return the policy's actions ``[S, act]`` for observations ``[S, obs]`` and standard normal ``[S, act]``."""
        return self._policy.sample(obs[:, None], noise[:, None])[:, 0]

    def draws_state(self, seed_index: int) -> dict[str, Any]:
        """Return where the generators of seed ``seed_index`` are, by stream."""
        return self._sampler.seed_state(seed_index)

    def load_draws_state(self, seed_index: int, state: dict[str, Any]) -> None:
        """Put the generators of seed ``seed_index`` where :meth:`draws_state` found them."""
        self._sampler.load_seed_state(seed_index, state)
