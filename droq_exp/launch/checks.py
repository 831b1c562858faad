"""What is looked at before anything of a command starts: directories, memory, launchers. Nothing is left behind."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from droq_exp.config import Config


def check_sweep(configs: Sequence[Config], overrides: Sequence[str]) -> None:
    """Refuse what no sweep of these ``configs`` can do: see ``check_output_dirs`` and the like.

    Raises:
        ConfigError: which of it.
    """
    kinds = {(config.output_dir, config.hardware.launcher) for config in configs}
    check_output_dirs({output_dir for output_dir, _ in kinds})
    _check_launcher({launcher for _, launcher in kinds}, overrides)
    check_memory(configs)


def check_memory(configs: Sequence[Config]) -> None:
    """Refuse processes that fill more memory with transitions, side by side, than this machine has.

    Raises:
        ConfigError: how much it would be.
    """
    from droq_exp.config import ConfigError
    from droq_exp.config.schema import ParallelHardwareConfig
    from droq_exp.config.task import dimensions
    from droq_exp.cpu import machine_memory

    hardware, memory = configs[0].hardware, machine_memory()
    if not isinstance(hardware, ParallelHardwareConfig):
        return
    sizes = [(*dimensions(each.env), min(each.training.replay_size, each.training.total_steps)) for each in configs]
    at_once = hardware.jobs * hardware.seeds_per_job
    # A row has less than 3 * (obs + act) numbers.
    if 12 * at_once * max((obs + act) * rows for obs, act, rows in sizes) < memory:
        return
    from droq_exp.learner.transitions import TransitionLayout  # here, since it imports torch

    seeds = [
        4 * rows * TransitionLayout(obs, act).size
        for each, (obs, act, rows) in zip(configs, sizes, strict=True)
        for _ in each.seeds
    ]
    needed = sum(sorted(seeds)[-at_once:])
    if needed > memory:
        have = f"{needed / 2**30:,.0f} GB with transitions, and this machine has {memory / 2**30:,.0f} GB"
        ways = "fewer hardware.jobs or hardware.seeds_per_job, or a smaller training.replay_size, need less"
        raise ConfigError("hardware.jobs", f"the processes that run at once fill {have}; {ways}")


def check_output_dirs(directories: set[str]) -> None:
    """Refuse directories in which no run's own can be made; here and not in ``compose``, since --cfg writes nothing.

    Raises:
        ConfigError: which, and why.
    """
    from droq_exp.config import ConfigError

    for name in directories:
        directory = Path(name).absolute()
        if name.startswith("~"):
            home = os.path.expanduser(name)
            raise ConfigError("output_dir", f"{name}: the shell did not expand it", home if home != name else None)
        if "${" in str(directory) or not str(directory).isprintable():
            raise ConfigError("output_dir", f"{str(directory)!a}: its path may hold no ${{ and nothing unprintable")
        try:
            existing = next(place for place in (directory, *directory.parents) if place.exists())
        except OSError as error:  # a name that is too long, say
            raise ConfigError("output_dir", f"{name}: {error.strerror}") from error
        if not existing.is_dir():
            raise ConfigError("output_dir", f"{name} cannot be created: {existing} is not a directory")
        try:
            _try(existing)
        except OSError as error:
            raise ConfigError("output_dir", f"{name} cannot be written: {error.strerror} in {existing}") from error


def check_directories(points: Iterable[tuple[Config, Config]]) -> None:
    """Refuse, before the first point trains, a directory that holds another run, or one of other code."""
    from droq_exp.runs.identity import run_directory
    from droq_exp.runs.takeover import check_directory

    for config, recipe in points:
        for seed in config.seeds:
            check_directory(run_directory(config, recipe, seed), config)


def _try(directory: Path) -> None:
    """Make something in ``directory`` and leave no trace; OSError where that does not work.

    Only who tries knows: of permissions, of file systems that take nothing, of /proc.
    """
    before = directory.stat()
    probe = directory / f".droq_exp.{uuid.uuid4().hex}.tmp"
    probe.mkdir()
    probe.rmdir()
    with suppress(PermissionError):  # another user's, in which we may write
        os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))


def _check_launcher(launchers: set[str], overrides: Sequence[str]) -> None:
    """Refuse what would train jobs' runs here, or two ways at once."""
    from droq_exp.config import ConfigError

    if len(launchers) > 1:
        raise ConfigError(
            "hardware", "one sweep cannot mix runs here, by SLURM and in parallel; give each its own command"
        )
    if launchers != {"here"} and any(line.startswith("hydra/launcher=") for line in overrides):
        raise ConfigError("hydra/launcher", "the choice of hardware decides how these runs are launched")
