"""A seed trained in a pack draws the same random numbers as alone and learns the same; twice is the same to the bit.

The pack's batched matrix products may sum in another order, so weights are compared at the tolerance below after 100
updates; rounding makes longer runs drift apart.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from agents import ACT_DIM, ALGORITHMS, OBS_DIM, agent_of

from droq_exp.agent.agent import Agent
from droq_exp.agent.replay import Replay
from droq_exp.codebases import Codebase, KuCodebase, RedqCodebase
from droq_exp.learner.draws import DrawSampler
from droq_exp.learner.spec import LearnerSpec

PACK = [4, 0, 9, 2]
RELATIVE, ABSOLUTE = 1e-5, 1e-6


def trained(seeds: list[int], algorithm: str, codebase: Codebase, steps: int = 5, *, native: bool = False) -> Agent:
    """An agent after ``steps`` environment steps (of 20 updates) in which each seed also explores and stores."""
    agent = agent_of(seeds, algorithm, codebase, native=native)
    replay = Replay(len(seeds), 300, 2 * OBS_DIM + ACT_DIM + 3, torch.device("cpu"))
    worlds = [np.random.default_rng(1000 + seed) for seed in seeds]
    obs = np.zeros((len(seeds), OBS_DIM), dtype=np.float32)
    for step in range(100 + steps):
        action = agent.random_action() if step < 100 else agent.explore(obs)
        next_obs = np.stack([w.standard_normal(OBS_DIM) for w in worlds]).astype(np.float32)
        reward = next_obs[:, :1] - (action**2).sum(-1, keepdims=True)
        terminated = np.stack([w.random(1) < 0.1 for w in worlds])
        rows = np.concatenate([obs, action, reward, next_obs, terminated, ~terminated], 1).astype(np.float32)
        replay.add(torch.from_numpy(rows))
        obs = next_obs
        if step >= 100:
            agent.update(agent.sample(replay))
    return agent


@pytest.mark.program
@pytest.mark.parametrize("codebase", [RedqCodebase(), KuCodebase()], ids=["redq", "ku"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("native", [False, True])
def test_a_seed_learns_the_same_alone_and_in_a_pack(algorithm: str, codebase: Codebase, native: bool) -> None:
    pack = trained(PACK, algorithm, codebase, native=native)
    assert pack.state.critic_updates == 100
    for member in (0, 2):
        expected = trained([PACK[member]], algorithm, codebase, native=native).state.tensors_of(0)
        for name, value in pack.state.tensors_of(member).items():
            torch.testing.assert_close(value, expected[name], rtol=RELATIVE, atol=ABSOLUTE)


@pytest.mark.parametrize("algorithm", ["droq", "redq"])
@pytest.mark.parametrize("native", [False, True])
def test_the_same_seed_twice_is_the_same_to_the_bit(algorithm: str, native: bool) -> None:
    first, second = (trained([7], algorithm, RedqCodebase(), native=native).state.tensors_of(0) for _ in range(2))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_seeds_differ() -> None:
    state = trained([7, 8], "sac", RedqCodebase(), steps=1).state
    assert not torch.equal(state.critic[0], state.critic[1])
    assert not torch.equal(state.actor[0], state.actor[1])


def test_initial_parameters_depend_on_the_seed_alone() -> None:
    pack, alone = agent_of(PACK, "droq", RedqCodebase()), agent_of([PACK[1]], "droq", RedqCodebase())
    for name, value in alone.state.tensors_of(0).items():
        assert torch.equal(pack.state.tensors_of(1)[name], value), name


@pytest.mark.parametrize("changes", ALGORITHMS.values(), ids=ALGORITHMS)
def test_every_draw_depends_on_the_seed_alone(changes: dict[str, Any]) -> None:
    def sampler(seeds: list[int]) -> DrawSampler:
        spec = LearnerSpec(
            seeds=len(seeds), obs_dim=3, act_dim=2, hidden_sizes=(8, 8), utd_ratio=4, batch_size=8, **changes
        )
        return DrawSampler(spec, seeds, torch.device("cpu"))

    pack, alone = sampler(PACK), sampler([PACK[3]])
    for size in (50, 51, 52):
        in_pack, single = pack.draw(size), alone.draw(size)
        for field in dataclasses.fields(single):
            expected, actual = getattr(single, field.name), getattr(in_pack, field.name)
            assert (expected is None) == (actual is None), field.name
            if expected is not None:
                assert torch.equal(actual[3], expected[0]), field.name
                if expected.numel() > 20:
                    assert not torch.equal(actual[0], expected[0]), field.name
