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
from droq_exp.learner.parts import Actor, Critic, Features, Objective, Order, PolicyObjective
from droq_exp.learner.programs import FeatureUpdates, Program

if TYPE_CHECKING:
    from droq_exp.config.schema import AlgoConfig

BETA_GROWTH = 0.6  # of algo.per.beta in the course of a run that draws utd_ratio minibatches a step (ku)


OFFLINE, PRETRAINING = "offline", "pretraining"
PHASES = ("", OFFLINE, PRETRAINING)  # an index is part of what a seed means: append


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

    In a phase without environment steps ``offline_chunk`` updates of critics alone, or ``pretraining_chunk`` of
    features alone, are made at a time; 0: there is no such phase. ``phase`` names the one whose learner this is, which
    :meth:`of_phase` gives; "" is that of environment steps.
    """

    critic: Critic = field(default_factory=EnsembleCritic)
    actor: Actor = field(default_factory=SquashedGaussianActor)
    objective: Objective = field(default_factory=SquaredTdError)
    policy_objective: PolicyObjective = field(default_factory=SoftPolicyObjective)
    features: Features | None = None
    order: Order = field(default_factory=PolicyBesideCritics)
    offline_chunk: int = 0
    pretraining_chunk: int = 0
    phase: str = ""

    @property
    def actor_inputs(self) -> int:
        """Numbers that the actor sees."""
        return self.obs_dim if self.features is None else self.features.widths(self)[0]

    @property
    def critic_inputs(self) -> int:
        """Numbers that the critics see."""
        return self.obs_dim + self.act_dim if self.features is None else self.features.widths(self)[1]

    @property
    def phases(self) -> list[str]:
        """The kinds of updates that are made without environment steps."""
        chunks = {OFFLINE: self.offline_chunk, PRETRAINING: self.pretraining_chunk}
        return [name for name, chunk in chunks.items() if chunk]

    def of_phase(self, name: str) -> LearnerSpec:
        """The same learner within a phase: a chunk of its updates is what those of an environment step are."""
        updates = self.offline_chunk if name == OFFLINE else 0
        own = replace(self, utd_ratio=updates, order=CriticsAlone(), phase=name)
        return own if updates else replace(own, dropout_rate=0.0)  # no critic, no mask

    @property
    def feature_updates(self) -> int:
        """Updates of the features in an environment step, or in a chunk of a phase."""
        if self.features is None or self.phase == OFFLINE:
            return 0
        return self.pretraining_chunk if self.phase == PRETRAINING else int(self.features.updates_per_step)

    @property
    def draw_path(self) -> tuple[int, ...]:
        """What separates the draws of a phase from those of environment steps, in every stream."""
        return (PHASES.index(self.phase),) if self.phase else ()

    @cached_property
    def programs(self) -> tuple[Program, ...]:
        """The updates of consecutive environment steps, over and over again."""
        programs = self.order.programs(self.utd_ratio)
        if not self.feature_updates:
            return programs
        return tuple(Program([FeatureUpdates(self.feature_updates), *program]) for program in programs)

    @property
    def minibatches(self) -> int:
        """Minibatches drawn for critics and policy in one environment step, at most."""
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
        assert not isinstance(algo.dropout_rate, str)  # auto: several learners, each with a rate
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
