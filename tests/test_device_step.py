"""The GPU's code path on the CPU: the same functions, so the same numbers, and a graph's rules are kept.

Only the recording of a graph is left out here (``learner/cuda_graph.py``); where there is a GPU, it is tried too.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from reference.cases import ALGORITHMS, VARIATIONS, Algorithm
from torch import Tensor

from droq_exp.agent import Agent
from droq_exp.learner.state import LearnerState
from droq_exp.replay import Replay
from droq_exp.styles import KuStyle, RedqStyle, Style

OBS_DIM, ACT_DIM, SEEDS = 5, 2, [3, 8]
STYLES = {"redq": RedqStyle(), "ku": KuStyle(), "redq_often": RedqStyle(policy_update_delay=3)}


def agent_of(algorithm: Algorithm, style: Style, seeds: list[int] = SEEDS, **changes: Any) -> Agent:
    values: dict[str, Any] = {
        "name": "any",
        "num_critics": algorithm.num_critics,
        "num_min": algorithm.num_min,
        "target_mode": algorithm.target_mode,
        "target_passes": algorithm.target_passes,
        "dropout_rate": 0.1 if algorithm.dropout else 0.0,
        "layer_norm": algorithm.layer_norm,
        "hidden_sizes": [16, 12],
        "utd_ratio": 4,
        "batch_size": 8,
        "gamma": 0.99,
        "tau": 0.02,
        "critic_learning_rate": 1e-3,
        "actor_learning_rate": 7e-4,
        "temperature_learning_rate": 5e-4,
        "target_entropy": -1.7,
        "learn_temperature": True,
        "initial_temperature": 0.7,
        "style": style,
        "seeds": seeds,
        "obs_dim": OBS_DIM,
        "action_low": np.array([-0.5, -3.0], dtype=np.float32),
        "action_high": np.array([1.5, 1.0], dtype=np.float32),
        "compile_updates": False,
        "device_step": True,
    }
    return Agent(**values | changes)


def transition(seeds: list[int], number: int) -> Tensor:
    rngs = [np.random.default_rng([seed, number]) for seed in seeds]
    rows = np.stack([rng.standard_normal(2 * OBS_DIM + ACT_DIM + 2, dtype=np.float32) for rng in rngs])
    rows[:, -1] = rows[:, -1] > 0.5
    return torch.from_numpy(rows)


def replay_of(seeds: list[int], count: int = 50, device: str = "cpu") -> Replay:
    replay = Replay(len(seeds), 60, 2 * OBS_DIM + ACT_DIM + 2, torch.device(device))
    for number in range(count):
        replay.add(transition(seeds, number))
    return replay


def train(agent: Agent, replay: Replay, steps: int) -> None:
    """Act, store and learn; the replay buffer fills up in between and starts to overwrite."""
    for _ in range(steps):
        obs = transition(agent.seeds, 1000 + replay.added)[:, :OBS_DIM].numpy()
        rows = transition(agent.seeds, replay.added)
        rows[:, OBS_DIM : OBS_DIM + ACT_DIM] = torch.from_numpy(agent.explore(obs))
        replay.add(rows)
        agent.update(agent.sample(replay))


def assert_same(state: LearnerState, expected: LearnerState) -> None:
    assert state.critic_updates == expected.critic_updates
    assert state.policy_updates == expected.policy_updates
    for name, value in expected.tensors().items():
        assert torch.equal(getattr(state, name), value), name


@pytest.mark.parametrize(
    ("name", "style"),
    [
        *product([*ALGORITHMS, *VARIATIONS], ["redq", "ku"]),
        ("droq", "redq_often"),
        ("fractional_dropout", "redq_often"),
    ],
)
def test_the_captured_step_is_the_ordinary_learner(name: str, style: str) -> None:
    algorithm = (ALGORITHMS | VARIATIONS)[name]
    agent = agent_of(algorithm, STYLES[style])
    ordinary = agent_of(algorithm, STYLES[style], device_step=False)
    replay = replay_of(SEEDS)
    for step in range(3):
        obs = transition(SEEDS, 1000 + step)[:, :OBS_DIM].numpy()
        assert np.array_equal(agent.explore(obs), ordinary.explore(obs))
        batch = agent.sample(replay)
        ordinary.update(batch)
        agent.update(batch)
        assert_same(agent.state, ordinary.state)
        assert torch.equal(batch.rows, replay.gather(batch.draws.indices).unflatten(1, (-1, 8)))
        replay.add(transition(SEEDS, 50 + step))
    assert agent.take_metrics() == ordinary.take_metrics()
    assert_same(agent.state, ordinary.state)
