"""Episodes side by side: each is what it would be alone, whatever happens beside it."""

from __future__ import annotations

import numpy as np
import pytest
from agents import agent_of
from scripted_env import Script

from droq_exp.agent.agent import Agent
from droq_exp.codebases import RedqCodebase
from droq_exp.envs.make import make_env
from droq_exp.evaluation.episodes import SIDE_BY_SIDE, Episode, Trajectory, play


class Steps:
    """Two members, the second of which acts ten times as strongly; log probability -1 per step made."""

    seeds = (3, 4)

    def __init__(self):
        self.shapes = set()

    def act(self, obs, noise):
        assert obs.dtype == noise.dtype == np.float32
        self.shapes.add((obs.shape, noise.shape))
        action = obs[..., 1:] / 10 + noise
        action[1] *= 10
        return action, -obs[..., 1]


def episodes(scripts, rng=None):
    return [Episode(Script({seed: script}), seed, rng) for seed, script in scripts.items()]


def played(result: list[Trajectory] | Exception) -> list[Trajectory]:
    assert not isinstance(result, Exception)
    return result


def assert_same(first: Trajectory, second: Trajectory) -> None:
    for name in ("obs", "action", "reward", "log_prob"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    assert first.terminated == second.terminated


def test_a_trajectory_is_what_the_policy_saw_did_and_got():
    (trajectory,) = played(play(Steps(), {0: episodes({4: ([1.0, 2.0, 0.5], True)}, _Silent())})[0])
    np.testing.assert_array_equal(trajectory.obs, [[4, 0], [4, 1], [4, 2]])
    np.testing.assert_array_equal(trajectory.action, np.array([[0], [0.1], [0.2]], dtype=np.float32))
    np.testing.assert_array_equal(trajectory.reward, [1, 2, 0.5])
    np.testing.assert_array_equal(trajectory.log_prob, [0, -1, -2])
    assert trajectory.terminated is True
    assert len(trajectory) == 3
    assert (trajectory.obs.dtype, trajectory.action.dtype) == (np.float32, np.float32)
    assert (trajectory.reward.dtype, trajectory.log_prob.dtype) == (np.float64, np.float64)


class _Silent:
    """A generator whose noise is 0."""

    def standard_normal(self, dtype, out):
        out[:] = 0


def test_the_time_limit_does_not_terminate():
    (trajectory,) = played(play(Steps(), {0: episodes({0: ([1.0], False)})})[0])
    assert trajectory.terminated is False


def test_a_reused_observation_buffer_does_not_rewrite_the_past():
    class Reusing(Script):
        buffer = np.zeros(2, dtype=np.float32)

        def _observation(self):
            self.buffer[:] = super()._observation()
            return self.buffer

    (trajectory,) = played(play(Steps(), {0: [Episode(Reusing({0: ([1.0, 1.0], True)}), 0)]})[0])
    np.testing.assert_array_equal(trajectory.obs, [[0, 0], [0, 1]])


def test_episodes_of_different_lengths_and_members():
    agent = Steps()
    # An environment that is stepped past its end fails the test.
    mine = {0: ([1.0], True), 1: ([1.0, 2.0, 3.0], False), 2: ([5.0, 6.0], True)}
    other = {7: ([0.5] * 5, True)}
    result = play(agent, {1: episodes(other), 0: episodes(mine)})
    first, second, third = played(result[0])
    (fourth,) = played(result[1])
    assert [each.reward.tolist() for each in (first, second, third)] == [rewards for rewards, _ in mine.values()]
    assert [each.terminated for each in (first, second, third)] == [True, False, True]
    np.testing.assert_allclose(second.action, [[0], [0.1], [0.2]], rtol=1e-6)
    np.testing.assert_allclose(fourth.action, [[0], [1], [2], [3], [4]])  # member 1's own policy
    np.testing.assert_array_equal(fourth.obs[:, 0], 7)
    assert agent.shapes == {((2, SIDE_BY_SIDE, 2), (2, SIDE_BY_SIDE, 1))}  # always, whoever has ended


@pytest.mark.parametrize("at", ["reset", "step"])
def test_a_member_whose_environment_raises_leaves_the_others(at):
    class Broken(Script):
        def reset(self, *, seed=None, options=None):
            if at == "reset":
                raise RuntimeError("no floor")
            return super().reset(seed=seed)

        def step(self, action):
            if self.step_index == 1:
                raise RuntimeError("no floor")
            return super().step(action)

    script = {0: ([1.0] * 4, True)}
    beside = Script(script)
    result = play(Steps(), {0: [Episode(Broken(script), 0), Episode(beside, 0)], 1: episodes(script)})
    assert str(result[0]) == "no floor"
    assert len(beside.actions) <= 2  # of that member nothing is played any more
    assert len(played(result[1])[0]) == 4


def test_nothing_asked_for_is_nothing_played():
    assert play(Steps(), {1: []}) == {1: []}


# The real agent on a real task


def hoppers(seeds, *, noise: bool) -> list[Episode]:
    return [
        Episode(make_env("hopper", "Hopper-v5", {}), seed, np.random.default_rng(seed) if noise else None)
        for seed in seeds
    ]


def hopper_agent(seeds: list[int]) -> Agent:
    return agent_of(seeds, "sac", RedqCodebase(), sizes=(11, 3))


@pytest.mark.parametrize("noise", [False, True])
def test_side_by_side_is_one_by_one_to_the_bit(noise: bool) -> None:
    agent = hopper_agent([5, 6])
    together = play(agent, {0: hoppers([1, 2, 3], noise=noise), 1: hoppers([9], noise=noise)})
    lengths = set()
    for member, seeds in ((0, [1, 2, 3]), (1, [9])):
        for seed, trajectory in zip(seeds, played(together[member]), strict=True):
            (alone,) = played(play(agent, {member: hoppers([seed], noise=noise)})[member])
            assert_same(trajectory, alone)
            lengths.add(len(alone))
            assert (np.isfinite(alone.log_prob) == noise).all()
    assert len(lengths) > 1


def test_an_episode_in_a_pack_is_that_of_the_seed_alone() -> None:
    (alone,) = played(play(hopper_agent([6]), {0: hoppers([9], noise=True)})[0])
    (packed,) = played(play(hopper_agent([5, 6]), {1: hoppers([9], noise=True)})[1])
    np.testing.assert_allclose(packed.obs[:5], alone.obs[:5], rtol=1e-4, atol=1e-5)
