"""REDQ on the features of an OFENet against a slow reference, and what its parts promise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from reference.slow_ofe import SlowOFENet
from torch import Tensor
from torch.nn import functional

from droq_exp.agent.agent import Agent
from droq_exp.agent.replay import Replay
from droq_exp.codebases import RedqCodebase
from droq_exp.config import compose
from droq_exp.learner import updates
from droq_exp.learner.backend import EAGER, Backend, why_not_native
from droq_exp.learner.draws import DrawSampler
from droq_exp.learner.learner import Learner
from droq_exp.learner.networks import named, tensors_of
from droq_exp.learner.ofe import OFENet
from droq_exp.learner.spec import PRETRAINING, LearnerSpec
from droq_exp.learner.state import LearnerState
from droq_exp.training.hardware import learner_spec

OBS_DIM, ACT_DIM, BATCH, SEEDS = 5, 2, 8, [3, 8]
SMALL = OFENet(total_units=6, layers=2, target_dim=4, weight_decay=1e-2, learning_rate=1e-3, updates_per_step=2)
ACTION_MAP = torch.tensor([[0.4, 2.0], [0.1, -1.0]], dtype=torch.float64)
CPU = torch.device("cpu")


def spec_of(features: OFENet | None = SMALL, dtype: torch.dtype = torch.float64) -> LearnerSpec:
    """That of ``algo=redq_ofe``, small."""
    spec = learner_spec(compose(["algo=redq_ofe", "env=hopper"])[0])
    sizes: dict[str, Any] = {"obs_dim": OBS_DIM, "act_dim": ACT_DIM, "seeds": len(SEEDS), "batch_size": BATCH}
    sizes |= {"hidden_sizes": (7, 6), "num_critics": 3, "utd_ratio": 3, "dtype": dtype, "first_alpha": None}
    return replace(spec, **sizes, features=features, pretraining_chunk=4 if features else 0)


def transitions(spec: LearnerSpec, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(len(SEEDS), count, spec.row_size, generator=generator)
    columns = spec.layout.columns
    rows[..., columns.terminated] = (rows[..., columns.terminated] > 1).float()
    return rows


class Slow:
    """One seed: OFENet by modules, critics and actor by loops over the learner's initial weights."""

    def __init__(self, spec: LearnerSpec, state: LearnerState, seed: int) -> None:
        self.spec, features = spec, SMALL
        self.ofe = SlowOFENet(OBS_DIM, ACT_DIM, 2, 3, 4).double()
        values = named(state.features[seed : seed + 1], features.shapes(spec))
        for i, linear in enumerate(self.ofe.linears()):
            linear.weight.data.copy_(values[f"weight{i}"][0].T)
            linear.bias.data.copy_(values[f"bias{i}"][0, 0])
        adam = torch.optim.Adam
        self.ofe_adam = adam(self.ofe.parameters(), lr=1e-3, weight_decay=1e-2)
        self.critics = self._leaves(state.critic, state, seed, "critic")
        self.targets = [[value.detach().clone() for value in critic] for critic in self.critics]
        (self.actor,) = self._leaves(state.actor, state, seed, "actor")
        self.critic_adam = adam([value for critic in self.critics for value in critic], lr=3e-4)
        self.actor_adam = adam(self.actor, lr=3e-4)
        self.log_alpha = torch.zeros((), dtype=torch.float64, requires_grad=True)
        self.alpha_adam = adam([self.log_alpha], lr=3e-4)

    def _leaves(self, flat: Tensor, state: LearnerState, seed: int, part: str) -> list[list[Tensor]]:
        values = named(flat[seed : seed + 1], getattr(self.spec, part).shapes(self.spec))
        copies = next(iter(values.values())).shape[1]
        return [[value[0, i].clone().requires_grad_() for value in values.values()] for i in range(copies)]

    @staticmethod
    def mlp(parameters: list[Tensor], x: Tensor) -> Tensor:
        for i in range(0, len(parameters), 2):
            x = x @ parameters[i] + parameters[i + 1]
            x = functional.relu(x) if i < len(parameters) - 2 else x
        return x

    def sample(self, phi: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.mlp(self.actor, phi).chunk(2, 1)
        log_std = log_std.clamp(-20, 2)
        action = torch.tanh(mean + log_std.exp() * noise)
        normal = torch.distributions.Normal(0.0, 1.0).log_prob(noise) - log_std
        return action, (normal - torch.log(1 - action**2 + 1e-6)).sum(1)

    def learn_features(self, batch: Any) -> None:
        self.ofe_adam.zero_grad()
        self.ofe.loss(batch.obs, batch.action, batch.next_obs).backward()
        self.ofe_adam.step()

    def update(self, batch: Any, noise: Tensor, subset: list[int], policy_noise: Tensor | None) -> None:
        """One critic update, and with ``policy_noise`` the policy's beside it, at the critics of before."""
        alpha = self.log_alpha.exp().detach()
        with torch.no_grad():
            action, log_prob = self.sample(self.ofe.state(batch.next_obs), noise)
            there = self.ofe.pair(batch.next_obs, action * ACTION_MAP[0] + ACTION_MAP[1])
            value = torch.stack([self.mlp(self.targets[i], there)[:, 0] for i in subset]).min(0).values
            y = batch.reward + 0.99 * (1 - batch.terminated) * (value - alpha * log_prob)
            here, phi = self.ofe.pair(batch.obs, batch.action), self.ofe.state(batch.obs)
        self.critic_adam.zero_grad()
        loss = sum(((self.mlp(critic, here)[:, 0] - y) ** 2).mean() for critic in self.critics)
        assert isinstance(loss, Tensor)
        gradients = torch.autograd.grad(loss, [value for critic in self.critics for value in critic])
        if policy_noise is not None:
            action, log_prob = self.sample(phi, policy_noise)
            pair = self.ofe.pair(batch.obs, action * ACTION_MAP[0] + ACTION_MAP[1])
            q = torch.stack([self.mlp(critic, pair)[:, 0] for critic in self.critics]).mean(0)
            policy_gradients = torch.autograd.grad((alpha * log_prob - q).mean(), self.actor)
            self.step(self.actor_adam, self.actor, policy_gradients)
            gradient = -(log_prob.detach().mean() + self.spec.target_entropy)
            self.step(self.alpha_adam, [self.log_alpha], [gradient])
        self.step(self.critic_adam, [value for critic in self.critics for value in critic], gradients)
        with torch.no_grad():
            for critic, target in zip(self.critics, self.targets, strict=True):
                for value, slow in zip(critic, target, strict=True):
                    slow.mul_(1 - self.spec.tau).add_(self.spec.tau * value)

    @staticmethod
    def step(adam: torch.optim.Adam, parameters: list[Tensor], gradients: Any) -> None:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        adam.step()


def assert_equal(spec: LearnerSpec, state: LearnerState, slow: Slow, seed: int) -> None:
    one = slice(seed, seed + 1)
    values = named(state.features[one], SMALL.shapes(spec))
    pairs = [(values[f"weight{i}"][0].T, linear.weight) for i, linear in enumerate(slow.ofe.linears())]
    pairs += [(values[f"bias{i}"][0, 0], linear.bias) for i, linear in enumerate(slow.ofe.linears())]
    for flat, part, copies in (
        (state.critic, spec.critic, slow.critics),
        (state.critic_target, spec.critic, slow.targets),
        (state.actor, spec.actor, [slow.actor]),
    ):
        by_name = named(flat[one], part.shapes(spec)).values()
        pairs += [(value[0, i], copy[k]) for k, value in enumerate(by_name) for i, copy in enumerate(copies)]
    pairs.append((state.log_alpha[seed, 0], slow.log_alpha))
    for actual, expected in pairs:
        torch.testing.assert_close(actual, expected.detach(), rtol=1e-9, atol=1e-9)


def compare(spec: LearnerSpec) -> None:
    """Two chunks of pretraining, then three environment steps, of a pack of two and a reference each."""
    state = LearnerState.initial(spec, SEEDS, CPU)
    slows = [Slow(spec, state, seed) for seed in range(len(SEEDS))]
    stored = transitions(spec, 50).double()
    pretraining = spec.of_phase(PRETRAINING)
    kinds = [pretraining, pretraining, spec, spec, spec]
    learners = {kind: Learner(kind, state, ACTION_MAP) for kind in kinds}
    samplers = {kind: DrawSampler(kind, SEEDS, CPU) for kind in kinds}
    for kind in kinds:
        draws = samplers[kind].draw(50)
        rows = torch.stack([stored[s, draws.indices[s]] for s in range(2)]).unflatten(1, (-1, BATCH))
        before = state.features.clone()
        with torch.no_grad():
            learners[kind].run(learners[kind].program(), rows, draws)
        assert not torch.equal(state.features, before)
        for seed, slow in enumerate(slows):
            batches = [spec.layout.split(minibatch) for minibatch in rows[seed]]
            for batch in batches[kind.minibatches :]:
                slow.learn_features(batch)
            for i in range(kind.minibatches):
                assert draws.subset is not None
                last = draws.policy_noise[seed, 0] if i == kind.minibatches - 1 else None
                slow.update(batches[i], draws.next_noise[seed, i], draws.subset[seed, i].tolist(), last)
            assert_equal(spec, state, slow, seed)
    assert (state.feature_updates, state.critic_updates, state.policy_updates) == (2 * 4 + 3 * 2, 9, 3)
    assert state.features_sums[:, -1].tolist() == [14.0, 14.0]


def test_it_is_the_reference() -> None:
    compare(spec_of())


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setattr(Slow, "learn_features", lambda *_: None),
        lambda patch: patch.setattr(SlowOFENet, "state", lambda self, obs: obs.repeat(1, 3)[:, :11]),
        lambda patch: patch.setattr("droq_exp.learner.ofe.OFENet.predicted", lambda *_: 3),
    ],
)
def test_the_comparison_bites(change: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch)
    with pytest.raises((AssertionError, RuntimeError)):
        compare(spec_of())


