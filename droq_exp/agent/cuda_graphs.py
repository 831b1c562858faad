"""What the agent does at every environment step, as CUDA graphs: act, draw and gather minibatches, update.

Between the graphs the host launches a few copies and fills, and waits for one thing: the action.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from droq_exp.agent.replay import Replay, RowScale
from droq_exp.learner.backend import Backend
from droq_exp.learner.cuda.draws import DeviceDraws
from droq_exp.learner.cuda.graph import Captured
from droq_exp.learner.cuda.learner import DeviceLearner
from droq_exp.learner.draws import Draws
from droq_exp.learner.networks import tensors_of
from droq_exp.learner.programs import Program
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState
from droq_exp.learner.transfer import to_device
from droq_exp.learner.updates import seen_state


class CudaGraphs:
    """The graphs of one agent; ``draw``, ``learn`` (for each program) and ``act`` are what they capture."""

    def __init__(
        self,
        spec: LearnerSpec,
        state: LearnerState,
        action_map: Tensor,
        seeds: list[int],
        scales: Sequence[RowScale],
        backend: Backend,
    ) -> None:
        """Nothing is compiled or captured before the first call; ``action_map`` is as :class:`Learner` takes it."""
        device = state.critic.device
        self._scales = scales
        self.learner = DeviceLearner(spec, state, action_map, backend)
        self._draws = DeviceDraws(spec, seeds, device, compile_draws=backend.compiled)
        self._number = torch.zeros((), dtype=torch.int64, device=device)
        # Of all seeds the same, but where rows are made of several transitions.
        self._sizes = torch.zeros((1 if spec.n_step == 1 else spec.seeds, 1), dtype=torch.int64, device=device)
        self._act_inputs = torch.zeros(spec.seeds, 1, spec.obs_dim + spec.act_dim, dtype=spec.dtype, device=device)
        self._captured_draw = Captured(self.draw, device, list)
        self._captured_learn = {
            program: Captured(partial(self.learn, program), device, self.learner.changed_tensors)
            for program in spec.programs
        }
        self._captured_act = Captured(self.act, device, list)

    def sample(self, replay: Replay) -> tuple[Tensor, Draws]:
        """Draw for the updates of one environment step, and gather their minibatches ``[S, minibatches, B, row]``.

        The next call overwrites both.
        """
        for held, size in zip(self._sizes, replay.sizes, strict=False):
            held.fill_(size)  # a kernel's argument, as is every number that is filled in
        self._number.fill_(self.learner.steps)
        return self._captured_draw(replay)

    def update(self, rows: Tensor, draws: Draws) -> None:
        """Run the updates of one environment step on what ``sample`` returned."""
        program = self.learner.program()
        self.learner.begin()
        self._captured_learn[program](rows, draws)
        self.learner.finish(program)

    def explore(self, obs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Return the policy's actions ``[S, act]`` for observations ``[S, obs]`` and standard normal ``[S, act]``.

        Here the host waits for the device.
        """
        inputs = torch.from_numpy(np.concatenate([obs, noise], -1)[:, None]).to(self._act_inputs.dtype)
        self._act_inputs.copy_(to_device(inputs, self._act_inputs.device))
        return self._captured_act().cpu().numpy()

    def draws_state(self, seed_index: int) -> dict[str, Any]:
        """Return nothing: what seed ``seed_index`` draws follows from the seed and the number of updates."""
        return {}

    def load_draws_state(self, seed_index: int, state: dict[str, Any]) -> None:
        """Take what :meth:`draws_state` returned, or a run's generators that it had on a CPU, which are not needed."""

    def draw(self, replay: Replay) -> tuple[Tensor, Draws]:
        """Do the work of :meth:`sample` on the device."""
        draws = self._draws.draw(self._sizes, self._number)
        assert draws.indices is not None
        return replay.minibatches(draws.indices, self.learner.spec.batch_size, self._scales), draws

    def learn(self, program: Program, rows: Tensor, draws: Draws) -> None:
        """Do the work of :meth:`update` on the device."""
        self.learner.compute_coefficients()
        self.learner.run(program, rows, draws)

    def act(self) -> Tensor:
        """Do the work of :meth:`explore` on the device."""
        spec, action_map = self.learner.spec, self.learner.action_map
        obs, noise = self._act_inputs.split([spec.obs_dim, spec.act_dim], -1)
        state = self.learner.state
        params = tensors_of(spec.actor, state.actor, state.actor_buffers, spec)
        obs = seen_state(state.features, obs, spec)
        action, _, _ = spec.actor.sample(*params, obs, noise, spec, training=False)
        return action[:, 0] * action_map[0] + action_map[1]
