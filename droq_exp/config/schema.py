"""The typed shape of a run's configuration; ``conf/`` holds the values, ``validation`` the checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class AlgoConfig:
    """One algorithm of the family: every one is a setting of the same learner."""

    _target_: str = "droq_exp.agent.Agent"
    name: str = MISSING
    num_critics: int = MISSING  # N
    num_min: float = MISSING  # size of the random target subset; fractional: 2.3 is 2 with probability 0.7, else 3
    target_mode: str = "min"  # min | ave | rem
    target_passes: int = 1  # dropout passes of each target critic (2 in droq_single)
    dropout_rate: float = MISSING
    layer_norm: bool = MISSING
    hidden_sizes: list[int] = field(default_factory=lambda: [256, 256])
    utd_ratio: int = 20  # G, critic updates per environment step
    batch_size: int = 256
    gamma: float = 0.99
    tau: float = 0.005
    critic_learning_rate: float = 3e-4
    actor_learning_rate: float = 3e-4
    temperature_learning_rate: float = 3e-4
    target_entropy: float | None = None  # None: the table's, else -dim(A)
    learn_temperature: bool = True
    initial_temperature: float = 1.0


@dataclass
class EnvConfig:
    """A Gymnasium task; ``kwargs`` go to ``gymnasium.make``."""

    _target_: str = "droq_exp.envs.make_env"
    name: str = MISSING
    id: str = MISSING
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class RedqCodebaseConfig:
    """REDQ's original code base."""

    _target_: str = "droq_exp.codebases.redq.RedqCodebase"
    name: str = "redq"
    policy_update_delay: int = 20
    first_alpha: float | None = field(default=0.2, metadata={"absent": None})  # see KuCodebaseConfig


@dataclass
class KuCodebaseConfig:
    """The code base of ku2482's soft-actor-critic.pytorch."""

    _target_: str = "droq_exp.codebases.ku.KuCodebase"
    name: str = "ku"
    # The temperature up to and including the first policy update; None: the initial one. It gives way where that is set
    # by hand, or the temperature is not learned. Absent from what older versions stored: they had none.
    first_alpha: float | None = field(default=None, metadata={"absent": None})


@dataclass
class TrainingConfig:
    """How long a run is and what it remembers, in environment steps."""

    total_steps: int = MISSING
    start_steps: int = 5000
    replay_size: int = 1_000_000
    restart: bool = False  # start over from step 0; what there was is kept aside, as seed_0.before-1 say
    accept_code: bool = False  # go on with, or count as finished, what other code of the learner has made


@dataclass
class EvalConfig:
    """Evaluation with the deterministic policy."""

    interval: int = 1000  # environment steps
    episodes: int = MISSING


@dataclass
class RedqBiasConfig:
    """Q-bias from rollouts of the stochastic policy (codebase redq)."""

    enabled: bool = True
    min_pairs: int = 1000
    steps_per_episode: int = 350
    temperature: float | None = None  # None: the current one; 0.2: the original's constant


@dataclass
class KuBiasConfig:
    """Q-bias along the evaluation episodes (codebase ku)."""

    enabled: bool = True


@dataclass
class CheckpointConfig:
    """What is stored to go on from after a crash; no part of what a run is."""

    interval: int = 5000  # environment steps
    keep_replay: bool = False  # keep what it takes to go on after the run has finished, too


@dataclass
class HardwareConfig:
    """Where and how fast; no part of what a run is, ``precision`` excepted."""

    device: str = "auto"  # auto | cpu | cuda | cuda:<index>
    threads: int | None = None  # None: the physical cores that this process may use
    updates: str = "auto"  # auto | native | graphs | compile | eager: who makes them; auto: the fastest that can
    precision: str = "fp32"  # fp32 | tf32 (CUDA only) | bf16 (CPU only): of matrix multiplications
    detect_anomaly: bool = False  # look for infinities and NaN after every environment step, not at evaluations only
    launcher: str = "here"  # here | slurm | parallel: who starts the training; given by the choice of hardware


@dataclass
class JobsHardwareConfig(HardwareConfig):
    """What all hardware has on which runs are started as jobs."""

    seeds_per_job: int = 1  # runs that differ in the seed alone, side by side in one process
    wait: bool = True  # until all jobs have ended, and say how; false: submit them and return
    poll_seconds: float = 10.0  # between two looks at the jobs


@dataclass
class SlurmHardwareConfig(JobsHardwareConfig):
    """``hardware=slurm_cpu`` and ``slurm_gpu``: what each job asks for; ``device`` is what training uses there."""

    partition: str | None = None  # None: the cluster's default, here and for the next three
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gpus_per_node: int = 0
    cpus: int = 1  # also the threads, where they are not given
    memory_gb: float = 8.0
    hours: float = 24.0
    array_parallelism: int = 256  # jobs of one command that run at once
    setup: list[str] = field(default_factory=list)  # shell lines before Python, such as "module load cuda"
    signal_delay_seconds: int = 120  # how long before its time limit a job is told to save and be requeued
    max_requeues: int = 20  # after time limits; preemption and lost nodes do not count


@dataclass
class ParallelHardwareConfig(JobsHardwareConfig):
    """``hardware=cpu_parallel``: several processes on this machine."""

    jobs: int = 2  # processes at once; the others wait for their turn


@dataclass
class CsvConfig:
    """Always on."""

    _target_: str = "droq_exp.loggers.csv.CsvLogger"


@dataclass
class TensorBoardConfig:
    """``logger=tensorboard``."""

    _target_: str = "droq_exp.loggers.tensorboard.TensorBoardLogger"


@dataclass
class WandbConfig:
    """``logger=wandb``."""

    _target_: str = "droq_exp.loggers.wandb.WandbLogger"
    mode: str = "offline"  # offline | online
    project: str = "droq_exp"
    entity: str | None = None
    init_timeout: float = 60.0  # seconds to wait for an answer when online, before going on offline


@dataclass
class LoggerConfig:
    """The selected loggers; one that is not selected is None."""

    csv: CsvConfig = field(default_factory=CsvConfig)
    tensorboard: TensorBoardConfig | None = None
    wandb: WandbConfig | None = None


@dataclass
class Config:
    """Everything that one command asks for."""

    algo: AlgoConfig
    env: EnvConfig
    codebase: Any  # RedqCodebaseConfig | KuCodebaseConfig, by codebase.name
    bias: Any  # RedqBiasConfig | KuBiasConfig, by codebase.name
    training: TrainingConfig
    eval: EvalConfig
    hardware: HardwareConfig
    logger: LoggerConfig
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    seed: Any = 0  # an integer, or a list of different integers: trained side by side
    experiment_name: str = "runs"  # first folder below output_dir; by default the chosen experiment
    output_dir: str = "outputs"

    @property
    def seeds(self) -> list[int]:
        """The seeds that are trained side by side, one as much as several."""
        return self.seed if isinstance(self.seed, list) else [self.seed]

    @property
    def critic_updates(self) -> int:
        """Critic updates of a seed from the first step to the last."""
        return max(0, self.training.total_steps - self.training.start_steps) * self.algo.utd_ratio
