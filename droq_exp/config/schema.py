"""The typed shape of a run's configuration: each key's type, default, rule and meaning, in one place.

``conf/`` holds the choices (algorithms, tasks, code bases, hardware) and starts from these defaults
(``droq_exp.config.defaults``); the checks, ``--help`` and ``docs/configuration.md`` read the rest.

SAC is Haarnoja et al. 2018b, arXiv:1812.05905; REDQ Chen et al. 2021, arXiv:2101.05982; DroQ Hiraoka et al. 2022,
arXiv:2110.02034.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, is_dataclass
from typing import Any

from omegaconf import MISSING

from droq_exp.config.rules import (
    AUTO,
    DEVICE,
    ENTITY,
    FINITE,
    FOLDER,
    FRACTION,
    NOT_NEGATIVE,
    PATH,
    POSITIVE,
    POSITIVE_FRACTION,
    PROJECT,
    RATE,
    RATE_OR_AUTO,
    RATES,
    SEEDS,
    SHELL_LINES,
    SIZES,
    TASK,
    THREADS,
    WORD,
    Relation,
    Rule,
    at_least,
    one_of,
    or_null,
)

_UNKNOWN_BEFORE: Any = object()


def key(
    default: Any,
    meaning: str,
    rule: Rule | None = None,
    *,
    relation: Relation | None = None,
    absent: Any = _UNKNOWN_BEFORE,
) -> Any:
    """Declare a key.

    Args:
        default: where neither ``conf/`` nor the user says more, or what makes it; MISSING: they must.
        meaning: one line, with its unit and source.
        rule: what the value alone may be; None: its type says all.
        relation: what it may be beside other values.
        absent: the value for which it stands where a run was made before the key existed.
    """
    metadata = {"meaning": meaning, "rule": rule, "relation": relation}
    if absent is not _UNKNOWN_BEFORE:
        metadata["absent"] = absent
    if isinstance(default, list | dict) or is_dataclass(default):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


NUM_MIN = Relation(
    "a number from 1 to algo.num_critics",
    lambda config: f"a number from 1 to algo.num_critics={config.algo.num_critics}",
    lambda config: 1 <= config.algo.num_min <= config.algo.num_critics,
)
TARGET_NETWORK = Relation(
    "true, or false with algo.joint_pass=true, all critics in the target and algo.target_passes=1",
    lambda config: "true, or false with algo.joint_pass=true, algo.num_min=algo.num_critics and algo.target_passes=1",
    lambda config: (
        config.algo.target_network
        or (
            config.algo.joint_pass
            and (config.algo.target_mode, config.algo.target_passes) == ("min", 1)
            and config.algo.num_min == config.algo.num_critics
        )
    ),
)
JOINT_PASS = Relation(
    "false, or true with algo.dropout_rate=0 and critics that normalise over the batch",
    lambda config: "false, or true with algo.dropout_rate=0 and a critic that normalises over the batch",
    lambda config: (
        not config.algo.joint_pass
        or (config.algo.dropout_rate == 0 and config.algo.critic._target_ != CriticConfig._target_)
    ),
)
JOINT_POLICY_PASS = Relation(
    "false, or true with an actor that normalises over the batch",
    lambda config: "false, or true with an actor that normalises over the batch",
    lambda config: not config.algo.joint_policy_pass or config.algo.actor._target_ != ActorConfig._target_,
)
SHAPE = Relation(
    "one of linear, cosine; linear where algo.learning_rate_end=null",
    lambda config: "linear with algo.learning_rate_end=null: the rates stay as they are",
    lambda config: config.algo.learning_rate_end is not None or config.algo.learning_rate_shape == "linear",
)
HORIZON = Relation(
    "an integer, at least 1, or null; null where algo.learning_rate_end=null",
    lambda config: "null with algo.learning_rate_end=null: the rates stay as they are",
    lambda config: config.algo.learning_rate_end is not None or config.algo.learning_rate_horizon is None,
)
TEMPERATURE_LOSS = Relation(
    "log_form, or alpha_form with algo.learn_temperature=true",
    lambda config: "log_form with algo.learn_temperature=false: nothing is learned",
    lambda config: config.algo.learn_temperature or config.algo.temperature_loss == "log_form",
)
_AUTO_NEEDS = (
    "with all critics in the target, the usual networks and losses, algo.per.enabled=false and training.offline_every=0"
)


def _against_auto(config: Config) -> list[str]:
    """What would have to be otherwise for ``algo.dropout_rate=auto``."""
    algo = config.algo
    wanted = {
        "all critics in the target (algo.num_min)": algo.num_min == algo.num_critics,
        "algo.target_mode=min or ave": algo.target_mode != "rem",
        "algo.per.enabled=false": not algo.per.enabled,
        "training.offline_every=0": not config.training.offline_every,
    }
    usual = {name: getattr(algo, name)._target_ == block._target_ for name, block in PARTS.items()}
    return [
        *(words for words, holds in wanted.items() if not holds),
        *(f"the usual algo.{name}" for name, holds in usual.items() if not holds),
    ]


DROPOUT_RATE = Relation(
    f"a number in [0, 1), or auto {_AUTO_NEEDS}; algo.auto is left alone without it",
    lambda config: (
        f"auto with {' and '.join(_against_auto(config))}, or a number in [0, 1)"
        if config.algo.dropout_rate == AUTO
        else "auto, for what algo.auto says to count"
    ),
    lambda config: (
        not _against_auto(config) if config.algo.dropout_rate == AUTO else config.algo.auto == AutoDropoutConfig()
    ),
)
TAU = Relation(
    "a number in (0, 1]; as it is by default, where algo.target_network=false",
    lambda config: "left alone with algo.target_network=false: nothing follows the critics",
    lambda config: config.algo.target_network or config.algo.tau == AlgoConfig.tau,
)
OFFLINE_UPDATES = Relation(
    "an integer, at least 1; as it is by default, where training.offline_every=0",
    lambda config: "left alone with training.offline_every=0: there are no such phases",
    lambda config: (
        config.training.offline_every > 0 or config.training.offline_updates == TrainingConfig.offline_updates
    ),
)
REPLAY_SIZE = Relation(
    "an integer greater than training.start_steps",
    lambda config: f"an integer greater than training.start_steps={config.training.start_steps}",
    lambda config: (
        config.training.replay_size > config.training.start_steps
        or config.training.total_steps <= config.training.start_steps
    ),
)
SUITE_TASKS = {"dmc": "cheetah-run", "robopianist": "NocturneRousseau"}  # choices of a suite, and a task of each
_OF_A_SUITE = f"with env={' or '.join(SUITE_TASKS)} one of its tasks, such as {' or '.join(SUITE_TASKS.values())}"
SUITE_TASK = Relation(
    f"{_OF_A_SUITE}; null otherwise",
    lambda config: f"{_OF_A_SUITE}; null otherwise",
    lambda config: (config.env.task is not None) == (config.env.name in SUITE_TASKS),
)
SIGNAL_DELAY = Relation(
    "an integer, at least 1, and fewer seconds than hardware.hours has",
    lambda config: f"fewer seconds than hardware.hours={config.hardware.hours:g} has",
    lambda config: 1 <= config.hardware.signal_delay_seconds < config.hardware.hours * 3600,
)
TARGET = "the class that is built, one of this project's or of a user's own"
NAME = "that of its file"
LAUNCHER = "what starts the training; set by the choice of hardware"
CLUSTERS = "null: the cluster's default"


@dataclass
class CriticConfig:
    """``algo.critic``; below it stand the keys of a user's own class, whose dataclass is their schema."""

    _target_: str = key("droq_exp.learner.networks.EnsembleCritic", "class of the critics' network")


