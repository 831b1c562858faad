"""One run as the report sees it: what it is, how far it came, and what it measured."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from droq_exp.cli.runs import ListedRun
from droq_exp.config.schema import BY_KEY
from droq_exp.report.log_file import no_log, read_log
from droq_exp.runs.files import DamagedError, load_yaml
from droq_exp.runs.identity import NOT_CONFIGURATION, folder_of_id, short_hash
from droq_exp.runs.provenance import other_contacts
from droq_exp.runs.results import TABLES, damaged_results
from droq_exp.runs.status import read_status

HASHED = re.compile(r"(?P<name>.+)-(?P<hash>[0-9a-f]{8})")
UNKNOWN = "?"
# The safe loader in C; the one in Python takes 20 times as long.


@dataclass(frozen=True, eq=False)
class RunData:
    """One run directory.

    Args:
        directory: as found, relative where the directory asked for was.
        name: ``directory`` below the one asked for.
        source: the label of the directory asked for, see ``Sweep.sources``.
        experiment, codebase, algo, env: names; ``env`` is without its hash. "?" where neither files nor path tell.
        hash: of the values that differ from the recipe, eight hex digits; "" where none does.
        seed: None where neither files nor path tell.
        state: of ``droq_exp.jobs.state``, or "unknown" where SLURM does not answer.
        step: reached at the last evaluation or at the end.
        total_steps: to be reached; None where that is not known.
        error: one line that says what went wrong, or None.
        log: where to read more about it, or None.
        config: content of ``config.yaml`` without its ``differences`` and ``identity``; {} where there is none.
        differences: {key: (recipe's value, run's value)}.
        status: content of ``status.json``; {} where there is none.
        eval, train: the rows of ``eval.csv`` and ``train.csv`` as ``read_log`` gives them.
        problems: what is wrong with the files, a line each.
    """

    directory: Path
    name: str
    source: str
    experiment: str
    codebase: str
    algo: str
    env: str
    hash: str
    seed: int | None
    state: str
    step: int
    total_steps: int | None
    error: str | None
    log: Path | None
    config: dict[str, Any]
    differences: dict[str, tuple[Any, Any]]
    status: dict[str, Any]
    eval: pd.DataFrame
    train: pd.DataFrame
    problems: tuple[str, ...]

    @property
    def physics(self) -> str:
        """Such as "MuJoCo 3.4.0", of a run whose contacts are not those of most, at any time; "" of the others."""
        versions, told = self.status.get("versions"), self.status.get("mujoco_versions")
        if not isinstance(told, list) or not told:
            told = [versions.get("mujoco")] if isinstance(versions, dict) else []
        others = any(other_contacts({"mujoco": each}) for each in told)
        return f"MuJoCo {' and '.join(map(str, told))}" if others else ""

    @cached_property
    def steps(self) -> np.ndarray:
        """The steps of the evaluations, increasing."""
        return self.eval["step"].to_numpy()

    @cached_property
    def returns(self) -> np.ndarray:
        """The mean return of each evaluation; NaN where it is no number."""
        return self.eval["return_mean"].to_numpy()


def read_run(view: ListedRun, source: str) -> RunData:
    """Read the run of ``view``; files that are damaged or missing are told in its ``problems``."""
    config, problems = _config(view.directory)
    names = _names(view.directory, config)
    status = _status(view.directory)
    damaged = damaged_results(view.directory, status, TABLES)
    (evaluations, eval_problems), (training, train_problems) = (
        read_log(view.directory / name) if name not in damaged else no_log(name) for name in ("eval.csv", "train.csv")
    )
    unmeasured = int(evaluations["return_mean"].isna().sum())
    if unmeasured:
        eval_problems.append(f"eval.csv: return_mean is no finite number in {unmeasured} of {len(evaluations)} rows")
    return RunData(
        directory=view.directory,
        name=view.name,
        source=source,
        **names,
        state=view.state,
        step=view.step,
        total_steps=view.total_steps,
        error=view.error,
        log=view.log,
        config={key: value for key, value in config.items() if key not in NOT_CONFIGURATION},
        differences=_differences(config),
        status=status,
        eval=evaluations,
        train=training,
        problems=(*problems, *eval_problems, *train_problems),
    )


def _config(directory: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        content = load_yaml((directory / "config.yaml").read_bytes())
    except FileNotFoundError:
        return {}, []
    except OSError as error:
        return {}, [f"config.yaml: cannot be read: {error.strerror}"]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return {}, [f"config.yaml: damaged: {' '.join(str(error).split())}"]
    return (content, []) if isinstance(content, dict) else ({}, ["config.yaml: damaged: not a mapping"])


def _status(directory: Path) -> dict[str, Any]:
    """That it is damaged is told by the run's error already."""
    try:
        return read_status(directory) or {}
    except DamagedError:
        return {}


def _differences(config: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    listed = config.get("differences")
    if not isinstance(listed, dict):
        return {}
    return {str(key): (pair.get("recipe"), pair.get("run")) for key, pair in listed.items() if isinstance(pair, dict)}


def _names(directory: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Experiment, code base, algorithm, environment, hash and seed: by the path, which is made of them."""
    parts = directory.resolve().parts[-5:]
    experiment, codebase, algo, folder, last = parts if len(parts) == 5 else (UNKNOWN,) * 5
    hashed = HASHED.fullmatch(folder)
    number = last.removeprefix("seed_")
    by_path = {
        "experiment": experiment,
        "codebase": codebase,
        "algo": algo,
        "env": hashed["name"] if hashed else folder,
        "hash": hashed["hash"] if hashed else "",
        "seed": int(number) if number.isdecimal() else None,
    }
    return by_path | _names_in(config) if config else by_path


def _names_in(config: dict[str, Any]) -> dict[str, Any]:
    """What config.yaml tells of the same, which holds wherever the directory was copied to."""
    told: dict[str, Any] = {}
    if isinstance(config.get("experiment_name"), str):
        told["experiment"] = config["experiment_name"]
    for group in ("codebase", "algo", "env"):
        name = config[group].get("name") if isinstance(config.get(group), dict) else None
        if isinstance(name, str) and (group, name) not in [("env", each) for each in BY_KEY]:
            told[group] = name
    env = config.get("env")
    if isinstance(env, dict) and env.get("name") in BY_KEY and isinstance(env.get("id"), str):
        told["env"] = folder_of_id(env["id"])
    if isinstance(config.get("seed"), int):
        told["seed"] = config["seed"]
    if differences := _differences(config):
        told["hash"] = short_hash({key: value for key, (_, value) in differences.items()})
    return told
