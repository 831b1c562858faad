"""One small update of each function by the C++ and by PyTorch before the first real one: the second line of defence.

The digests are the first. This one finds what they cannot see: a library that computes something else on this machine.
Adam makes a whole step of a gradient of rounding size, so gradients are compared, which its first moments hold after an
update from zeros. Weights are scaled up and rates of dropout raised, so that clamps are reached and masks matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from droq_exp.learner import losses, updates
from droq_exp.learner.draws import Draws, DrawSampler
from droq_exp.learner.native.actor import PolicyUpdate, TargetInputs
from droq_exp.learner.native.critic_updates import CriticUpdates
from droq_exp.learner.networks import named
from droq_exp.learner.optimiser import BETA1, AdamSchedule, polyak_
from droq_exp.learner.orders import PolicyBesideCritics
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState

SEED = 20_240_229  # any: these generators and tensors are the handshake's own
ROWS = 16
LEAST_DROPOUT = 0.1
WEIGHT_SCALE = 1.5
NOISE_SCALE = 0.05  # at the largest standard deviation, tanh would be all rounding
# Norm of a difference by the norm of what PyTorch gives. Rounding makes 1e-6 of it in float32; a wrong bound or factor
# more than this.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 3e-3}
BF16_TOLERANCE = 0.1


def disagreement(spec: LearnerSpec) -> str | None:
    """What the C++ computes otherwise than PyTorch in ``spec``, in words; None where they agree.

    Raises:
        BuildError: the C++ cannot be compiled or loaded here.

    """
    rate = max(spec.dropout_rate, LEAST_DROPOUT) if spec.dropout_rate else 0.0
    rows = min(ROWS, spec.batch_size)
    small = replace(spec, seeds=1, batch_size=rows, utd_ratio=1, dropout_rate=rate, order=PolicyBesideCritics())
    tolerance = BF16_TOLERANCE if spec.bf16 else TOLERANCE[spec.dtype]
    with torch.no_grad():
        for name, native, defined in _pairs(small):
            if not float((native - defined).norm()) <= tolerance * float(defined.norm()):  # NaN disagrees
                return f"its {name} differ from PyTorch's on this machine"
    return None


def _pairs(spec: LearnerSpec) -> Iterator[tuple[str, Tensor, Tensor]]:
    """What the C++ gives and what the definitions do, by name: of the inputs, a critic update, a policy update."""
    rows, action_map, state = _rows(spec), _action_map(spec), _state(spec)
    keyed, masks = (_draws(spec, keyed=keyed) for keyed in (True, False))
    given = state.actor, state.actor_buffers, state.alpha, rows, masks.next_noise * NOISE_SCALE, action_map
    bulk = updates.target_inputs(spec, *given)
    names = ("inputs", "next inputs", "rewards", "discounts")
    yield from zip(names, TargetInputs(spec)(*given), bulk, strict=True)
    schedule = AdamSchedule(
        [spec.actor_learning_rate, spec.temperature_learning_rate], spec.dtype, rows.device, [BETA1] * 2
    )
    coefficients = schedule.coefficients(1, 1)[0]
    yield from _critic_pairs(spec, state, bulk, coefficients[:1], keyed, masks)
    obs, noise = rows[:, 0, :, spec.layout.columns.obs].contiguous(), masks.policy_noise[:, 0] * NOISE_SCALE
    changed = _copies(state.actor, state.actor_buffers, state.actor_moment1, state.actor_moment2)
    changed += _copies(state.log_alpha, state.log_alpha_moment1, state.log_alpha_moment2)
    changed += _copies(state.alpha, state.policy_sums)
    native: Any = PolicyUpdate(spec)
    critics = state.critic, state.critic_buffers
    native(*changed, *critics, obs, noise, action_map, coefficients, keyed.policy_dropout_masks)
    kept = updates.policy_masks(_first(masks.policy_dropout_masks), spec)
    gradient, loss, log_prob = _gradient(
        updates.policy_loss, state.actor, state.actor_buffers, *critics, state.alpha, obs, noise, action_map, kept, spec
    )
    yield "policy gradients", changed[2] / (1 - BETA1), gradient
    yield "policy losses", changed[8][:, 0], loss
    if spec.learn_temperature:
        yield "temperature gradients", changed[5] / (1 - BETA1), losses.temperature_gradient(log_prob, spec)


def _critic_pairs(
    spec: LearnerSpec, state: LearnerState, bulk: Sequence[Tensor], coefficients: Tensor, keyed: Draws, masks: Draws
) -> Iterator[tuple[str, Tensor, Tensor]]:
    drawn = masks.subset, masks.in_subset, masks.rem_weights
    changed = _copies(state.critic, state.critic_buffers, state.critic, state.critic_target)
    changed += _copies(state.critic_moment1, state.critic_moment2, state.critic_sums)
    native: Any = CriticUpdates(spec)
    native(*changed, *bulk, coefficients, keyed.critic_dropout_masks, *drawn)
    inputs, next_inputs, reward, discount = (tensor[:, 0] for tensor in bulk)
    target_masks, online_masks = updates.critic_masks(_first(masks.critic_dropout_masks), spec)
    subset, in_subset, rem_weights = map(_first, drawn)
    buffers = state.critic_buffers
    next_outputs = updates.target_outputs(state.critic_target, buffers, next_inputs, target_masks, subset, spec)
    target_of = next_outputs, reward, discount, in_subset, rem_weights
    gradient, loss, _ = _gradient(updates.critic_loss, state.critic, buffers, inputs, *target_of, online_masks, spec)
    yield "critic gradients", changed[4] / (1 - BETA1), gradient
    yield "critic losses", changed[6][:, 0], loss
    target = state.critic_target.clone()
    polyak_(target, changed[0], spec.tau)
    yield "target critics", changed[3], target


def _gradient(function: Callable[..., Any], parameters: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of a loss, and what it returns beside its sum; torch.func would take a second to import here."""
    with torch.enable_grad():
        leaf = parameters.clone().requires_grad_()
        loss, (value, other, _) = function(leaf, *others)
        (gradient,) = torch.autograd.grad(loss, leaf)
    return gradient, value.detach(), other.detach()


