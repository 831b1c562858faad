"""The learner's description: its numbers, and the parts that it is composed of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from droq_exp.learner.hyperparameters import Hyperparameters, Prioritisation
from droq_exp.learner.losses import SoftPolicyObjective, SquaredTdError
from droq_exp.learner.networks import EnsembleCritic, SquashedGaussianActor
from droq_exp.learner.orders import CriticsAlone, PolicyBesideCritics
from droq_exp.learner.parts import Actor, Critic, Objective, Order, PolicyObjective
from droq_exp.learner.programs import Program

if TYPE_CHECKING:
    from droq_exp.config.schema import AlgoConfig

BETA_GROWTH = 0.6  # of algo.per.beta in the course of a run that draws utd_ratio minibatches a step (ku)


class Rules(Protocol):
    """What of a code base the numbers of a learner depend on."""

    @property
    def first_alpha(self) -> float | None: ...  # noqa: D102
    @property
    def actor_heads(self) -> int: ...  # noqa: D102
    @property
    def order(self) -> Order: ...  # noqa: D102
    def policy_objective(self, num_critics: int, num_min: float, dropout_rate: float) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class LearnerSpec(Hyperparameters):
    """Static description of a learner: equal specs make equal updates of equal states.

    ``offline_chunk`` critic updates are made at a time where critics learn without environment steps; 0: they never
    do. ``is_offline`` says that this is the learner of these updates, which :attr:`offline` gives.
    """

    critic: Critic = field(default_factory=EnsembleCritic)
    actor: Actor = field(default_factory=SquashedGaussianActor)
    objective: Objective = field(default_factory=SquaredTdError)
    policy_objective: PolicyObjective = field(default_factory=SoftPolicyObjective)
    order: Order = field(default_factory=PolicyBesideCritics)
    offline_chunk: int = 0
    is_offline: bool = False

    @property
    def offline(self) -> LearnerSpec:
        """The same learner where critics learn alone: a chunk of their updates is what an environment step's are."""
        return replace(self, utd_ratio=self.offline_chunk, order=CriticsAlone(), offline_chunk=0, is_offline=True)

    @property
    def draw_path(self) -> tuple[int, ...]:
        """What separates the draws of these updates from those of an environment step, in every stream."""
        return (1,) if self.is_offline else ()

    @cached_property
    def programs(self) -> tuple[Program, ...]:
        """The updates of consecutive environment steps, over and over again."""
        return self.order.programs(self.utd_ratio)

    @property
    def minibatches(self) -> int:
        """Minibatches drawn for one environment step, at most."""
        return max(program.minibatches for program in self.programs)

    @property
    def policy_updates(self) -> int:
        """Policy updates of one environment step, at most."""
        return max(program.policy_updates for program in self.programs)

    @classmethod
    def of(
        cls,
        algo: AlgoConfig,
        codebase: Rules,
        *,
        seeds: int,
        obs_dim: int,
        act_dim: int,
        bf16: bool,
        parts: Mapping[str, Any] | None = None,
        total_steps: int | None = None,
    ) -> LearnerSpec:
        """Describe the learner of an algorithm as a code base runs it, for a task of these sizes.

        ``parts`` are the algorithm's own, by field. What is left out is the default, and the order the code base's.
        ``total_steps``, environment steps, is needed with prioritised replay alone.
        """
        numbers = fields(Hyperparameters)
        parts = {"order": codebase.order, **(parts or {})}
        units = getattr(parts.get("objective"), "units", 1)
        first_alpha = codebase.first_alpha if parts["order"] == codebase.order else None
        given = {each.name: getattr(algo, each.name) for each in numbers if hasattr(algo, each.name)}
        own: dict[str, Any] = {name: tuple(it) if isinstance(it, list) else it for name, it in given.items()}
        own["per"] = _prioritisation(algo, total_steps) if algo.per.enabled else None
        return cls(
            **own,
            seeds=seeds,
            obs_dim=obs_dim,
            act_dim=act_dim,
            units=units,
            first_alpha=first_alpha if _learned_from_the_default(algo) else None,
            policy_value=codebase.policy_objective(algo.num_critics, algo.num_min, algo.dropout_rate),
            actor_heads=codebase.actor_heads,
            bf16=bf16,
            **parts,
        )


def _prioritisation(algo: AlgoConfig, total_steps: int | None) -> Prioritisation:
    per = algo.per
    assert per.error is not None
    assert total_steps is not None
    growth = BETA_GROWTH / (total_steps * algo.utd_ratio)
    return Prioritisation(per.alpha, per.beta, per.epsilon, per.error, growth)


def _learned_from_the_default(algo: AlgoConfig) -> bool:
    """Whether the temperature is learned and nobody has set where it starts."""
    default = next(each.default for each in fields(algo) if each.name == "initial_temperature")
    return algo.learn_temperature and algo.initial_temperature == default
