from __future__ import annotations

import numpy as np
import pytest
from scripted_env import Script

from droq_exp.envs.make import make_env
from droq_exp.evaluation.returns import evaluate, measure


class MeanAgent:
    """Deterministic."""

    seeds = (0, 1)

    def act(self, obs, noise):
        assert not noise.any()
        return np.tanh(obs[..., -1:]), np.zeros(obs.shape[:-1])


def evaluated(agent, envs, seeds, member=1):
    result = measure(agent, {member: evaluate(envs, seeds)})[member]
    if isinstance(result, Exception):
        raise result
    return result


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_metrics_by_hand(at_once):
    # Returns 1 + 2 = 3, 5 and 4 - 3 = 1; mean 3; deviations 0, 2, -2: variance (0 + 4 + 4) / 3 with ddof 0.
    scripts = {7: ([1.0, 2.0], True), 8: ([5.0], False), 9: ([4.0, -3.0], True)}
    envs = [Script(scripts) for _ in range(at_once)]
    metrics, trajectories = evaluated(MeanAgent(), envs, [7, 8, 9])
    assert metrics == {
        "return_mean": 3.0,
        "return_std": pytest.approx(np.sqrt(8 / 3)),
        "return_min": 1.0,
        "return_max": 5.0,
        "length_mean": pytest.approx(5 / 3),
    }
    assert [seed for env in envs for seed in env.seeds] == sorted([7, 8, 9], key=lambda seed: (seed - 7) % at_once)
    assert [trajectory.terminated for trajectory in trajectories] == [True, False, True]
    actions = np.concatenate([trajectory.action[:, 0] for trajectory in trajectories])
    np.testing.assert_allclose(actions, np.tanh([0, 1, 0, 0, 1]), rtol=1e-6)
    assert all(np.isnan(trajectory.log_prob).all() for trajectory in trajectories)


def test_one_episode_has_no_spread():
    metrics, _ = evaluated(MeanAgent(), [Script({0: ([2.0], True)})], [0])
    assert metrics["return_std"] == 0
    assert metrics["return_mean"] == metrics["return_min"] == metrics["return_max"] == 2


def test_a_measurement_that_raises_leaves_the_others():
    def two_rounds():
        return 1 + (yield from evaluate([Script({0: ([2.0], True)})], [0, 0]))[0]["return_mean"]

    def breaks(when):
        if when == "at once":
            raise ValueError(when)
        yield from evaluate([Script({0: ([2.0, 1.0], True)})], [0])
        raise ValueError(when)

    assert measure(MeanAgent(), {1: two_rounds()}) == {1: 3.0}
    for when in ("at once", "later"):
        results = measure(MeanAgent(), {0: breaks(when), 1: two_rounds()})
        assert results[1] == 3.0
        assert isinstance(results[0], ValueError)
        assert str(results[0]) == when
    in_an_environment = evaluate([Script({0: ([2.0], True)})], [0, 5])  # there is no script 5
    results = measure(MeanAgent(), {0: in_an_environment, 1: two_rounds()})
    assert isinstance(results[0], KeyError)
    assert results[1] == 3.0


class HopperAgent:
    seeds = (0,)

    def act(self, obs, noise):
        return np.tanh(obs[..., :3]), np.zeros(obs.shape[:-1])


def test_evaluation_depends_on_its_seeds_alone_and_leaves_training_alone():
    evaluation, spare, training, undisturbed = (make_env("hopper", "Hopper-v5", {}) for _ in range(4))
    first, _ = evaluated(HopperAgent(), [evaluation], [5, 6, 7], member=0)
    action = np.full(3, 0.1, dtype=np.float32)
    training.reset(seed=0)
    undisturbed.reset(seed=0)
    for step in range(12):
        if step == 6:  # in mid-episode of both; the evaluation environment was used before
            again, _ = evaluated(HopperAgent(), [spare, evaluation], [5, 6, 7], member=0)
        np.testing.assert_array_equal(training.step(action)[0], undisturbed.step(action)[0])
    assert again == first
    other, _ = evaluated(HopperAgent(), [evaluation], [8, 9, 10], member=0)
    assert other != first
    assert first["return_min"] < first["return_max"]  # three different starts
