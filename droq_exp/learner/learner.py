"""The learner: its state, and the three compiled steps bound to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from droq_exp.learner import updates
from droq_exp.learner.draws import Draws
from droq_exp.learner.dropout import KeyedMasks
from droq_exp.learner.native.actor import PolicyUpdate, Prepare
from droq_exp.learner.native.critic_updates import CriticUpdates
from droq_exp.learner.optimiser import AdamSchedule
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState


def updates_per_graph(spec: LearnerSpec) -> int:
    """Critic updates that are compiled as one graph, at most.

    Entering a graph costs a tenth of an update of plain critics, so several share one. Layer norm and dropout double
    an update's kernels: there the gain is smaller, and compiling takes 4 seconds more with each update.
    """
    return 2 if spec.layer_norm or spec.dropout_rate else 5


class Learner:
    """Binds the state to the update functions, compiled or eager; the code styles decide the order of the calls."""

    def __init__(
        self,
        spec: LearnerSpec,
        state: LearnerState,
        action_map: Tensor,
        *,
        compile_updates: bool,
        native: bool = False,
        updates_at_once: int | None = None,
    ) -> None:
        """``action_map`` is ``[2, act]``: scale and offset from [-1, 1] to what critics and environment see.

        ``native`` runs all three by this project's C++ where that applies, any number of critic updates in a call.
        ``updates_at_once`` is None but where a test watches every update.

        Raises:
            BuildError: ``native``, and the C++ cannot be compiled here.

        """
        self.spec = spec
        self.state = state
        self.action_map = action_map.to(spec.dtype)
        self.critic_before_last = state.critic.clone()
        device = state.critic.device
        self._critic_schedule = AdamSchedule([spec.critic_learning_rate], spec.dtype, device)
        self._policy_schedule = AdamSchedule(
            [spec.actor_learning_rate, spec.temperature_learning_rate], spec.dtype, device
        )
        self._prepare: Callable[..., Any]
        self._critic_updates: Callable[..., Any]
        self._policy_update: Callable[..., Any]
        self.native = native and device.type == "cpu"  # then it draws its masks itself, from their keys
        if self.native:
            self._updates_at_once = updates_at_once or spec.utd_ratio
            self._prepare, self._critic_updates = Prepare(spec), CriticUpdates(spec)
            self._policy_update = PolicyUpdate(spec)
        else:
            self._updates_at_once = updates_at_once or updates_per_graph(spec)
            self._prepare, self._critic_updates, self._policy_update = _bind_spec(spec, device, compile_updates)

    def critic_updates(self, rows: Tensor, draws: Draws, start: int, stop: int) -> None:
        """Run the critic updates ``start`` to ``stop`` (exclusive) of an environment step, the policy standing still.

        ``rows`` are all minibatches of the step, ``[S, G, B, row]``. Afterwards ``critic_before_last`` holds the
        critics as they were before the last of these updates.
        """
        state, count = self.state, stop - start
        bulk = self._prepare(
            state.actor, state.log_alpha, rows[:, start:stop], draws.next_noise[:, start:stop], self.action_map
        )
        coefficients = self._critic_coefficients(start, count)
        chunk = max(size for size in range(1, self._updates_at_once + 1) if count % size == 0)
        for first in range(0, count, chunk):
            part = slice(first, first + chunk)
            drawn = slice(start + first, start + first + chunk)
            self._critic_chunk(
                *(tensor[:, part] for tensor in bulk),
                coefficients[part],
                *(_part(tensor, drawn) for tensor in (draws.critic_keep, draws.subset, draws.valid, draws.mixture)),
            )

    def _critic_chunk(self, *tensors: Tensor | KeyedMasks | None) -> None:
        """Run consecutive critic updates as one graph; ``tensors`` from ``inputs`` on."""
        state = self.state
        self._critic_updates(
            state.critic,
            self.critic_before_last,
            state.critic_target,
            state.critic_moment1,
            state.critic_moment2,
            state.critic_sums,
            *tensors,
        )

    def policy_update(self, critic: Tensor, rows: Tensor, draws: Draws, update: int) -> None:
        """Run the step's policy update number ``update`` at the given critics on one minibatch, ``[S, B, row]``."""
        state, spec = self.state, self.spec
        self._policy_update(
            state.actor,
            state.actor_moment1,
            state.actor_moment2,
            state.log_alpha,
            state.log_alpha_moment1,
            state.log_alpha_moment2,
            state.policy_sums,
            critic,
            rows[..., : spec.obs_dim].contiguous(),
            draws.policy_noise[:, update],
            self.action_map,
            self._policy_coefficients(update),
            _at(draws.policy_keep, update),
        )

    def _critic_coefficients(self, start: int, count: int) -> Tensor:
        """Count the critic updates from the environment step's number ``start`` on; return Adam's coefficients."""
        first = self.state.critic_updates + 1
        self.state.critic_updates += count
        return self._critic_schedule.coefficients(first, count)[:, 0]

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


def _bind_spec(spec: LearnerSpec, device: torch.device, compile_updates: bool) -> list[Callable[..., Any]]:
    """Fix the spec in the three update functions, and compile them."""

    def prepare(*tensors: Any) -> tuple[Tensor, ...]:
        return updates.prepare(spec, *tensors)

    def critic_updates(*tensors: Any) -> None:
        updates.critic_updates(spec, *tensors)

    def policy_update(*tensors: Any) -> None:
        updates.policy_update(spec, *tensors)

    functions = [prepare, critic_updates, policy_update]
    if not compile_updates:
        return functions
    # A sweep builds one learner after another, and torch.compile counts the graphs of all of them against one limit.
    torch.compiler.reset()
    # A graph is a few dozen kernels of microseconds each: on CPU it is called from C++, for 5% of an update.
    options: dict[str, Any] = {"cpp_wrapper": device.type == "cpu"}
    # Shapes never change but in a shorter last run of critic updates, so specialising on them costs one more graph.
    return [torch.compile(function, fullgraph=True, dynamic=False, options=options) for function in functions]
