"""The bias estimates against trajectories worked out by hand.

The scripted environment plays, by reset seed: episode 0, rewards 1, 2, 4, a fall; episode 1, rewards 20, 10, the
time limit.
With gamma 0.5 the returns without entropy are
    episode 0: 4; 2 + 0.5 * 4 = 4; 1 + 0.5 * 4 = 3           -> 3, 4, 4
    episode 1: 10 (no bootstrap); 20 + 0.5 * 10 = 25         -> 25, 10
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from scripted_env import Script

from droq_exp.codebases import RedqCodebase
from droq_exp.config.schema import RedqBiasConfig
from droq_exp.evaluation.bias import (
    bias_along,
    bias_statistics,
    discounted_returns,
    soft_bias,
    soft_bias_statistics,
    soft_returns,
)
from droq_exp.evaluation.episodes import Episode
from droq_exp.evaluation.returns import evaluate, measure
from droq_exp.random_streams import Stream, derived_seed, generator

EPISODES = {0: ([1.0, 2.0, 4.0], True), 1: ([20.0, 10.0], False)}
GAMMA = 0.5


class Agent:
    """Two critics, 1 below and 3 above ten times the episode plus the step: 10 e + t + 1 on average."""

    current_temperature = 0.5
    seeds = (0, 1)

    def __init__(self):
        self.asked, self.generators = [], []

    def act(self, obs, noise):
        return np.full((*obs.shape[:2], 1), -0.5, dtype=np.float32) + noise, -2.0 * obs[..., 1]  # log pi = -2 t

    def q_values(self, member, obs, action, rng):
        assert member == 1
        self.asked.append((obs, action))
        self.generators.append(rng)
        value = 10 * obs[:, 0] + obs[:, 1]
        return np.stack([value - 1, value + 3])

    def temperature(self, member):
        assert member == 1
        return self.current_temperature


class Quarter:
    """The generator of one episode's noise: always 0.75, so that the action is 0.25; remembers how often."""

    def __init__(self):
        self.drawn = 0

    def standard_normal(self, dtype, out):
        self.drawn += 1
        out[:] = 0.75


def scripted(envs) -> Iterator[Episode]:
    """Episodes 0, 1, ..., in these environments by turns."""
    return (Episode(env, seed, Quarter()) for seed, env in enumerate(itertools.cycle(envs)))


def measured(agent, measurement):
    result = measure(agent, {1: measurement})[1]
    if isinstance(result, Exception):
        raise result
    return result


def test_discounted_returns_by_hand():
    np.testing.assert_array_equal(discounted_returns(np.array([1.0, 2.0, 4.0]), 0.5), [3, 4, 4])
    np.testing.assert_array_equal(discounted_returns(np.array([20.0, 10.0]), 0.5), [25, 10])
    np.testing.assert_array_equal(discounted_returns(np.array([7.0]), 0.99), [7])


def test_soft_returns_by_hand():
    # log pi 100, -2, 3; alpha 0.5: G2 = 4; G1 = 2 + 0.5 (4 - 0.5 * 3) = 3.25; G0 = 1 + 0.5 (3.25 - 0.5 * -2) = 3.125.
    # The first action's log pi counts nowhere.
    reward, log_prob = np.array([1.0, 2.0, 4.0]), np.array([100.0, -2.0, 3.0])
    np.testing.assert_array_equal(soft_returns(reward, log_prob, 0.5, 0.5), [3.125, 3.25, 4])
    np.testing.assert_array_equal(soft_returns(np.array([7.0]), np.array([9.0]), 0.5, 0.5), [7])
    np.testing.assert_array_equal(reward, [1, 2, 4])  # the argument is left alone


