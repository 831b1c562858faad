"""Learners side by side that differ by their dropout rate: what they share, what is held out, who is chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import counting_env  # noqa: F401  (registers its tasks)
import numpy as np
import pytest
import torch
from agents import ACT_DIM, OBS_DIM, agent_of
from real_runs import LITTLE_BIAS, assert_same, interrupt_at, rows, runs, train, train_in, weights

from droq_exp.agent import auto_dropout, selection
from droq_exp.agent.agent import Agent
from droq_exp.agent.auto_dropout import AutoDropout
from droq_exp.agent.held_out import HeldOutReplay
from droq_exp.agent.selection import Selection
from droq_exp.codebases import RedqCodebase
from droq_exp.config import ConfigError, compose
from droq_exp.evaluation.load import load
from droq_exp.learner.backend import EAGER, Backend
from droq_exp.learner.hyperparameters import Hyperparameters
from droq_exp.learner.networks import named

CPU = torch.device("cpu")
HOPPER = ("algo=droq", LITTLE_BIAS, "hardware.updates=auto")
AUTO = (*HOPPER, "algo.dropout_rate=auto", "algo.auto.rates=[0,0.01,0.3]", "algo.auto.hold_out_every=4")


def learner(rate: float, backend: Backend = EAGER) -> Agent:
    agent = agent_of([0], "droq", RedqCodebase())
    return Agent(
        replace(agent.spec, dropout_rate=rate),
        name="droq",
        codebase=agent.codebase,
        seeds=[0],
        action_low=-np.ones(ACT_DIM, np.float32),
        action_high=np.ones(ACT_DIM, np.float32),
        backend=backend,
    )


def episode(number: int, length: int, spec: Hyperparameters) -> np.ndarray:
    """Transitions whose reward is the number of their episode."""
    rng = np.random.default_rng(number)
    obs = rng.standard_normal((length + 1, spec.obs_dim))
    return np.array(
        [
            spec.layout.single.pack(
                obs[i],
                rng.standard_normal(spec.act_dim),
                number,
                obs[i + 1],
                terminated=i == length - 1,
                truncated=False,
            )
            for i in range(length)
        ]
    )


def filled(spec: Hyperparameters, pieces: list[int], capacity: int = 1000) -> HeldOutReplay:
    """Episodes 0 to 9, of 5 to 14 transitions, given in pieces of these lengths."""
    replay = HeldOutReplay(spec, capacity, CPU, 4)
    rest = np.concatenate([episode(number, 5 + number, spec) for number in range(10)])
    for size in pieces:
        replay.store(0, rest[:size])
        rest = rest[size:]
    replay.store(0, rest)
    return replay


@pytest.mark.parametrize("n_step", [1, 3])
def test_one_episode_of_every_four_is_never_learned_from(n_step: int) -> None:
    spec = Hyperparameters(seeds=1, obs_dim=2, act_dim=1, n_step=n_step, gamma=1.0)
    replay, pieces = filled(spec, []), filled(spec, [1, 1, 3, 5, 30, 1, 1])
    reward = spec.layout.columns.reward
    for part, numbers in ((replay, {0, 1, 2, 4, 5, 6, 8, 9}), (replay.held_out, {3, 7})):
        stored = part.rows_at(0, np.arange(part.made[0]))[:, reward]
        lasts = {int(value) for value in stored[:, 0] if value in range(10)}
        assert numbers <= (lasts if n_step == 1 else {*range(10)})
        assert len(stored) == sum(5 + number for number in numbers)
    assert torch.equal(replay._rows[0, : replay.made[0]], pieces._rows[0, : pieces.made[0]])
    assert (replay.made, replay.held_out.made, replay.episodes) == (pieces.made, pieces.held_out.made, [10])


def test_nothing_is_held_out_where_nobody_asks_for_it() -> None:
    spec = Hyperparameters(seeds=1, obs_dim=2, act_dim=1)
    replay = HeldOutReplay(spec, 100, CPU, 0)
    replay.store(0, np.concatenate([episode(number, 5, spec) for number in range(10)]))
    assert (replay.made, replay.held_out.made) == ([50], [0])


def chosen(smoothed: list[float], *, settled: bool = True) -> int:
    choice = Selection(0, 3, first=1, explore=0.0)
    choice.validated(np.array(smoothed), np.ones(3))
    choice.begin(0, settled=settled)
    assert choice.acting == choice.chosen
    return choice.chosen


def test_another_is_chosen_only_if_it_is_better_by_a_twentieth() -> None:
    assert chosen([0.9, 1.0, 2.0]) == 0
    assert chosen([0.96, 1.0, 0.97]) == 1
    assert chosen([0.96, 1.0, 0.5]) == 2
    assert chosen([0.1, 1.0, 2.0], settled=False) == 1
    assert chosen([0.1, np.nan, 2.0]) == 1


def test_errors_are_divided_by_the_targets_variance_and_smoothed() -> None:
    choice = Selection(0, 2, first=0, explore=0.0)
    choice.validated(np.array([2.0, 3.0]), np.array([4.0, 1.0]))
    assert choice.smoothed == pytest.approx([0.5, 3.0])
    choice.validated(np.array([4.0, 1.0]), np.array([4.0, 1.0]))
    assert choice.errors == pytest.approx([1.0, 1.0])
    assert choice.smoothed == pytest.approx([0.9 * 0.5 + 0.1, 0.9 * 3 + 0.1])


def test_it_is_decided_once_an_episode_and_now_and_then_anyone_acts() -> None:
    choice = Selection(3, 4, first=2, explore=0.1)
    acting = []
    for number in range(4000):
        choice.begin(number, settled=True)
        acting.append(choice.acting)
        choice.begin(number, settled=True)
        assert choice.acting == acting[-1]
    shares = np.bincount(acting, minlength=4) / len(acting)
    assert shares == pytest.approx([0.025, 0.025, 0.925, 0.025], abs=0.012)
    choice.validated(np.ones(4), np.ones(4))
    again = Selection(3, 4, first=2, explore=0.1)
    again.load_state(choice.state())
    assert again.state() == choice.state()


def test_the_error_by_hand_and_whatever_the_unit_of_rewards() -> None:
    """Without dropout: the squared errors of both critics over the variance of the targets."""
    agent = learner(0.3)
    spec, rng = agent.spec, np.random.default_rng(0)
    data = rng.standard_normal((40, spec.row_size)).astype(np.float32)
    data[:, spec.layout.columns.terminated] = rng.random((40, 1)) < 0.2
    batch = spec.layout.split(torch.tensor(data)[None])
    noise = rng.standard_normal((40, ACT_DIM)).astype(np.float32)
    error, variance = agent.td_error(0, torch.tensor(data), noise)

    critics = agent.state.tensors_of(0)
    next_action, log_prob = agent.act(batch.next_obs.numpy(), noise[None])
    plain = learner(0.0)
    plain.state.load_tensors_of(0, critics)
    after = plain.q_values(0, batch.next_obs[0].numpy(), next_action[0], rng).min(0)  # the targets are still copies
    alpha = agent.temperature(0)
    soft = after - alpha * log_prob[0]
    target = batch.reward[0].numpy() + spec.gamma * (1 - batch.terminated[0].numpy()) * soft
    values = plain.q_values(0, batch.obs[0].numpy(), batch.action[0].numpy(), rng)
    assert error == pytest.approx(float(((values - target) ** 2).mean()), rel=1e-4)
    assert variance == pytest.approx(float(target.var()), rel=1e-4)

    # Values, rewards and temperature in another unit.
    last = f"weight{len(spec.hidden_sizes)}", f"bias{len(spec.hidden_sizes)}"
    for flat in (agent.state.critic, agent.state.critic_target):
        views = named(flat, spec.critic.shapes(spec))
        for name in last:
            views[name].mul_(100)
    agent.state.alpha.mul_(100)
    data[:, spec.layout.columns.reward] *= 100
    scaled_error, scaled_variance = agent.td_error(0, torch.tensor(data), noise)
    assert scaled_error / scaled_variance == pytest.approx(error / variance, rel=1e-4)
    assert scaled_error == pytest.approx(10_000 * error, rel=1e-4)


def pair(*rates: float, backend: Backend = EAGER) -> AutoDropout:
    return AutoDropout([learner(rate, backend) for rate in rates], explore=0.5, hold_out_every=4)


def trained(agent: AutoDropout, steps: int) -> AutoDropout:
    """Environment steps whose last ones learn."""
    replay, rng = agent.new_replay(500), np.random.default_rng(5)
    obs = np.zeros((1, OBS_DIM), dtype=np.float32)
    for step in range(60 + steps):
        agent.observe(obs)
        action = agent.random_action() if step < 60 else agent.explore(obs)
        next_obs = rng.standard_normal((1, OBS_DIM)).astype(np.float32)
        ends = {"terminated": step % 7 == 6, "truncated": False}
        row = agent.spec.layout.pack(obs[0], action[0], float(next_obs[0, 0]), next_obs[0], **ends)
        replay.add(torch.from_numpy(row[None]))
        obs = next_obs
        if step >= 60:
            agent.update(agent.sample(replay))
    return agent


@pytest.mark.program
@pytest.mark.parametrize("backend", [EAGER, Backend("graphs")], ids=["eager", "graphs"])
def test_equal_rates_make_equal_learners_and_others_differ_by_their_masks_alone(backend: Backend) -> None:
    same = trained(pair(0.01, 0.01, backend=backend), 6)
    first, second = (agent.state.all_tensors_of(0) for agent in same.agents)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    other = pair(0.2, 0.4, backend=backend)
    assert torch.equal(other.agents[0].state.critic, other.agents[1].state.critic)
    trained(other, 1)
    assert not torch.equal(other.agents[0].state.critic, other.agents[1].state.critic)
    batch = other.sample(other._replay)  # type: ignore[arg-type]
    assert torch.equal(batch.rows, batch.others[0].rows)
    assert torch.equal(batch.draws.next_noise, batch.others[0].draws.next_noise)
    low, high = batch.draws.critic_dropout_masks, batch.others[0].draws.critic_dropout_masks
    assert isinstance(low, torch.Tensor)
    assert isinstance(high, torch.Tensor)
    assert bool((high <= low).all())  # nested
    assert float(high.float().mean()) == pytest.approx(0.6, abs=0.02)


def test_one_learner_without_held_out_episodes_is_plain_droq(tmp_path: Path) -> None:
    rate = "algo.dropout_rate=0.05"
    (plain,) = train_in(tmp_path / "plain", *HOPPER, rate)
    one = ("algo.dropout_rate=auto", "algo.auto.rates=[0.05]", "algo.auto.hold_out_every=0")
    (auto,) = train_in(tmp_path / "auto", *HOPPER, *one)
    ours = {name.removeprefix("0.05/"): value for name, value in weights(auto).items()}
    assert {*weights(plain)} < {*ours}
    for name, value in weights(plain).items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(ours[name])), name


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validations that a run of 100 steps lives to see."""
    monkeypatch.setattr(auto_dropout, "INTERVAL", 10)
    monkeypatch.setattr(auto_dropout, "FEWEST", 8)
    monkeypatch.setattr(auto_dropout, "SETTLING", 5)
    monkeypatch.setattr(selection, "BETTER", 1.0)


