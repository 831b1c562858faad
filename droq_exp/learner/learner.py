"""The learner: its state, and the three compiled steps bound to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from droq_exp.learner import updates
from droq_exp.learner.draws import Draws
from droq_exp.learner.optimiser import adam_coefficients
from droq_exp.learner.spec import LearnerSpec
from droq_exp.learner.state import LearnerState


@dataclass
class Prepared:
    """Inputs of consecutive critic updates, an entry an update (see :func:`droq_exp.learner.updates.prepare`)."""

    inputs: tuple[Tensor, ...]
    next_inputs: tuple[Tensor, ...]
    reward: tuple[Tensor, ...]
    discount: tuple[Tensor, ...]
    coefficients: tuple[Tensor, ...]


class Learner:
    """Binds the state to the update functions, compiled or eager; the code styles decide the order of the calls."""

    def __init__(self, spec: LearnerSpec, state: LearnerState, action_map: Tensor, *, compile_updates: bool) -> None:
        """``action_map`` is ``[2, act]``: scale and offset from [-1, 1] to what critics and environment see."""
        self.spec = spec
        self.state = state
        self.action_map = action_map.to(spec.dtype)
        self._prepare, self._critic_update, self._policy_update = _bind_spec(spec, state.critic.device, compile_updates)

    def prepare(self, rows: Tensor, noise: Tensor) -> Prepared:
        """Compute in bulk what the next ``U`` critic updates need (``rows`` ``[S, U, B, row]``)."""
        state, count = self.state, rows.shape[1]
        bulk = self._prepare(state.actor, state.log_alpha, rows, noise, self.action_map)
        coefficients = adam_coefficients(state.critic_updates + 1, count, self.spec.critic_learning_rate)
        inputs, next_inputs, reward, discount = (tensor.unbind(1) for tensor in bulk)
        return Prepared(inputs, next_inputs, reward, discount, self._as_tensor(coefficients).unbind(0))

    def critic_update(self, prepared: Prepared, position: int, draws: Draws, update: int) -> None:
        """Run one critic update: number ``position`` of ``prepared``, number ``update`` of the environment step."""
        state = self.state
        self._critic_update(
            state.critic,
            state.critic_target,
            state.critic_moment1,
            state.critic_moment2,
            state.critic_sums,
            prepared.inputs[position],
            prepared.next_inputs[position],
            prepared.reward[position],
            prepared.discount[position],
            prepared.coefficients[position],
            _at(draws.critic_keep, update),
            _at(draws.subset, update),
            _at(draws.valid, update),
            _at(draws.mixture, update),
        )
        state.critic_updates += 1

    def policy_update(self, rows: Tensor, draws: Draws, update: int) -> None:
        """Run the environment step's policy update number ``update`` on one minibatch, ``[S, B, row]``."""
        state, spec = self.state, self.spec
        rates = (spec.actor_learning_rate, spec.temperature_learning_rate)
        coefficients = np.concatenate([adam_coefficients(state.policy_updates + 1, 1, rate) for rate in rates])
        self._policy_update(
            state.actor,
            state.actor_moment1,
            state.actor_moment2,
            state.log_alpha,
            state.log_alpha_moment1,
            state.log_alpha_moment2,
            state.policy_sums,
            state.critic,
            rows[..., : spec.obs_dim].contiguous(),
            draws.policy_noise[:, update],
            self.action_map,
            self._as_tensor(coefficients),
            _at(draws.policy_keep, update),
        )
        state.policy_updates += 1

    def _as_tensor(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=self.spec.dtype).to(self.state.critic.device)


def _at(tensor: Tensor | None, update: int) -> Tensor | None:
    return None if tensor is None else tensor[:, update]


def _bind_spec(spec: LearnerSpec, device: torch.device, compile_updates: bool) -> list[Callable[..., Any]]:
    """Fix the spec in the three update functions, and compile them."""

    def prepare(*tensors: Any) -> tuple[Tensor, ...]:
        return updates.prepare(spec, *tensors)

    def critic_update(*tensors: Any) -> None:
        updates.critic_update(spec, *tensors)

    def policy_update(*tensors: Any) -> None:
        updates.policy_update(spec, *tensors)

    functions = [prepare, critic_update, policy_update]
    if not compile_updates:
        return functions
    # A sweep builds one learner after another, and torch.compile counts the graphs of all of them against one limit.
    torch.compiler.reset()
    # A graph is a few dozen kernels of microseconds each: on CPU it is called from C++, for 5% of an update.
    options: dict[str, Any] = {"cpp_wrapper": device.type == "cpu"}
    # Shapes never change but in a shorter last run of critic updates, so specialising on them costs one more graph.
    return [torch.compile(function, fullgraph=True, dynamic=False, options=options) for function in functions]
