"""Orders of updates as data, and a learner that follows one whose environment steps differ."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from droq_exp.learner.draws import DrawSampler
from droq_exp.learner.learner import Learner
from droq_exp.learner.orders import (
    PolicyAfterCritics,
    PolicyBeforeCritics,
    PolicyBehindCritics,
    PolicyBehindFirstCritics,
    PolicyBesideCritics,
)
from droq_exp.learner.parts import Order
from droq_exp.learner.programs import ActorPass, CriticUpdates, PolicyUpdate, Program, problem_with
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState


def critics(start: int, stop: int) -> CriticUpdates:
    return CriticUpdates(start, stop)


def beside(minibatch: int) -> PolicyUpdate:
    return PolicyUpdate(minibatch, before_last=True)


def behind(minibatch: int) -> PolicyUpdate:
    return PolicyUpdate(minibatch, before_last=False)


@pytest.mark.parametrize(
    ("order", "utd_ratio", "programs"),
    [
        (PolicyAfterCritics(), 20, [[critics(0, 20), behind(20)]]),
        (PolicyBesideCritics(20), 20, [[critics(0, 20), beside(19)]]),
        (PolicyBesideCritics(20), 3, [[critics(0, 3), beside(2)]]),
        (PolicyBesideCritics(2), 5, [[critics(0, 2), beside(1), critics(2, 4), beside(3), critics(4, 5), beside(4)]]),
        (PolicyBehindCritics(1), 1, [[critics(0, 1), behind(0)]]),
        (PolicyBehindCritics(3), 1, [[critics(0, 1)], [critics(0, 1)], [critics(0, 1), behind(0)]]),
        (
            PolicyBehindCritics(3),
            2,
            [[critics(0, 2)], [critics(0, 1), behind(0), critics(1, 2)], [critics(0, 2), behind(1)]],
        ),
        (
            PolicyBehindFirstCritics(3),
            2,
            [
                [critics(0, 1), behind(0), critics(1, 2), ActorPass(1)],
                [critics(0, 1), ActorPass(0), critics(1, 2), behind(1)],
                [critics(0, 1), ActorPass(0), critics(1, 2), ActorPass(1)],
            ],
        ),
        (PolicyBeforeCritics(2), 1, [[behind(0), critics(0, 1)], [critics(0, 1)]]),
        (
            PolicyBeforeCritics(2),
            3,
            [
                [behind(0), critics(0, 2), behind(2), critics(2, 3)],
                [critics(0, 1), behind(1), critics(1, 3)],
            ],
        ),
        (PolicyBehindCritics(3), 6, [[critics(0, 3), behind(2), critics(3, 6), behind(5)]]),
    ],
)
def test_programs(order: Order, utd_ratio: int, programs: list[Any]) -> None:
    assert order.programs(utd_ratio) == tuple(Program(each) for each in programs)
    assert problem_with(order.programs(utd_ratio), utd_ratio) is None


@pytest.mark.parametrize(
    ("programs", "problem"),
    [
        ((), "at least one Program, not ()"),
        ([Program([critics(0, 2)])], "must be a tuple"),
        (None, "must be a tuple of at least one Program, not None"),
        (((critics(0, 2),),), "program 0 is no Program but tuple"),
        ((Program([critics(0, 2)]), Program([])), "program 1 makes 0 critic updates of 2"),
        ((Program([critics(0, 3)]),), "makes 3 critic updates of 2"),
        ((Program([critics(1, 2)]),), "has critic updates 1 to 2 where 0 is next"),
        ((Program([critics(0, 1), critics(0, 1)]),), "has critic updates 0 to 1 where 1 is next"),
        ((Program([critics(0, 2), critics(2, 2)]),), "has critic updates 2 to 2 where 2 is next"),
        ((Program([critics(0, 2), (1, True)]),), "holds (1, True), which is neither"),
        ((Program([critics(0, 2), behind(3)]),), "a policy update on minibatch 3, which no update draws"),
        ((Program([critics(0, 2), ActorPass(2)]),), "minibatch 2, which no update draws"),
        ((Program([critics(0, 2), behind(-1)]),), "a policy update on minibatch -1"),
        ((Program([beside(0), critics(0, 2)]),), "before its first critic update"),
    ],
)
def test_programs_that_cannot_be_followed(programs: Any, problem: str) -> None:
    told = problem_with(programs, 2)
    assert told is not None
    assert problem in told


class Watched(Learner):
    """Writes down what each policy update learns from."""

    seen: list[tuple[int, int, Tensor, Tensor]]

    def policy_update(self, critic: Tensor, rows: Tensor, draws: Any, update: int) -> None:
        self.seen.append((self.state.critic_updates, self.state.policy_updates, critic.clone(), rows))
        super().policy_update(critic, rows, draws, update)


def test_a_delay_counts_updates_through_the_run() -> None:
    """With 2 updates a step and a delay of 3: after updates 3 and 6, on their minibatches, at the newest critics."""
    spec = LearnerSpec(
        seeds=1, obs_dim=3, act_dim=1, hidden_sizes=(4,), utd_ratio=2, batch_size=4, order=PolicyBehindCritics(3)
    )
    assert (spec.minibatches, spec.policy_updates) == (2, 1)
    learner = Watched(spec, LearnerState.initial(spec, [0], torch.device("cpu")), torch.tensor([[1.0], [0.0]]))
    learner.seen = []
    sampler = DrawSampler(spec, [0], torch.device("cpu"))
    steps = [torch.randn(1, 2, 4, spec.row_size) for _ in range(4)]
    after = []
    for rows in steps:
        learner.run(learner.program(), rows, sampler.draw(10))
        after.append(learner.state.critic.clone())
    assert [seen[:2] for seen in learner.seen] == [(3, 0), (6, 1)]
    (_, _, at_3, rows_3), (_, _, at_6, rows_6) = learner.seen
    assert torch.equal(rows_3, steps[1][:, 0])
    assert torch.equal(rows_6, steps[2][:, 1])
    assert torch.equal(at_6, after[2])
    assert not torch.equal(at_3, after[0])
    assert not torch.equal(at_3, after[1])
