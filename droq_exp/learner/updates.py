"""The learner's three steps as functions of tensors that compile to one graph each.

``target_inputs`` computes in bulk what does not change during a run of critic updates; ``critic_updates`` and
``policy_update`` change parameters, moments and logging sums in place. Code bases (``droq_exp/codebases``) call them in
their own order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from droq_exp.learner.losses import soft_reward, temperature_gradient
from droq_exp.learner.networks import flat_buffers, named, project_, tensors_of, unflatten
from droq_exp.learner.optimiser import adam_, polyak_
from droq_exp.learner.own_draws import OwnDraws, given, some
from droq_exp.learner.parts import ErrorObjective, Params
from droq_exp.learner.spec import LearnerSpec


def target_inputs(
    spec: LearnerSpec,
    actor: Tensor,
    actor_buffers: Tensor,
    alpha: Tensor,
    rows: Tensor,
    noise: Tensor,
    action_map: Tensor,
    features: Tensor | None = None,
    own: OwnDraws | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the inputs of several critic updates while policy and temperature stand still.

    Args:
        spec: the learner's description.
        actor: ``[S, n]``.
        actor_buffers: ``[S, n]``.
        alpha: ``[S, 1]``, the temperature.
        rows: ``[S, U, B, row_size]``, laid out as ``spec.layout`` says.
        noise: standard normal, ``[S, U, B, act]``.
        action_map: ``[2, act]``, scale and offset from [-1, 1] to what critics and environment see.
        features: parameters of the features, ``[S, n]``, where the learner has any.
        own: what parts have drawn for these updates, ``[S, U, ...]``.

    Returns:
        Critic inputs ``[S, U, B, critic_inputs]`` at (s, a) and at (s', a'), and ``[S, U, B]`` each: the reward with
        the discounted entropy bonus, the discount (0 after a termination).

    """
    batch = spec.layout.split(rows)
    params = tensors_of(spec.actor, actor, actor_buffers, spec)
    next_state = seen_state(features, batch.next_obs.flatten(1, 2), spec)
    drawn = {
        key: {name: each.flatten(1, 2) for name, each in numbers.items()}  # what an actor draws begins with rows
        for key, numbers in given(own, "next_action").items()
    }
    next_action, log_prob, _ = spec.actor.sample(
        *params, next_state, noise.flatten(1, 2), spec, training=False, **drawn
    )
    next_action = next_action * action_map[0] + action_map[1]
    discount = spec.gamma * (1 - batch.terminated) if batch.bootstrap is None else batch.bootstrap
    log_prob = log_prob.unflatten(1, noise.shape[1:3])
    state, updates = seen_state(features, batch.obs.flatten(1, 2), spec), noise.shape[1:3]
    return (
        seen_pair(features, state, batch.action.flatten(1, 2), spec).unflatten(1, updates),
        seen_pair(features, next_state, next_action, spec).unflatten(1, updates),
        soft_reward(batch.reward, discount, alpha[..., None], log_prob),
        discount,
    )


def critic_updates(
    spec: LearnerSpec,
    critic: Tensor,
    buffers: Tensor,
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
    weights: Tensor | None = None,
    own: OwnDraws | None = None,
) -> Tensor | None:
    """Run U critic updates one after the other, in place on the first seven tensors.

    ``critic_before_last`` receives the critics as they are before the last update. The others are those of
    :func:`target_inputs` and :class:`~droq_exp.learner.draws.Draws`, ``[S, U, ...]``; ``coefficients`` is ``[U, 2]``.
    With ``weights`` of the transitions, ``[S, U, B]``, what is returned are the errors that ``spec.per`` makes
    priorities of, ``[S, U, B]``, each from before its update. ``own`` is what parts have drawn, ``[S, U, ...]``.
    """
    count, errors = inputs.shape[1], []
    for u in range(count):
        if u == count - 1:
            critic_before_last.copy_(critic)
        target_masks, online_masks = critic_masks(_at(dropout_masks, u), spec)
        here, there = inputs[:, u], next_inputs[:, u]
        if spec.joint_pass:
            here = there = torch.cat([here, there], 1)
        next_outputs = None
        if spec.target_network:
            next_outputs = target_outputs(
                target, buffers, there, target_masks, _at(subset, u), spec, some(own, "critic", u)
            )
        drawn = _at(in_subset, u), _at(rem_weights, u)
        more = stated(_at(weights, u), some(own, "critic", u))
        gradient, (_, (losses, q_mean, moved, *error)) = torch.func.grad_and_value(critic_loss, has_aux=True)(
            critic, buffers, here, next_outputs, reward[:, u], discount[:, u], *drawn, online_masks, spec, *more
        )
        errors += error
        adam_(critic, gradient, moment1, moment2, coefficients[u], spec.adam_beta1)
        project_(spec.critic, critic, spec)
        buffers.copy_(moved)
        if spec.target_network:
            polyak_(target, critic, spec.tau)
        logged = [losses, q_mean, *_measured(reward[:, u], discount[:, u], spec)]
        sums.add_(torch.stack([*logged, torch.ones_like(losses)], -1))
    return torch.stack(errors, 1) if errors else None


