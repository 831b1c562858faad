"""Returns of the deterministic policy over whole episodes, each from a seeded reset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    import gymnasium

Act = Callable[[np.ndarray], tuple[np.ndarray, float]]


class EvaluatedAgent(Protocol):
    """What evaluation and the bias estimates ask of an agent; ``member`` is the index in its pack of seeds."""

    def mean_action(self, member: int, obs: np.ndarray) -> np.ndarray:
        """Give the deterministic action [act_dim] at obs [obs_dim]."""

    def sample_action(self, member: int, obs: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Draw an action [act_dim] at obs [obs_dim]; with its log probability."""

    def q_values(self, member: int, obs: np.ndarray, action: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Give all N critics' values [N, n] of obs [n, obs_dim], action [n, act_dim], with fresh dropout masks."""

    def temperature(self, member: int) -> float:
        """Give the current temperature alpha."""


@dataclass(frozen=True)
class Trajectory:
    """One whole episode of T steps."""

    obs: np.ndarray  # float32 [T, obs_dim], the observation that each action was chosen at
    action: np.ndarray  # float32 [T, act_dim]
    reward: np.ndarray  # float64 [T]
    log_prob: np.ndarray  # float64 [T], of each action; NaN for the deterministic policy
    terminated: bool  # how it ended: by the task itself (a fall), or else by the time limit

    def __len__(self) -> int:
        """Count the steps."""
        return len(self.reward)


def rollout(env: gymnasium.Env, act: Act, seed: int) -> Trajectory:
    """Run one episode from ``env.reset(seed=seed)`` to its real end.

    Args:
        env: an environment of its own; training's would lose its episode.
        act: obs float32 [obs_dim] -> (action [act_dim], log probability).
        seed: seeds the reset, so that the episode depends on nothing before it.
    """
    observations, actions, rewards, log_probs = [], [], [], []
    raw, _ = env.reset(seed=seed)
    terminated = truncated = False
    while not (terminated or truncated):
        obs = np.array(raw, dtype=np.float32)
        action, log_prob = act(obs)
        raw, reward, terminated, truncated, _ = env.step(action)
        observations.append(obs)
        actions.append(np.array(action, dtype=np.float32))
        rewards.append(float(reward))
        log_probs.append(float(log_prob))
    return Trajectory(
        np.stack(observations), np.stack(actions), np.array(rewards), np.array(log_probs), bool(terminated)
    )


def evaluate(
    agent: EvaluatedAgent, member: int, env: gymnasium.Env, episodes: int, seeds: Iterator[int]
) -> tuple[dict[str, float], list[Trajectory]]:
    """Run the deterministic policy for some episodes, one reset seed each.

    Returns:
        What :func:`summary` says of the episodes, and the episodes themselves.
    """

    def act(obs: np.ndarray) -> tuple[np.ndarray, float]:
        return agent.mean_action(member, obs), float("nan")

    trajectories = [rollout(env, act, next(seeds)) for _ in range(episodes)]
    return summary(trajectories), trajectories


def summary(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """The undiscounted returns' return_mean, return_std (ddof 0), return_min, return_max, and length_mean (steps)."""
    returns = np.array([trajectory.reward.sum() for trajectory in trajectories])
    return {
        "return_mean": float(returns.mean()),
        "return_std": float(returns.std()),
        "return_min": float(returns.min()),
        "return_max": float(returns.max()),
        "length_mean": float(np.mean([len(trajectory) for trajectory in trajectories])),
    }
