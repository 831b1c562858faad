"""Whole episodes from seeded resets, those of all seeds side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from droq_exp.envs import exchange

if TYPE_CHECKING:
    import gymnasium

# Episodes of one seed that are played at once, at most. The policy is always asked for so many actions of each seed:
# matrix multiplications round by their shapes, and an episode's numbers are not to depend on how many run beside it.
SIDE_BY_SIDE = 16


class BrokenOffError(Exception):
    """Episodes were broken off before their ends, because the caller asked for it."""


class ActingAgent(Protocol):
    """S seeds that act."""

    seeds: list[int]

    def act(self, obs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give actions [S, n, act_dim] and their log probabilities [S, n] at obs [S, n, obs_dim].

        ``noise`` [S, n, act_dim] is standard normal, or 0 for the deterministic policy.
        """


@dataclass(frozen=True)
class Episode:
    """An episode to be played, from ``env.reset(seed=seed)`` to its real end: it depends on nothing before it.

    Args:
        env: an environment of its own; training's would lose its episode.
        seed: of the reset.
        rng: draws the noise of its actions; None: the deterministic policy.
    """

    env: gymnasium.Env
    seed: int
    rng: np.random.Generator | None = None


@dataclass(frozen=True)
class Trajectory:
    """One whole episode of T steps."""

    obs: np.ndarray  # float32 [T, obs_dim], the observation that each action was chosen at
    action: np.ndarray  # float32 [T, act_dim]
    reward: np.ndarray  # float64 [T]
    log_prob: np.ndarray  # float64 [T], of each action; NaN for the deterministic policy
    terminated: bool  # how it ended: by the task itself (a fall), or else by the time limit
    info: Mapping[str, float] = field(default_factory=dict)  # of its last step, what env.info_metrics names

    def __len__(self) -> int:
        """Count the steps."""
        return len(self.reward)


def play(
    agent: ActingAgent, episodes: Mapping[int, Sequence[Episode]], break_off: Callable[[], bool] = lambda: False
) -> dict[int, list[Trajectory] | Exception]:
    """Play the episodes of some seeds, one call of the policy for a step of all that have not ended.

    Args:
        agent: whose seeds act.
        episodes: by seed index; at most ``SIDE_BY_SIDE`` each.
        break_off: asked before each step.

    Returns:
        Each seed's trajectories in the order of its episodes, or what one of its environments raised: the episodes of
        that seed are broken off then, the others go on.

    Raises:
        BrokenOffError: ``break_off`` said so.

    """
    recordings: dict[int, list[_Recording]] = {}
    errors: dict[int, Exception] = {}
    for seed_index, asked in episodes.items():
        try:
            recordings[seed_index] = [_Recording(episode) for episode in asked]
        except Exception as error:
            errors[seed_index] = error
    running = [
        (seed_index, slot, each) for seed_index, several in recordings.items() for slot, each in enumerate(several)
    ]
    shape = (len(agent.seeds), SIDE_BY_SIDE)
    obs, noise = (np.zeros((*shape, size), dtype=np.float32) for size in (running[0][2].sizes if running else (0, 0)))
    while running:
        if break_off():
            raise BrokenOffError
        for seed_index, slot, recording in running:
            recording.prepare(obs[seed_index, slot], noise[seed_index, slot])
        action, log_prob = agent.act(obs, noise)
        for seed_index, slot, recording in running:
            if seed_index not in errors:
                try:
                    recording.step(action[seed_index, slot], log_prob[seed_index, slot])
                except Exception as error:
                    errors[seed_index] = error
        running = [each for each in running if each[0] not in errors and not each[2].ended]
    return {
        seed_index: errors[seed_index]
        if seed_index in errors
        else [each.trajectory() for each in recordings[seed_index]]
        for seed_index in episodes
    }


class _Recording:
    """An episode while it is played."""

    def __init__(self, episode: Episode) -> None:
        self._env, self._rng = episode.env, episode.rng
        self._obs: list[np.ndarray] = []
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []
        self._log_probs: list[float] = []
        self._terminated = self.ended = False
        self._info: Mapping[str, float] = {}
        self._now = exchange.reset(self._env, episode.seed)

    @property
    def sizes(self) -> tuple[int, int]:
        """Lengths of an observation and of an action."""
        assert self._env.action_space.shape is not None
        return self._now.size, self._env.action_space.shape[0]

    def prepare(self, obs: np.ndarray, noise: np.ndarray) -> None:
        """Fill in what the next action depends on."""
        obs[:] = self._now
        if self._rng is not None:
            self._rng.standard_normal(dtype=np.float32, out=noise)

    def step(self, action: np.ndarray, log_prob: float) -> None:
        """Act."""
        outcome = exchange.step(self._env, action, len(self._rewards) + 1)
        self._obs.append(self._now)
        self._actions.append(outcome.action)
        self._rewards.append(outcome.reward)
        self._log_probs.append(float("nan") if self._rng is None else float(log_prob))
        self._now = outcome.obs
        self._terminated, self.ended = outcome.terminated, outcome.terminated or outcome.truncated
        if self.ended:
            self._info = exchange.info_metrics(self._env, outcome.info, len(self._rewards))

    def trajectory(self) -> Trajectory:
        """What was played."""
        return Trajectory(
            np.stack(self._obs),
            np.stack(self._actions),
            np.array(self._rewards),
            np.array(self._log_probs),
            self._terminated,
            self._info,
        )
