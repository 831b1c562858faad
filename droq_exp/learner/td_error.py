"""How far critics are from their targets, without an update: on held-out transitions, and on a new row of replay."""

from __future__ import annotations

from torch import Tensor

from droq_exp.learner.networks import tensors_of
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState
from droq_exp.learner.updates import looked_at, target_inputs

Masks = list[Tensor] | None


def outputs_and_target(
    spec: LearnerSpec,
    state: LearnerState,
    seed: slice,
    rows: Tensor,
    noise: Tensor,
    action_map: Tensor,
    masks: tuple[Masks, Masks] = (None, None),
    subset: Tensor | None = None,
    in_subset: Tensor | None = None,
    rem_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What the critics of one seed put out at ``rows``, ``[1, N, n, M]``, and what they would learn, ``[1, n, ...]``.

    Nothing moves. Networks that normalise over a minibatch do so by their running statistics.

    Args:
        spec: the learner's description.
        state: of all seeds.
        seed: the one that is looked at.
        rows: ``[1, n, row]``.
        noise: standard normal, ``[1, n, act]``, of the actions at the next states.
        action_map: ``[2, act]``, as :func:`~droq_exp.learner.updates.target_inputs` takes it.
        masks: dropout masks of the target passes and of the online ones; None: no dropout there.
        subset: of this look, as the next two, what :class:`~droq_exp.learner.draws.Draws` has of an update; None: the
            target looks at all critics.
        in_subset: ``[1, T]``.
        rem_weights: ``[1, N, n]``.

    """
    policy = state.actor[seed], state.actor_buffers[seed], state.alpha[seed]
    bulk = target_inputs(spec, *policy, rows[:, None], noise[:, None], action_map)
    inputs, next_inputs, reward, discount = (tensor[:, 0] for tensor in bulk)
    critic, buffers = state.critic[seed], state.critic_buffers[seed]
    following = state.critic_target[seed] if spec.target_network else critic
    behind = looked_at(following, buffers, subset, spec)
    next_outputs, _ = spec.critic.outputs(*behind, next_inputs, masks[0], spec, training=False)
    target = spec.objective.target(next_outputs, reward, discount, in_subset, rem_weights, spec)
    critics = tensors_of(spec.critic, critic, buffers, spec)
    outputs, _ = spec.critic.outputs(*critics, inputs, masks[1], spec, training=False)
    return outputs, target


def td_error(
    spec: LearnerSpec, state: LearnerState, seed: slice, rows: Tensor, noise: Tensor, action_map: Tensor
) -> tuple[float, float]:
    """Compare critics and targets, neither with dropout; the first arguments of :func:`outputs_and_target`.

    Returns:
        The squared errors' mean over critics and rows, and the variance of the targets over the rows.

    """
    outputs, target = outputs_and_target(spec, state, seed, rows, noise, action_map)
    error = (spec.objective.value(outputs) - target[:, None]) ** 2
    return float(error.mean()), float(target.var(correction=0))
