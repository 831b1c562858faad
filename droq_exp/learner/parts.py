"""What an algorithm is composed of: the signatures of its parts.

A part is a frozen dataclass, so that equal parts have equal updates and one graph each. Its fields are its own keys,
``algo.<part>.<field>`` of a configuration; keys that several parts share, such as ``algo.dropout_rate``, reach it in
``spec``; a part may name those that it looks at in ``reads``, a class variable, so that one that nothing looks at is
refused, and may refuse an ``algo`` by ``problem_with(algo)``, which returns why, or None. Its methods are pure
functions of tensors that ``torch.func`` and ``torch.compile`` can trace: no ``.item()``, no branch on a tensor's
values, nothing random but what is passed in.

A part that needs random numbers of its own declares them: ``draws(rows, spec)`` returns a
:class:`~droq_exp.learner.own_draws.Draw` for each name. Within updates its methods then get them as ``drawn``, a
keyword, by name; elsewhere it is missing, so it wants the default None. A network's calls of ``outputs`` get
``[S, K, *shape]``, all others ``[S, *shape]``, an objective the same in ``target`` and ``loss``. ``rows`` are the B
transitions of the call, in a joint pass 2 B; an actor's shapes begin with them.

S seeds, K critics, N of them in the ensemble, B transitions of a minibatch, M output units of a critic.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from torch import Tensor

from droq_exp.learner.hyperparameters import Hyperparameters
from droq_exp.learner.programs import Program

Params = dict[str, Tensor]  # a network's tensors by name, [S, ...]


class Network(Protocol):
    """Parameters and buffers by name, each flat in memory as ``[S, n]``.

    A network may have ``project(params, spec)`` too, which returns the parameters ``[S, ...]`` as they are to be after
    they are drawn and after every step of their optimiser, weights of unit length say. Target critics follow the
    projected ones and are not projected themselves.
    """

    def shapes(self, spec: Hyperparameters) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter of one seed; those of critics begin with N."""

    def buffers(self, spec: Hyperparameters) -> dict[str, tuple[tuple[int, ...], float]]:
        """Shape and first value of what moves without a gradient, such as running statistics; {} for most."""

    def initial(self, spec: Hyperparameters, rng: np.random.Generator) -> np.ndarray:
        """Draw the parameters of one seed, ``[n]``, in the order of ``shapes``."""


class Critic(Network, Protocol):
    """``algo.critic``: what the critics put out at (s, a)."""

    def outputs(
        self,
        params: Params,
        buffers: Params,
        inputs: Tensor,
        dropout_masks: list[Tensor] | None,
        spec: Hyperparameters,
        *,
        training: bool,
    ) -> tuple[Tensor, Params]:
        """Evaluate K critics, ``[S, K, B, M]``, on ``inputs`` ``[S, B, obs + act]``; return the moved buffers too.

        ``params`` and ``buffers`` are ``[S, K, ...]``: a target may look at some of the N, or at one several times.
        ``dropout_masks`` are 0/1 masks ``[S, K, B, width]`` for each hidden layer, None without dropout. ``training``
        is false where a policy looks at the critics: what a batch norm takes from its batch, it then takes from its
        buffers. Buffers are moved by returning others, which are kept after a critic update alone.
        """


class Actor(Network, Protocol):
    """``algo.actor``: the policy."""

    def sample(
        self, params: Params, buffers: Params, obs: Tensor, noise: Tensor, spec: Hyperparameters, *, training: bool
    ) -> tuple[Tensor, Tensor, Params]:
        """Return actions in [-1, 1], ``[S, B, act]``, log-densities ``[S, B]`` and moved buffers, at ``[S, B, obs]``.

        ``noise`` is standard normal, ``[S, B, act]``; 0 gives the deterministic action. ``training`` is true in the
        policy's own updates, after which the moved buffers are kept.
        """


