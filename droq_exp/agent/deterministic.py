"""The deterministic policy of one seed as one function of tensors: what leaves this project when it is exported."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from droq_exp.agent.agent import Agent
from droq_exp.agent.auto_dropout import AutoDropout
from droq_exp.agent.box import ActionBox
from droq_exp.agent.observations import LARGEST
from droq_exp.learner.networks import named, tensors_of
from droq_exp.learner.spec import LearnerSpec


class DeterministicPolicy(nn.Module):
    """Observations as the task gives them, ``[n, obs]``, to actions as the task takes them, ``[n, act]``.

    The definitions themselves compute, a user's own as much as this project's. ``state_dict`` has all that they depend
    on: ``actor.*``, ``statistics.*`` and ``features.*`` by the names of the networks' tables, with leading axes of
    seeds and copies that are 1; ``obs_shift`` and ``obs_factor`` where observations are normalised; ``action_scale``
    and ``action_offset`` from [-1, 1] to the box; ``action_least`` and ``action_most``, infinite where a code base
    means to leave the box.
    """

    obs_shift: Tensor
    obs_factor: Tensor
    action_scale: Tensor
    action_offset: Tensor
    action_least: Tensor
    action_most: Tensor

    def __init__(
        self,
        spec: LearnerSpec,
        weights: Mapping[str, Tensor],
        action_map: np.ndarray,
        box: ActionBox,
        dtype: torch.dtype,
    ) -> None:
        """Copy one seed's policy.

        Args:
            spec: the learner's numbers.
            weights: of the seed, as :meth:`Agent.weights_of` gives them.
            action_map: the code base's, ``[2, act]``: scale and offset.
            box: what the actions are put into.
            dtype: of the actions.
        """
        super().__init__()
        self.obs_dim = spec.obs_dim
        self._spec, self._dtype = spec, dtype
        actor, statistics = tensors_of(spec.actor, weights["actor"][None], weights["actor_buffers"][None], spec)
        features = {} if spec.features is None else named(weights["features"][None], spec.features.shapes(spec))
        self.actor, self.statistics, self.features = map(_kept, (actor, statistics, features))
        scale, offset = torch.as_tensor(action_map, dtype=torch.float32)
        told = {name: weights[name] for name in ("obs_shift", "obs_factor") if name in weights}
        self._normalises = bool(told)
        told |= {"action_scale": scale, "action_offset": offset}
        told |= {"action_least": torch.from_numpy(box.least), "action_most": torch.from_numpy(box.most)}
        for name, value in told.items():
            self.register_buffer(name, value.clone())

    def forward(self, observation: Tensor) -> Tensor:
        """Act."""
        spec, seen = self._spec, observation
        if self._normalises:
            seen = ((observation - self.obs_shift) * self.obs_factor).clamp(-LARGEST, LARGEST)
        seen = seen[None]  # one seed
        if spec.features is not None:
            seen = spec.features.state(dict(self.features.items()), seen, spec)
        noise = torch.zeros(1, observation.shape[0], spec.act_dim)
        tensors = dict(self.actor.items()), dict(self.statistics.items())
        squashed, _, _ = spec.actor.sample(*tensors, seen, noise, spec, training=False)
        action = squashed[0] * self.action_scale + self.action_offset
        return torch.minimum(torch.maximum(action, self.action_least), self.action_most).to(self._dtype)


def deterministic_policy(
    agent: Agent, seed_index: int, low: np.ndarray, high: np.ndarray, dtype: np.dtype
) -> DeterministicPolicy:
    """The policy of seed ``seed_index`` that evaluations play, a copy on the CPU.

    Args:
        agent: on any device.
        seed_index: counts the seeds trained together.
        low: the bounds of the action box that the agent was made for, float32 ``[act]``.
        high: likewise.
        dtype: of the task's actions.
    """
    one = agent.chosen_of(seed_index) if isinstance(agent, AutoDropout) else agent
    actions = torch.from_numpy(np.empty(0, dtype)).dtype
    return DeterministicPolicy(
        one.spec, one.weights_of(seed_index), one.codebase.action_map(low, high), one.box, actions
    )


def _kept(tensors: Mapping[str, Tensor]) -> nn.ParameterDict:
    return nn.ParameterDict({name: nn.Parameter(value.clone(), requires_grad=False) for name, value in tensors.items()})