@dataclass
class ActorConfig:
    """``algo.actor``, as ``algo.critic``."""

    _target_: str = key("droq_exp.learner.networks.SquashedGaussianActor", "class of the policy's network")


@dataclass
class ObjectiveConfig:
    """``algo.objective``, as ``algo.critic``."""

    _target_: str = key("droq_exp.learner.losses.SquaredTdError", "class of the critics' target and loss")


@dataclass
class PolicyObjectiveConfig:
    """``algo.policy_objective``, as ``algo.critic``."""

    _target_: str = key("droq_exp.learner.losses.SoftPolicyObjective", "class of the policy's loss")


@dataclass
class FeaturesConfig:
    """``algo.features``, as ``algo.critic``."""

    _target_: str | None = key(None, "class of the features that actor and critics see; null: s and (s, a) themselves")


@dataclass
class OrderConfig:
    """``algo.order``, as ``algo.critic``."""

    _target_: str | None = key(None, "class of the order of critic and policy updates; null: the code base's")


PER = Relation(
    "true or false; false with hardware.updates=graphs",
    lambda config: "false with hardware.updates=graphs, which draws all minibatches of a step at once; auto works",
    lambda config: not config.algo.per.enabled or config.hardware.updates != "graphs",
)


def _of_per(name: str, words: str) -> Relation:
    return Relation(
        f"{words}; as it is by default, where algo.per.enabled=false",
        lambda config: "left alone with algo.per.enabled=false: nothing is drawn by priority",
        lambda config: config.algo.per.enabled or getattr(config.algo.per, name) == getattr(PerConfig, name),
    )


