"""Scaled rewards and kept noise: against plain loops, on both paths of the learner, and through a checkpoint."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from droq_exp.agent.agent import Agent
from droq_exp.agent.exploration import KeptNoise
from droq_exp.agent.replay import Replay
from droq_exp.agent.rewards import RewardScale
from droq_exp.codebases import RedqCodebase
from droq_exp.learner.backend import EAGER, Backend
from droq_exp.learner.spec import LearnerSpec

SPEC = LearnerSpec(seeds=2, obs_dim=3, act_dim=2, hidden_sizes=(4,), batch_size=8, gamma=0.9, utd_ratio=1)
LOW, HIGH = np.full(2, -1, dtype=np.float32), np.ones(2, dtype=np.float32)
RNG = np.random.default_rng(0)
TRANSITIONS = RNG.standard_normal((60, 2, SPEC.row_size)).astype(np.float32)  # [step, seed, row]
TRANSITIONS[..., SPEC.layout.columns.terminated] = RNG.random((60, 2, 1)) < 0.1
TRANSITIONS[..., SPEC.layout.columns.truncated] = RNG.random((60, 2, 1)) < 0.1


def agent_of(reward_scale: str, backend: Backend = EAGER, noise_repeat: int = 1) -> Agent:
    spec = replace(SPEC, reward_scale=reward_scale, noise_repeat=noise_repeat)
    made: dict[str, np.ndarray] = {"action_low": LOW, "action_high": HIGH}
    return Agent(spec, name="sac", codebase=RedqCodebase(), seeds=[4, 7], **made, backend=backend)


def slow_scale(kind: str, seed: int, steps: int) -> float:
    """The definition: statistics of g over all steps, one after another."""
    g = mean = largest = 0.0
    var, extra = (1.0, 0.0)[kind == "return_std"], (1e-4, 0.0)[kind == "return_std"]
    for n, row in enumerate(TRANSITIONS[:steps, seed]):
        parts = SPEC.layout.columns
        ended = bool(row[parts.terminated][0] or row[parts.truncated][0])
        g = (0.0 if ended else 0.9 * g) + float(row[parts.reward][0])
        delta = g - mean
        var = (var * (n + extra) + delta * delta * n / (n + 1)) / (n + 1)
        mean += delta / (n + 1)
        largest = max(largest, abs(g))
    return math.sqrt(var) + 1e-8 if kind == "return_std" else max(math.sqrt(var + 1e-8), largest / 5)


@pytest.mark.parametrize("kind", ["return_std", "return_std_max"])
def test_the_scale_is_the_definitions(kind: str) -> None:
    scale = RewardScale(replace(SPEC, reward_scale=kind), torch.device("cpu"))
    for step, rows in enumerate(TRANSITIONS, start=1):
        scale.count(rows)
        for seed in range(2):
            assert scale.scale(seed) == pytest.approx(slow_scale(kind, seed, step), rel=1e-12)


@pytest.mark.parametrize("backend", [EAGER, Backend("graphs")], ids=["host", "graphs"])
def test_minibatches_are_scaled_by_what_was_seen_so_far_and_the_replay_is_not(backend: Backend) -> None:
    agent = agent_of("return_std", backend)
    replay = Replay(2, 60, SPEC.row_size, torch.device("cpu"))
    reward = SPEC.layout.columns.reward
    for step, rows in enumerate(TRANSITIONS[:40], start=1):
        agent.receive(rows)
        replay.add(torch.from_numpy(rows))
        if step % 20 == 0:
            batch = agent.sample(replay)
            raw = replay.gather(batch.draws.indices).unflatten(1, (-1, SPEC.batch_size))
            for seed in range(2):
                expected = raw[seed, ..., reward] / slow_scale("return_std", seed, step)
                torch.testing.assert_close(batch.rows[seed, ..., reward], expected, rtol=1e-5, atol=1e-7)
                np.testing.assert_array_equal(replay.since(seed, 0), TRANSITIONS[:step, seed])


def test_values_and_temperature_are_in_units_of_the_task() -> None:
    scaled, plain = agent_of("return_std_max"), agent_of("none")
    for rows in TRANSITIONS:
        scaled.receive(rows)
    obs, action = TRANSITIONS[:5, 0, :3], TRANSITIONS[:5, 0, 3:5]
    for seed in range(2):
        unit = slow_scale("return_std_max", seed, 60)
        values = [agent.q_values(seed, obs, action, np.random.default_rng(0)) for agent in (scaled, plain)]
        np.testing.assert_allclose(values[0], values[1] * unit, rtol=1e-6)
        assert scaled.temperature(seed) == pytest.approx(plain.temperature(seed) * unit)
        assert scaled.take_metrics()[seed]["reward_scale"] == pytest.approx(unit)
    loaded = agent_of("return_std_max")
    loaded.load_weights_of(1, scaled.weights_of(1))
    assert loaded.temperature(1) == scaled.temperature(1)


def test_a_checkpoint_holds_both() -> None:
    whole, second = agent_of("return_std", noise_repeat=16), agent_of("return_std", noise_repeat=16)
    obs = TRANSITIONS[0, :, :3]
    for rows in TRANSITIONS[:30]:
        whole.receive(rows)
        whole.explore(obs)
    for seed in range(2):
        second.load_seed_state(seed, whole.seed_state(seed))
    for rows in TRANSITIONS[30:]:
        for agent in (whole, second):
            agent.receive(rows)
        np.testing.assert_array_equal(whole.explore(obs), second.explore(obs))
    for seed in range(2):
        assert whole.seed_state(seed)["rewards"] == second.seed_state(seed)["rewards"]


def test_noise_is_kept_as_long_as_published() -> None:
    """P(n) in proportion to 1 / n^2, n from 1 to 16: P(1) = 0.631, P(2) = 0.158, the mean 2.13."""
    rngs = [np.random.default_rng(1), np.random.default_rng(2)]
    kept, steps = KeptNoise(2, 3, 16), 40_000
    drawn = np.stack([kept.draw(rngs) for _ in range(steps)])
    for seed in range(2):
        starts = np.flatnonzero(np.r_[True, (drawn[1:, seed] != drawn[:-1, seed]).any(-1)])
        lengths = np.diff(starts)
        assert lengths.max() == 16
        assert [np.mean(lengths == n) for n in (1, 2)] == pytest.approx([0.631, 0.158], abs=0.01)
        assert lengths.mean() == pytest.approx(2.13, abs=0.06)
        assert drawn[starts, seed].std() == pytest.approx(1, abs=0.02)
    assert not (drawn[:, 0] == drawn[:, 1]).all(-1).any()
