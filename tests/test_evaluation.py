from __future__ import annotations

import itertools

import numpy as np
import pytest
from scripted_env import Script

from droq_exp.envs import make_env
from droq_exp.evaluation import evaluate, rollout


class MeanAgent:
    """Deterministic; answers for member 1 only."""

    def mean_action(self, member, obs):
        assert member == 1
        assert obs.dtype == np.float32
        return np.tanh(obs[-1:])


def test_rollout_keeps_what_the_policy_saw_did_and_got():
    env = Script({4: ([1.0, 2.0, 0.5], True)})
    trajectory = rollout(env, lambda obs: (obs[1:] / 10, -float(obs[1])), seed=4)
    np.testing.assert_array_equal(trajectory.obs, [[4, 0], [4, 1], [4, 2]])
    np.testing.assert_array_equal(trajectory.action, np.array([[0], [0.1], [0.2]], dtype=np.float32))
    np.testing.assert_array_equal(trajectory.reward, [1, 2, 0.5])
    np.testing.assert_array_equal(trajectory.log_prob, [0, -1, -2])
    assert trajectory.terminated is True
    assert len(trajectory) == 3
    assert (trajectory.obs.dtype, trajectory.action.dtype) == (np.float32, np.float32)
    assert (trajectory.reward.dtype, trajectory.log_prob.dtype) == (np.float64, np.float64)


def test_the_time_limit_does_not_terminate():
    assert rollout(Script({0: ([1.0], False)}), lambda obs: (obs[:1], 0.0), seed=0).terminated is False


def test_a_reused_observation_buffer_does_not_rewrite_the_past():
    class Reusing(Script):
        buffer = np.zeros(2, dtype=np.float32)

        def _observation(self):
            self.buffer[:] = super()._observation()
            return self.buffer

    trajectory = rollout(Reusing({0: ([1.0, 1.0], True)}), lambda obs: (obs[:1], 0.0), seed=0)
    np.testing.assert_array_equal(trajectory.obs, [[0, 0], [0, 1]])


def test_metrics_by_hand():
    # Returns 1 + 2 = 3, 5 and 4 - 3 = 1; mean 3; deviations 0, 2, -2: variance (0 + 4 + 4) / 3 with ddof 0.
    env = Script({7: ([1.0, 2.0], True), 8: ([5.0], False), 9: ([4.0, -3.0], True)})
    seeds = itertools.count(7)
    metrics, trajectories = evaluate(MeanAgent(), 1, env, 3, seeds)
    assert metrics == {
        "return_mean": 3.0,
        "return_std": pytest.approx(np.sqrt(8 / 3)),
        "return_min": 1.0,
        "return_max": 5.0,
        "length_mean": pytest.approx(5 / 3),
    }
    assert env.seeds == [7, 8, 9]
    assert next(seeds) == 10  # one seed an episode, no more
    assert [trajectory.terminated for trajectory in trajectories] == [True, False, True]
    np.testing.assert_allclose(env.actions, np.tanh([0, 1, 0, 0, 1]), rtol=1e-6)
    assert all(np.isnan(trajectory.log_prob).all() for trajectory in trajectories)


def test_one_episode_has_no_spread():
    metrics, _ = evaluate(MeanAgent(), 1, Script({0: ([2.0], True)}), 1, iter([0]))
    assert metrics["return_std"] == 0
    assert metrics["return_mean"] == metrics["return_min"] == metrics["return_max"] == 2


class HopperAgent:
    def mean_action(self, member, obs):
        return np.tanh(obs[:3])


def test_evaluation_depends_on_its_seeds_alone_and_leaves_training_alone():
    evaluation, training, undisturbed = (make_env("hopper", "Hopper-v5", {}) for _ in range(3))
    first, _ = evaluate(HopperAgent(), 0, evaluation, 3, iter([5, 6, 7]))
    action = np.full(3, 0.1, dtype=np.float32)
    training.reset(seed=0)
    undisturbed.reset(seed=0)
    for step in range(12):
        if step == 6:  # in mid-episode of both; the evaluation environment was used before
            again, _ = evaluate(HopperAgent(), 0, evaluation, 3, iter([5, 6, 7]))
        np.testing.assert_array_equal(training.step(action)[0], undisturbed.step(action)[0])
    assert again == first
    other, _ = evaluate(HopperAgent(), 0, evaluation, 3, iter([8, 9, 10]))
    assert other != first
    assert first["return_min"] < first["return_max"]  # three different starts
