"""Measurements along whole episodes, of several seeds at once; the first is the returns of the deterministic policy."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from droq_exp.evaluation.episodes import ActingAgent, Episode, Trajectory, play
from droq_exp.exits import no_exit
from droq_exp.random_streams import Stream, derived_seed

if TYPE_CHECKING:
    import gymnasium

# A measurement of one seed yields the episodes that it wants played, each round's in environments of their own, is
# sent their trajectories, and in the end returns its result.
Result = TypeVar("Result")
Measurement = Generator[list[Episode], list[Trajectory], Result]
EnvPool = Callable[[int], Sequence["gymnasium.Env"]]  # lends a measurement so many environments, or SIDE_BY_SIDE


class EvaluatedAgent(ActingAgent, Protocol):
    """What evaluation and the bias estimates ask of an agent; ``seed_index`` counts the seeds trained together."""

    def q_values(self, seed_index: int, obs: np.ndarray, action: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Give all N critics' values [N, n] of obs [n, obs_dim], action [n, act_dim], with fresh dropout masks.

        Values and temperature are in units of the task's rewards.
        """

    def temperature(self, seed_index: int) -> float:
        """Give the current temperature alpha."""


def measure(
    agent: ActingAgent,
    measurements: Mapping[int, Measurement[Result]],
    break_off: Callable[[], bool] = lambda: False,
) -> dict[int, Result | Exception]:
    """Carry out measurements of some seeds, by seed index, their episodes side by side.

    Returns:
        What each returned, or the exception that it or one of its environments raised: the others go on.

    Raises:
        BrokenOffError: ``break_off``, which is asked before each step of the episodes, said so.

    """
    results: dict[int, Result | Exception] = {}
    asked: dict[int, list[Episode]] = {}

    def go_on(seed_index: int, played: list[Trajectory] | None) -> None:
        try:
            with no_exit():
                asked[seed_index] = (
                    next(measurements[seed_index]) if played is None else measurements[seed_index].send(played)
                )
        except StopIteration as end:
            results[seed_index] = end.value
        except Exception as error:
            results[seed_index] = error

    for seed_index in measurements:
        go_on(seed_index, None)
    while asked:
        outcomes = play(agent, asked, break_off)
        asked.clear()
        for seed_index, outcome in outcomes.items():
            if isinstance(outcome, Exception):
                results[seed_index] = outcome
            else:
                go_on(seed_index, outcome)
    return results


def evaluation_seeds(seed: int, step: int, episodes: int) -> list[int]:
    """What the episodes of the evaluation of ``seed`` after environment step ``step`` are reset with."""
    return [derived_seed(seed, Stream.EVALUATION_ENV, step, episode) for episode in range(episodes)]


def evaluate(
    envs: Sequence[gymnasium.Env], seeds: Sequence[int]
) -> Measurement[tuple[dict[str, float], list[Trajectory]]]:
    """Run the deterministic policy for an episode from each of the reset ``seeds``, as many at once as there are envs.

    Returns:
        What :func:`summary` says of the episodes, and the episodes themselves.

    """
    trajectories: list[Trajectory] = []
    while len(trajectories) < len(seeds):
        trajectories += yield [Episode(*each) for each in zip(envs, seeds[len(trajectories) :], strict=False)]
    return summary(trajectories), trajectories


def summary(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """The undiscounted returns' return_mean, return_std (ddof 0), return_min, return_max, and length_mean (steps).

    Also the mean of each number that ``env.info_metrics`` names, as info_<name>.
    """
    returns = np.array([trajectory.reward.sum() for trajectory in trajectories])
    return {
        "return_mean": float(returns.mean()),
        "return_std": float(returns.std()),
        "return_min": float(returns.min()),
        "return_max": float(returns.max()),
        "length_mean": float(np.mean([len(trajectory) for trajectory in trajectories])),
        **{
            f"info_{name}": float(np.mean([trajectory.info[name] for trajectory in trajectories]))
            for name in trajectories[0].info
        },
    }
