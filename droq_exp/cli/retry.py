"""``droq-exp retry``: run again what failed, was interrupted or vanished, as it was run before."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from droq_exp.cli.runs import ListedRun, survey
from droq_exp.config import Config, ConfigError, compose_points, readable
from droq_exp.config.overrides import quoted, typed_key
from droq_exp.config.targets import check_stored_overrides
from droq_exp.jobs.queue import QueueUnreachableError
from droq_exp.launch.points import INTERRUPTED, train_point
from droq_exp.runs.files import DamagedError
from droq_exp.runs.identity import ONCE, run_directory
from droq_exp.runs.takeover import check_directory

BROKEN = ("failed", "interrupted", "vanished")


class _Point(NamedTuple):
    """A run to be relaunched."""

    overrides: list[str]
    config: Config
    recipe: Config


def retry(directory: Path) -> None:
    """Relaunch the broken runs below ``directory`` by the overrides stored with them, each on its own hardware.

    Raises:
        RefusedError: there is no run.
        ConfigError: stored overrides that need trust.
        QueueUnreachableError: SLURM does not answer, so what is broken is not known.
        SystemExit: with code 1 where a run cannot be relaunched or did not finish, 130 or 143 when interrupted.
    """
    runs, problem = survey(directory)
    if problem is not None:
        raise QueueUnreachableError(problem)
    broken = [run for run in runs if run.state in BROKEN]
    counts = Counter(run.state for run in broken)
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    print(f"{len(broken)} of {len(runs)} runs to retry{f': {told}' if told else ''}", flush=True)
    points = _points(broken)
    codes = []
    for launcher in sorted({point.config.hardware.launcher for point in points}):
        group = [point for point in points if point.config.hardware.launcher == launcher]
        codes += _train_here(group) if launcher == "here" else _launch(group)
    if len(points) < len(broken) or any(codes):
        sys.exit(1)


def _points(runs: Sequence[ListedRun]) -> list[_Point]:
    """What is to be relaunched; says of each other run why it is not."""
    known = []
    for run in runs:
        if run.damage is not None:
            _complain(run, run.damage)
        elif run.overrides is None:
            _complain(run, "neither job.json nor status.json has its overrides; repeat its command")
        else:
            # Where the run is now: the command may have been given elsewhere, and the directories moved since.
            check_stored_overrides(run.name, run.overrides)
            repeated = [line for line in run.overrides if typed_key(line) not in ONCE]
            known.append((run, [*repeated, f"output_dir={quoted(str(_place(run).parents[4]))}"]))
    points = []
    for run, overrides, (config, recipe) in _composed(known):
        made = run_directory(config, recipe, config.seed)
        if made != _place(run):
            _complain(run, f"with the versions installed now, its overrides make a different run: {made}")
            continue
        try:
            check_directory(made, config)
        except (ConfigError, DamagedError) as error:
            _complain(run, str(error))
        else:
            points.append(_Point(overrides, config, recipe))
    return points


def _composed(
    known: Sequence[tuple[ListedRun, list[str]]],
) -> list[tuple[ListedRun, list[str], tuple[Config, Config]]]:
    """Each run with what its overrides compose; says of those that compose nothing any more why they do not."""
    with suppress(ConfigError):  # together, which is faster where all can be composed
        return [(*each, point) for each, point in zip(known, compose_points([line for _, line in known]), strict=True)]
    found = []
    for run, overrides in known:
        try:
            found += [(run, overrides, point) for point in compose_points([overrides])]
        except ConfigError as error:
            _complain(run, f"its overrides ({' '.join(overrides)}) make no run here: {error}")
    return found


def _place(run: ListedRun) -> Path:
    """Where it was found, above whose environment, algorithm, code base and experiment the output directory is.

    A folder among them may be a symbolic link; only seen from below it is where it leads to.
    """
    return Path(os.path.abspath(run.directory))


def _complain(run: ListedRun, problem: str) -> None:
    print(f"not retried: {run.name}: {problem}", file=sys.stderr)


def _launch(points: Sequence[_Point]) -> list[int]:
    from droq_exp.jobs.launch import launch  # imports submitit

    return launch([point.overrides for point in points], [(point.config, point.recipe) for point in points])


def _train_here(points: Sequence[_Point]) -> list[int]:
    """One after the other, as a sweep does."""
    codes = []
    for point in points:
        print(readable(point.overrides), flush=True)
        codes.append(train_point(point.config, point.recipe, point.overrides))
        if codes[-1] in INTERRUPTED:
            sys.exit(codes[-1])
    return codes
