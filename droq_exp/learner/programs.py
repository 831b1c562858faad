"""The updates of an environment step as data: what it draws, and what becomes one CUDA graph, follow from it."""

from __future__ import annotations

from typing import Any, NamedTuple


class CriticUpdates(NamedTuple):
    """Critic updates ``start`` to ``stop`` (exclusive) of an environment step, each on the minibatch of its number."""

    start: int
    stop: int


class PolicyUpdate(NamedTuple):
    """An update of policy and temperature on one of the step's minibatches."""

    minibatch: int
    before_last: bool  # at the critics as they were before the last critic update, not as they are


class ActorPass(NamedTuple):
    """A pass of the actor over one of the step's minibatches that moves its running statistics, and nothing else."""

    minibatch: int


class FeatureUpdates(NamedTuple):
    """So many updates of the features, each on a minibatch of their own, behind those of critics and policy."""

    updates: int


class Program(tuple[CriticUpdates | PolicyUpdate | ActorPass | FeatureUpdates, ...]):
    """The updates of one environment step, in order."""

    __slots__ = ()

    @property
    def runs(self) -> list[CriticUpdates]:
        """Those of the critics between which nothing else happens."""
        return [each for each in self if isinstance(each, CriticUpdates)]

    @property
    def policy_updates(self) -> int:
        """How often the policy learns."""
        return sum(isinstance(each, PolicyUpdate) for each in self)

    @property
    def minibatches(self) -> int:
        """Minibatches that are drawn for critics and policy."""
        runs = (each.stop for each in self if isinstance(each, CriticUpdates))
        policy = (each.minibatch + 1 for each in self if isinstance(each, PolicyUpdate))
        return max([*runs, *policy], default=0)


def problem_with(programs: Any, utd_ratio: int) -> str | None:
    """Why environment steps of ``utd_ratio`` critic updates each cannot follow ``programs``; None: they can."""
    if not isinstance(programs, tuple) or not programs:
        return f"it must be a tuple of at least one Program, not {programs!r}"
    for number, program in enumerate(programs):
        problem = _problem(program, utd_ratio)
        if problem is not None:
            return f"program {number} {problem}"
    return None


def _problem(program: Any, utd_ratio: int) -> str | None:
    if not isinstance(program, Program):
        return f"is no Program but {type(program).__name__}"
    done = 0
    for each in program:
        if isinstance(each, CriticUpdates):
            if each.start != done or each.stop <= each.start:
                return f"has critic updates {each.start} to {each.stop} where {done} is next"
            done = each.stop
        elif not isinstance(each, PolicyUpdate | ActorPass):
            return f"holds {each!r}, which is neither CriticUpdates nor PolicyUpdate nor ActorPass"
        elif not 0 <= each.minibatch < utd_ratio + program.policy_updates:
            return f"has a policy update on minibatch {each.minibatch}, which no update draws"
        elif isinstance(each, PolicyUpdate) and each.before_last and not done:
            return "has a policy update before its first critic update at the critics before their last one"
    return f"makes {done} critic updates of {utd_ratio}" if done != utd_ratio else None
