"""The agent: a pack of seeds that act and learn; it knows no logger, disk or environment."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from droq_exp.agent.device_step import DeviceStep
from droq_exp.agent.host_step import HostStep
from droq_exp.agent.policy import acting_policy
from droq_exp.agent.replay import Replay
from droq_exp.codebases import Codebase
from droq_exp.learner.backend import EAGER, Backend
from droq_exp.learner.draws import Draws
from droq_exp.learner.dropout import KeepMask
from droq_exp.learner.networks import critic_shapes, critic_values, named, unflatten
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import CRITIC_METRICS, POLICY_METRICS, LearnerState
from droq_exp.random_streams import Stream, generator, generator_state, set_generator_state


class Batch(NamedTuple):
    """All that the updates of one environment step read."""

    rows: Tensor  # [S, minibatches, B, row], transitions
    draws: Draws


class Agent:
    """S seeds of one algorithm in one code base, trained side by side.

    The target that ``conf/algo`` names; another one is called in the same way.
    """

    def __init__(
        self,
        spec: LearnerSpec,
        *,
        name: str,
        codebase: Codebase,
        seeds: list[int],
        action_low: np.ndarray,
        action_high: np.ndarray,
        device: str = "cpu",
        backend: Backend = EAGER,
    ) -> None:
        """Draw the initial parameters; nothing is compiled before the first update.

        The backend ``graphs`` acts, draws and learns by :class:`DeviceStep`, as CUDA graphs where the device has CUDA.
        """
        self.name = name
        self.seeds = seeds
        self.codebase = codebase
        self.device = torch.device(device)
        self.spec = spec
        action_map = torch.as_tensor(codebase.action_map(action_low, action_high), dtype=torch.float32)
        self.state = LearnerState.initial(self.spec, seeds, self.device)
        self._policy = acting_policy(self.state.actor, self.spec, action_map.numpy())
        parts = self.spec, self.state, action_map.to(self.device), codebase, seeds
        self.environment_step: HostStep | DeviceStep
        if backend.name == "graphs":
            self.environment_step = DeviceStep(*parts, backend)
        else:
            self.environment_step = HostStep(*parts, self._policy, backend)
        self._exploration = [generator(seed, Stream.EXPLORATION) for seed in seeds]
        self._action_low, self._action_high = action_low, action_high

    def random_action(self) -> np.ndarray:
        """Draw uniform actions from the action box, ``[S, act]``."""
        drawn = [rng.uniform(self._action_low, self._action_high) for rng in self._exploration]
        return np.stack(drawn).astype(np.float32)

    @torch.no_grad()
    def explore(self, obs: np.ndarray) -> np.ndarray:
        """Sample the policy's actions ``[S, act]`` for observations ``[S, obs]``."""
        noise = np.stack([rng.standard_normal(self.spec.act_dim, dtype=np.float32) for rng in self._exploration])
        return self.environment_step.explore(obs, noise)

    @torch.no_grad()
    def sample(self, replay: Replay) -> Batch:
        """Draw all that is random in the updates of one environment step, and gather their minibatches."""
        return Batch(*self.environment_step.sample(replay))

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        """Run the updates of one environment step."""
        self.environment_step.update(batch.rows, batch.draws)

    def act(self, obs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Act for every seed at n observations at once, without a stream of the agent's own.

        Args:
            obs: ``[S, n, obs]``.
            noise: standard normal, ``[S, n, act]``; 0 for the deterministic action, ``tanh(mean)``.

        Returns:
            The actions mapped to the environment, ``[S, n, act]``, and their log-densities ``[S, n]``.

        """
        return self._policy.sample_with_density(obs, noise)

    @torch.no_grad()
    def q_values(self, member: int, obs: np.ndarray, action: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Evaluate seed ``member``'s critics at n pairs, with fresh dropout masks as in training: ``[N, n]``."""
        params = named(self.state.critic[member : member + 1], critic_shapes(self.spec))
        inputs = self._tensor(np.concatenate([obs, action], -1)[None])
        keep = self._fresh_keep(len(obs), rng) if self.spec.dropout_rate else None
        return critic_values(params, inputs, keep, self.spec)[0].cpu().numpy()

    def temperature(self, member: int) -> float:
        """Return seed ``member``'s current temperature alpha."""
        return float(self.state.alpha[member])

    def take_metrics(self) -> list[dict[str, float]]:
        """Return each seed's means over the updates since the last call, and start the next interval.

        The one place where the host waits for the device. Before the first update the dictionaries are empty.
        """
        state = self.state
        critic, policy = state.critic_sums.tolist(), state.policy_sums.tolist()
        if not any(row[-1] for row in critic):
            return [{} for _ in self.seeds]
        state.critic_sums.zero_()
        state.policy_sums.zero_()
        return [
            {
                **{name: total / critic[i][-1] for name, total in zip(CRITIC_METRICS, critic[i], strict=False)},
                **{name: total / policy[i][-1] for name, total in zip(POLICY_METRICS, policy[i], strict=False)},
                "temperature": self.temperature(i),
            }
            for i in range(len(self.seeds))
        ]

    def member_state(self, member: int) -> dict[str, Any]:
        """Return all of seed ``member`` that changes: tensors, counters, random generators. A copy, on the CPU."""
        return {
            "tensors": self.state.full_member(member),
            "critic_updates": self.state.critic_updates,
            "policy_updates": self.state.policy_updates,
            "draws": self.environment_step.draws_state(member),
            "exploration": generator_state(self._exploration[member]),
        }

    def load_member_state(self, member: int, state: dict[str, Any]) -> None:
        """Make seed ``member`` what :meth:`member_state` returned; the counters are common to the pack."""
        self.state.load_member(member, state["tensors"])
        self.state.critic_updates = state["critic_updates"]
        self.state.policy_updates = state["policy_updates"]
        self.environment_step.load_draws_state(member, state["draws"])
        set_generator_state(self._exploration[member], state["exploration"])

    def non_finite(self, member: int) -> list[str]:
        """Name what of seed ``member`` is infinite or NaN: logged sums since the last reading, and parameters."""
        state = self.state
        logged = [*zip(CRITIC_METRICS, state.critic_sums[member], strict=False)]
        logged += zip(POLICY_METRICS, state.policy_sums[member], strict=False)
        parameters = [
            (name, getattr(state, name)[member]) for name in ("critic", "critic_target", "actor", "log_alpha")
        ]
        return [name for name, value in logged + parameters if not bool(value.isfinite().all())]

    def _fresh_keep(self, pairs: int, rng: np.random.Generator) -> list[Tensor]:
        shapes = [(self.spec.num_critics, pairs, width) for width in self.spec.hidden_sizes]
        flat = np.empty(sum(int(np.prod(shape)) for shape in shapes), dtype=np.uint8)
        KeepMask(flat, self.spec.dropout_rate).redraw(rng)
        return unflatten(torch.from_numpy(flat[None]).to(self.device), shapes)

    def _tensor(self, array: np.ndarray) -> Tensor:
        # A copy: torch aligns its memory, NumPy does not, and matrix multiplications may round by alignment.
        return torch.tensor(array, dtype=self.spec.dtype, device=self.device)
