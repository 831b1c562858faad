"""The learner's three steps as functions of tensors that compile to one graph each.

``target_inputs`` computes in bulk what does not change during a run of critic updates; ``critic_updates`` and
``policy_update`` change parameters, moments and logging sums in place. Code bases (``droq_exp/codebases``) call them in
their own order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from droq_exp.learner.losses import soft_reward, temperature_gradient
from droq_exp.learner.networks import named, unflatten
from droq_exp.learner.optimiser import adam_, polyak_
from droq_exp.learner.spec import LearnerSpec


def target_inputs(
    spec: LearnerSpec, actor: Tensor, alpha: Tensor, rows: Tensor, noise: Tensor, action_map: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the inputs of several critic updates while policy and temperature stand still.

    Args:
        spec: the learner's description.
        actor: ``[S, n]``.
        alpha: ``[S, 1]``, the temperature.
        rows: transitions ``[S, U, B, row_size]``, laid out as ``spec.layout`` says.
        noise: standard normal, ``[S, U, B, act]``.
        action_map: ``[2, act]``, scale and offset from [-1, 1] to what critics and environment see.

    Returns:
        Critic inputs ``[S, U, B, obs + act]`` at (s, a) and at (s', a'), and ``[S, U, B]`` each: the reward with the
        discounted entropy bonus, the discount (0 after a termination).

    """
    batch = spec.layout.split(rows)
    params = named(actor, spec.actor.shapes(spec))
    next_action, log_prob = spec.actor.sample(params, batch.next_obs.flatten(1, 2), noise.flatten(1, 2), spec)
    next_action = (next_action * action_map[0] + action_map[1]).unflatten(1, noise.shape[1:3])
    discount = spec.gamma * (1 - batch.terminated)
    log_prob = log_prob.unflatten(1, noise.shape[1:3])
    return (
        torch.cat([batch.obs, batch.action], -1),
        torch.cat([batch.next_obs, next_action], -1),
        soft_reward(batch.reward, discount, alpha[..., None], log_prob),
        discount,
    )


def critic_updates(
    spec: LearnerSpec,
    critic: Tensor,
    critic_before_last: Tensor,
    target: Tensor,
    moment1: Tensor,
    moment2: Tensor,
    sums: Tensor,
    inputs: Tensor,
    next_inputs: Tensor,
    reward: Tensor,
    discount: Tensor,
    coefficients: Tensor,
    dropout_masks: Tensor | None,
    subset: Tensor | None,
    in_subset: Tensor | None,
    rem_weights: Tensor | None,
) -> None:
    """Run U critic updates one after the other, in place on the first six tensors.

    ``critic_before_last`` receives the critics as they are before the last update. The others are those of
    :func:`target_inputs` and :class:`~droq_exp.learner.draws.Draws`, ``[S, U, ...]``; ``coefficients`` is ``[U, 2]``.
    """
    count = inputs.shape[1]
    for u in range(count):
        if u == count - 1:
            critic_before_last.copy_(critic)
        target_masks, online_masks = critic_masks(_at(dropout_masks, u), spec)
        next_outputs = target_outputs(target, next_inputs[:, u], target_masks, _at(subset, u), spec)
        y = spec.objective.target(
            next_outputs, reward[:, u], discount[:, u], _at(in_subset, u), _at(rem_weights, u), spec
        )
        gradient, (_, (losses, q_mean)) = torch.func.grad_and_value(critic_loss, has_aux=True)(
            critic, inputs[:, u], y, online_masks, spec
        )
        adam_(critic, gradient, moment1, moment2, coefficients[u])
        polyak_(target, critic, spec.tau)
        sums.add_(torch.stack([losses, q_mean, torch.ones_like(losses)], -1))


def policy_update(
    spec: LearnerSpec,
    actor: Tensor,
    moment1: Tensor,
    moment2: Tensor,
    log_alpha: Tensor,
    log_alpha_moment1: Tensor,
    log_alpha_moment2: Tensor,
    alpha: Tensor,
    sums: Tensor,
    critic: Tensor,
    obs: Tensor,
    noise: Tensor,
    action_map: Tensor,
    coefficients: Tensor,
    dropout_masks: Tensor | None,
) -> None:
    """One policy and temperature step at the given critics, in place on the first eight tensors.

    The temperature's gradient uses this sample's log-density, and both use the temperature as it was before.
    ``coefficients`` is ``[2, 2]``: those of the actor, those of the temperature.
    """
    masks = policy_masks(dropout_masks, spec)
    gradient, (_, (losses, log_prob)) = torch.func.grad_and_value(policy_loss, has_aux=True)(
        actor, critic, alpha, obs, noise, action_map, masks, spec
    )
    temperature_grad = temperature_gradient(log_prob, spec)
    temperature_loss = (log_alpha * temperature_grad)[:, 0]
    adam_(actor, gradient, moment1, moment2, coefficients[0])
    if spec.learn_temperature:
        adam_(log_alpha, temperature_grad, log_alpha_moment1, log_alpha_moment2, coefficients[1])
        alpha.copy_(log_alpha.exp())
    sums.add_(torch.stack([losses, temperature_loss, -log_prob, torch.ones_like(losses)], -1))


