"""Everything that the learner changes, as flat tensors with a leading seed axis."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from droq_exp.learner.networks import initial_buffers, project_
from droq_exp.learner.spec import LearnerSpec
from droq_exp.random_streams import Stream, generator

CRITIC_METRICS = ("critic_loss", "q_mean")
FEATURE_METRICS = ("features_loss",)
POLICY_METRICS = ("policy_loss", "temperature_loss", "entropy")


def critic_metrics(spec: LearnerSpec) -> tuple[str, ...]:
    """What is logged of critic updates, the objective's own last."""
    return (*CRITIC_METRICS, *getattr(spec.objective, "metrics", ()))


@dataclass
class LearnerState:
    """Parameters, Adam moments and counters of S seeds.

    ``critic``, ``critic_target`` and the critic's moments are ``[S, n_critic]``, those of the actor ``[S, n_actor]``,
    those of the temperature ``[S, 1]``, those of the features ``[S, n_features]``, ``[S, 0]`` for most; buffers are as
    long as their networks say, ``[S, 0]`` for most. ``alpha`` ``[S, 1]`` is the temperature that all read:
    exp(log_alpha), or ``spec.first_alpha`` until the first policy update has ended. The sums collect what is logged
    since they were last read, ``[S, metrics + 1]``; the last column counts updates. Critic updates without an
    environment step have sums of their own, and are counted among the others.
    """

    critic: Tensor
    critic_buffers: Tensor
    critic_target: Tensor
    critic_moment1: Tensor
    critic_moment2: Tensor
    actor: Tensor
    actor_buffers: Tensor
    actor_moment1: Tensor
    actor_moment2: Tensor
    log_alpha: Tensor
    log_alpha_moment1: Tensor
    log_alpha_moment2: Tensor
    alpha: Tensor
    critic_sums: Tensor
    policy_sums: Tensor
    offline_sums: Tensor
    features: Tensor
    features_moment1: Tensor
    features_moment2: Tensor
    features_sums: Tensor
    critic_updates: int = 0
    policy_updates: int = 0
    feature_updates: int = 0
    offline_updates: int = 0  # of the critic updates, those without an environment step

    @staticmethod
    def initial(spec: LearnerSpec, seeds: list[int], device: torch.device) -> LearnerState:
        """Draw the parameters of each seed from its own stream; targets start equal to the critics."""
        rngs = [generator(seed, Stream.PARAMETERS) for seed in seeds]

        def stack(rows: list[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.stack(rows)).to(device, spec.dtype)

        def zeros(width: int) -> Tensor:
            return torch.zeros(len(seeds), width, dtype=spec.dtype, device=device)

        critic = stack([spec.critic.initial(spec, rng) for rng in rngs])
        actor = stack([spec.actor.initial(spec, rng) for rng in rngs])
        project_(spec.critic, critic, spec)
        project_(spec.actor, actor, spec)
        features = (
            zeros(0)
            if spec.features is None
            else stack([spec.features.initial(spec, generator(seed, Stream.FEATURE_PARAMETERS)) for seed in seeds])
        )
        n_critic, n_actor, n_features = critic.shape[1], actor.shape[1], features.shape[1]
        return LearnerState(
            critic=critic,
            critic_buffers=stack([initial_buffers(spec.critic.buffers(spec)) for _ in seeds]),
            critic_target=critic.clone(),
            critic_moment1=zeros(n_critic),
            critic_moment2=zeros(n_critic),
            actor=actor,
            actor_buffers=stack([initial_buffers(spec.actor.buffers(spec)) for _ in seeds]),
            actor_moment1=zeros(n_actor),
            actor_moment2=zeros(n_actor),
            log_alpha=torch.full_like(zeros(1), math.log(spec.initial_temperature)),
            log_alpha_moment1=zeros(1),
            log_alpha_moment2=zeros(1),
            alpha=torch.full_like(zeros(1), spec.initial_temperature if spec.first_alpha is None else spec.first_alpha),
            critic_sums=zeros(len(critic_metrics(spec)) + 1),
            policy_sums=zeros(len(POLICY_METRICS) + 1),
            offline_sums=zeros(len(critic_metrics(spec)) + 1),
            features=features,
            features_moment1=zeros(n_features),
            features_moment2=zeros(n_features),
            features_sums=zeros(len(FEATURE_METRICS) + 1),
        )

    def tensors_of(self, index: int) -> dict[str, Tensor]:
        """Return copies on the CPU of one seed's parameters and moments: what evaluation and playing need."""
        return {name: value for name, value in self.all_tensors_of(index).items() if "sums" not in name}

    def all_tensors_of(self, index: int) -> dict[str, Tensor]:
        """Return copies on the CPU of all of one seed's tensors."""
        return {name: value[index].detach().cpu().clone() for name, value in self.tensors().items()}

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors themselves, by field."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}

    def load_tensors_of(self, index: int, tensors: dict[str, Tensor]) -> None:
        """Overwrite one seed's tensors, in place, by those of :meth:`all_tensors_of`."""
        for name, value in with_alpha(tensors).items():
            getattr(self, name)[index].copy_(value)


def with_alpha(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add to the tensors of a seed the temperature that versions before this tensor made of its logarithm."""
    return (
        tensors
        if "alpha" in tensors or "log_alpha" not in tensors
        else {**tensors, "alpha": tensors["log_alpha"].exp()}
    )