@dataclass
class PerConfig:
    """``algo.per``: prioritised replay (Schaul et al. 2016, arXiv:1511.05952), as the code base ku has it."""

    enabled: bool = key(
        False, "draw transitions by how large their last error was; PyTorch's alone", relation=PER, absent=False
    )
    alpha: float = key(
        0.6, "exponent of errors: 0 draws uniformly", FRACTION, relation=_of_per("alpha", FRACTION.allowed), absent=0.6
    )
    beta: float = key(
        0.4,
        "exponent of the weights that make up for it, at first; it grows by 0.6 in the course of the run, below 1",
        FRACTION,
        relation=_of_per("beta", FRACTION.allowed),
        absent=0.4,
    )
    epsilon: float = key(
        1e-4, "is added to errors", POSITIVE, relation=_of_per("epsilon", POSITIVE.allowed), absent=1e-4
    )
    error: str | None = key(
        None,
        "the first critic's or the mean over all; null: first with codebase=ku, mean with redq",
        or_null(one_of("first", "mean")),
        relation=_of_per("error", "first, mean or null"),
        absent=None,
    )


PARTS: dict[str, Any] = {
    "critic": CriticConfig,
    "actor": ActorConfig,
    "objective": ObjectiveConfig,
    "policy_objective": PolicyObjectiveConfig,
    "features": FeaturesConfig,
    "order": OrderConfig,
}
OTHER_PARTS: dict[str, tuple[str, ...]] = {  # this project's own beside these defaults
    "critic": (
        "droq_exp.learner.batch_renorm.BatchRenormCritic",
        "droq_exp.learner.batch_norm.BatchNormCritic",
        "droq_exp.learner.residual.ResidualCritic",
    ),
    "actor": (
        "droq_exp.learner.batch_renorm.BatchRenormActor",
        "droq_exp.learner.batch_norm.BatchNormActor",
        "droq_exp.learner.residual.ResidualActor",
    ),
    "objective": ("droq_exp.learner.losses.HalfSquaredTdError", "droq_exp.learner.categorical.CategoricalTd"),
    "policy_objective": ("droq_exp.learner.losses.PessimisticPolicyObjective",),
    "features": ("droq_exp.learner.ofe.OFENet",),
    "order": (
        "droq_exp.learner.orders.PolicyBehindCritics",
        "droq_exp.learner.orders.PolicyBehindFirstCritics",
        "droq_exp.learner.orders.PolicyBeforeCritics",
    ),
}


@dataclass
class AutoDropoutConfig:
    """``algo.auto``: what ``algo.dropout_rate=auto`` chooses from, and how. After AVTD (arXiv:2304.10466)."""

    rates: list[float] = key(
        [0.0, 0.001, 0.01, 0.1], "of the learners, one for each", RATES, absent=[0.0, 0.001, 0.01, 0.1]
    )
    explore: float = key(0.1, "probability that a learner drawn from all acts in an episode", FRACTION, absent=0.1)
    hold_out_every: int = key(20, "training episodes of which one is held out; 0: none", at_least(0), absent=20)


