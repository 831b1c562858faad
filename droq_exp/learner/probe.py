"""Whether the parts of a user's own give what their signatures say, tried on a few made-up transitions.

Broadcasting hides a wrong shape: a critic without its last axis would train to the end, on other mathematics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from droq_exp.exits import no_exit
from droq_exp.learner.networks import tensors_of
from droq_exp.learner.own_draws import Draw, declared
from droq_exp.learner.parts import Params
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState

SEEDS, ROWS = 2, 3  # unlike each other, and unlike most numbers of critics


class WrongPartError(ValueError):
    """A part does not give what ``parts.py`` says; ``part`` is its field in the spec."""

    def __init__(self, part: str, problem: str) -> None:
        """``problem`` is one line."""
        super().__init__(problem)
        self.part = part


@torch.no_grad()
def probe(spec: LearnerSpec) -> None:
    """Call critic, actor, objective and policy objective once, and look at what they give.

    Raises:
        WrongPartError: one of them raises, or gives something of another shape.

    """
    spec = replace(spec, seeds=SEEDS, batch_size=ROWS, bf16=False)
    rng = torch.Generator().manual_seed(0)  # no stream of a run
    for part, network in (("critic", spec.critic), ("actor", spec.actor)):  # asked one by one, so that it is named
        _tried(part, network.shapes, spec)
        _tried(part, network.buffers, spec)
    state = _tried("critic", LearnerState.initial, spec, [0, 1], torch.device("cpu"))
    critics, batch = spec.num_critics, (SEEDS, ROWS)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng).to(spec.dtype)

    actor = tensors_of(spec.actor, state.actor, state.actor_buffers, spec)
    inputs, noise = drawn(*batch, spec.actor_inputs), drawn(*batch, spec.act_dim)
    for training, own in product((False, True), _own("actor", spec)):
        given = _tried("actor", spec.actor.sample, *actor, inputs, noise, spec, training=training, **own)
        action, log_prob, moved = _several("actor", "sample", given, 3)
        _shaped("actor", "actions", action, (*batch, spec.act_dim))
        _shaped("actor", "log-densities", log_prob, batch)
        _moved("actor", moved, actor[1], training=training)

    params = tensors_of(spec.critic, state.critic, state.critic_buffers, spec)
    pairs = drawn(*batch, spec.critic_inputs)
    masks = None
    if spec.dropout_rate:
        masks = [torch.ones(SEEDS, *shape, dtype=torch.uint8) for shape in spec.dropout_shapes(critics)]
    for training, own in product((False, True), _own("critic", spec, critics)):
        given = _tried("critic", spec.critic.outputs, *params, pairs, masks, spec, training=training, **own)
        outputs, moved = _several("critic", "outputs", given, 2)
        if not isinstance(outputs, Tensor) or outputs.dim() != 4:
            _shaped("critic", "outputs", outputs, (SEEDS, critics, ROWS, spec.units))
        _shaped("critic", "outputs", outputs, (SEEDS, critics, ROWS, outputs.shape[-1]))
        _moved("critic", moved, params[1], training=training)

    values = _tried("objective", spec.objective.value, outputs)
    _shaped("objective", "value", values, (SEEDS, critics, ROWS))
    passes = outputs.repeat_interleave(spec.target_passes, 1)
    weights = torch.full((SEEDS, critics, ROWS), 1 / critics, dtype=spec.dtype) if spec.target_mode == "rem" else None
    rewards = drawn(*batch)
    for own in _own("objective", spec):
        target = _tried("objective", spec.objective.target, passes, rewards, rewards.abs(), None, weights, spec, **own)
        if not isinstance(target, Tensor) or target.shape[:2] != batch:
            raise WrongPartError("objective", f"targets are {_shape(target)}, and must be [{SEEDS}, {ROWS}, ...]")
        losses = _tried("objective", spec.objective.loss, outputs, target, spec, **own)
        _shaped("objective", "loss", losses, (SEEDS, critics, ROWS))
    for own in _own("policy_objective", spec):
        policy = _tried("policy_objective", spec.policy_objective.loss, values, log_prob, state.alpha, spec, **own)
        _shaped("policy_objective", "loss", policy, batch)


def _own(part: str, spec: LearnerSpec, *critics: int) -> list[dict[str, Any]]:
    """The keywords of a part's methods: none, and where it declares draws, some of these too."""
    wanted = _tried(part, declared, getattr(spec, part), ROWS, spec)
    if not isinstance(wanted, Mapping) or not all(isinstance(each, Draw) for each in wanted.values()):
        raise WrongPartError(part, f"draws gives {wanted!r}, and must give a Draw for each name")
    for name, each in wanted.items():
        if part == "actor" and each.shape[:1] != (ROWS,):
            problem = f"draws {name} of shape {list(each.shape)} for {ROWS} transitions, and must begin with these"
            raise WrongPartError(part, problem)
    numbers = {name: torch.full((SEEDS, *critics, *each.shape), 0.5, dtype=spec.dtype) for name, each in wanted.items()}
    return [{}, {"drawn": numbers}] if numbers else [{}]


def _tried(part: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    try:
        with no_exit():
            return call(*arguments, **named)
    except Exception as error:  # it may do anything
        reason = " ".join(str(error).split())
        raise WrongPartError(part, f"fails when tried: {type(error).__name__}: {reason}") from error


def _several(part: str, method: str, given: Any, count: int) -> Any:
    if not isinstance(given, tuple) or len(given) != count:
        raise WrongPartError(part, f"{method} gives {type(given).__name__}, not a tuple of {count}")
    return given


def _shaped(part: str, what: str, given: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(given, Tensor) or given.shape != shape:
        expected = f"{list(shape)} for {SEEDS} seeds and {ROWS} transitions"
        raise WrongPartError(part, f"{what} are {_shape(given)}, and must be {expected}")


def _moved(part: str, moved: Any, buffers: Params, *, training: bool) -> None:
    """Buffers that a pass returns: those that there are, of their shapes; without training they are not kept."""
    if not isinstance(moved, dict):
        raise WrongPartError(part, f"moved buffers are a {type(moved).__name__}, and must be a dictionary")
    if training and moved.keys() != buffers.keys():
        told = [", ".join(sorted(names)) or "none" for names in (moved, buffers)]
        raise WrongPartError(part, f"moved buffers are {told[0]}, and must be {told[1]}")
    for name, value in moved.items() if training else ():
        _shaped(part, f"moved {name}", value, tuple(buffers[name].shape))


def _shape(given: Any) -> str:
    return f"{list(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
