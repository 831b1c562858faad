"""Feeds the learner and the slow reference the same state and randomness, and compares what they make of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from droq_exp.agent.replay import Replay
from droq_exp.codebases import Codebase, KuCodebase, RedqCodebase
from droq_exp.learner.draws import Draws
from droq_exp.learner.dropout import KeyedMasks
from droq_exp.learner.learner import Learner
from droq_exp.learner.networks import Shapes, named
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState

from .cases import BATCH_SIZE, UTD_RATIO, Algorithm
from .records import Batch, CriticDraws, LayerMasks, PolicyDraws, Settings
from .slow_learner import SlowLearner

BETA1 = 0.9
Parameters = dict[str, Tensor]


def codebase_of(settings: Settings) -> Codebase:
    return KuCodebase() if settings.codebase == "ku" else RedqCodebase(policy_update_delay=settings.policy_update_delay)


def spec_of(algorithm: Algorithm, settings: Settings, seeds: int, dtype: torch.dtype) -> LearnerSpec:
    codebase = codebase_of(settings)
    return LearnerSpec(
        seeds=seeds,
        obs_dim=settings.obs_dim,
        act_dim=settings.act_dim,
        hidden_sizes=settings.hidden,
        num_critics=settings.num_critics,
        num_min=algorithm.num_min,
        target_mode=settings.target_mode,
        target_passes=algorithm.target_passes,
        dropout_rate=settings.dropout_rate,
        layer_norm=settings.layer_norm,
        policy_value=codebase.policy_objective(settings.num_critics, algorithm.num_min, settings.dropout_rate),
        actor_heads=codebase.actor_heads,
        utd_ratio=UTD_RATIO,
        batch_size=BATCH_SIZE,
        gamma=settings.gamma,
        tau=settings.tau,
        critic_learning_rate=settings.critic_learning_rate,
        actor_learning_rate=settings.actor_learning_rate,
        temperature_learning_rate=settings.temperature_learning_rate,
        target_entropy=settings.target_entropy,
        learn_temperature=settings.learn_temperature,
        first_alpha=settings.first_alpha,
        order=codebase.order,
        dtype=dtype,
    )


def flat_of(networks: list[Parameters], shapes: Shapes) -> Tensor:
    """One flat vector, laid out as the learner's, of the parameters (or gradients, moments) of modules."""
    flat = torch.zeros(1, sum(torch.Size(s).numel() for s in shapes.values()), dtype=torch.float64)
    views = named(flat, shapes)
    layers = sum(name.startswith("weight") for name in shapes)
    for i, parameters in enumerate(networks):
        for name, value in parameters.items():
            part, *index, kind = name.split(".")
            if part == "norms":
                view = views[{"weight": "norm_scale", "bias": "norm_shift"}[kind] + index[0]]
            else:
                view = views[kind + (index[0] if index else str(layers - 1))]
            view[0, i] = value.detach().T if value.dim() == 2 else value.detach()
    return flat[0]


class FlatView:
    """The reference's state in the learner's layout."""

    def __init__(self, slow: SlowLearner, spec: LearnerSpec) -> None:
        self.slow = slow
        self.critic_shapes, self.actor_shapes = spec.critic.shapes(spec), spec.actor.shapes(spec)

    def critic_gradient(self, gradients: list[list[Tensor]]) -> Tensor:
        names = [name for name, _ in self.slow.critics[0].named_parameters()]
        return flat_of([dict(zip(names, g, strict=True)) for g in gradients], self.critic_shapes)

    def actor_gradient(self, gradients: list[Tensor]) -> Tensor:
        names = [name for name, _ in self.slow.actor.named_parameters()]
        return flat_of([dict(zip(names, gradients, strict=True))], self.actor_shapes)

    def state(self) -> dict[str, Tensor]:
        """Keys are the fields of :class:`LearnerState`."""
        slow = self.slow

        def moments(key: str) -> dict[str, Tensor]:
            critics = [
                {name: optimizer.state[p][key] for name, p in critic.named_parameters()}
                for critic, optimizer in zip(slow.critics, slow.critic_optimizers, strict=True)
            ]
            actor = {name: slow.actor_optimizer.state[p][key] for name, p in slow.actor.named_parameters()}
            return {
                "critic": flat_of(critics, self.critic_shapes),
                "actor": flat_of([actor], self.actor_shapes),
                "log_alpha": slow.temperature_optimizer.state[slow.log_alpha][key].reshape(1).clone(),
            }

        first, second = moments("exp_avg"), moments("exp_avg_sq")
        return {
            "critic": flat_of([dict(c.named_parameters()) for c in slow.critics], self.critic_shapes),
            "critic_target": flat_of([dict(c.named_parameters()) for c in slow.targets], self.critic_shapes),
            "actor": flat_of([dict(slow.actor.named_parameters())], self.actor_shapes),
            "log_alpha": slow.log_alpha.detach().reshape(1).clone(),
            "alpha": slow.alpha().detach().reshape(1).clone(),
            **{f"{name}_moment1": value for name, value in first.items()},
            **{f"{name}_moment2": value for name, value in second.items()},
        }


def state_of(slows: list[SlowLearner], spec: LearnerSpec) -> LearnerState:
    """The learner's state for a pack that starts where the references stand."""
    state = LearnerState.initial(spec, list(range(len(slows))), torch.device("cpu"))
    for member, slow in enumerate(slows):
        for name, value in FlatView(slow, spec).state().items():
            getattr(state, name)[member] = value
    state.critic_updates = int(slows[0].critic_optimizers[0].state[slows[0].critics[0].output.bias]["step"])
    state.policy_updates = int(slows[0].actor_optimizer.state[slows[0].actor.output.bias]["step"])
    return state