def policy_update(
    spec: LearnerSpec,
    actor: Tensor,
    buffers: Tensor,
    moment1: Tensor,
    moment2: Tensor,
    log_alpha: Tensor,
    log_alpha_moment1: Tensor,
    log_alpha_moment2: Tensor,
    alpha: Tensor,
    sums: Tensor,
    critic: Tensor,
    critic_buffers: Tensor,
    obs: Tensor,
    noise: Tensor,
    action_map: Tensor,
    coefficients: Tensor,
    dropout_masks: Tensor | None,
    weights: Tensor | None = None,
    features: Tensor | None = None,
    own: OwnDraws | None = None,
) -> None:
    """One policy and temperature step at the given critics, in place on the first nine tensors.

    The temperature's gradient uses this sample's log-density, and both use the temperature as it was before.
    ``coefficients`` is ``[2, 2]``: those of the actor, those of the temperature. ``weights`` of the states, ``[S, B]``,
    count in both losses. ``own`` is what parts have drawn for this update, ``[S, ...]``.
    """
    masks = policy_masks(dropout_masks, spec)
    more = stated(weights, features, own)
    gradient, (_, (losses, log_prob, moved, *excess)) = torch.func.grad_and_value(policy_loss, has_aux=True)(
        actor, buffers, critic, critic_buffers, alpha, obs, noise, action_map, masks, spec, *more
    )
    temperature_grad = -excess[0][:, None] if excess else temperature_gradient(log_prob, spec)
    if spec.temperature_loss == "alpha_form":
        temperature_grad = log_alpha.exp() * temperature_grad  # which is the loss too
        temperature_loss = temperature_grad[:, 0]
    else:
        temperature_loss = (log_alpha * temperature_grad)[:, 0]
    adam_(actor, gradient, moment1, moment2, coefficients[0], spec.adam_beta1)
    project_(spec.actor, actor, spec)
    buffers.copy_(moved)
    if spec.learn_temperature:
        adam_(log_alpha, temperature_grad, log_alpha_moment1, log_alpha_moment2, coefficients[1])
        alpha.copy_(log_alpha.exp())
    sums.add_(torch.stack([losses, temperature_loss, -log_prob, torch.ones_like(losses)], -1))


def actor_pass(spec: LearnerSpec, actor: Tensor, buffers: Tensor, obs: Tensor) -> None:
    """Move the actor's buffers ``[S, n]``, in place, by a pass over ``obs`` ``[S, B, obs]`` as in its own updates."""
    noise = obs.new_zeros(*obs.shape[:2], spec.act_dim)
    _, _, moved = spec.actor.sample(*tensors_of(spec.actor, actor, buffers, spec), obs, noise, spec, training=True)
    buffers.copy_(flat_buffers(moved, spec.actor.buffers(spec), buffers))


def feature_update(
    spec: LearnerSpec,
    features: Tensor,
    moment1: Tensor,
    moment2: Tensor,
    sums: Tensor,
    rows: Tensor,
    coefficients: Tensor,
    own: OwnDraws | None = None,
) -> None:
    """One step of the features on a minibatch ``[S, B, row_size]``, in place on the first four tensors.

    ``coefficients`` is ``[2]``; ``own`` is what they have drawn for this update, ``[S, ...]``.
    """
    gradient, (_, losses) = torch.func.grad_and_value(feature_loss, has_aux=True)(features, rows, spec, own)
    assert spec.features is not None
    adam_(features, gradient + spec.features.weight_decay * features, moment1, moment2, coefficients)
    sums.add_(torch.stack([losses, torch.ones_like(losses)], -1))


def feature_loss(
    features: Tensor, rows: Tensor, spec: LearnerSpec, own: OwnDraws | None = None
) -> tuple[Tensor, Tensor]:
    """The features' loss on transitions ``[S, B, row_size]``: summed over seeds, and ``[S]``."""
    assert spec.features is not None
    batch = spec.layout.split(rows)
    params = named(features, spec.features.shapes(spec))
    drawn = given(own, "features")
    losses = spec.features.loss(params, batch.obs, batch.action, batch.next_obs, spec, **drawn)
    return losses.sum(), losses