class Objective(Protocol):
    """``algo.objective``: target and loss of the critics together, for both know what the critics put out.

    One that needs more than one output of each critic says how many in ``units``. What it logs of an update beside the
    loss and the mean Q it names in ``metrics``; ``measure(soft_reward, discount, spec)`` gives it, ``[S, metrics]``.
    """

    def value(self, outputs: Tensor) -> Tensor:
        """Q ``[S, K, B]`` of outputs ``[S, K, B, M]``: what policy, bias and logs see."""

    def target(
        self,
        outputs: Tensor,
        soft_reward: Tensor,
        discount: Tensor,
        in_subset: Tensor | None,
        rem_weights: Tensor | None,
        spec: Hyperparameters,
    ) -> Tensor:
        """What the critics learn, ``[S, B, ...]``, from the target critics' outputs ``[S, T, B, M]`` at (s', a').

        ``soft_reward`` and ``discount`` are ``[S, B]``, as in :func:`~droq_exp.learner.losses.td_target`;
        ``in_subset`` and ``rem_weights`` are those of :class:`~droq_exp.learner.draws.Draws`, of this update.
        """

    def loss(self, outputs: Tensor, target: Tensor, spec: Hyperparameters) -> Tensor:
        """Loss of each critic at each transition, ``[S, N, B]``: averaged over B and added up over N."""


class ErrorObjective(Objective, Protocol):
    """What prioritised replay (``algo.per``) needs of an objective beside the rest."""

    def error(self, outputs: Tensor, target: Tensor, spec: Hyperparameters) -> Tensor:
        """How far each critic is from the target at each transition, ``[S, N, B]``, of either sign."""


class PolicyObjective(Protocol):
    """``algo.policy_objective``: what the policy minimises."""

    def loss(self, values: Tensor, log_prob: Tensor, alpha: Tensor, spec: Hyperparameters) -> Tensor:
        """Loss at each state, ``[S, B]``, from Q ``[S, N, B]``, log-density ``[S, B]`` and temperature ``[S, 1]``."""


class Features(Protocol):
    """``algo.features``: what actor and critics see in the place of s and (s, a). By default there are none.

    They learn by a loss, an Adam and minibatches of their own; no other gradient reaches their parameters.
    """

    learning_rate: Any  # of their Adam, a number
    weight_decay: Any  # L2 term of the gradient, a number
    pretraining: Any  # updates before the first critic update
    updates_per_step: Any  # updates of an environment step, before the critics'

    def widths(self, spec: Hyperparameters) -> tuple[int, int]:
        """Numbers that stand for s and for (s, a)."""

    def shapes(self, spec: Hyperparameters) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter of one seed; ValueError where the task does not suit."""

    def initial(self, spec: Hyperparameters, rng: np.random.Generator) -> np.ndarray:
        """Draw the parameters of one seed, ``[n]``, in the order of ``shapes``."""

    def state(self, params: Params, obs: Tensor, spec: Hyperparameters) -> Tensor:
        """What stands for s, ``[S, B, F]``, of ``[S, B, obs]``."""

    def pair(self, params: Params, features: Tensor, action: Tensor, spec: Hyperparameters) -> Tensor:
        """What stands for (s, a), ``[S, B, F2]``, of ``[S, B, F]`` and ``[S, B, act]``: the policy's gradient passes.

        ``action`` is what critics and environment see.
        """

    def loss(self, params: Params, obs: Tensor, action: Tensor, next_obs: Tensor, spec: Hyperparameters) -> Tensor:
        """What they minimise, ``[S]``."""

    def baseline(self, obs: Tensor, next_obs: Tensor, spec: Hyperparameters) -> Tensor:
        """The loss, ``[S]``, of a prediction that takes no learning: it is logged in proportion to this."""


class Order(Protocol):
    """``algo.order``: which updates an environment step makes, and in which order. By default the code base's.

    One that goes with some code bases alone names them in ``codebases``.
    """

    def programs(self, utd_ratio: int) -> tuple[Program, ...]:
        """What consecutive environment steps of ``utd_ratio`` critic updates each do, over and over again."""


PROTOCOLS: dict[str, type] = {
    "critic": Critic,
    "actor": Actor,
    "objective": Objective,
    "policy_objective": PolicyObjective,
    "features": Features,
    "order": Order,
}


def missing_methods(part: str, cls: type) -> list[str]:
    """Names of what a part must have and ``cls`` has not."""
    wanted = [name for name in dir(PROTOCOLS[part]) if not name.startswith("_")]
    return [name for name in wanted if not callable(getattr(cls, name, None))]
