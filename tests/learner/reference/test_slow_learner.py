"""The reference itself, against numbers worked out by hand on networks of one or two units."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from .networks import Actor, Critic
from .records import Batch, CriticDraws, PolicyDraws, Settings
from .slow_learner import SlowLearner


def settings(**changes: Any) -> Settings:
    values: dict[str, Any] = {
        "codebase": "redq",
        "obs_dim": 1,
        "act_dim": 1,
        "hidden": (1,),
        "num_critics": 2,
        "dropout_rate": 0.0,
        "layer_norm": False,
        "target_mode": "min",
        "target_entropy": -1.0,
        "action_scale": torch.tensor([2.0], dtype=torch.float64),
        "action_bias": torch.tensor([0.5], dtype=torch.float64),
    }
    return Settings(**{**values, **changes})


def column(*values: float) -> torch.Tensor:
    return torch.tensor([[v] for v in values], dtype=torch.float64)


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


BATCH = Batch(column(0.0, 0.0), column(0.3, 0.3), row(1.0, 3.0), column(0.0, 0.0), row(0.0, 1.0))


def constant_learner(online: list[float], target: list[float], **changes: Any) -> SlowLearner:
    """Critics whose value is their output bias; an actor of mean 0 and standard deviation 1."""
    learner = SlowLearner(settings(num_critics=len(online), **changes))
    with torch.no_grad():
        for networks, biases in ((learner.critics, online), (learner.targets, target)):
            for network, bias in zip(networks, biases, strict=True):
                for p in network.parameters():
                    p.zero_()
                network.output.bias.fill_(bias)
        for p in learner.actor.parameters():
            p.zero_()
    return learner


def log_prob_of(noise: float) -> float:
    """Of a standard normal draw, squashed."""
    return -0.5 * noise**2 - 0.5 * math.log(2 * math.pi) - math.log(1 - math.tanh(noise) ** 2 + 1e-6)


def draws(**changes: Any) -> CriticDraws:
    values: dict[str, Any] = {
        "next_noise": column(0.0, 0.0),
        "target_critics": [0, 1],
        "target_masks": None,
        "online_masks": None,
    }
    return CriticDraws(BATCH, **{**values, **changes})


def test_critic_drops_before_layer_norm_and_scales_what_it_keeps() -> None:
    critic = Critic(1, 1, (2,), 0.25, layer_norm=True).double()
    first: Any = critic.linears[0]
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        first.bias.copy_(torch.tensor([1.0, 1.0]))
        critic.output.weight.copy_(torch.tensor([[10.0, 1.0]]))
        critic.output.bias.fill_(0.5)
    # hidden (3, 1), unit 1 dropped: (4, 0), normalised (1, -1) * 2 / sqrt(4 + 1e-5), after ReLU only unit 0
    value = critic(column(2.0), column(0.0), [torch.tensor([[True, False]])])
    assert value.item() == pytest.approx(10.0 * 2.0 / math.sqrt(4.0 + 1e-5) + 0.5, abs=1e-12)


def test_critic_without_masks_refuses_a_dropout_rate() -> None:
    with pytest.raises(ValueError, match="masks"):
        Critic(1, 1, (2,), 0.25, layer_norm=False)(column(2.0).float(), column(0.0).float(), None)


def test_actor_squashes_and_clamps() -> None:
    actor = Actor(1, 2, (1,)).double()
    with torch.no_grad():
        for p in actor.parameters():
            p.zero_()
        actor.output.bias.copy_(row(0.1, 0.2, 5.0, -30.0))  # means, log standard deviations
    squashed, log_prob = actor(column(0.0), torch.tensor([[0.5, 1.0]], dtype=torch.float64))
    u = [0.1 + math.exp(2.0) * 0.5, 0.2 + math.exp(-20.0)]
    assert squashed[0].tolist() == pytest.approx([math.tanh(v) for v in u], abs=1e-14)
    expected = -0.5 * (0.25 + 1.0) - (2.0 - 20.0) - math.log(2 * math.pi)
    expected -= sum(math.log(1 - math.tanh(v) ** 2 + 1e-6) for v in u)
    assert log_prob.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("mode", "value"), [("min", 4.0), ("ave", 5.0), ("rem", (0.1 * 6.0 + 0.3 * 4.0) / 0.4)], ids=["min", "ave", "rem"]
)
def test_target_by_hand(mode: str, value: float) -> None:
    learner = constant_learner([0.0, 0.0], [6.0, 4.0], target_mode=mode, gamma=0.5)
    with torch.no_grad():
        learner.log_alpha.fill_(math.log(0.2))
    uniforms = torch.tensor([[0.1, 0.1], [0.3, 0.3]], dtype=torch.float64)
    target = learner.target_values(draws(next_noise=column(0.7, 0.7), rem_uniforms=uniforms))
    assert target.tolist() == pytest.approx([1.0 + 0.5 * (value - 0.2 * log_prob_of(0.7)), 3.0], abs=1e-12)


def test_target_of_a_subset_and_of_repeated_passes() -> None:
    learner = constant_learner([0.0] * 3, [6.0, 4.0, 9.0], gamma=0.5)
    bonus = 0.5 * log_prob_of(0.0)
    for passes, value in (([0, 2], 6.0), ([2], 9.0), ([1, 1], 4.0), ([2, 1, 0], 4.0)):
        target = learner.target_values(draws(target_critics=passes))
        assert target[0].item() == pytest.approx(1.0 + 0.5 * value - bonus, abs=1e-12)


def test_critic_loss_is_a_sum_over_critics_of_a_mean_over_the_batch() -> None:
    learner = constant_learner([2.0, 5.0], [0.0, 0.0], gamma=0.0)  # targets 1 and 3
    record = learner.critic_gradients(draws())
    assert record.loss.item() == pytest.approx((1 + 1) / 2 + (16 + 4) / 2)
    assert record.gradients[0][-1].item() == pytest.approx(2 * (2.0 - 2.0))
    assert record.gradients[1][-1].item() == pytest.approx(2 * (5.0 - 2.0))


def test_temperature_gradient_is_not_multiplied_by_alpha() -> None:
    learner = constant_learner([0.0, 0.0], [0.0, 0.0])
    with torch.no_grad():
        learner.log_alpha.fill_(0.7)
    record = learner.policy_gradients(0, BATCH, PolicyDraws(column(0.4, -1.1), None))
    mean_log_prob = (log_prob_of(0.4) + log_prob_of(-1.1)) / 2
    assert record.temperature_gradient.item() == pytest.approx(-(mean_log_prob - 1.0), abs=1e-12)
    assert record.temperature_loss.item() == pytest.approx(-0.7 * (mean_log_prob - 1.0), abs=1e-12)
    assert record.loss.item() == pytest.approx(math.exp(0.7) * mean_log_prob, abs=1e-12)


@pytest.mark.parametrize(
    ("codebase", "rate", "online", "value"),
    [
        ("redq", 0.0, [1.0, 3.0], 2.0),
        ("ku", 0.0, [1.0, 3.0], 1.0),
        ("ku", 0.1, [1.0, 3.0], 2.0),
        ("ku", 0.0, [1.0, 3.0, 8.0], 4.0),
        ("ku", 0.1, [3.0], 3.0),
    ],
)
def test_policy_value_of_each_style(codebase: str, rate: float, online: list[float], value: float) -> None:
    learner = constant_learner(online, online, codebase=codebase, dropout_rate=rate)
    assert learner.policy_value(row(*online).unsqueeze(1)).item() == pytest.approx(value)


@pytest.mark.parametrize(("codebase", "seen"), [("redq", 2.0 * math.tanh(0.4) + 0.5), ("ku", math.tanh(0.4))])
def test_only_redq_rescales_actions(codebase: str, seen: float) -> None:
    learner = constant_learner([0.0], [0.0], codebase=codebase, hidden=(1,))
    first: Any = learner.critics[0].linears[0]
    with torch.no_grad():  # Q = the action, shifted to stay positive
        first.weight.copy_(torch.tensor([[0.0, 1.0]]))
        first.bias.fill_(5.0)
        learner.critics[0].output.weight.fill_(1.0)
    record = learner.policy_gradients(0, BATCH, PolicyDraws(column(0.4, 0.4), None))
    assert record.loss.item() == pytest.approx(log_prob_of(0.4) - (seen + 5.0), abs=1e-12)


def test_first_adam_steps_and_polyak() -> None:
    learner = constant_learner([2.0, 5.0], [0.0, 1.0], gamma=0.0, tau=0.1)
    record = learner.update([draws()], [PolicyDraws(column(0.4, 0.4), None)])
    # Adam's first step is lr * sign(gradient); critic 0's gradient is exactly 0
    assert learner.critics[0].output.bias.item() == pytest.approx(2.0)
    assert learner.critics[1].output.bias.item() == pytest.approx(5.0 - 3e-4, abs=1e-9)
    assert learner.targets[1].output.bias.item() == pytest.approx(0.9 * 1.0 + 0.1 * (5.0 - 3e-4), abs=1e-9)
    assert record.policies[0].temperature_gradient.item() > 0
    assert learner.log_alpha.item() == pytest.approx(-3e-4, abs=1e-9)


@pytest.mark.parametrize(
    ("codebase", "delay", "updates"),
    [("redq", 20, [4]), ("redq", 2, [1, 3, 4]), ("redq", 1, [0, 1, 2, 3, 4]), ("ku", 20, [4])],
)
def test_when_the_policy_is_updated(codebase: str, delay: int, updates: list[int]) -> None:
    learner = constant_learner([2.0, 5.0], [0.0, 1.0], codebase=codebase, policy_update_delay=delay)
    policy = [PolicyDraws(column(0.4, 0.4), None, BATCH)] * len(updates)
    assert [p.update for p in learner.update([draws()] * 5, policy).policies] == updates


def test_fixed_temperature_stays() -> None:
    learner = constant_learner([2.0], [0.0], learn_temperature=False)
    learner.update([draws(target_critics=[0])], [PolicyDraws(column(0.4, 0.4), None)])
    assert learner.log_alpha.item() == 0.0


def test_redq_policy_sees_the_critics_before_their_step_and_ku_after() -> None:
    losses = {}
    for codebase in ("redq", "ku"):
        learner = constant_learner([2.0], [0.0], codebase=codebase, gamma=0.0, critic_learning_rate=1.0)
        policy = PolicyDraws(column(0.4, 0.4), None, BATCH)
        wrong = Batch(BATCH.obs, BATCH.action, row(9.0, 9.0), BATCH.next_obs, BATCH.terminated)
        critic = CriticDraws(wrong, column(0.0, 0.0), [0], None, None)
        losses[codebase] = learner.update([critic], [policy]).policies[0].loss.item()
    assert losses["redq"] == pytest.approx(log_prob_of(0.4) - 2.0)
    assert losses["ku"] == pytest.approx(log_prob_of(0.4) - 3.0)