def seen_state(features: Tensor | None, obs: Tensor, spec: LearnerSpec) -> Tensor:
    """What the actor sees of ``[S, B, obs]``: it as it is, or its features."""
    if spec.features is None or features is None:
        return obs
    return spec.features.state(named(features, spec.features.shapes(spec)), obs, spec)


def seen_pair(features: Tensor | None, state: Tensor, action: Tensor, spec: LearnerSpec) -> Tensor:
    """What the critics see of what the actor sees, ``[S, B, n]``, and of the action, ``[S, B, act]``."""
    if spec.features is None or features is None:
        return torch.cat([state, action], -1)
    return spec.features.pair(named(features, spec.features.shapes(spec)), state, action, spec)


def target_outputs(
    target: Tensor,
    buffers: Tensor,
    next_inputs: Tensor,
    dropout_masks: list[Tensor] | None,
    subset: Tensor | None,
    spec: LearnerSpec,
    own: OwnDraws | None = None,
) -> Tensor:
    """Evaluate the target critics at the next state and action.

    Args:
        target: target parameters, ``[S, n]``.
        buffers: those of the critics, ``[S, n]``; targets have none of their own.
        next_inputs: ``[S, B, obs + act]``; in a joint pass ``[S, 2 B, obs + act]``, of which the second half counts.
        dropout_masks: dropout masks of the T target passes, ``[S, T, B, width]`` a hidden layer.
        subset: indices of the critics looked at, ``[S, num_min]`` (REDQ, algorithm 1), or None for all in order.
        spec: the learner's description.
        own: what parts have drawn for this update, ``[S, ...]``.

    Returns:
        ``[S, T, B, M]``.

    """
    params = looked_at(target, buffers, subset, spec)
    drawn = given(own, "critic_target")
    outputs, _ = spec.critic.outputs(*params, next_inputs, dropout_masks, spec, training=True, **drawn)
    return outputs.chunk(2, 2)[1] if spec.joint_pass else outputs


def looked_at(target: Tensor, buffers: Tensor, subset: Tensor | None, spec: LearnerSpec) -> tuple[Params, Params]:
    """Parameters and buffers of the critics behind a target, ``[S, T, ...]``; arguments as of ``target_outputs``."""
    params = tensors_of(spec.critic, target, buffers, spec)
    if subset is not None:
        rows = torch.arange(subset.shape[0], device=subset.device)[:, None]
        params = _each(params, lambda value: value[rows, subset])
    if spec.target_passes > 1:
        params = _each(params, lambda value: value.repeat_interleave(spec.target_passes, 1))
    return params


