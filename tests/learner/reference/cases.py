"""Settings of every algorithm, used starting states and batches, for comparisons with the reference.

Every number is representable in float32, so that both precisions start from the same state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .records import Batch, Settings
from .slow_learner import SlowLearner

OBS_DIM, ACT_DIM, HIDDEN, BATCH_SIZE, UTD_RATIO = 5, 2, (16, 12), 16, 8


@dataclass(frozen=True)
class Algorithm:
    """A row of the table of algorithms, and the variations that have no name of their own."""

    num_critics: int
    num_min: float
    dropout: bool
    layer_norm: bool
    target_passes: int = 1
    target_mode: str = "min"

    @property
    def target_critics(self) -> int:
        """Critics behind one target at most."""
        return math.ceil(self.num_min) if self.target_mode == "min" else self.num_critics


SAC = Algorithm(2, 2, dropout=False, layer_norm=False)
REDQ = Algorithm(10, 2, dropout=False, layer_norm=False)
ALGORITHMS = {
    "sac": SAC,
    "redq": REDQ,
    "duvn": Algorithm(1, 1, dropout=True, layer_norm=False),
    "droq": Algorithm(2, 2, dropout=True, layer_norm=True),
    "droq_single": Algorithm(1, 1, dropout=True, layer_norm=True, target_passes=2),
    "droq_no_dropout": Algorithm(2, 2, dropout=False, layer_norm=True),
    "droq_no_layernorm": Algorithm(2, 2, dropout=True, layer_norm=False),
    "redq_layernorm": Algorithm(10, 2, dropout=False, layer_norm=True),
}
VARIATIONS = {
    "fractional": replace(REDQ, num_critics=4, num_min=2.3),
    "fractional_dropout": Algorithm(4, 1.5, dropout=True, layer_norm=True),
    "ave": replace(REDQ, num_critics=3, target_mode="ave"),
    "ave_dropout": Algorithm(3, 2, dropout=True, layer_norm=True, target_mode="ave"),
    "rem": replace(REDQ, num_critics=3, target_mode="rem"),
    "rem_dropout": Algorithm(3, 2, dropout=True, layer_norm=True, target_mode="rem"),
}


def settings_of(
    algorithm: Algorithm,
    codebase: str,
    *,
    dropout_rate: float = 0.1,
    learn_temperature: bool = True,
    policy_update_delay: int = 20,
    gamma: float = 0.99,
) -> Settings:
    """The reference's settings; the action box is [-0.5, 1.5] x [-3, 1], so neither centred nor of size one."""
    return Settings(
        codebase=codebase,
        obs_dim=OBS_DIM,
        act_dim=ACT_DIM,
        hidden=HIDDEN,
        num_critics=algorithm.num_critics,
        dropout_rate=dropout_rate if algorithm.dropout else 0.0,
        layer_norm=algorithm.layer_norm,
        target_mode=algorithm.target_mode,
        target_entropy=-1.7,
        action_scale=torch.tensor([1.0, 2.0], dtype=torch.float64),
        action_bias=torch.tensor([0.5, -1.0], dtype=torch.float64),
        gamma=gamma,
        tau=0.02,
        critic_learning_rate=1e-3,
        actor_learning_rate=7e-4,
        temperature_learning_rate=5e-4,
        learn_temperature=learn_temperature,
        policy_update_delay=policy_update_delay,
    )


def used_learner(settings: Settings, seed: int, *, saturated: bool) -> SlowLearner:
    """A reference in the middle of a training: weights, moments, step counts and temperature are all in use.

    A ``saturated`` actor clamps log standard deviations and squashes far samples, where ``log(1 - tanh(u)^2 + 1e-6)``
    has but one or two digits left in float32: it is for comparisons in float64.
    """
    generator = torch.Generator().manual_seed(seed)
    learner = SlowLearner(settings)

    def normal(like: Tensor, scale: float) -> Tensor:
        return scale * torch.randn(like.shape, generator=generator)

    with torch.no_grad():
        for network in (learner.actor, *learner.critics, *learner.targets):
            for name, p in network.named_parameters():
                centre = 1.0 if name.startswith("norms") and name.endswith("weight") else 0.0
                values = centre + normal(p, 0.3)
                if name == "output.bias" and network is learner.actor:
                    values += torch.tensor([1.5, -0.5, -0.5, 1.7] if saturated else [0.3, -0.3, -1.2, -1.0])
                elif network is learner.actor and not saturated:
                    values = values / 2
                p.copy_(values)
        learner.log_alpha.fill_(-0.75)
    learner.temperature_was_stepped = True
    counts = [(learner.actor_optimizer, 41), (learner.temperature_optimizer, 41)]
    counts += [(o, 820) for o in learner.critic_optimizers]
    for optimizer, count in counts:
        for p in optimizer.param_groups[0]["params"]:
            optimizer.state[p] = {
                "step": torch.tensor(float(count)),
                "exp_avg": normal(p, 0.05).double(),
                "exp_avg_sq": (0.01 + normal(p, 0.1) ** 2).double(),
            }
    return learner


def random_transitions(settings: Settings, seed: int, count: int) -> Batch:
    """``count`` transitions of plausible size, about a quarter of them terminal."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    action = torch.tanh(normal(count, ACT_DIM))
    if settings.codebase == "redq":
        action = action * settings.action_scale.float() + settings.action_bias.float()
    return Batch(
        obs=normal(count, OBS_DIM).double(),
        action=action.double(),
        reward=(normal(count) + 1.0).double(),
        next_obs=normal(count, OBS_DIM).double(),
        terminated=(torch.rand(count, generator=generator) < 0.25).double(),
    )