def test_layer_norm_stands_between_linear_and_activation() -> None:
    part, spec = replace(SMALL, normalisation="layer"), spec_of(replace(SMALL, normalisation="layer"))
    flat = torch.from_numpy(part.initial(spec, np.random.default_rng(0)))[None]
    values, slow = named(flat, part.shapes(spec)), SlowOFENet(OBS_DIM, ACT_DIM, 2, 3, 4, normalisation=True).double()
    for i, linear in enumerate(slow.linears()):
        linear.weight.data.copy_(values[f"weight{i}"][0].T)
        linear.bias.data.copy_(values[f"bias{i}"][0, 0])
    batch = spec.layout.split(transitions(spec, BATCH)[:1].double())
    loss = part.loss(values, batch.obs, batch.action, batch.next_obs, spec)
    torch.testing.assert_close(loss[0], slow.loss(batch.obs[0], batch.action[0], batch.next_obs[0]))


# What each task has: phi_s, phi_sa, D, L
TASKS = {
    "hopper": (251, 494, 11, 6),
    "walker2d": (257, 503, 17, 6),
    "ant": (267, 515, 27, 6),
    "halfcheetah": (257, 503, 17, 8),
    "humanoid": (285, 542, 45, 8),
    "humanoid_full": (588, 845, 270, 8),
    "inverted_pendulum": (244, 485, 4, 6),  # no row: the default
}