def critic_loss(
    critic: Tensor,
    buffers: Tensor,
    inputs: Tensor,
    next_outputs: Tensor | None,
    reward: Tensor,
    discount: Tensor,
    in_subset: Tensor | None,
    rem_weights: Tensor | None,
    dropout_masks: list[Tensor] | None,
    spec: LearnerSpec,
    weights: Tensor | None = None,
    own: OwnDraws | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """``sum_i mean_B`` of the objective's loss; sums over seeds are separable, so one gradient serves all of them.

    Args:
        critic: ``[S, n]``.
        buffers: ``[S, n]``.
        inputs: ``[S, B, obs + act]`` at (s, a); in a joint pass ``[S, 2 B, obs + act]``, at (s', a') too.
        next_outputs: what the target critics put out at (s', a'), ``[S, T, B, M]``; None: what these critics do.
        reward: with the discounted entropy bonus, ``[S, B]``.
        discount: ``[S, B]``.
        in_subset: those of this update, as the next two.
        rem_weights: ``[S, N, B]``.
        dropout_masks: ``[S, N, B, width]`` a hidden layer.
        spec: the learner's description.
        weights: of the transitions, ``[S, B]``, or None: all count alike.
        own: what parts have drawn for this update, ``[S, ...]``.

    Returns:
        The loss summed over seeds; ``[S]`` each: the loss, the mean Q; the moved buffers, ``[S, n]``; with weights, the
        errors that make priorities, ``[S, B]``.

    """
    params = tensors_of(spec.critic, critic, buffers, spec)
    drawn = given(own, "critic")
    outputs, moved = spec.critic.outputs(*params, inputs, dropout_masks, spec, training=True, **drawn)
    if spec.joint_pass:
        outputs, following = outputs.chunk(2, 2)
        next_outputs = following.detach() if next_outputs is None else next_outputs
    assert next_outputs is not None
    drawn = given(own, "objective")
    target = spec.objective.target(next_outputs, reward, discount, in_subset, rem_weights, spec, **drawn)
    each = spec.objective.loss(outputs, target, spec, **drawn)
    losses = (each if weights is None else weights[:, None] * each).mean(-1).sum(-1)
    moved_flat = flat_buffers(moved, spec.critic.buffers(spec), buffers)
    errors = () if weights is None else (priority_errors(outputs, target, spec),)
    return losses.sum(), (losses, spec.objective.value(outputs).mean((1, 2)), moved_flat, *errors)


def priority_errors(outputs: Tensor, target: Tensor, spec: LearnerSpec) -> Tensor:
    """``|Q_1 - y|``, or the mean over critics of ``|Q_i - y|``, ``[S, B]``: what ``algo.per.error`` asks for."""
    assert spec.per is not None
    errors = cast(ErrorObjective, spec.objective).error(outputs, target, spec).abs()
    return errors[:, 0] if spec.per.error == "first" else errors.mean(1)


def policy_loss(
    actor: Tensor,
    buffers: Tensor,
    critic: Tensor,
    critic_buffers: Tensor,
    alpha: Tensor,
    obs: Tensor,
    noise: Tensor,
    action_map: Tensor,
    dropout_masks: list[Tensor] | None,
    spec: LearnerSpec,
    weights: Tensor | None = None,
    features: Tensor | None = None,
    own: OwnDraws | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Mean over the minibatch of the policy objective's loss.

    Args:
        actor: ``[S, n]``.
        buffers: the actor's, ``[S, n]``.
        critic: ``[S, n]``.
        critic_buffers: ``[S, n]``.
        alpha: ``[S, 1]``, the temperature.
        obs: ``[S, B, obs]``; in a joint pass ``[S, 2 B, obs]``, of which the first half counts.
        noise: standard normal, ``[S, B, act]``.
        action_map: ``[2, act]``, scale and offset from [-1, 1] to what critics and environment see.
        dropout_masks: dropout masks ``[S, N, B, width]`` of the critics' pass.
        spec: the learner's description.
        weights: of the states, ``[S, B]``, or None: all count alike.
        features: as of :func:`target_inputs`. They stand still, and the gradient passes through them to the action.
        own: what parts have drawn for this update, ``[S, ...]``.

    Returns:
        The loss summed over seeds; ``[S]`` each: the loss, the mean log-density; the actor's moved buffers; with
        weights, the weighted mean of the log-density above minus the target entropy, ``[S]``.

    """
    params = tensors_of(spec.actor, actor, buffers, spec)
    state = seen_state(features, obs, spec)
    if spec.joint_policy_pass:
        noise = torch.cat([noise, torch.zeros_like(noise)], 1)
    action, log_prob, moved = spec.actor.sample(*params, state, noise, spec, training=True, **given(own, "action"))
    if spec.joint_policy_pass:
        state, action, log_prob = (each.chunk(2, 1)[0] for each in (state, action, log_prob))
    inputs = seen_pair(features, state, action * action_map[0] + action_map[1], spec)
    critics = tensors_of(spec.critic, critic, critic_buffers, spec)
    drawn = given(own, "critic_of_policy")
    outputs, _ = spec.critic.outputs(*critics, inputs, dropout_masks, spec, training=False, **drawn)
    drawn = given(own, "policy_objective")
    each = spec.policy_objective.loss(spec.objective.value(outputs), log_prob, alpha, spec, **drawn)
    losses = (each if weights is None else weights * each).mean(-1)
    excess = () if weights is None else ((weights * (log_prob + spec.target_entropy)).mean(-1),)
    return losses.sum(), (losses, log_prob.mean(-1), flat_buffers(moved, spec.actor.buffers(spec), buffers), *excess)


def _each(params: tuple[Params, Params], change: Callable[[Tensor], Tensor]) -> tuple[Params, Params]:
    """Parameters and buffers, each changed."""
    first, second = ({name: change(value) for name, value in each.items()} for each in params)
    return first, second


def _measured(reward: Tensor, discount: Tensor, spec: LearnerSpec) -> tuple[Tensor, ...]:
    """What else the objective logs of an update, ``[S]`` each, by its own ``metrics``; nothing for most."""
    measure = getattr(spec.objective, "measure", None)
    return () if measure is None else measure(reward, discount, spec).unbind(-1)


def stated(*arguments: Any) -> tuple[Any, ...]:
    """Arguments that most updates have not, without those None that end them."""
    while arguments and arguments[-1] is None:
        arguments = arguments[:-1]
    return arguments


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
