"""The papers' mean learning curves, and which of our cells are the same experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from droq_exp.config import schema
from droq_exp.config.files import conf_directory
from droq_exp.config.keys import CODEBASES, defaults
from droq_exp.report.run_data import RunData
from droq_exp.runs.files import load_yaml

FILE = Path(__file__).with_name("published_curves.csv")
READING_ERROR = 100  # return, about: the curves are read off pictures
NORMALISER = "redq"  # the algorithm whose last published return is 1


@dataclass(frozen=True, eq=False)
class PublishedCurve:
    """A mean over several seeds, as the papers draw it.

    Args:
        steps: environment steps, increasing, ``[points]``.
        returns: undiscounted returns, ``[points]``.
    """

    steps: np.ndarray
    returns: np.ndarray


@cache
def published_curves() -> dict[tuple[str, str, str], PublishedCurve]:
    """All published curves, by (codebase, env, algo)."""
    frame = pd.read_csv(FILE, comment="#")
    return {
        key: PublishedCurve(group["step"].to_numpy(), group["return"].to_numpy(dtype=float))
        for key, group in frame.sort_values("step").groupby(["codebase", "env", "algo"])
    }


def normaliser(codebase: str, env: str) -> float | None:
    """The papers' last return of REDQ on a task, by which returns are divided; None where nothing is published."""
    curve = published_curves().get((codebase, env, NORMALISER))
    return float(curve.returns[-1]) if curve is not None else None


def published_for(runs: Sequence[RunData]) -> PublishedCurve | None:
    """The published curve of the experiment that all of the ``runs`` of a cell made; None where there is none."""
    made = [run for run in runs if run.config]
    if not made or not all(_same_experiment(run) for run in made):
        return None
    return published_curves().get((made[0].codebase, made[0].env, made[0].algo))


def _same_experiment(run: RunData) -> bool:
    """No value was changed, and the values are those of the algorithm, whatever an experiment's own recipe says.

    A key that is younger than the run says nothing against it.
    """
    if run.hash or run.differences or (run.codebase, run.env, run.algo) not in published_curves():
        return False
    expected = _recipe(run.codebase, run.env, run.algo)
    return all(
        isinstance(run.config.get(group), dict) and run.config[group].get(key, value) == value
        for (group, key), value in expected.items()
    )


@cache
def _recipe(codebase: str, env: str, algo: str) -> dict[tuple[str, str], Any]:
    """What ``conf/`` gives a run that learning depends on, by (group, key); read without Hydra, which takes long."""
    shared, choice = _conf("config"), _conf(f"codebase/{codebase}")
    blocks = {
        "algo": defaults(schema.AlgoConfig) | shared["algo"] | _conf(f"algo/{algo}"),
        "env": defaults(schema.EnvConfig) | _conf(f"env/{env}"),
        "codebase": defaults(CODEBASES[codebase][0]) | choice.get("codebase", {}),
    }
    values = {(group, key): value for group, block in blocks.items() for key, value in block.items()}
    values["training", "start_steps"] = defaults(schema.TrainingConfig)["start_steps"]
    table = {f"${{paper:{key}}}": value for key, value in choice["paper"][env].items()}
    return {
        key: table.get(value, value) if isinstance(value, str) else value
        for key, value in values.items()
        if key[1] not in ("_target_", "defaults")
    }


@cache
def _conf(name: str) -> dict[str, Any]:
    return load_yaml((conf_directory() / f"{name}.yaml").read_bytes())
