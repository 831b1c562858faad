"""What goes into the slow reference and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

LayerMasks = Sequence[Tensor]  # one [B, H] keep mask per hidden layer


@dataclass(frozen=True)
class Settings:
    """What is trained and how; ``action_scale`` and ``action_bias`` map [-1, 1] to the action box, per dimension."""

    codebase: str  # redq | ku
    obs_dim: int
    act_dim: int
    hidden: tuple[int, ...]
    num_critics: int
    dropout_rate: float
    layer_norm: bool
    target_mode: str  # min | ave | rem
    target_entropy: float
    action_scale: Tensor
    action_bias: Tensor
    gamma: float = 0.99
    tau: float = 0.005
    critic_learning_rate: float = 3e-4
    actor_learning_rate: float = 3e-4
    temperature_learning_rate: float = 3e-4
    learn_temperature: bool = True
    first_alpha: float | None = None  # of all updates before the first temperature step; None: exp(log_alpha)
    policy_update_delay: int = 20  # redq only


@dataclass(frozen=True)
class Batch:
    """``obs, next_obs [B, obs_dim], action [B, A], reward, terminated [B]``; ``bootstrap [B]`` of n-step rows."""

    obs: Tensor
    action: Tensor
    reward: Tensor
    next_obs: Tensor
    terminated: Tensor
    bootstrap: Tensor | None = None  # how much the next value counts, in the place of gamma (1 - terminated)


@dataclass(frozen=True)
class CriticDraws:
    """One critic update's batch and randomness."""

    batch: Batch
    next_noise: Tensor  # [B, A], standard normal
    target_critics: list[int]  # which target critic each target pass uses; one may appear in several passes
    target_masks: list[LayerMasks] | None  # per target pass
    online_masks: list[LayerMasks] | None  # per critic
    rem_uniforms: Tensor | None = None  # [N, B], U(0, 1), mode rem


@dataclass(frozen=True)
class PolicyDraws:
    """One policy update's randomness; ``batch`` is the extra one of codebase ku."""

    noise: Tensor  # [B, A], standard normal
    masks: list[LayerMasks] | None  # per critic
    batch: Batch | None = None


@dataclass
class CriticRecord:
    """What one critic update computed; gradients by critic, then by parameter in ``parameters()`` order."""

    loss: Tensor
    q: Tensor  # [N, B]
    target: Tensor  # [B]
    gradients: list[list[Tensor]]


@dataclass
class PolicyRecord:
    """What one policy (and temperature) update computed."""

    update: int  # index of the critic update it belongs to or follows
    loss: Tensor
    log_prob: Tensor  # [B]
    gradients: list[Tensor]
    temperature_loss: Tensor
    temperature_gradient: Tensor


@dataclass
class StepRecord:
    """All updates of one environment step."""

    critics: list[CriticRecord] = field(default_factory=list)
    policies: list[PolicyRecord] = field(default_factory=list)
