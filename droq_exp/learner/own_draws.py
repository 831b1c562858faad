"""Random numbers that a part declares for itself: by name, each name with a stream of its own.

A part that has ``draws(rows, spec)`` says what one of its calls needs, a :class:`Draw` for each name. Its methods then
take a keyword ``drawn``, the numbers by name, in every update; it is None where nothing is learned from the call:
where the policy acts, where something is measured and where a pass only moves buffers. There a part does what needs no
luck, as with dropout masks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from droq_exp.learner.spec import LearnerSpec

KINDS = ("normal", "uniform")
OwnDraws = dict[str, dict[str, Tensor]]  # by the call that they are for, and by name


@dataclass(frozen=True)
class Draw:
    """Independent numbers, standard normal or uniform in [0, 1), for one seed and, of critics, for each critic."""

    kind: Literal["normal", "uniform"]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse what nobody can draw.

        Raises:
            ValueError: another kind, or a length that is no whole number from 1 on.

        """
        if self.kind not in KINDS:
            raise ValueError(f"a draw is {' or '.join(KINDS)}, not {self.kind!r}")
        if not all(type(length) is int and length > 0 for length in self.shape):
            raise ValueError(f"a draw's shape is of whole numbers from 1 on, not {self.shape!r}")


class Planned(NamedTuple):
    """What one name draws for all updates of an environment step."""

    kind: str
    shape: tuple[int, ...]  # [updates, ...], of one seed

    @property
    def size(self) -> int:
        """Numbers of one seed."""
        return math.prod(self.shape)


Plan = dict[str, dict[str, Planned]]  # by call and by name


class Call(NamedTuple):
    """A call of a part within the updates."""

    part: str  # the field of the spec
    within: Literal["critic", "policy", "feature"]  # which updates it is a part of
    critics: Callable[[LearnerSpec], int] | None = None  # K, where it is a pass of critics
    rows: Callable[[LearnerSpec], int] = lambda spec: spec.batch_size


def _joint_rows(spec: LearnerSpec) -> int:
    return spec.batch_size * (1 + spec.joint_pass)


CALLS = {
    "next_action": Call("actor", "critic"),
    "critic_target": Call("critic", "critic", lambda spec: spec.target_forwards * spec.target_network, _joint_rows),
    "critic": Call("critic", "critic", lambda spec: spec.num_critics, _joint_rows),
    "objective": Call("objective", "critic"),
    "action": Call("actor", "policy", rows=lambda spec: spec.batch_size * (1 + spec.joint_policy_pass)),
    "critic_of_policy": Call("critic", "policy", lambda spec: spec.num_critics),
    "policy_objective": Call("policy_objective", "policy"),
    "features": Call("features", "feature"),
}


def declared(part: object, rows: int, spec: LearnerSpec) -> Mapping[str, Draw]:
    """What a part wants drawn for a call on ``rows`` transitions; nothing where it declares nothing."""
    declare = getattr(part, "draws", None)
    wanted: Mapping[str, Draw] = {} if declare is None else declare(rows, spec)
    return wanted


def planned(spec: LearnerSpec) -> Plan:
    """What the parts of a learner want drawn for an environment step, by call and by name."""
    updates = {"critic": spec.utd_ratio, "policy": spec.policy_updates, "feature": spec.feature_updates}
    plan: Plan = {}
    for name, call in CALLS.items():
        leading = updates[call.within], *(() if call.critics is None else (call.critics(spec),))
        wanted = declared(getattr(spec, call.part), call.rows(spec), spec) if all(leading) else {}
        if wanted:
            plan[name] = {each: Planned(it.kind, (*leading, *it.shape)) for each, it in wanted.items()}
    return plan


def drawn_for(plan: Plan, draw: Callable[[str, str, Planned], Tensor]) -> OwnDraws | None:
    """What ``draw`` gives for each call, name and what it wants; None where nothing is wanted."""
    return {
        call: {name: draw(call, name, each) for name, each in wanted.items()} for call, wanted in plan.items()
    } or None


def stream_path(call: str, name: str) -> tuple[int, ...]:
    """What makes a name's stream its own, whatever else is declared."""
    return tuple(hashlib.sha256(f"{call}.{name}".encode()).digest()[:8])


def some(own: OwnDraws | None, within: str, updates: slice | int) -> OwnDraws | None:
    """Those of some updates of a kind within an environment step, or of one."""
    chosen = {call: each for call, each in (own or {}).items() if CALLS[call].within == within}
    return {call: {name: drawn[:, updates] for name, drawn in each.items()} for call, each in chosen.items()} or None


def given(own: OwnDraws | None, call: str) -> dict[str, Any]:
    """The keyword that a call gets: ``drawn``, or none."""
    return {"drawn": own[call]} if own is not None and call in own else {}