def test_ku_style_along_evaluation_episodes_by_hand():
    agent = Agent()
    _, trajectories = measured(agent, evaluate([Script(EPISODES)], [0, 1]))
    rng = np.random.default_rng(0)
    statistics = bias_along(agent, 1, trajectories, GAMMA, rng)
    # Predictions 1, 2, 3 and 11, 12; less returns 3, 4, 4, 25, 10: -2, -2, -1, -14, 2; mean -17/5 = -3.4;
    # squares 4 + 4 + 1 + 196 + 4 = 209: variance 41.8 - 11.56 = 30.24; mean G = 46/5 = 9.2.
    assert statistics == {
        "bias_mean": pytest.approx(-3.4),
        "bias_std": pytest.approx(np.sqrt(30.24)),
        "normalized_bias_mean": pytest.approx(-3.4 / (9.2 + 1e-6), rel=1e-12),
        "normalized_bias_std": pytest.approx(np.sqrt(30.24) / (9.2 + 1e-6), rel=1e-12),
    }
    obs, action = agent.asked[0]
    np.testing.assert_array_equal(obs, [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1]])
    np.testing.assert_array_equal(action, np.full((5, 1), -0.5))  # the evaluation's own actions
    assert agent.generators == [rng]


def test_ku_style_divides_by_the_size_of_the_mean_return():
    # Returns -1 and -3: |mean G| = 2; errors 3 and 5.
    statistics = bias_statistics(np.array([2.0, 2.0]), np.array([-1.0, -3.0]))
    assert statistics["normalized_bias_mean"] == pytest.approx(4 / (2 + 1e-6), rel=1e-12)
    assert statistics["normalized_bias_std"] == pytest.approx(1 / (2 + 1e-6), rel=1e-12)
    # Returns 1 and -1: only the 1e-6 is left.
    assert bias_statistics(np.array([2.0, 0.0]), np.array([1.0, -1.0]))["normalized_bias_mean"] == pytest.approx(1e6)


def test_redq_style_statistics_by_hand():
    # bias -30, 2, 4; max(|G|, 10) = 20, 10, 10.
    statistics = soft_bias_statistics(np.array([-50.0, 10.0, 5.0]), np.array([-20.0, 8.0, 1.0]))
    spread = {  # mean of the squares less the square of the mean
        "bias": ((900 + 4 + 16) / 3, -8.0),
        "abs_bias": ((900 + 4 + 16) / 3, 12.0),
        "squared_bias": ((810000 + 16 + 256) / 3, 920 / 3),
        "normalized_bias": ((2.25 + 0.04 + 0.16) / 3, -0.3),  # -1.5, 0.2, 0.4
        "normalized_squared_bias": ((2025 + 0.16 + 2.56) / 3, 47 / 3),  # 45, 0.4, 1.6
    }
    expected = {f"{name}_mean": mean for name, (_, mean) in spread.items()}
    expected |= {f"{name}_std": np.sqrt(square - mean**2) for name, (square, mean) in spread.items()}
    assert statistics == pytest.approx(expected, rel=1e-12)


def test_redq_style_rollouts_by_hand():
    # alpha 0.5, log pi = -2 t, so the entropy term -alpha log pi_{t+1} is t + 1:
    # episode 0: 4; 2 + 0.5 (4 + 2) = 5; 1 + 0.5 (5 + 1) = 4, first two kept: 4, 5; predictions 1, 2; bias -3, -3
    # episode 1: 10; 20 + 0.5 (10 + 1) = 25.5, both kept;                predictions 11, 12; bias -14.5, 2
    agent, rng = Agent(), np.random.default_rng(0)
    env = Script(EPISODES)
    statistics = measured(agent, soft_bias(agent, 1, scripted([env]), 1, GAMMA, 3, 2, None, rng))
    bias = np.array([-3, -3, -14.5, 2])
    returns = np.array([4, 5, 25.5, 10])
    assert statistics["bias_mean"] == pytest.approx(-18.5 / 4)
    assert statistics["normalized_bias_mean"] == pytest.approx((-0.3 - 0.3 - 14.5 / 25.5 + 0.2) / 4)
    assert statistics == pytest.approx(soft_bias_statistics(returns + bias, returns))
    obs, action = agent.asked[0]
    np.testing.assert_array_equal(obs, [[0, 0], [0, 1], [1, 0], [1, 1]])
    np.testing.assert_array_equal(action, np.full((4, 1), 0.25))  # the sampled actions
    assert env.actions == [0.25] * 5  # episode 0 ran to its real end, past the two pairs kept
    assert agent.generators == [rng]