def _first(drawn: Any) -> Tensor | None:
    """What was drawn for the first update; masks are tensors here, not keys."""
    return None if drawn is None else drawn[:, 0]


def _copies(*tensors: Tensor) -> list[Tensor]:
    return [tensor.clone() for tensor in tensors]


def _draws(spec: LearnerSpec, *, keyed: bool) -> Draws:
    """The same draws in both forms: masks from the same keys."""
    return DrawSampler(spec, [SEED], torch.device("cpu"), keyed=keyed).draw(ROWS)


def _state(spec: LearnerSpec) -> LearnerState:
    """Weights large enough to matter, targets other than the critics, log standard deviations beyond both bounds."""
    state = LearnerState.initial(spec, [SEED], torch.device("cpu"))
    for tensor in (state.critic, state.critic_target, state.actor):
        tensor.mul_(WEIGHT_SCALE)
    state.critic_target.mul_(0.9)
    shapes = spec.actor.shapes(spec)
    bias = named(state.actor, shapes)[list(shapes)[-1]][0, 0, 0]
    bias[spec.act_dim] = 10.0
    bias[-1] = -30.0 if spec.act_dim > 1 else bias[-1]
    return state


def _rows(spec: LearnerSpec) -> Tensor:
    """Transitions ``[1, 1, B, row]``, a fourth of them terminations, a third of them cut off."""
    drawn = np.random.default_rng(SEED).standard_normal((1, 1, spec.batch_size, spec.row_size))
    number, columns = np.arange(spec.batch_size)[:, None], spec.layout.columns
    drawn[..., columns.terminated] = number % 4 == 0
    drawn[..., columns.truncated] = number % 3 == 0
    return torch.from_numpy(drawn).to(spec.dtype)


def _action_map(spec: LearnerSpec) -> Tensor:
    scale = torch.linspace(0.4, 2.0, spec.act_dim)
    return torch.stack([scale, 0.1 * scale]).to(spec.dtype)
