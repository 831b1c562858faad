"""The learner for CUDA graphs: it reads on the device how many updates there have been."""

from __future__ import annotations

import torch
from torch import Tensor

from droq_exp.learner.backend import Backend
from droq_exp.learner.learner import Learner
from droq_exp.learner.optimiser import BETA1, adam_coefficients_at
from droq_exp.learner.programs import Program
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState


class DeviceLearner(Learner):
    """A learner whose calls launch the same work at every environment step of one program.

    ``LearnerState`` counts on the host: ``begin`` tells the device what has been counted, as kernel arguments, so
    nobody waits; ``finish`` counts the environment step's updates. The calls between them can be a graph's replay.
    """

    def __init__(self, spec: LearnerSpec, state: LearnerState, action_map: Tensor, backend: Backend) -> None:
        """As :class:`Learner`."""
        # Entering a compiled function costs a replayed graph nothing: one update is enough to compile.
        super().__init__(spec, state, action_map, backend, updates_at_once=1)
        updates, device = spec.utd_ratio, state.critic.device
        policy_updates = spec.policy_updates
        rates = [spec.critic_learning_rate] * updates
        rates += [spec.actor_learning_rate, spec.temperature_learning_rate] * policy_updates
        beta1s = [spec.adam_beta1] * updates + [spec.adam_beta1, BETA1] * policy_updates
        numbers = [*range(1, updates + 1), *(1 + i // 2 for i in range(2 * policy_updates))]
        self._critic, self._policy = slice(updates), slice(updates, updates + 2 * policy_updates)
        if spec.features is not None:
            rates += [spec.features.learning_rate] * spec.feature_updates
            beta1s += [BETA1] * spec.feature_updates
            numbers += range(1, spec.feature_updates + 1)
        self._rates, self._beta1s = (torch.tensor(each, dtype=torch.float64).to(device) for each in (rates, beta1s))
        self._numbers = torch.tensor(numbers).to(device)
        self._counts = torch.zeros_like(self._numbers)  # of updates before this environment step
        # Rows of 16 bytes or more: Inductor copies inputs that are not aligned so.
        self._coefficients = torch.zeros(len(rates), 4, dtype=spec.dtype, device=device)[:, :2]

    def begin(self) -> None:
        """Tell the device what has been counted before an environment step."""
        self._counts[self._critic].fill_(self.state.critic_updates)
        self._counts[self._policy].fill_(self.state.policy_updates)
        if self.spec.feature_updates:
            self._counts[self._policy.stop :].fill_(self.state.feature_updates)

    def compute_coefficients(self) -> None:
        """Compute Adam's for the environment step that ``begin`` began; first of all that is captured."""
        counts = self._counts + self._numbers
        self._coefficients.copy_(adam_coefficients_at(counts, self._rates, self._beta1s, self.spec.decay))

    def finish(self, program: Program) -> None:
        """Count the updates of an environment step."""
        self.count_critic_updates(self.spec.utd_ratio)
        self.state.policy_updates += program.policy_updates
        self.state.feature_updates += self.spec.feature_updates

    def changed_tensors(self) -> list[Tensor]:
        """All that the updates change in place."""
        return [*self.state.tensors().values(), self.critic_before_last]

    def _critic_coefficients(self, start: int, count: int) -> Tensor:
        return self._coefficients[start : start + count]

    def _policy_coefficients(self, update: int) -> Tensor:
        return self._coefficients[self._policy].unflatten(0, (-1, 2))[update]

    def _feature_coefficients(self, update: int) -> Tensor:
        return self._coefficients[self._policy.stop + update]