@dataclass
class AlgoConfig:
    """One algorithm of the family: every one is a setting of the same learner."""

    _target_: str = key("droq_exp.agent.Agent", TARGET)
    name: str = key(MISSING, NAME)
    num_critics: int = key(MISSING, "N, the critics of the ensemble", at_least(1))
    num_min: float = key(
        MISSING, "M, the critics in the target's random subset; 2.3 is 2 with probability 0.7, else 3", relation=NUM_MIN
    )
    target_mode: str = key(
        "min", "how the target combines its critics; the papers' is min", one_of("min", "ave", "rem")
    )
    target_passes: int = key(1, "dropout passes of each target critic; 2 in droq_single", at_least(1))
    dropout_rate: float | str = key(
        MISSING, "of the critics' hidden layers; auto: the best of algo.auto.rates", RATE_OR_AUTO, relation=DROPOUT_RATE
    )
    auto: AutoDropoutConfig = key(AutoDropoutConfig(), "")
    layer_norm: bool = key(MISSING, "layer normalisation in the critics' hidden layers")
    hidden_sizes: list[int] = key([256, 256], "hidden layers of actor and critics (SAC, table 1)", SIZES)
    actor_hidden_sizes: list[int] | None = key(
        None, "hidden layers of the actor; null: hidden_sizes", or_null(SIZES), absent=None
    )
    activation: str = key("relu", "of the hidden units; gelu is PyTorch's alone", one_of("relu", "gelu"), absent="relu")
    utd_ratio: int = key(
        20, "G, critic updates per environment step (REDQ, DroQ); for SAC too, to compare critics only", at_least(1)
    )
    batch_size: int = key(256, "transitions of a minibatch (SAC, table 1)", at_least(1))
    gamma: float = key(0.99, "discount (SAC, table 1)", FRACTION)
    n_step: int = key(1, "environment steps whose rewards are in a target before it bootstraps", at_least(1), absent=1)
    n_step_form: str = key(
        "standard",
        "standard: the rewards' discounted sum, ends of episodes with fewer; ku: that sum divided by n_step, and no "
        "fewer, as in that code base",
        one_of("standard", "ku"),
        absent="standard",
    )
    tau: float = key(
        0.005, "step of the target critics towards the critics (SAC, table 1)", POSITIVE_FRACTION, relation=TAU
    )
    critic_learning_rate: float = key(3e-4, "of Adam (SAC, table 1)", POSITIVE)
    actor_learning_rate: float = key(3e-4, "of Adam (SAC, table 1)", POSITIVE)
    temperature_learning_rate: float = key(3e-4, "of Adam (both code bases)", POSITIVE)
    learning_rate_end: float | None = key(
        None, "what all learning rates go to; null: they stay as they are", or_null(POSITIVE), absent=None
    )
    learning_rate_shape: str = key(
        "linear", "how they go there", one_of("linear", "cosine"), relation=SHAPE, absent="linear"
    )
    learning_rate_horizon: int | None = key(
        None,
        "steps in which they go there, of each optimiser's own; null: training.total_steps * algo.utd_ratio, which "
        "makes the length part of what the run is",
        or_null(at_least(1)),
        relation=HORIZON,
        absent=None,
    )
    adam_beta1: float = key(0.9, "decay of Adam's mean gradient, of actor and critics", RATE, absent=0.9)
    target_network: bool = key(
        True, "whether targets come from slowly following copies of the critics", relation=TARGET_NETWORK, absent=True
    )
    joint_pass: bool = key(
        False, "whether critics see (s, a) and (s', a') as one batch (CrossQ)", relation=JOINT_PASS, absent=False
    )
    joint_policy_pass: bool = key(
        False,
        "whether the actor sees s and s' as one batch where it learns (FlashSAC)",
        relation=JOINT_POLICY_PASS,
        absent=False,
    )
    target_entropy: float | None = key(None, "of the policy; null: -dim(A), as in SAC", or_null(FINITE))
    target_entropy_per_dim: float | None = key(
        None,
        "target entropy for each dimension of the action, in the place of target_entropy and its table",
        or_null(FINITE),
        absent=None,
    )
    learn_temperature: bool = key(True, "false: the temperature stays at initial_temperature")
    temperature_loss: str = key(
        "log_form",
        "what the temperature minimises: log_form log(alpha) (H - target entropy), alpha_form alpha (H - target "
        "entropy), with H the entropy",
        one_of("log_form", "alpha_form"),
        relation=TEMPERATURE_LOSS,
        absent="log_form",
    )
    initial_temperature: float = key(1.0, "alpha before its first update (log alpha is 0 in both code bases)", POSITIVE)
    reward_scale: str = key(
        "none",
        "by what rewards are divided in updates: return_std, the deviation of the discounted returns of training so "
        "far (XQC); return_std_max, that or a fifth of the largest of them (FlashSAC)",
        one_of("none", "return_std", "return_std_max"),
        absent="none",
    )
    noise_repeat: int = key(
        1,
        "environment steps, at most, for which exploration keeps its noise; n have a probability in proportion to "
        "1 / n^2 (FlashSAC)",
        at_least(1),
        absent=1,
    )
    per: PerConfig = key(PerConfig(), "prioritised replay")
    critic: Any = key(CriticConfig(), "the critics' network")
    actor: Any = key(ActorConfig(), "the policy's network")
    objective: Any = key(ObjectiveConfig(), "target and loss of the critics")
    policy_objective: Any = key(PolicyObjectiveConfig(), "loss of the policy")
    features: Any = key(FeaturesConfig(), "what actor and critics see in the place of s and (s, a)")
    order: Any = key(OrderConfig(), "order of the updates")

    @property
    def dropout_rates(self) -> list[float]:
        """Those of the learners that train side by side, one but with ``dropout_rate=auto``."""
        return self.auto.rates if isinstance(self.dropout_rate, str) else [self.dropout_rate]