@pytest.mark.parametrize("env", TASKS)
def test_the_sizes_of_each_task(env: str) -> None:
    state, pair, predicted, layers = TASKS[env]
    spec = learner_spec(compose(["algo=redq_ofe", f"env={env}"])[0])
    assert isinstance(spec.features, OFENet)
    assert (spec.actor_inputs, spec.critic_inputs, spec.features.predicted(spec)) == (state, pair, predicted)
    units = 240 // layers
    count = sum((spec.obs_dim + i * units + 1) * units for i in range(layers))
    count += sum((state + spec.act_dim + i * units + 1) * units for i in range(layers)) + (pair + 1) * predicted
    one = replace(spec, seeds=1)
    assert spec.features.initial(one, np.random.default_rng(0)).size == count
    assert spec.critic.shapes(spec)["weight0"] == (10, pair, 256)
    assert spec.actor.shapes(spec)["weight0"] == (1, state, 256)


def test_no_gradient_of_the_critics_reaches_the_features_and_the_policys_passes_through_them() -> None:
    spec = spec_of()
    state = LearnerState.initial(spec, SEEDS, CPU)
    rows, generator = transitions(spec, BATCH).double(), torch.Generator().manual_seed(1)
    noise = torch.randn(2, BATCH, ACT_DIM, generator=generator, dtype=torch.float64)
    obs = spec.layout.split(rows).obs

    def policy_loss(actor: Tensor) -> Tensor:
        return updates.policy_loss(
            actor, state.actor_buffers, state.critic, state.critic_buffers, state.alpha, obs, noise, ACTION_MAP, None,
            spec, features=state.features,
        )[0]  # fmt: skip

    gradient = torch.func.grad(policy_loss)(state.actor)
    for i in torch.randperm(state.actor.shape[1], generator=generator)[:20]:
        step = torch.zeros_like(state.actor)
        step[1, i] = 1e-5
        slope = (policy_loss(state.actor + step) - policy_loss(state.actor - step)) / 2e-5
        assert gradient[1, i].item() == pytest.approx(slope.item(), rel=1e-5, abs=1e-8)
    # The critics' part of it is not nothing: a policy that followed entropy alone would have another.
    alone = torch.func.grad(
        lambda actor: (
            state.alpha
            * spec.actor.sample(
                *tensors_of(spec.actor, actor, state.actor_buffers, spec),
                updates.seen_state(state.features, obs, spec), noise, spec, training=True,
            )[1]
        ).mean(-1).sum()
    )(state.actor)  # fmt: skip
    assert not torch.allclose(gradient, alone, rtol=1e-2)
    frozen = state.features.clone()
    sampler, learner = DrawSampler(spec, SEEDS, CPU), Learner(spec, state, ACTION_MAP)
    draws = sampler.draw(BATCH)
    minibatches = torch.stack([rows[s, draws.indices[s]] for s in range(2)]).unflatten(1, (-1, BATCH))
    with torch.no_grad():
        learner.critic_updates(minibatches, draws, 0, 3)
        learner.policy_update(state.critic, minibatches[:, 2], draws, 0)
    assert torch.equal(state.features, frozen)
    assert not state.features_moment1.any()


