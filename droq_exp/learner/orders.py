"""In which order critics and policy learn: what gives the programs of environment steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from droq_exp.config.rules import at_least
from droq_exp.config.schema import key
from droq_exp.learner.programs import CriticUpdates, PolicyUpdate, Program


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
class PolicyBehindCritics:
    """On every ``delay``-th critic update of the run, right after it, the policy learns on the same minibatch.

    The order of CrossQ (arXiv:1902.05605v4), whose delay is 3: the policy sees the critics as this update has left
    them, and updates are counted through the run, not anew in every environment step.
    """

    reads: ClassVar[tuple[str, ...]] = ("utd_ratio",)

    delay: int = key(3, "critic updates per policy update, counted through the run (CrossQ)", at_least(1))

    def programs(self, utd_ratio: int) -> tuple[Program, ...]:
        """As many as it takes until an environment step begins again with the first update of a delay."""
        steps = self.delay // math.gcd(self.delay, utd_ratio)
        return tuple(
            _program(
                [i for i in range(utd_ratio) if (step * utd_ratio + i + 1) % self.delay == 0],
                utd_ratio,
                before_last=False,
            )
            for step in range(steps)
        )


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
