"""Losses and targets: tensors in, tensors out. Sums over seeds are separable, so one gradient serves all of them.

The target of a critic update, whole:

    y = r + gamma (1 - d) (V(s', a') - alpha log pi(a' | s'))

for a transition (s, a, r, s', d) of the minibatch, with a' sampled anew from the policy of the moment, d = 1 where the
task itself ended the episode (a time limit does not), and V the target critics' value: the minimum over a random subset
of them, or over all, or a mean (:func:`target_value`). :func:`soft_reward` is the part of y that stands still while the
policy does, r - gamma (1 - d) alpha log pi, so ``updates.target_inputs`` computes it in bulk; :func:`td_target` is y.
"""

from __future__ import annotations

import torch
from torch import Tensor

from droq_exp.learner.networks import actor_shapes, critic_shapes, critic_values, named, sample_action
from droq_exp.learner.spec import LearnerSpec


def soft_reward(reward: Tensor, discount: Tensor, alpha: Tensor, log_prob: Tensor) -> Tensor:
    """``r - gamma (1 - d) alpha log pi``: the reward with the next state's discounted entropy bonus.

    ``discount`` is gamma (1 - d); all broadcast to ``[S, U, B]``.
    """
    return reward - discount * (alpha * log_prob)


def td_target(soft_reward: Tensor, discount: Tensor, next_value: Tensor) -> Tensor:
    """``y`` of the module's docstring, ``[S, B]`` as its three parts are."""
    return soft_reward + discount * next_value


def target_value(
    target: Tensor,
    next_inputs: Tensor,
    dropout_masks: list[Tensor] | None,
    subset: Tensor | None,
    in_subset: Tensor | None,
    rem_weights: Tensor | None,
    spec: LearnerSpec,
) -> Tensor:
    """Combine the target critics at the next state and action.

    Args:
        target: target parameters, ``[S, n]``.
        next_inputs: ``[S, B, obs + act]``.
        dropout_masks: dropout masks of the T target passes, ``[S, T, B, width]`` a hidden layer.
        subset: indices of the critics looked at, ``[S, num_min]`` (REDQ, algorithm 1), or None for all in order.
        in_subset: which of them count this time, ``[S, T]`` booleans, for a fractional ``num_min``; else None.
        rem_weights: weights ``[S, N, B]`` that sum to 1 over N, for target mode ``rem``; else None.
        spec: the learner's numbers.

    Returns:
        ``[S, B]``.

    """
    params = named(target, critic_shapes(spec))
    if subset is not None:
        rows = torch.arange(subset.shape[0], device=subset.device)[:, None]
        params = {name: value[rows, subset] for name, value in params.items()}
    if spec.target_passes > 1:
        params = {name: value.repeat_interleave(spec.target_passes, 1) for name, value in params.items()}
    values = critic_values(params, next_inputs, dropout_masks, spec)
    if spec.target_mode == "ave":
        return values.mean(1)
    if rem_weights is not None:
        passes = values.unflatten(1, (spec.num_critics, spec.target_passes)).mean(2)
        return (rem_weights * passes).sum(1)
    if in_subset is not None:
        values = values.masked_fill(~in_subset[..., None], torch.inf)
    return values.amin(1)


def critic_loss(
    critic: Tensor, inputs: Tensor, td_target: Tensor, dropout_masks: list[Tensor] | None, spec: LearnerSpec
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """``sum_i mean_B (Q_i - y)^2``.

    Returns:
        The loss summed over seeds, and ``[S]`` each: the loss, the mean Q.

    """
    values = critic_values(named(critic, critic_shapes(spec)), inputs, dropout_masks, spec)
    losses = ((values - td_target[:, None]) ** 2).mean(-1).sum(-1)
    return losses.sum(), (losses, values.mean((1, 2)))


def policy_loss(
    actor: Tensor,
    critic: Tensor,
    alpha: Tensor,
    obs: Tensor,
    noise: Tensor,
    action_map: Tensor,
    dropout_masks: list[Tensor] | None,
    spec: LearnerSpec,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """``mean_B(alpha log pi - Q)``, Q the mean or the minimum over all N critics as the code base has it.

    Args:
        actor: ``[S, n]``.
        critic: ``[S, n]``.
        alpha: ``[S, 1]``, the temperature.
        obs: ``[S, B, obs]``.
        noise: standard normal, ``[S, B, act]``.
        action_map: ``[2, act]``, scale and offset from [-1, 1] to what critics and environment see.
        dropout_masks: dropout masks ``[S, N, B, width]`` of the critics' pass.
        spec: the learner's numbers.

    Returns:
        The loss summed over seeds, and ``[S]`` each: the loss, the mean log-density.

    """
    action, log_prob = sample_action(named(actor, actor_shapes(spec)), obs, noise)
    inputs = torch.cat([obs, action * action_map[0] + action_map[1]], -1)
    values = critic_values(named(critic, critic_shapes(spec)), inputs, dropout_masks, spec)
    value = values.amin(1) if spec.policy_objective == "min" else values.mean(1)
    losses = (alpha * log_prob - value).mean(-1)
    return losses.sum(), (losses, log_prob.mean(-1))


def temperature_gradient(log_prob_mean: Tensor, spec: LearnerSpec) -> Tensor:
    """Gradient of ``-log_alpha * mean(log pi + target_entropy)``, ``[S, 1]`` from ``[S]``; not multiplied by alpha."""
    return -(log_prob_mean + spec.target_entropy)[:, None]
