"""The learner with prioritised replay: minibatches are drawn between the updates, and their rows weigh differently."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, Protocol, cast

from torch import Tensor

from droq_exp.learner import updates
from droq_exp.learner.draws import Draws, NewRowDraws
from droq_exp.learner.learner import Learner
from droq_exp.learner.own_draws import some
from droq_exp.learner.parts import ErrorObjective
from droq_exp.learner.programs import ActorPass, CriticUpdates, PolicyUpdate, Program
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState
from droq_exp.learner.td_error import outputs_and_target
from droq_exp.learner.updates import stated


class Minibatch(NamedTuple):
    """Rows, and by how much each counts."""

    rows: Tensor  # [S, B, row]
    weights: Tensor  # [S, B]


class Minibatches(Protocol):
    """Those of one environment step, by number."""

    def drawn(self, number: int) -> Minibatch:
        """Draw one, or return it where that has been done."""

    def learned(self, number: int, errors: Tensor) -> None:
        """Take in the errors ``[S, B]`` that the critics made on one before they learned from it."""


class PrioritisedLearner(Learner):
    """Draws each minibatch once the update before it is done; nothing is prepared for several updates."""

    def run_drawing(self, program: Program, minibatches: Minibatches, draws: Draws) -> None:
        """Run the updates of one environment step, as :meth:`run` does on minibatches that are there."""
        policy_updates = 0
        for step in program:
            if isinstance(step, CriticUpdates):
                for number in range(step.start, step.stop):
                    minibatch = self._drawn_from(minibatches, number)
                    minibatches.learned(number, self._critic_update(*minibatch, draws, number))
            elif isinstance(step, ActorPass):
                rows, _ = self._drawn_from(minibatches, step.minibatch)
                self._actor_pass(self.state.actor, self.state.actor_buffers, self._seen(rows))
            else:
                assert isinstance(step, PolicyUpdate)  # features do not go together with prioritised replay
                critic = self.critic_before_last if step.before_last else self.state.critic
                rows, weights = self._drawn_from(minibatches, step.minibatch)
                self.policy_update(critic, rows, draws, policy_updates, weights)
                policy_updates += 1

    def error_of(self, seed_index: int, row: Tensor, draws: NewRowDraws) -> Tensor:
        """The error ``[1]`` of the critics of seed ``seed_index`` on a row ``[1, 1, row]`` that none has learned from.

        The mean of two critics, of two at random where there are more: what makes a new row's priority.
        """
        errors = td_errors(self.spec, self.state, seed_index, row, draws, self.action_map)
        if draws.pair is not None:
            errors = errors[draws.pair]
        return errors.mean(0)

    def _drawn_from(self, minibatches: Minibatches, number: int) -> Minibatch:
        rows, weights = minibatches.drawn(number)
        return Minibatch(rows.to(self.spec.dtype), weights.to(self.spec.dtype))

    def _critic_update(self, rows: Tensor, weights: Tensor, draws: Draws, number: int) -> Tensor:
        """Run critic update ``number`` of the step; return the errors ``[S, B]`` of before."""
        one = slice(number, number + 1)
        bulk = self._bulk(rows[:, None], draws, one)
        more = stated(weights[:, None], some(draws.own, "critic", one))
        errors = self._critic_chunk(*bulk, self._critic_coefficients(number, 1), *self._drawn(draws, one), *more)
        assert errors is not None
        return errors[:, 0]


def td_errors(
    spec: LearnerSpec, state: LearnerState, seed_index: int, row: Tensor, draws: NewRowDraws, action_map: Tensor
) -> Tensor:
    """``|Q_i - y|`` of one seed at one row ``[1, 1, row]``, ``[N, 1]``: with masks as in training, and nothing moves.

    Networks that normalise over a minibatch do so by their running statistics: one row has none of its own.
    """
    masks = updates.critic_masks(draws.dropout_masks, replace(spec, seeds=1, batch_size=1))
    one = slice(seed_index, seed_index + 1)
    drawn = masks, draws.subset, draws.in_subset, draws.rem_weights
    outputs, target = outputs_and_target(spec, state, one, row.to(spec.dtype), draws.noise, action_map, *drawn)
    return cast(ErrorObjective, spec.objective).error(outputs, target, spec)[0].abs()