@dataclass
class Observed:
    """What the learner did in one environment step, ``[S, ...]`` an entry, in the order in which it happened."""

    critic_losses: list[Tensor] = field(default_factory=list)
    q_means: list[Tensor] = field(default_factory=list)
    critic_gradients: list[Tensor] = field(default_factory=list)
    policy_losses: list[Tensor] = field(default_factory=list)
    temperature_losses: list[Tensor] = field(default_factory=list)
    entropies: list[Tensor] = field(default_factory=list)
    actor_gradients: list[Tensor] = field(default_factory=list)
    temperature_gradients: list[Tensor] = field(default_factory=list)


class ObservedLearner(Learner):
    """The learner under test; reads losses off its logging sums and gradients off Adam's first moments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, updates_at_once=1, **kwargs)
        self.observed = Observed()

    def _critic_chunk(self, *tensors: Tensor | KeyedMasks | None) -> None:
        state, seen = self.state, self.observed
        moment = state.critic_moment1.clone()
        state.critic_sums.zero_()
        super()._critic_chunk(*tensors)
        loss, q_mean, count = state.critic_sums.clone().unbind(1)
        assert (count == 1).all()
        seen.critic_losses.append(loss)
        seen.q_means.append(q_mean)
        seen.critic_gradients.append((state.critic_moment1 - BETA1 * moment) / (1 - BETA1))

    def policy_update(self, critic: Tensor, rows: Tensor, draws: Draws, update: int) -> None:
        state, seen = self.state, self.observed
        moment, temperature_moment = state.actor_moment1.clone(), state.log_alpha_moment1.clone()
        state.policy_sums.zero_()
        super().policy_update(critic, rows, draws, update)
        loss, temperature_loss, entropy, count = state.policy_sums.clone().unbind(1)
        assert (count == 1).all()
        seen.policy_losses.append(loss)
        seen.temperature_losses.append(temperature_loss)
        seen.entropies.append(entropy)
        seen.actor_gradients.append((state.actor_moment1 - BETA1 * moment) / (1 - BETA1))
        seen.temperature_gradients.append((state.log_alpha_moment1 - BETA1 * temperature_moment) / (1 - BETA1))


def replay_of(members: list[Batch]) -> Replay:
    """A replay buffer that holds the given transitions, a set for each seed; all but the terminations are cut off.

    The reference knows no ``truncated``: a learner that looked at it would differ.
    """
    ends = [torch.stack([m.terminated, 1 - m.terminated], 1) for m in members]
    rows = torch.stack(
        [torch.cat([m.obs, m.action, m.reward[:, None], m.next_obs, e], 1) for m, e in zip(members, ends, strict=True)]
    ).float()
    replay = Replay(rows.shape[0], rows.shape[1], rows.shape[2], torch.device("cpu"))
    for i in range(rows.shape[1]):
        replay.add(rows[:, i])
    return replay


def slow_draws(
    draws: Draws, member: int, transitions: Batch, algorithm: Algorithm, settings: Settings
) -> tuple[list[CriticDraws], list[PolicyDraws]]:
    """One seed's share of an environment step's randomness, as the reference takes it."""
    passes = algorithm.target_critics * algorithm.target_passes
    online = settings.num_critics
    batches = [
        Batch(*(getattr(transitions, name)[index] for name in ("obs", "action", "reward", "next_obs", "terminated")))
        for index in draws.indices[member].reshape(-1, BATCH_SIZE)
    ]
    critic_draws = []
    for g in range(UTD_RATIO):
        subset = draws.subset[member, g].tolist() if draws.subset is not None else range(algorithm.target_critics)
        target_critics = [critic for critic in subset for _ in range(algorithm.target_passes)]
        masks = _masks(draws.critic_dropout_masks, member, g, [passes, online], settings.hidden)
        if draws.in_subset is not None:
            chosen = [j for j in range(passes) if draws.in_subset[member, g, j]]
            target_critics = [target_critics[j] for j in chosen]
            masks[0] = [masks[0][j] for j in chosen] if masks[0] else None
        critic_draws.append(
            CriticDraws(
                batch=batches[g],
                next_noise=draws.next_noise[member, g].double(),
                target_critics=target_critics,
                target_masks=masks[0],
                online_masks=masks[1],
                rem_uniforms=draws.rem_weights[member, g].double() if draws.rem_weights is not None else None,
            )
        )
    policy_draws = [
        PolicyDraws(
            noise=draws.policy_noise[member, p].double(),
            masks=_masks(draws.policy_dropout_masks, member, p, [online], settings.hidden)[0],
            batch=batches[UTD_RATIO] if settings.codebase == "ku" else None,
        )
        for p in range(draws.policy_noise.shape[1])
    ]
    return critic_draws, policy_draws


def _masks(
    keep: Tensor | KeyedMasks | None, member: int, update: int, groups: Iterable[int], hidden: tuple[int, ...]
) -> list[list[LayerMasks] | None]:
    """For each group of forward passes: a list over passes of a list over layers of ``[B, H]``."""
    if keep is None:
        return [None for _ in groups]
    assert isinstance(keep, Tensor)
    flat, start = keep[member, update], 0
    result: list[list[LayerMasks] | None] = []
    for forwards in groups:
        layers = []
        for width in hidden:
            size = forwards * BATCH_SIZE * width
            layers.append(flat[start : start + size].reshape(forwards, BATCH_SIZE, width).clone())
            start += size
        result.append([[layer[j] for layer in layers] for j in range(forwards)])
    assert start == flat.numel()
    return result