def target_outputs(
    target: Tensor, next_inputs: Tensor, dropout_masks: list[Tensor] | None, subset: Tensor | None, spec: LearnerSpec
) -> Tensor:
    """Evaluate the target critics at the next state and action.

    Args:
        target: target parameters, ``[S, n]``.
        next_inputs: ``[S, B, obs + act]``.
        dropout_masks: dropout masks of the T target passes, ``[S, T, B, width]`` a hidden layer.
        subset: indices of the critics looked at, ``[S, num_min]`` (REDQ, algorithm 1), or None for all in order.
        spec: the learner's description.

    Returns:
        ``[S, T, B, M]``.

    """
    params = named(target, spec.critic.shapes(spec))
    if subset is not None:
        rows = torch.arange(subset.shape[0], device=subset.device)[:, None]
        params = {name: value[rows, subset] for name, value in params.items()}
    if spec.target_passes > 1:
        params = {name: value.repeat_interleave(spec.target_passes, 1) for name, value in params.items()}
    return spec.critic.outputs(params, next_inputs, dropout_masks, spec)


def critic_loss(
    critic: Tensor, inputs: Tensor, target: Tensor, dropout_masks: list[Tensor] | None, spec: LearnerSpec
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """``sum_i mean_B`` of the objective's loss; sums over seeds are separable, so one gradient serves all of them.

    Returns:
        The loss summed over seeds, and ``[S]`` each: the loss, the mean Q.

    """
    outputs = spec.critic.outputs(named(critic, spec.critic.shapes(spec)), inputs, dropout_masks, spec)
    losses = spec.objective.loss(outputs, target, spec).mean(-1).sum(-1)
    return losses.sum(), (losses, spec.objective.value(outputs).mean((1, 2)))


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
    """Mean over the minibatch of the policy objective's loss.

    Args:
        actor: ``[S, n]``.
        critic: ``[S, n]``.
        alpha: ``[S, 1]``, the temperature.
        obs: ``[S, B, obs]``.
        noise: standard normal, ``[S, B, act]``.
        action_map: ``[2, act]``, scale and offset from [-1, 1] to what critics and environment see.
        dropout_masks: dropout masks ``[S, N, B, width]`` of the critics' pass.
        spec: the learner's description.

    Returns:
        The loss summed over seeds, and ``[S]`` each: the loss, the mean log-density.

    """
    action, log_prob = spec.actor.sample(named(actor, spec.actor.shapes(spec)), obs, noise, spec)
    inputs = torch.cat([obs, action * action_map[0] + action_map[1]], -1)
    outputs = spec.critic.outputs(named(critic, spec.critic.shapes(spec)), inputs, dropout_masks, spec)
    losses = spec.policy_objective.loss(spec.objective.value(outputs), log_prob, alpha, spec).mean(-1)
    return losses.sum(), (losses, log_prob.mean(-1))


def _at(tensor: Tensor | None, update: int) -> Tensor | None:
    return None if tensor is None else tensor[:, update]


def policy_masks(dropout_masks: Tensor | None, spec: LearnerSpec) -> list[Tensor] | None:
    """Unflatten the masks of one policy update, those of the N critics' passes."""
    return unflatten(dropout_masks, spec.dropout_shapes(spec.num_critics)) if dropout_masks is not None else None


def critic_masks(dropout_masks: Tensor | None, spec: LearnerSpec) -> tuple[list[Tensor] | None, list[Tensor] | None]:
    """Unflatten the masks of one critic update: those of the T target passes, those of the N online passes."""
    if dropout_masks is None:
        return None, None
    shapes = spec.dropout_shapes(spec.target_forwards)
    masks = unflatten(dropout_masks, shapes + spec.dropout_shapes(spec.num_critics))
    return masks[: len(shapes)], masks[len(shapes) :]
