"""The points of a command, as Hydra has them run one by one: what was checked is what trains."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from droq_exp.launch.arguments import refuse

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from droq_exp.config import Config

INTERRUPTED = (129, 130, 143)  # SIGHUP, SIGINT, SIGTERM

_checked: dict[tuple[str, ...], tuple[Config, Config]] = {}  # what has been composed of a point's overrides


def forget() -> None:
    """Begin a command: nothing has been composed."""
    _checked.clear()


def remember(overrides: Sequence[str], point: tuple[Config, Config]) -> None:
    """Keep what the plain ``overrides`` of a point have composed, for its run."""
    _checked[_of_run(overrides)] = point


class PointFailedError(RuntimeError):
    """A point of a sweep failed, and why has been told; ``str`` names it."""


def run_point(composed: DictConfig) -> float | None:
    """Hydra's task function: train one point of what was asked for, on whatever machine the launcher chose.

    Returns:
        Within a sweep the score of the point (``objective``), for Hydra's sweeper; None where nothing was evaluated. A
        run on its own exits with its code, and so does a sweep that is interrupted or whose sweeper has invented a
        point that no run can be.

    Raises:
        PointFailedError: a point of a sweep failed; why has been told.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from droq_exp.config import ConfigError, readable, search_lines
    from droq_exp.runs.identity import run_directory

    job = HydraConfig.get()
    overrides = [*search_lines(job.overrides.hydra), *job.overrides.task]
    try:
        config, recipe = composed_point(overrides)
    except ConfigError as error:
        refuse(str(error))
    if config.hardware.launcher != "here":
        from droq_exp.jobs.launch import launch

        sys.exit(launch([overrides], [(config, recipe)])[0])
    sweep = job.mode is RunMode.MULTIRUN
    if sweep:
        print(f"[{job.job.num + 1}] {readable(job.overrides.task)}", flush=True)
    code = train_point(config, recipe, overrides)
    if not code and not sweep:
        play = _reading("play", str(run_directory(config, recipe, config.seeds[0])))
        print(f"next: {play}\n      droq-exp report {experiment_folder(config)}", file=sys.stderr)
    if code in INTERRUPTED or not sweep:
        sys.exit(code)
    if code:
        raise PointFailedError(readable(job.overrides.task))
    return point_score(config, recipe)


def composed_point(overrides: Sequence[str]) -> tuple[Config, Config]:
    """What ``overrides`` compose, once: what was checked is what runs. What a sweeper has invented is checked now.

    Raises:
        ConfigError: as ``compose``.
    """
    from droq_exp.config import compose

    run = _of_run(overrides)
    if run not in _checked:
        _checked[run] = compose(overrides)
    return _checked[run]


def is_known(overrides: Sequence[str]) -> bool:
    """Whether a point of these ``overrides`` has been composed, and so checked, by this command."""
    return _of_run(overrides) in _checked


def train_point(config: Config, recipe: Config, overrides: Sequence[str]) -> int:
    """Train in this process; what ends it is shown now, not after a sweep's other points. Returns the exit code."""
    from droq_exp.config import ConfigError
    from droq_exp.runs.files import DamagedError
    from droq_exp.runs.lock import HeldError
    from droq_exp.training.train import train  # here, since it imports torch

    try:
        return train(config, recipe, overrides)
    except (ConfigError, DamagedError, HeldError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2 if isinstance(error, ConfigError | DamagedError) else 1
    except Exception:
        traceback.print_exc()
        return 1


def point_score(config: Config, recipe: Config) -> float | None:
    """As ``score``; raises PointFailedError where a file is damaged, which is told."""
    from droq_exp.runs.files import DamagedError
    from droq_exp.runs.score import score

    try:
        return score(config, recipe)
    except DamagedError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise PointFailedError(str(error)) from error


def _of_run(overrides: Sequence[str]) -> tuple[str, ...]:
    """The plain ``overrides`` of a point that say what its run is, in Hydra's order: its own come first."""
    from droq_exp.config import search_lines

    return (*search_lines(overrides), *(line for line in overrides if not line.startswith("hydra")))


def has_begun(point: tuple[Config, Config]) -> bool:
    """Whether there is something to look at of a seed of ``point``."""
    from droq_exp.runs.identity import run_directory

    config, recipe = point
    return any(run_directory(config, recipe, seed).exists() for seed in config.seeds)


def _reading(command: str, directory: str) -> str:
    """A command that builds what was trained here, which needs to be trusted again, and found, by its name."""
    from droq_exp.config.targets import LIBRARIES, trusted
    from droq_exp.import_path import own_places

    packages = sorted({name.partition(":")[0].partition(".")[0] for name in trusted()} - LIBRARIES)
    files = [Path(str(getattr(sys.modules.get(package), "__file__", None) or "/")) for package in packages]
    roots = [file.parent.parent if file.name == "__init__.py" else file.parent for file in files]
    mine = [root for root in roots if any(root.is_relative_to(place) for place in own_places())]
    found = os.pathsep.join(dict.fromkeys(os.path.relpath(root) for root in mine))
    trust = [word for package in packages if package in sys.modules for word in ("--trust", package)]
    line = shlex.join(["droq-exp", command, directory, *trust])
    return f"PYTHONPATH={shlex.quote(found)} {line}" if found else line


def experiment_folder(config: Config) -> str:
    """The folder of all runs of this name, as one would type it."""
    return shlex.quote(os.path.join(config.output_dir, str(config.experiment_name)))
