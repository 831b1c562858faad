"""The agent: seeds that act and learn together; it knows no logger, disk or environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from droq_exp.agent.box import ActionBox
from droq_exp.agent.cuda_graphs import CudaGraphs
from droq_exp.agent.exploration import KeptNoise
from droq_exp.agent.host import HostExecution
from droq_exp.agent.n_step import replay_of
from droq_exp.agent.observations import ALL, ObservationScale
from droq_exp.agent.policy import acting_policy
from droq_exp.agent.replay import Replay
from droq_exp.agent.rewards import RewardScale
from droq_exp.codebases import Codebase
from droq_exp.learner.backend import EAGER, Backend
from droq_exp.learner.draws import Draws
from droq_exp.learner.dropout import DropoutMask
from droq_exp.learner.networks import tensors_of, unflatten
from droq_exp.learner.spec import PRETRAINING, LearnerSpec
from droq_exp.learner.state import FEATURE_METRICS, POLICY_METRICS, LearnerState, critic_metrics
from droq_exp.learner.td_error import td_error
from droq_exp.learner.updates import feature_loss, seen_pair, seen_state
from droq_exp.random_streams import Stream, generator, generator_state, set_generator_state

NEWEST = 1000  # transitions on which the features' loss is compared


class Batch(NamedTuple):
    """All that the updates of one environment step read."""

    rows: Any  # [S, minibatches, B, row]; with prioritised replay what draws them
    draws: Draws
    others: tuple[Batch, ...] = ()  # of the learners beside the first, where there are several


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
        normalize_observation: bool = False,
    ) -> None:
        """Draw the initial parameters; nothing is compiled before the first update.

        The backend ``graphs`` acts, draws and learns by :class:`CudaGraphs`, as CUDA graphs where the device has CUDA.
        """
        self.name = name
        self.seeds = seeds
        self.codebase = codebase
        self.device = torch.device(device)
        self.spec = spec
        action_map = torch.as_tensor(codebase.action_map(action_low, action_high), dtype=torch.float32)
        self.state = LearnerState.initial(self.spec, seeds, self.device)
        actor = self.state.actor, self.state.actor_buffers
        self._policy = acting_policy(*actor, self.spec, action_map.numpy(), self.state.features)
        self._observations = ObservationScale(self.spec, self.device) if normalize_observation else None
        self._rewards = None if spec.reward_scale == "none" else RewardScale(spec, self.device)
        self._scales = [each for each in (self._observations, self._rewards) if each is not None]
        self._action_map = action_map.to(self.device)
        parts = self.state, self._action_map, seeds, self._scales

        def execution(of: LearnerSpec) -> HostExecution | CudaGraphs:
            if backend.name == "graphs":
                return CudaGraphs(of, *parts, backend)
            return HostExecution(of, *parts, self._policy, backend)

        self.execution = execution(spec)
        self._phases = {name: execution(spec.of_phase(name)) for name in spec.phases}
        self._exploration = [generator(seed, Stream.EXPLORATION) for seed in seeds]
        self._kept_noise = KeptNoise(len(seeds), spec.act_dim, spec.noise_repeat) if spec.noise_repeat > 1 else None
        self._action_low, self._action_high = action_low, action_high
        self.box = ActionBox(action_low, action_high, action_map.numpy())

    def new_replay(self, capacity: int) -> Replay:
        """Make the empty replay buffer that the agent learns from, of ``capacity`` rows of each seed."""
        return replay_of(self.spec, capacity, self.device)

    def random_action(self) -> np.ndarray:
        """Draw uniform actions from the action box, ``[S, act]``."""
        drawn = [rng.uniform(self._action_low, self._action_high) for rng in self._exploration]
        return self.box.fit(np.stack(drawn).astype(np.float32))

    def observe(self, obs: np.ndarray) -> None:
        """Take in what training sees, ``[S, obs]``, once an environment step; only normalisation looks at it."""
        if self._observations is not None:
            self._observations.count(obs)

    def receive(self, rows: np.ndarray) -> None:
        """Take in what training got, transitions ``[S, row]``, once an environment step; only reward scaling looks."""
        if self._rewards is not None:
            self._rewards.count(rows)

    @torch.no_grad()
    def explore(self, obs: np.ndarray) -> np.ndarray:
        """Sample the policy's actions ``[S, act]`` for observations ``[S, obs]``."""
        if self._kept_noise is not None:
            noise = self._kept_noise.draw(self._exploration)
        else:
            noise = np.stack([rng.standard_normal(self.spec.act_dim, dtype=np.float32) for rng in self._exploration])
        return self.box.fit(self.execution.explore(self._seen(obs), noise))

    @torch.no_grad()
    def stored(self, replay: Replay) -> None:
        """Take notice of what ``replay`` has stored since the last call; only prioritised replay does."""
        if replay.priorities is not None:
            assert isinstance(self.execution, HostExecution)
            self.execution.stored(replay)

    @torch.no_grad()
    def sample(self, replay: Replay) -> Batch:
        """Draw all that is random in the updates of one environment step, and gather their minibatches."""
        return Batch(*self.execution.sample(replay))

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        """Run the updates of one environment step."""
        self.execution.update(batch.rows, batch.draws)

    @torch.no_grad()
    def run_phase(self, name: str, replay: Replay) -> None:
        """Make one chunk of a phase's updates, on fresh minibatches; what it does not concern stands still."""
        phase = self._phases[name]
        batch = Batch(*phase.sample(replay))
        phase.update(batch.rows, batch.draws)

    def act(self, obs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Act for every seed at n observations at once, without a stream of the agent's own.

        Args:
            obs: ``[S, n, obs]``.
            noise: standard normal, ``[S, n, act]``; 0 for the deterministic action, ``tanh(mean)``.

        Returns:
            The actions mapped to the environment, ``[S, n, act]``, and the log-densities ``[S, n]`` of what they are
            before they are put into the box.

        """
        actions, log_prob = self._policy.sample_with_density(self._seen(obs), noise)
        return self.box.fit(actions), log_prob

    @torch.no_grad()
    def q_values(self, seed_index: int, obs: np.ndarray, action: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Evaluate seed ``seed_index``'s critics at n pairs, with fresh dropout masks as in training: ``[N, n]``.

        Values and :meth:`temperature` are in units of the task's rewards.
        """
        spec = self.spec
        one = slice(seed_index, seed_index + 1)
        params = tensors_of(spec.critic, self.state.critic[one], self.state.critic_buffers[one], spec)
        state = seen_state(self.state.features[one], self._tensor(self._seen(obs[None], one)), spec)
        inputs = seen_pair(self.state.features[one], state, self._tensor(action[None]), spec)
        dropout_masks = self._fresh_masks(len(obs), rng) if spec.dropout_rate else None
        outputs, _ = spec.critic.outputs(*params, inputs, dropout_masks, spec, training=False)
        return spec.objective.value(outputs)[0].cpu().numpy() * self._reward_scale(seed_index)

    @torch.no_grad()
    def td_error(self, seed_index: int, rows: Tensor, noise: np.ndarray) -> tuple[float, float]:
        """How far seed ``seed_index``'s critics are from their targets, without dropout in either.

        Args:
            seed_index: counts the seeds trained together.
            rows: ``[n, row]``, as the replay holds them.
            noise: standard normal ``[n, act]``, of the actions at the next states.

        Returns:
            The squared errors' mean over critics and rows, and the variance of the targets.
        """
        one = slice(seed_index, seed_index + 1)
        rows = rows[None].clone()
        for scale in self._scales:
            scale.scale_rows(rows, one)
        return td_error(self.spec, self.state, one, rows, self._tensor(noise)[None], self._action_map)

    def measured_beside(self, evaluation: int) -> dict[str, Agent]:
        """Return what is measured beside the agent at an evaluation, by the column of its mean return: nothing."""
        return {}

    def temperature(self, seed_index: int) -> float:
        """Return seed ``seed_index``'s current temperature alpha."""
        return float(self.state.alpha[seed_index]) * self._reward_scale(seed_index)

    def take_metrics(self) -> list[dict[str, float]]:
        """Return each seed's means over the updates since the last call, and start the next interval.

        The one place where the host waits for the device. Of what has had no update since, there is no mean.
        """
        state = self.state
        critic, policy = state.critic_sums.tolist(), state.policy_sums.tolist()
        state.critic_sums.zero_()
        state.policy_sums.zero_()
        return [
            _means(critic_metrics(self.spec), critic[i])
            | _means(POLICY_METRICS, policy[i])
            | ({"temperature": float(state.alpha[i])} if critic[i][-1] else {})
            | ({} if self._rewards is None else {"reward_scale": self._rewards.scale(i)})
            for i in range(len(self.seeds))
        ]

    def take_phase_metrics(self, name: str, replay: Replay) -> list[dict[str, float]]:
        """Return each seed's means over a phase's updates since the last call, and how many there are of their kind."""
        if name == PRETRAINING:
            return [each | {"updates": self.state.feature_updates} for each in self.take_feature_metrics(replay)]
        sums = self.state.offline_sums.tolist()
        self.state.offline_sums.zero_()
        return [_means(critic_metrics(self.spec), each) | {"updates": self.state.critic_updates} for each in sums]

    @torch.no_grad()
    def take_feature_metrics(self, replay: Replay) -> list[dict[str, float]]:
        """Return each seed's mean loss of the features since the last call, and what it is of a prediction s' = s.

        The latter on the newest transitions, NEWEST at most. Without features, or updates of them, there is neither.
        """
        features, state = self.spec.features, self.state
        if features is None or not state.feature_updates:
            return [{} for _ in self.seeds]
        sums = state.features_sums.tolist()
        state.features_sums.zero_()
        rows = replay.newest(NEWEST)
        for scale in self._scales:
            scale.scale_rows(rows)
        rows = rows.to(self.spec.dtype)
        batch = self.spec.layout.split(rows)
        loss = feature_loss(state.features, rows, self.spec)[1]
        ratios = (loss / features.baseline(batch.obs, batch.next_obs, self.spec)).tolist()
        return [
            _means(FEATURE_METRICS, each) | {"features_ratio": ratio} for each, ratio in zip(sums, ratios, strict=True)
        ]

    def weights_of(self, seed_index: int) -> dict[str, Tensor]:
        """Return copies on the CPU of all of seed ``seed_index`` that evaluation and playing need."""
        weights = self.state.tensors_of(seed_index)
        for scale in self._scales:
            weights |= scale.tensors_of(seed_index)
        return weights

    def load_weights_of(self, seed_index: int, weights: dict[str, Tensor]) -> None:
        """Make seed ``seed_index`` act as :meth:`weights_of` says."""
        self.state.load_tensors_of(seed_index, {name: weights[name] for name in self.state.tensors_of(seed_index)})
        for scale in self._scales:
            scale.load_tensors_of(seed_index, weights)

    def seed_state(self, seed_index: int) -> dict[str, Any]:
        """Return all of seed ``seed_index`` that changes: tensors, counters, random generators. A copy, on the CPU."""
        return {
            "tensors": self.state.all_tensors_of(seed_index),
            "critic_updates": self.state.critic_updates,
            "policy_updates": self.state.policy_updates,
            "feature_updates": self.state.feature_updates,
            "offline_updates": self.state.offline_updates,
            "draws": self.execution.draws_state(seed_index),
            "phase_draws": {name: phase.draws_state(seed_index) for name, phase in self._phases.items()},
            "exploration": generator_state(self._exploration[seed_index]),
            "observations": None if self._observations is None else self._observations.state_of(seed_index),
            "rewards": None if self._rewards is None else self._rewards.state_of(seed_index),
            "kept_noise": None if self._kept_noise is None else self._kept_noise.state_of(seed_index),
        }

    def load_seed_state(self, seed_index: int, state: dict[str, Any]) -> None:
        """Make seed ``seed_index`` what :meth:`seed_state` returned; the counters are common to all seeds."""
        self.state.load_tensors_of(seed_index, state["tensors"])
        self.state.critic_updates = state["critic_updates"]
        self.state.policy_updates = state["policy_updates"]
        self.state.feature_updates = state.get("feature_updates", 0)  # older states know of none
        self.state.offline_updates = state.get("offline_updates", 0)
        self.execution.load_draws_state(seed_index, state["draws"])
        for name, phase in self._phases.items():
            phase.load_draws_state(seed_index, state["phase_draws"][name])
        set_generator_state(self._exploration[seed_index], state["exploration"])
        if self._observations is not None:
            self._observations.load_state_of(seed_index, state["observations"])
        if self._rewards is not None:
            self._rewards.load_state_of(seed_index, state["rewards"])
        if self._kept_noise is not None:
            self._kept_noise.load_state_of(seed_index, state["kept_noise"])

    def non_finite(self, seed_index: int) -> list[str]:
        """Name what of seed ``seed_index`` is infinite or NaN: logged sums since the last reading, and parameters."""
        state = self.state
        logged = [*zip(critic_metrics(self.spec), state.critic_sums[seed_index], strict=False)]
        logged += zip(POLICY_METRICS, state.policy_sums[seed_index], strict=False)
        logged += zip(critic_metrics(self.spec), state.offline_sums[seed_index], strict=False)
        logged += zip(FEATURE_METRICS, state.features_sums[seed_index], strict=False)
        names = ("critic", "critic_target", "actor", "log_alpha", "features")
        parameters = [(name, getattr(state, name)[seed_index]) for name in names]
        return [name for name, value in logged + parameters if not bool(value.isfinite().all())]

    def _seen(self, obs: np.ndarray, seeds: slice = ALL) -> np.ndarray:
        return obs if self._observations is None else self._observations.scaled(obs, seeds)

    def _reward_scale(self, seed_index: int) -> float:
        """The unit of a seed's critics, in that of the task's rewards."""
        return 1.0 if self._rewards is None else self._rewards.scale(seed_index)

    def _fresh_masks(self, pairs: int, rng: np.random.Generator) -> list[Tensor]:
        shapes = [(self.spec.num_critics, pairs, width) for width in self.spec.hidden_sizes]
        flat = np.empty(sum(int(np.prod(shape)) for shape in shapes), dtype=np.uint8)
        DropoutMask(flat, self.spec.dropout_rate).redraw(rng)
        return unflatten(torch.from_numpy(flat[None]).to(self.device), shapes)

    def _tensor(self, array: np.ndarray) -> Tensor:
        # A copy: torch aligns its memory, NumPy does not, and matrix multiplications may round by alignment.
        return torch.tensor(array, dtype=self.spec.dtype, device=self.device)


def _means(names: Sequence[str], sums: list[float]) -> dict[str, float]:
    """What the updates' sums make of each; how many they were comes last."""
    *totals, updates = sums
    return {name: total / updates for name, total in zip(names, totals, strict=True)} if updates else {}