BY_KEY = ("gym", *SUITE_TASKS)  # choices of a task that leave it to a key which one it is


@dataclass
class EnvConfig:
    """A Gymnasium task."""

    _target_: str = key("droq_exp.envs.make_env", TARGET)
    name: str = key(MISSING, NAME)
    id: str = key(MISSING, "with env=gym, the task: env.id=Pendulum-v1", TASK)
    task: str | None = key(
        None,
        "of a suite, the task: env=dmc env.task=cheetah-run; null: env.id says it all",
        relation=SUITE_TASK,
        absent=None,
    )
    kwargs: dict[str, Any] = key({}, "arguments of the task, for gymnasium.make: env.kwargs.<name>=<value>")
    sparse_threshold: float = key(
        0.0,
        "lambda, in metres: the reward is that of the distance covered in whole lambdas; 0: the task's own (ku)",
        NOT_NEGATIVE,
        absent=0.0,
    )
    wrappers: list[dict[str, Any]] = key(
        [], "what is put around the task, the innermost first, each with its _target_ and its arguments", absent=[]
    )
    action_repeat: int = key(
        1, "steps of the task for which an action is held; all steps are the agent's, of so many", at_least(1), absent=1
    )
    frame_stack: int = key(1, "observations that the agent sees as one, the newest last", at_least(1), absent=1)
    normalize_observation: bool = key(
        False, "whether observations are scaled by the mean and deviation of those of training so far", absent=False
    )
    max_episode_steps: int | None = key(
        None,
        "time limit of a task that has none, in steps of an episode, which is truncated then; null: the task's own",
        or_null(at_least(1)),
        absent=None,
    )
    info_metrics: list[str] = key(
        [], "numbers in the info of an evaluation episode's last step, logged as eval/info_<name>", absent=[]
    )


@dataclass
class CodebaseConfig:
    """What all code bases have."""

    first_alpha: float | None = key(
        None,
        "temperature up to and including the first policy update; null: the initial one. It gives way where the "
        "initial temperature is not its default, or not learned",
        or_null(POSITIVE),
        absent=None,
    )


@dataclass
class RedqCodebaseConfig(CodebaseConfig):
    """REDQ's original code base."""

    _target_: str = key("droq_exp.codebases.redq.RedqCodebase", TARGET)
    name: str = key("redq", NAME)
    policy_update_delay: int = key(20, "critic updates per policy update (REDQ)", at_least(1))


@dataclass
class KuCodebaseConfig(CodebaseConfig):
    """The code base of ku2482's soft-actor-critic.pytorch."""

    _target_: str = key("droq_exp.codebases.ku.KuCodebase", TARGET)
    name: str = key("ku", NAME)


