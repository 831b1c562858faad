"""The learner: its state, and the three steps bound to it as a backend runs them."""

from __future__ import annotations

import torch
from torch import Tensor

from droq_exp.learner.backend import EAGER, Backend, functions
from droq_exp.learner.draws import Draws
from droq_exp.learner.dropout import KeyedMasks
from droq_exp.learner.optimiser import BETA1, AdamSchedule
from droq_exp.learner.own_draws import OwnDraws, some
from droq_exp.learner.programs import ActorPass, CriticUpdates, FeatureUpdates, Program
from droq_exp.learner.spec import OFFLINE, PRETRAINING, LearnerSpec
from droq_exp.learner.state import LearnerState
from droq_exp.learner.updates import stated


class Learner:
    """Binds the state to the update functions, and runs them in the order that the spec names."""

    def __init__(
        self,
        spec: LearnerSpec,
        state: LearnerState,
        action_map: Tensor,
        backend: Backend = EAGER,
        *,
        updates_at_once: int | None = None,
    ) -> None:
        """``action_map`` is ``[2, act]``: scale and offset from [-1, 1] to what critics and environment see.

        ``updates_at_once`` is None but where a test watches every update.

        Raises:
            BuildError: the backend is the C++, and it cannot be compiled here.

        """
        self.spec = spec
        self.state = state
        self.action_map = action_map.to(spec.dtype)
        self.critic_before_last = state.critic.clone()
        device = state.critic.device
        rates = [spec.actor_learning_rate, spec.temperature_learning_rate]
        kind = spec.dtype, device
        self._critic_schedule = AdamSchedule([spec.critic_learning_rate], *kind, [spec.adam_beta1], spec.decay)
        self._policy_schedule = AdamSchedule(rates, *kind, [spec.adam_beta1, BETA1], spec.decay)
        if spec.features is not None:
            self._feature_schedule = AdamSchedule([spec.features.learning_rate], *kind, [BETA1])
        self.draws_masks = backend.name == "native"  # from their keys, in the thread that needs them
        made = functions(spec, backend, device)
        self._target_inputs, self._critic_updates, self._policy_update = made[:3]
        self._actor_pass, self._feature_update = made.actor_pass, made.feature_update
        self._updates_at_once = updates_at_once or made.at_once

    @property
    def steps(self) -> int:
        """Environment steps that have learned; of the learner of a phase, the chunks that were made."""
        state, spec = self.state, self.spec
        if spec.phase == PRETRAINING:
            return state.feature_updates // spec.pretraining_chunk
        updates = state.offline_updates if spec.phase == OFFLINE else state.critic_updates - state.offline_updates
        return updates // spec.utd_ratio

    def program(self) -> Program:
        """The updates of the environment step, or of the chunk of a phase, that comes next."""
        programs = self.spec.programs
        return programs[self.steps % len(programs)]

    def run(self, program: Program, rows: Tensor, draws: Draws) -> None:
        """Run the updates of one environment step on its minibatches, ``rows`` ``[S, minibatches, B, row]``."""
        policy_updates = 0
        for updates in program:
            if isinstance(updates, CriticUpdates):
                self.critic_updates(rows, draws, *updates)
            elif isinstance(updates, ActorPass):
                self._actor_pass(self.state.actor, self.state.actor_buffers, self._seen(rows[:, updates.minibatch]))
            elif isinstance(updates, FeatureUpdates):
                for update in range(updates.updates):
                    minibatch = rows[:, self.spec.minibatches + update]
                    self.feature_update(minibatch, update, some(draws.own, "feature", update))
            else:
                critic = self.critic_before_last if updates.before_last else self.state.critic
                self.policy_update(critic, rows[:, updates.minibatch], draws, policy_updates)
                policy_updates += 1

    def critic_updates(self, rows: Tensor, draws: Draws, start: int, stop: int) -> None:
        """Run the critic updates ``start`` to ``stop`` (exclusive) of an environment step, the policy standing still.

        ``rows`` are all minibatches of the step, ``[S, minibatches, B, row]``. Afterwards ``critic_before_last`` holds
        the critics as they were before the last of these updates.
        """
        count = stop - start
        bulk = self._bulk(rows[:, start:stop], draws, slice(start, stop))
        coefficients = self._critic_coefficients(start, count)
        chunk = max(size for size in range(1, self._updates_at_once + 1) if count % size == 0)
        for first in range(0, count, chunk):
            part = slice(first, first + chunk)
            these = slice(start + first, start + first + chunk)
            drawn = *self._drawn(draws, these), *stated(None, some(draws.own, "critic", these))
            self._critic_chunk(*(tensor[:, part] for tensor in bulk), coefficients[part], *drawn)

    def _bulk(self, rows: Tensor, draws: Draws, updates: slice) -> tuple[Tensor, ...]:
        """Compute the inputs of some updates of an environment step on their minibatches, ``[S, U, B, row]``."""
        state = self.state
        policy, noise = (state.actor, state.actor_buffers, state.alpha), draws.next_noise[:, updates]
        more = stated(self._features, some(draws.own, "critic", updates))
        bulk: tuple[Tensor, ...] = self._target_inputs(*policy, rows, noise, self.action_map, *more)
        return bulk

    @staticmethod
    def _drawn(draws: Draws, updates: slice) -> list[Tensor | KeyedMasks | None]:
        """What some updates of an environment step have drawn beside their noise."""
        drawn = draws.critic_dropout_masks, draws.subset, draws.in_subset, draws.rem_weights
        return [_part(tensor, updates) for tensor in drawn]

    def _critic_chunk(self, *tensors: Tensor | KeyedMasks | OwnDraws | None) -> Tensor | None:
        """Run consecutive critic updates as one graph; ``tensors`` from ``inputs`` on."""
        state = self.state
        errors: Tensor | None = self._critic_updates(
            state.critic,
            state.critic_buffers,
            self.critic_before_last,
            state.critic_target,
            state.critic_moment1,
            state.critic_moment2,
            state.offline_sums if self.spec.phase == OFFLINE else state.critic_sums,
            *tensors,
        )
        return errors

    def policy_update(self, critic: Tensor, rows: Tensor, draws: Draws, update: int, *weights: Tensor) -> None:
        """Run the step's policy update number ``update`` at the given critics on one minibatch, ``[S, B, row]``.

        ``weights``, one or none, are those of its rows, ``[S, B]``.
        """
        state = self.state
        self._policy_update(
            state.actor,
            state.actor_buffers,
            state.actor_moment1,
            state.actor_moment2,
            state.log_alpha,
            state.log_alpha_moment1,
            state.log_alpha_moment2,
            state.alpha,
            state.policy_sums,
            critic,
            state.critic_buffers,
            self._seen(rows),
            draws.policy_noise[:, update],
            self.action_map,
            self._policy_coefficients(update),
            _at(draws.policy_dropout_masks, update),
            *stated(*weights or (None,), self._features, some(draws.own, "policy", update)),
        )

    def _seen(self, rows: Tensor) -> Tensor:
        """What the actor sees of a minibatch ``[S, B, row]`` where it learns: s, or s and s' as one batch."""
        columns = self.spec.layout.columns
        obs = rows[..., columns.obs]
        return torch.cat([obs, rows[..., columns.next_obs]], 1) if self.spec.joint_policy_pass else obs.contiguous()

    @property
    def _features(self) -> Tensor | None:
        """What actor and critics need to know to see features: their parameters, where there are any."""
        return None if self.spec.features is None else self.state.features

    def feature_update(self, rows: Tensor, update: int, own: OwnDraws | None = None) -> None:
        """Run update number ``update`` of the environment step's of the features on one minibatch, ``[S, B, row]``.

        ``own`` is what they have drawn for it.
        """
        state = self.state
        tensors = state.features, state.features_moment1, state.features_moment2, state.features_sums
        self._feature_update(*tensors, rows, self._feature_coefficients(update), *stated(own))

    def count_critic_updates(self, count: int) -> None:
        """Note that so many have been made."""
        self.state.critic_updates += count
        self.state.offline_updates += count * (self.spec.phase == OFFLINE)

    def _critic_coefficients(self, start: int, count: int) -> Tensor:
        """Count the critic updates from the environment step's number ``start`` on; return Adam's coefficients."""
        first = self.state.critic_updates + 1
        self.count_critic_updates(count)
        return self._critic_schedule.coefficients(first, count)[:, 0]

    def _feature_coefficients(self, update: int) -> Tensor:
        """Count the environment step's update number ``update`` of the features; return Adam's coefficients."""
        self.state.feature_updates += 1
        return self._feature_schedule.coefficients(self.state.feature_updates, 1)[0, 0]

    def _policy_coefficients(self, update: int) -> Tensor:
        """Count the environment step's policy update number ``update``; return the actor's and the temperature's."""
        self.state.policy_updates += 1
        return self._policy_schedule.coefficients(self.state.policy_updates, 1)[0]


def _part(drawn: Tensor | KeyedMasks | None, updates: slice) -> Tensor | KeyedMasks | None:
    if isinstance(drawn, KeyedMasks):
        return drawn.from_update(updates.start)
    return None if drawn is None else drawn[:, updates]


def _at(drawn: Tensor | KeyedMasks | None, update: int) -> Tensor | KeyedMasks | None:
    return drawn[:, update] if isinstance(drawn, Tensor) else _part(drawn, slice(update, update + 1))