@pytest.mark.parametrize(("min_pairs", "episodes"), [(1, 1), (2, 1), (3, 2), (4, 2)])
def test_redq_style_counts_the_pairs_that_it_keeps(min_pairs, episodes):
    env, agent = Script(EPISODES), Agent()  # two pairs kept of each episode; episode 0 has three
    measured(agent, soft_bias(agent, 1, scripted([env]), 1, GAMMA, min_pairs, 2, None, np.random.default_rng(0)))
    assert env.seeds == list(range(episodes))


# Lengths 3, 1, 4, 1, 5, 9, 2, 6: of each at most three pairs count.
LENGTHS = (3, 1, 4, 1, 5, 9, 2, 6)
LONG = {seed: ([float(seed + 1)] * length, seed % 2 == 0) for seed, length in enumerate(LENGTHS)}


@pytest.mark.parametrize(
    ("min_pairs", "kept"), [(1, [3]), (3, [3]), (4, [3, 1]), (5, [3, 1, 3]), (8, [3, 1, 3, 1]), (9, [3, 1, 3, 1, 3])]
)
def test_rollouts_side_by_side_keep_the_pairs_of_one_after_the_other(min_pairs, kept):
    def measure_with(at_once):
        agent, envs = Agent(), [Script(LONG) for _ in range(at_once)]
        rng = np.random.default_rng(0)
        statistics = measured(agent, soft_bias(agent, 1, scripted(envs), at_once, GAMMA, min_pairs, 3, None, rng))
        return statistics, agent.asked[0], [seed for env in envs for seed in env.seeds]

    expected, (obs, action), seeds = measure_with(1)
    assert obs.tolist() == [[seed, step] for seed, count in enumerate(kept) for step in range(count)]
    assert seeds == list(range(len(kept)))
    for at_once in (2, 3, 5):
        statistics, asked, seeds = measure_with(at_once)
        assert statistics == expected
        np.testing.assert_array_equal(asked[0], obs)
        np.testing.assert_array_equal(asked[1], action)
        assert sorted(seeds) == list(range(-(-len(kept) // at_once) * at_once))  # whole rounds


def test_each_rollout_draws_its_own_noise():
    class Noisy(Agent):
        pass

    def actions(envs):
        agent, bias = Noisy(), RedqBiasConfig(min_pairs=9, steps_per_episode=3)
        measurement = RedqCodebase().measure(agent, 1, lambda count: envs[:count], 4, 1000, 1, bias, GAMMA)
        measured(agent, measurement)
        return agent.asked[0][1][:, 0]

    class Anywhere(Script):
        """Each reset seed plays the episode of its place among those of the bias estimate."""

        def reset(self, *, seed=None, options=None):
            return super().reset(seed=places.get(seed, 0))

    places = {derived_seed(4, Stream.BIAS_ENV, 1000, number): number for number in range(len(LENGTHS))}
    together, alone = actions([Anywhere(LONG) for _ in range(3)]), actions([Anywhere(LONG)])
    np.testing.assert_array_equal(together, alone)
    drawn = [
        generator(4, Stream.BIAS_ACTION, 1000, number).standard_normal(count, dtype=np.float32)
        for number, count in enumerate([3, 1, 3, 1, 3])
    ]
    np.testing.assert_array_equal(together, np.float32(-0.5) + np.concatenate(drawn))


def test_redq_style_with_the_originals_constant_temperature():
    # alpha 0.2, episode 1 alone: 10; 20 + 0.5 (10 + 0.2 * 2) = 25.2; predictions 11, 12.
    def measure(temperature):
        agent, episodes = Agent(), iter([Episode(Script(EPISODES), 1, Quarter())])
        return measured(agent, soft_bias(agent, 1, episodes, 1, GAMMA, 2, 350, temperature, np.random.default_rng(0)))

    assert measure(0.2)["bias_mean"] == pytest.approx((11 - 25.2 + 12 - 10) / 2)
    assert measure(None)["bias_mean"] == pytest.approx((11 - 25.5 + 12 - 10) / 2)
    assert measure(0.0)["bias_mean"] == pytest.approx((11 - 25 + 12 - 10) / 2)  # 0 is a temperature, not "none given"


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match="predictions"):
        bias_statistics(np.zeros((3, 1)), np.zeros(3))
