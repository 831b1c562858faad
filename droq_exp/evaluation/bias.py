"""Bias of the critics: what they predict less the Monte-Carlo return, as each of the two code bases measures it.

Both take the mean over the N critics, dropout active, as the prediction, and the rewards up to an episode's real end as
the return: nothing is bootstrapped at a time limit. Standard deviations have ddof 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from droq_exp.evaluation.episodes import Episode, Trajectory
from droq_exp.evaluation.returns import EvaluatedAgent, Measurement


def discounted_returns(reward: np.ndarray, gamma: float) -> np.ndarray:
    """Give G_t = r_t + gamma G_{t+1} of one episode, float64 [T] from reward [T]; G at the last step is its reward."""
    returns = np.array(reward, dtype=np.float64)
    for step in reversed(range(len(returns) - 1)):
        returns[step] += gamma * returns[step + 1]
    return returns


def soft_returns(reward: np.ndarray, log_prob: np.ndarray, gamma: float, temperature: float) -> np.ndarray:
    """Give G_t = r_t + gamma (G_{t+1} - temperature log_prob_{t+1}) of one episode, float64 [T] from [T] and [T].

    The entropy of a step counts from the step before on, as in the critics' target: that of the first step, nowhere.
    """
    soft_reward = np.array(reward, dtype=np.float64)
    soft_reward[:-1] -= gamma * temperature * np.asarray(log_prob, dtype=np.float64)[1:]
    return discounted_returns(soft_reward, gamma)


def soft_bias_statistics(prediction: np.ndarray, returns: np.ndarray) -> dict[str, float]:
    """Give the statistics of the code base ``redq`` over n pairs, from predictions [n] and returns [n].

    Each pair is normalised by its own max(|G|, 10), the squared bias too (REDQ's original code).
    """
    bias = _bias(prediction, returns)
    base = np.maximum(np.abs(returns), 10.0)
    return {
        **_mean_and_std("bias", bias),
        **_mean_and_std("abs_bias", np.abs(bias)),
        **_mean_and_std("squared_bias", bias**2),
        **_mean_and_std("normalized_bias", bias / base),
        **_mean_and_std("normalized_squared_bias", bias**2 / base),
    }


def bias_statistics(prediction: np.ndarray, returns: np.ndarray) -> dict[str, float]:
    """Give the statistics of the code base ``ku`` over n pairs, from predictions [n] and returns [n].

    All pairs are normalised by the same |mean G| + 1e-6 (the original code's).
    """
    bias = _bias(prediction, returns)
    base = np.abs(np.mean(returns)) + 1e-6
    return {**_mean_and_std("bias", bias), **_mean_and_std("normalized_bias", bias / base)}


def soft_bias(
    agent: EvaluatedAgent,
    seed_index: int,
    episodes: Iterator[Episode],
    at_once: int,
    gamma: float,
    min_pairs: int,
    steps_per_episode: int,
    temperature: float | None,
    rng: np.random.Generator,
) -> Measurement[dict[str, float]]:
    """Measure the bias along new episodes of the stochastic policy (code base ``redq``).

    Every episode runs to its real end; its first ``steps_per_episode`` pairs are kept, until ``min_pairs`` are.
    Episodes of a round that turn out not to be needed count nowhere: the result does not depend on ``at_once``.

    Args:
        agent: whose critics are measured.
        seed_index: the seed.
        episodes: as many as it takes are drawn from here, ``at_once`` for each round; they share no environment then.
        at_once: how many are played side by side.
        gamma: the discount.
        min_pairs: at least so many pairs are kept.
        steps_per_episode: at most so many pairs are kept of each episode.
        temperature: the alpha of the returns; None: the agent's current one (the original's constant is 0.2).
        rng: draws the dropout masks.
    """
    alpha = agent.temperature(seed_index) if temperature is None else temperature
    kept: list[Trajectory] = []
    returns: list[np.ndarray] = []
    while sum(map(len, returns)) < min_pairs:
        for trajectory in (yield list(islice(episodes, at_once))):
            if sum(map(len, returns)) < min_pairs:
                kept.append(trajectory)
                returns.append(soft_returns(trajectory.reward, trajectory.log_prob, gamma, alpha)[:steps_per_episode])
    prediction = _prediction(agent, seed_index, kept, steps_per_episode, rng)
    return soft_bias_statistics(prediction, np.concatenate(returns))


def bias_along(
    agent: EvaluatedAgent, seed_index: int, trajectories: Sequence[Trajectory], gamma: float, rng: np.random.Generator
) -> dict[str, float]:
    """Measure the bias at every pair of whole episodes, the evaluation's, without entropy (code base ``ku``)."""
    returns = [discounted_returns(trajectory.reward, gamma) for trajectory in trajectories]
    prediction = _prediction(agent, seed_index, trajectories, None, rng)
    return bias_statistics(prediction, np.concatenate(returns))


def _prediction(
    agent: EvaluatedAgent,
    seed_index: int,
    trajectories: Sequence[Trajectory],
    steps: int | None,
    rng: np.random.Generator,
) -> np.ndarray:
    obs = np.concatenate([trajectory.obs[:steps] for trajectory in trajectories])
    action = np.concatenate([trajectory.action[:steps] for trajectory in trajectories])
    return np.asarray(agent.q_values(seed_index, obs, action, rng), dtype=np.float64).mean(axis=0)


def _bias(prediction: np.ndarray, returns: np.ndarray) -> np.ndarray:
    if prediction.shape != returns.shape:  # they would broadcast, [n, 1] against [n] say
        raise ValueError(f"{prediction.shape} predictions for {returns.shape} returns")
    return prediction - returns


def _mean_and_std(name: str, values: np.ndarray) -> dict[str, float]:
    return {f"{name}_mean": float(np.mean(values)), f"{name}_std": float(np.std(values))}