@dataclass
class TrainingConfig:
    """How long a run is and what it remembers, in environment steps."""

    total_steps: int = key(MISSING, "environment steps in all; more of them extend a finished run", at_least(1))
    start_steps: int = key(
        5000, "environment steps with random actions before the first updates (both code bases)", at_least(0)
    )
    replay_size: int = key(1_000_000, "transitions held for replay (SAC, table 1)", at_least(1), relation=REPLAY_SIZE)
    offline_every: int = key(
        0,
        "environment steps between two phases in which critics learn alone, without environment steps (SPEQ: 10,000); "
        "0: there are none",
        at_least(0),
        absent=0,
    )
    offline_updates: int = key(
        75_000, "critic updates of such a phase (SPEQ)", at_least(1), relation=OFFLINE_UPDATES, absent=75_000
    )
    restart: bool = key(False, "start over from step 0; the old results are kept as seed_0.before-1")
    accept_code: bool = key(False, "continue a run that other code of the learner has made, or count it as finished")


@dataclass
class EvalConfig:
    """Evaluation with the deterministic policy."""

    interval: int = key(1000, "environment steps between evaluations (both code bases)", at_least(1))
    episodes: int = key(MISSING, "episodes of an evaluation", at_least(1))
    video_every: int = key(
        0,
        "film the first episode of each evaluation of this number: of each fifth, say, as videos/step_<step>.mp4; 0: "
        "of none. No part of what a run is",
        at_least(0),
    )


@dataclass
class BiasConfig:
    """What the estimates of all code bases have."""

    enabled: bool = key(True, "estimate the critics' bias at every evaluation")


@dataclass
class RedqBiasConfig(BiasConfig):
    """Q-bias from rollouts of the stochastic policy (codebase redq)."""

    min_pairs: int = key(1000, "(s, a) pairs collected, at least", at_least(1))
    steps_per_episode: int = key(350, "first steps of each episode that are kept", at_least(1))
    temperature: float | None = key(
        None, "that of the returns; null: the current one; 0.2: the original's constant", or_null(NOT_NEGATIVE)
    )


@dataclass
class KuBiasConfig(BiasConfig):
    """Q-bias along the evaluation episodes (codebase ku)."""


@dataclass
class CheckpointConfig:
    """What is stored to continue from after a crash; no part of what a run is."""

    interval: int = key(
        5000, "environment steps between checkpoints, and updates where none are made in between", at_least(1)
    )
    keep_replay: bool = key(False, "keep what it takes to continue after the run has finished, too")


@dataclass
class HardwareConfig:
    """Where and how fast; no part of what a run is, ``precision`` excepted."""

    device: str = key("auto", "auto: a GPU where there is one, else the CPU", DEVICE)
    threads: int | None = key(
        None,
        "of the CPU; null: OMP_NUM_THREADS where it is set, else the physical cores that this process may use; in jobs "
        "of SLURM hardware.cpus",
        or_null(THREADS),
    )
    updates: str = key(
        "auto",
        "what computes the updates; auto: the fastest that can compute these",
        one_of("auto", "native", "graphs", "compile", "eager"),
    )
    precision: str = key(
        "fp32", "of matrix multiplications; tf32 on CUDA only, bf16 on CPUs only", one_of("fp32", "tf32", "bf16")
    )
    detect_anomaly: bool = key(
        False, "look for infinities and NaN after every environment step, not at evaluations only"
    )
    launcher: str = key("here", LAUNCHER)


@dataclass
class JobsHardwareConfig(HardwareConfig):
    """What all hardware has on which runs are started as jobs."""

    seeds_per_job: int = key(1, "runs that differ in the seed alone, trained together in one process", at_least(1))
    wait: bool = key(True, "wait until all jobs have ended and report how; false: submit and return")
    poll_seconds: float = key(10.0, "seconds between two looks at the jobs", POSITIVE)