def agent_of(features: OFENet | None, backend: Backend = EAGER, seeds: list[int] = SEEDS) -> Agent:
    low, high = np.array([-0.5, -3.0], dtype=np.float32), np.array([1.5, 1.0], dtype=np.float32)
    spec = replace(spec_of(features, torch.float32), seeds=len(seeds))
    box: dict[str, Any] = {"action_low": low, "action_high": high}
    return Agent(spec, name="redq_ofe", codebase=RedqCodebase(), seeds=seeds, **box, backend=backend)


def replay_of(agent: Agent) -> Replay:
    replay = Replay(len(agent.seeds), 60, agent.spec.row_size, CPU)
    for row in transitions(agent.spec, 50).unbind(1):
        replay.add(row[: len(agent.seeds)])
    return replay


def test_features_that_stand_still_stay_as_they_are_and_others_draws_too() -> None:
    still = agent_of(replace(SMALL, updates_per_step=0))
    moving, none = agent_of(SMALL), agent_of(None)
    replay = replay_of(still)
    before = still.state.features.clone()
    for _ in range(3):
        batches = [agent.sample(replay) for agent in (still, moving, none)]
        rows = 3 * BATCH
        for batch in batches[1:]:
            assert torch.equal(batch.draws.indices[:, :rows], batches[0].draws.indices[:, :rows])
            assert torch.equal(batch.draws.next_noise, batches[0].draws.next_noise)
        for agent, batch in zip((still, moving, none), batches, strict=True):
            agent.update(batch)
        assert torch.equal(still.state.features, before)
    assert not torch.equal(moving.state.features, before)


def test_the_graphs_learn_the_same_and_the_policy_sees_features() -> None:
    graphs, ordinary = agent_of(SMALL, Backend("graphs")), agent_of(SMALL)
    replay = replay_of(graphs)
    with torch.no_grad():
        for _ in range(2):
            rows, draws = graphs._phases[PRETRAINING].sample(replay)
            for agent in (graphs, ordinary):
                agent._phases[PRETRAINING].update(rows, draws)
    for _ in range(3):
        batch = graphs.sample(replay)
        for agent in (graphs, ordinary):
            agent.update(batch)
        for name, value in ordinary.state.tensors().items():
            assert torch.equal(getattr(graphs.state, name), value), name
    assert graphs.state.feature_updates == ordinary.state.feature_updates == 14
    obs = np.ones((2, OBS_DIM), dtype=np.float32)
    for agent in (graphs, ordinary):
        for seed in range(2):
            agent._exploration[seed] = np.random.default_rng(0)
    np.testing.assert_allclose(graphs.explore(obs), ordinary.explore(obs), rtol=1e-5, atol=1e-6)
    taken = ordinary.take_feature_metrics(replay)
    assert {*taken[0]} == {"features_loss", "features_ratio"}
    q = ordinary.q_values(1, obs, np.zeros((2, ACT_DIM), dtype=np.float32), np.random.default_rng(0))
    assert q.shape == (3, 2)


def test_the_accelerators_stand_aside_by_name() -> None:
    assert why_not_native(spec_of()) == "algo.features is droq_exp.learner.ofe.OFENet"


def test_every_number_has_a_key() -> None:
    features = compose(["algo=redq_ofe", "env=walker2d"])[0].algo.features
    told = {name: value for name, value in dataclasses.asdict(features).items() if name != "_target_"}
    assert told == dataclasses.asdict(OFENet(layers=6))
