"""What a run computes on: device, threads, precision, and who makes the updates."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import torch
from hydra.utils import instantiate

from droq_exp.codebases import Codebase
from droq_exp.config.errors import ConfigError
from droq_exp.config.parts import build_parts
from droq_exp.config.schema import OTHER_PARTS, PARTS, CodebaseConfig, Config
from droq_exp.config.targets import BUILT_IN
from droq_exp.config.task import dimensions
from droq_exp.cpu import has_bf16, threads_of_user, usable_cores
from droq_exp.exits import no_exit
from droq_exp.learner.backend import Backend, backend_for
from droq_exp.learner.probe import WrongPartError, probe
from droq_exp.learner.programs import PolicyUpdate
from droq_exp.learner.spec import LearnerSpec
from droq_exp.training.phases import chunk_of

# glibc's mallopt parameters (malloc.h)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

# Torch's name of hardware.precision. Where the C++ learns in bf16, what torch does beside it (acting, bias) does not.
MATMUL_PRECISION = {"fp32": "highest", "tf32": "high", "bf16": "highest"}


@dataclass(frozen=True)
class Hardware:
    """The resolved hardware of a process."""

    device: str
    backend: Backend  # who makes the updates

    @property
    def description(self) -> str:
        """Device, threads and who makes the updates, for people."""
        number = torch.get_num_threads()
        threads = f"{number} thread{'s' if number != 1 else ''}"
        where = threads if self.device == "cpu" else torch.cuda.get_device_name(self.device)
        return f"{self.device}, {where}, {self.backend.name}"


def set_up(config: Config, critic_updates: int | None = None) -> Hardware:
    """Apply the thread, precision and memory settings to this process, resolve the device, choose the backend.

    Args:
        config: what is asked for.
        critic_updates: how many the run makes from its first step to its last; None: enough for compiling to pay.

    Raises:
        ConfigError: a device, instructions or a backend are asked for and cannot be had here.

    """
    requested = config.hardware
    device = requested.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not torch.cuda.is_available():
        raise ConfigError("hardware.device", f"{device}: no CUDA device here; auto uses one where there is one")
    if requested.precision == "bf16" and not has_bf16():
        raise ConfigError("hardware.precision", "bf16: this CPU has no bf16 instructions; fp32 works here")
    torch.set_num_threads(requested.threads or threads_of_user() or usable_cores())
    torch.set_float32_matmul_precision(MATMUL_PRECISION[requested.precision])
    _keep_freed_memory()
    spec = learner_spec(config)
    _probe(config, spec)
    backend = backend_for(spec, device, requested.updates, critic_updates)
    return Hardware(device, backend)


def _probe(config: Config, spec: LearnerSpec) -> None:
    """Try the parts where one of them is a user's own."""
    targets = {name: getattr(config.algo, name)._target_ for name in PARTS}
    if all(target is None or target in BUILT_IN for target in targets.values()):
        return
    try:
        with no_exit():
            probe(spec)
    except WrongPartError as error:
        place = f"algo.{error.part}._target_"
        raise ConfigError(
            place, f"{targets[error.part]}: {error}; droq_exp/learner/parts.py says what is due"
        ) from error


@contextmanager
def settings_put_back() -> Iterator[None]:
    """Put torch's threads and precision, which ``set_up`` changes, back at the end of the block."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def build_codebase(block: CodebaseConfig) -> Codebase:
    """Build the code base of a configuration."""
    made: Codebase = instantiate({**asdict(block), "_convert_": "all", "_recursive_": False})
    return made


def learner_specs(config: Config) -> list[LearnerSpec]:
    """Describe the learners of a run: one, or with ``algo.dropout_rate=auto`` one for each rate."""
    algos = [replace(config.algo, dropout_rate=rate) for rate in config.algo.dropout_rates]
    return [learner_spec(replace(config, algo=algo)) for algo in algos]


def learner_spec(config: Config) -> LearnerSpec:
    """Describe the learner that ``config`` asks for; of several the one of the highest dropout rate."""
    algo = replace(config.algo, dropout_rate=max(config.algo.dropout_rates))
    obs_dim, act_dim = dimensions(config.env)
    spec = LearnerSpec.of(
        algo,
        build_codebase(config.codebase),
        seeds=len(config.seeds),
        obs_dim=obs_dim,
        act_dim=act_dim,
        bf16=config.hardware.precision == "bf16",
        parts=build_parts(algo),
        total_steps=config.training.total_steps,
    )
    if config.training.offline_every:
        spec = replace(spec, offline_chunk=chunk_of(config.training.offline_updates))
    if spec.features is not None:
        try:
            spec.features.shapes(spec)
        except ValueError as error:  # the task does not suit
            raise ConfigError("algo.features", str(error)) from error
        if spec.features.pretraining:
            spec = replace(spec, pretraining_chunk=chunk_of(spec.features.pretraining))
    updates = [update for program in spec.programs for update in program if isinstance(update, PolicyUpdate)]
    if any(update.before_last for update in updates) and _buffers(spec):
        name, behind = type(spec.critic).__name__, OTHER_PARTS["order"][0]
        problem = f"the policy looks at critics from before their last update, and {name} keeps no statistics of then"
        raise ConfigError("algo.order", f"{problem}; algo.order._target_={behind} looks at those after it")
    return spec


def _buffers(spec: LearnerSpec) -> bool:
    """Whether the critics have statistics that updates move."""
    try:
        with no_exit():
            return bool(spec.critic.buffers(spec))
    except Exception as error:  # a user's own may do anything
        problem = f"{type(spec.critic).__name__}.buffers fails: {' '.join(str(error).split())}"
        raise ConfigError("algo.critic", problem) from error


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory: activations of megabytes come and go, and each return costs page faults."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
