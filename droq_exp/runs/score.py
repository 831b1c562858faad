"""What a run is worth, as one number: the value that a sweep's point hands to Hydra's sweeper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from droq_exp.config.schema import Config
from droq_exp.loggers.csv import read_rows
from droq_exp.runs.files import REMEDY, damaged
from droq_exp.runs.identity import run_directory
from droq_exp.runs.results import check_table

METRIC = "return_mean"  # column of eval.csv


def score(config: Config, recipe: Config) -> float | None:
    """Mean score of the seeds of a run that has ended in order, as ``config.objective`` has it; None: one has none."""
    scores = [seed_score(run_directory(config, recipe, seed), config.objective) for seed in config.seeds]
    known = [each for each in scores if each is not None]
    return fmean(known) if len(known) == len(scores) else None


def seed_score(directory: Path, objective: str) -> float | None:
    """Score of one seed, from its ``eval.csv``.

    Args:
        directory: the seed's.
        objective: ``last_tenth``: the mean return of the evaluations in the last tenth of what it has trained, of the
            last one at least; ``last``: of the last one; ``best``: of the best one.

    Returns:
        None where there is no evaluation.

    Raises:
        DamagedError: the file is damaged.
    """
    returns = evaluations(directory)
    return score_of(returns, objective) if returns else None


def evaluations(directory: Path) -> dict[int, float]:
    """The mean return of each evaluation of a seed by its step; raises as ``seed_score``."""
    path = directory / "eval.csv"
    check_table(path)
    rows = read_rows(path)
    if rows and not all(row.get(METRIC) for row in rows):
        raise damaged(path, f"no {METRIC}", REMEDY)
    return {int(row["step"]): float(row[METRIC]) for row in rows}


def score_of(returns: Mapping[int, float], objective: str) -> float:
    """As ``seed_score``, of the mean returns of at least one evaluation by their steps."""
    end = max(returns)
    if objective == "best":
        return max(returns.values())
    start = 0.9 * end if objective == "last_tenth" else end
    return fmean(value for step, value in returns.items() if step > start or step == end)
