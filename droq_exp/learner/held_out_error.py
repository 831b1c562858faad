"""How far critics are from their targets on transitions that they may not have learned from."""

from __future__ import annotations

from torch import Tensor

from droq_exp.learner.networks import tensors_of
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState
from droq_exp.learner.updates import target_inputs, target_outputs


def td_error(
    spec: LearnerSpec, state: LearnerState, seed: slice, rows: Tensor, noise: Tensor, action_map: Tensor
) -> tuple[float, float]:
    """Compare critics and targets, neither with dropout.

    Args:
        spec: the learner's description; its target looks at all critics.
        state: of all seeds.
        seed: the one that is looked at.
        rows: ``[1, n, row]``.
        noise: standard normal, ``[1, n, act]``, of the actions at the next states.
        action_map: ``[2, act]``, as :func:`~droq_exp.learner.updates.target_inputs` takes it.

    Returns:
        The squared errors' mean over critics and rows, and the variance of the targets over the rows.

    """
    actor = state.actor[seed], state.actor_buffers[seed]
    bulk = target_inputs(spec, *actor, state.alpha[seed], rows[:, None], noise[:, None], action_map)
    inputs, next_inputs, soft_reward, discount = (tensor[:, 0] for tensor in bulk)
    buffers = state.critic_buffers[seed]
    next_outputs = target_outputs(state.critic_target[seed], buffers, next_inputs, None, None, spec)
    target = spec.objective.target(next_outputs, soft_reward, discount, None, None, spec)
    params = tensors_of(spec.critic, state.critic[seed], buffers, spec)
    outputs, _ = spec.critic.outputs(*params, inputs, None, spec, training=False)
    error = (spec.objective.value(outputs) - target[:, None]) ** 2
    return float(error.mean()), float(target.var(correction=0))
