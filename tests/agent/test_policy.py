"""The policy that acts is the one that learns."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from droq_exp.agent.policy import NumpyPolicy
from droq_exp.learner.networks import SquashedGaussianActor, named
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState

SPEC = LearnerSpec(seeds=3, obs_dim=5, act_dim=2, hidden_sizes=(16, 8, 4), dtype=torch.float64)
ACTION_MAP = torch.tensor([[0.4, 2.0], [0.0, 1.0]], dtype=torch.float64)


def test_actions_and_densities_are_the_learners() -> None:
    actor = LearnerState.initial(SPEC, [0, 1, 2], torch.device("cpu")).actor
    policy = NumpyPolicy(actor, SPEC, ACTION_MAP.numpy())
    actor += torch.from_numpy(np.random.default_rng(1).standard_normal(actor.shape))  # in place, as updates change it
    params = named(actor, SPEC.actor.shapes(SPEC))
    for count in (1, 16, 1):
        rng = np.random.default_rng(count)
        obs, noise = (rng.standard_normal((3, count, size)) for size in (SPEC.obs_dim, SPEC.act_dim))
        action, log_prob = policy.sample_with_density(obs, noise)
        given = torch.from_numpy(obs), torch.from_numpy(noise)
        expected, density, _ = SPEC.actor.sample(params, {}, *given, SPEC, training=False)
        np.testing.assert_allclose(action, expected * ACTION_MAP[0] + ACTION_MAP[1], rtol=1e-10)
        np.testing.assert_allclose(log_prob, density, rtol=1e-6)
        np.testing.assert_array_equal(policy.sample(obs, noise), action)
        mean, _ = SquashedGaussianActor().distribution(params, torch.from_numpy(obs), SPEC)
        np.testing.assert_allclose(policy.sample(obs, 0 * noise), mean.tanh() * ACTION_MAP[0] + ACTION_MAP[1])


def test_the_log_standard_deviation_is_clamped() -> None:
    spec = dataclasses.replace(SPEC, seeds=1)
    actor = torch.zeros_like(LearnerState.initial(spec, [0], torch.device("cpu")).actor)
    actor[:, -2:] = torch.tensor([-50.0, 5.0])  # the last biases: of the two log standard deviations
    policy = NumpyPolicy(actor, spec, ACTION_MAP.numpy())
    action, log_prob = policy.sample_with_density(np.zeros((1, 1, 5)), np.ones((1, 1, 2)))
    inner = np.tanh(np.exp([-20.0, 2.0]))
    np.testing.assert_allclose(action[0, 0], inner * [0.4, 2] + [0, 1])
    expected = (-0.5 - np.array([-20, 2]) - 0.5 * np.log(2 * np.pi) - np.log(1 - inner**2 + 1e-6)).sum()
    np.testing.assert_allclose(log_prob, [[expected]])
