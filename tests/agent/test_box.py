"""Actions leave for a task within its box, and nothing else changes them."""

from __future__ import annotations

import dataclasses

import gymnasium
import numpy as np
import odd_env
import pytest
from agents import agent_of

from droq_exp.agent.agent import Agent
from droq_exp.agent.box import ActionBox
from droq_exp.codebases import Codebase, KuCodebase, RedqCodebase
from droq_exp.envs.make import action_bounds
from droq_exp.evaluation.episodes import SIDE_BY_SIDE, Episode, play

OBS_DIM = 2


def box_of(low: np.ndarray, high: np.ndarray, codebase: Codebase) -> ActionBox:
    return ActionBox(low, high, np.asarray(codebase.action_map(low, high), dtype=np.float32))


def saturated(low: np.ndarray, high: np.ndarray, codebase: Codebase, sign: int) -> Agent:
    """An agent whose policy is at an edge of its actions, whatever it sees."""
    base = agent_of([0], "sac", codebase, sizes=(OBS_DIM, 1))
    spec = dataclasses.replace(base.spec, act_dim=len(low))
    agent = Agent(spec, name="sac", codebase=codebase, seeds=[0], action_low=low, action_high=high)
    agent.state.actor[:] = 0
    agent.state.actor[:, -2 * len(low) : -len(low)] = 100.0 * sign  # the last biases: those of the means
    return agent


def test_no_random_box_is_left_by_a_saturated_policy() -> None:
    rng = np.random.default_rng(0)
    ends = np.sort(rng.uniform(-3, 3, (2, 1000)), axis=0).astype(np.float32)
    low, high = np.append(ends[0], np.float32(-2)), np.append(ends[1], np.float32(0.7))
    redq = RedqCodebase()
    assert box_of(low, high, redq).is_filled
    scale, offset = redq.action_map(low, high)
    assert (scale + offset > high).any()  # by rounding alone
    for sign in (-1, 1):
        agent = saturated(low, high, redq, sign)
        obs, noise = np.zeros((1, OBS_DIM), np.float32), np.zeros((1, SIDE_BY_SIDE, len(low)), np.float32)
        for actions in (agent.explore(obs), agent.act(np.zeros((1, SIDE_BY_SIDE, OBS_DIM), np.float32), noise)[0]):
            assert actions.dtype == np.float32
            assert ((actions >= low) & (actions <= high)).all()


@pytest.mark.parametrize("task", ["Hopper", "Walker2d", "Ant", "Humanoid", "HalfCheetah", "InvertedPendulum"])
def test_the_actions_of_the_papers_tasks_keep_their_bits(task: str) -> None:
    env = gymnasium.make(f"{task}-v5")
    low, high = action_bounds(env)
    env.close()
    rng = np.random.default_rng(0)
    inner = np.tanh(3 * rng.standard_normal((2000, len(low)), dtype=np.float32))
    inner[0], inner[1], inner[2] = -1, 1, -0.0
    for codebase in (RedqCodebase(), KuCodebase()):
        scale, offset = np.asarray(codebase.action_map(low, high), dtype=np.float32)
        actions = inner * scale + offset
        assert box_of(low, high, codebase).fit(actions).tobytes() == actions.tobytes()


def test_a_code_base_that_means_to_leave_the_box_does() -> None:
    low, high = np.array([-0.4, -3.0], np.float32), np.array([0.4, 0.5], np.float32)
    box = box_of(low, high, KuCodebase())
    assert not box.is_filled
    actions = np.array([[-1.0, -1.0], [1.0, 1.0]], np.float32)
    np.testing.assert_array_equal(box.fit(actions), actions)
    assert box_of(-np.ones(2, np.float32), np.ones(2, np.float32), KuCodebase()).is_filled


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_task_gets_its_own_type_and_what_it_got_is_what_is_kept(dtype: str) -> None:
    """0.1 is above itself as float32."""
    env = odd_env.Odd(low=[-2.0, -0.1], high=[0.7, 0.1], dtype=dtype, odd="changes the action")
    agent = saturated(*action_bounds(env), RedqCodebase(), 1)
    (trajectory,) = play(agent, {0: [Episode(env, 0)]})[0]  # type: ignore[misc]
    assert all(env.action_space.contains(action) for action in env.seen)
    np.testing.assert_array_equal(np.stack(env.seen), trajectory.action)
    np.testing.assert_allclose(trajectory.action[0], [0.7, 0.1], rtol=1e-3)