@pytest.mark.program
@pytest.mark.usefixtures("quick")
def test_broken_off_it_ends_like_a_run_in_one_go_and_its_choice_is_what_is_measured(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*AUTO, "env=inverted_pendulum", "seed=[0,1]", "algo.n_step=2", "eval.interval=10")
    whole = train_in(tmp_path / "whole", *command)
    with monkeypatch.context() as patch:
        interrupt_at(77, patch)
        assert train(*command) == 143
    assert train(*command) == 0
    chosen_rates = set()
    for run, same in zip(runs(), whole, strict=True):
        assert_same(run, same)
        logged, measured = rows(run, "train"), rows(run, "eval")
        assert all(float(logged[-1][f"validation_error_at_{rate}"]) > 0 for rate in ("0", "0.01", "0.3"))
        chosen_rates |= {row["chosen_rate"] for row in logged}
        assert [bool(row["return_at_0.3"]) for row in measured] == [False] * 9 + [True]
        at = {rate: measured[-1][f"return_at_{rate:g}"] for rate in (0.0, 0.01, 0.3)}
        assert measured[-1]["return_mean"] == at[float(logged[-1]["chosen_rate"])]
        policy = load(run)
        assert isinstance(policy.agent, AutoDropout)
        best = policy.agent.rates[policy.agent.selections[0].chosen]
        assert best == float(logged[-1]["chosen_rate"])
    assert len(chosen_rates) > 1


@pytest.mark.parametrize(
    ("given", "key", "words"),
    [
        (["algo=redq", "algo.dropout_rate=auto"], "algo.dropout_rate", "with all critics in the target"),
        (["algo=crossq", "algo.dropout_rate=auto"], "algo.", "is not allowed"),
        (["algo.dropout_rate=aoto"], "algo.dropout_rate", "did you mean auto"),
        (["algo.auto.explore=0.2"], "algo.dropout_rate", "auto, for what algo.auto says to count"),
        (["algo.dropout_rate=auto", "algo.auto.rates=[0.1,0.1]"], "algo.auto.rates", "all different"),
        (["algo.dropout_rate=auto", "algo.auto.rate=[0.1]"], "algo.auto.rate", "mean algo.auto.rates"),
    ],
)
def test_what_does_not_go_together_is_one_line(given: list[str], key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refusal:
        compose(given)
    assert refusal.value.key.startswith(key)
