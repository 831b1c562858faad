"""In which order critics and policy learn: what gives the programs of environment steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from droq_exp.config.rules import at_least
from droq_exp.config.schema import key
from droq_exp.learner.programs import ActorPass, CriticUpdates, PolicyUpdate, Program


@dataclass(frozen=True)
class PolicyAfterCritics:
    """Once an environment step, after its critic updates, the policy learns on a minibatch of its own (ku)."""

    def programs(self, utd_ratio: int) -> tuple[Program, ...]:
        """One, for every step is like the other."""
        return (Program([CriticUpdates(0, utd_ratio), PolicyUpdate(utd_ratio, before_last=False)]),)


@dataclass(frozen=True)
class PolicyBesideCritics:
    """Every ``delay`` critic updates of an environment step, and on its last, the policy learns beside them (redq).

    The original takes the critic's gradient, then the policy's, then steps the temperature, the critic and the
    policy: the policy learns from the critics as they were before the last of its critic updates, on that update's
    minibatch. The critics' targets never see the new policy or temperature before the next run of updates.
    """

    delay: int = 20

    def programs(self, utd_ratio: int) -> tuple[Program, ...]:
        """One, for the delay is counted anew in every step."""
        lasts = [i for i in range(utd_ratio) if (i + 1) % self.delay == 0 or i == utd_ratio - 1]
        return (_program(lasts, utd_ratio, before_last=True),)


@dataclass(frozen=True)
class CriticsAlone:
    """The policy stands still: the updates of a phase without environment steps (SPEQ)."""

    def programs(self, utd_ratio: int) -> tuple[Program, ...]:
        """One, of nothing where there is none."""
        return (Program([CriticUpdates(0, utd_ratio)] if utd_ratio else []),)


@dataclass(frozen=True)
class PolicyBehindCritics:
    """On every ``delay``-th critic update of the run, right after it, the policy learns on the same minibatch.

    The order of CrossQ (arXiv:1902.05605v4), whose delay is 3: the policy sees the critics as this update has left
    them, and updates are counted through the run, not anew in every environment step.
    """

    reads: ClassVar[tuple[str, ...]] = ("utd_ratio",)
    codebases: ClassVar[tuple[str, ...]] = ("redq",)

    delay: int = key(3, "critic updates per policy update, counted through the run (CrossQ)", at_least(1))

    def programs(self, utd_ratio: int) -> tuple[Program, ...]:
        """As many as it takes until an environment step begins again with the first update of a delay."""
        return tuple(
            _program(
                [i for i, number in enumerate(numbers) if (number + 1) % self.delay == 0], utd_ratio, before_last=False
            )
            for numbers in _through_the_run(self.delay, utd_ratio)
        )


@dataclass(frozen=True)
class PolicyBehindFirstCritics:
    """On the first of every ``delay`` critic updates of the run, right after it, the policy learns on its minibatch.

    The order of XQC (arXiv:2509.25174). Behind the others the actor passes over the minibatch all the same, and learns
    nothing: its running statistics move with every critic update.
    """

    reads: ClassVar[tuple[str, ...]] = ("utd_ratio",)
    codebases: ClassVar[tuple[str, ...]] = ("redq",)

    delay: int = key(3, "critic updates per policy update, counted through the run", at_least(1))

    def programs(self, utd_ratio: int) -> tuple[Program, ...]:
        """As many as it takes until an environment step begins again with the first update of a delay."""
        return tuple(
            Program(
                update
                for i, number in enumerate(numbers)
                for update in (
                    CriticUpdates(i, i + 1),
                    ActorPass(i) if number % self.delay else PolicyUpdate(i, before_last=False),
                )
            )
            for numbers in _through_the_run(self.delay, utd_ratio)
        )


@dataclass(frozen=True)
class PolicyBeforeCritics:
    """On the first of every ``delay`` critic updates of the run, before it, the policy learns on its minibatch.

    The order of FlashSAC (arXiv:2604.04539): the critics' targets see the policy and the temperature that this update
    has made.
    """

    reads: ClassVar[tuple[str, ...]] = ("utd_ratio",)
    codebases: ClassVar[tuple[str, ...]] = ("redq",)

    delay: int = key(2, "critic updates per policy update, counted through the run", at_least(1))

    def programs(self, utd_ratio: int) -> tuple[Program, ...]:
        """As many as it takes until an environment step begins again with the first update of a delay."""
        return tuple(
            self._program([i for i, number in enumerate(numbers) if number % self.delay == 0], utd_ratio)
            for numbers in _through_the_run(self.delay, utd_ratio)
        )

    @staticmethod
    def _program(firsts: list[int], utd_ratio: int) -> Program:
        updates: list[CriticUpdates | PolicyUpdate] = []
        for start, stop in pairwise(sorted({0, *firsts, utd_ratio})):
            updates += [PolicyUpdate(start, before_last=False)] if start in firsts else []
            updates.append(CriticUpdates(start, stop))
        return Program(updates)


def _through_the_run(delay: int, utd_ratio: int) -> list[range]:
    """The numbers, in the run, of each environment step's critic updates until a step begins with a multiple again."""
    steps = delay // math.gcd(delay, utd_ratio)
    return [range(step * utd_ratio, (step + 1) * utd_ratio) for step in range(steps)]


def _program(lasts: list[int], utd_ratio: int, *, before_last: bool) -> Program:
    """Runs of critic updates, each of the ``lasts`` followed by a policy update on its minibatch."""
    updates: list[CriticUpdates | PolicyUpdate] = []
    start = 0
    for last in lasts:
        updates += [CriticUpdates(start, last + 1), PolicyUpdate(last, before_last)]
        start = last + 1
    if start < utd_ratio:
        updates.append(CriticUpdates(start, utd_ratio))
    return Program(updates)