@dataclass
class SlurmHardwareConfig(JobsHardwareConfig):
    """``hardware=slurm_cpu`` and ``slurm_gpu``: what each job asks for; ``device`` is what training uses there."""

    launcher: str = key("slurm", LAUNCHER)
    partition: str | None = key(None, CLUSTERS, or_null(WORD))
    account: str | None = key(None, CLUSTERS, or_null(WORD))
    qos: str | None = key(None, CLUSTERS, or_null(WORD))
    constraint: str | None = key(None, "features that a node must have; null: none", or_null(WORD))
    gpus_per_node: int = key(0, "of each job", at_least(0))
    cpus: int = key(4, "of each job; also its threads, where they are not given", at_least(1))
    memory_gb: float = key(8.0, "of each job", POSITIVE)
    hours: float = key(24.0, "time limit of each job", POSITIVE)
    array_parallelism: int = key(256, "jobs of one array that run at once", at_least(1))
    setup: list[str] = key([], "lines before Python, such as 'module load cuda'", SHELL_LINES)
    signal_delay_seconds: int = key(
        120, "seconds before its time limit at which a job saves and is requeued", relation=SIGNAL_DELAY
    )
    max_requeues: int = key(
        20,
        "after time limits; lost nodes do not count, and preemption does with time limits up to ten minutes only",
        at_least(0),
    )


@dataclass
class ParallelHardwareConfig(JobsHardwareConfig):
    """``hardware=cpu_parallel``: several processes on this machine."""

    launcher: str = key("parallel", LAUNCHER)
    jobs: int = key(2, "processes at once; the others wait for their turn", at_least(1))


@dataclass
class CsvConfig:
    """Always on."""

    _target_: str = key("droq_exp.loggers.csv.CsvLogger", TARGET)


@dataclass
class TensorBoardConfig:
    """``logger=tensorboard``."""

    _target_: str = key("droq_exp.loggers.tensorboard.TensorBoardLogger", TARGET)


@dataclass
class WandbConfig:
    """``logger=wandb``."""

    _target_: str = key("droq_exp.loggers.wandb.WandbLogger", TARGET)
    mode: str = key("offline", "the network is used with online only", one_of("offline", "online"))
    project: str = key("droq_exp", "of Weights & Biases", PROJECT)
    entity: str | None = key(None, "user or team; null: the account's default", or_null(ENTITY))
    init_timeout: float = key(60.0, "seconds to wait for an answer when online, before continuing offline", POSITIVE)


@dataclass
class EarlyStopConfig:
    """``callbacks=early_stop``: one of the two is needed."""

    _target_: str = key("droq_exp.callbacks.early_stop.EarlyStop", TARGET)
    return_above: float | None = key(None, "stop once an evaluation's mean return is above it", or_null(FINITE))
    patience: int | None = key(None, "stop after so many evaluations without a better return", or_null(at_least(1)))


@dataclass
class Config:
    """Everything that one command asks for.

    What stands under ``logger`` and ``callbacks`` is built of its ``_target_``, each under a name of its own: this
    project's, whose keys are declared above, and any other class, whose parameters are its keys
    (``droq_exp.config.signature``).
    """

    algo: AlgoConfig
    env: EnvConfig
    codebase: Any  # RedqCodebaseConfig | KuCodebaseConfig, by codebase.name
    bias: Any  # RedqBiasConfig | KuBiasConfig, by codebase.name
    training: TrainingConfig
    eval: EvalConfig
    hardware: HardwareConfig
    logger: dict[str, dict[str, Any]] = field(default_factory=dict)
    callbacks: dict[str, dict[str, Any]] = field(default_factory=dict)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    seed: Any = key(0, "of all that is random; a list is trained together in one process: 'seed=[0,1,2,3]'", SEEDS)
    experiment_name: str = key(None, "first folder below output_dir; null: the chosen experiment, or else runs", FOLDER)
    objective: str = key(
        "last_tenth",
        "what a point of a sweep is worth to Hydra's sweeper: the mean return of the evaluations in the last tenth of "
        "the run, of the last one, or of the best one; the mean over its seeds",
        one_of("last_tenth", "last", "best"),
    )
    output_dir: str = key("outputs", "the folder of all runs", PATH)
    tune: dict[str, Any] = key(
        {}, "what droq-exp tune searches, each key with what would be typed after key=; no part of a run"
    )

    @property
    def seeds(self) -> list[int]:
        """The seeds that are trained together, one as much as several."""
        return self.seed if isinstance(self.seed, list) else [self.seed]

    @property
    def critic_updates(self) -> int:
        """Critic updates of a seed from the first step to the last."""
        steps, every = max(0, self.training.total_steps - self.training.start_steps), self.training.offline_every
        phases = self.training.total_steps // every - self.training.start_steps // every if every else 0
        return steps * self.algo.utd_ratio + max(0, phases) * self.training.offline_updates
