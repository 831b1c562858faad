"""Run directories as training leaves them, with curves that are made up, at any size, without the training."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

EVAL = (
    *("step", "return_mean", "return_std", "return_min", "return_max", "length_mean"),
    *("bias_mean", "bias_std", "normalized_bias_mean", "normalized_bias_std", "evaluate_seconds", "wall_seconds"),
)
TRAIN = (
    *("step", "critic_loss", "policy_loss", "temperature_loss", "temperature", "q_mean", "entropy"),
    *("episodes", "episode_return_mean", "episode_length_mean", "updates", "updates_per_second"),
    *("env_seconds", "sample_seconds", "update_seconds", "wall_seconds"),
)
# What the recipe of code base redq gives on Hopper, by algorithm; the rest is the same for all of them.
ALGORITHMS: dict[str, dict[str, Any]] = {
    "droq": {"num_critics": 2, "num_min": 2.0, "dropout_rate": 0.0001, "layer_norm": True},
    "redq": {"num_critics": 10, "num_min": 2.0, "dropout_rate": 0.0, "layer_norm": False},
    "sac": {"num_critics": 2, "num_min": 2.0, "dropout_rate": 0.0, "layer_norm": False},
    "duvn": {"num_critics": 1, "num_min": 1.0, "dropout_rate": 0.0001, "layer_norm": False},
}
SHARED = {
    "target_mode": "min",
    "target_passes": 1,
    "hidden_sizes": [256, 256],
    "utd_ratio": 20,
    "batch_size": 256,
    "gamma": 0.99,
    "tau": 0.005,
    "critic_learning_rate": 0.0003,
    "actor_learning_rate": 0.0003,
    "temperature_learning_rate": 0.0003,
    "target_entropy": -1.0,
    "learn_temperature": True,
    "initial_temperature": 1.0,
}


def write_run(
    root: Path,
    *,
    algo: str = "droq",
    env: str = "hopper",
    codebase: str = "redq",
    seed: int = 0,
    experiment: str = "runs",
    returns: Sequence[float] = (100.0, 200.0, 300.0, 400.0, 500.0),
    state: str = "finished",
    total_steps: int | None = None,
    error: str | None = None,
    changed: Mapping[str, Any] | None = None,
) -> Path:
    """A run evaluated every 1,000 steps with these mean returns; ``changed`` are values that differ from the recipe."""
    changed = changed or {}
    digest = f"-{zlib.crc32(json.dumps(changed, sort_keys=True).encode()):08x}" if changed else ""
    directory = root / experiment / codebase / algo / f"{env}{digest}" / f"seed_{seed}"
    directory.mkdir(parents=True)
    steps = 1_000 * len(returns)
    config = _config(algo, env, codebase, seed, experiment, changed)
    (directory / "config.yaml").write_text(yaml.dump(config, Dumper=yaml.CSafeDumper, sort_keys=False))
    status = {
        "state": state,
        "seed": seed,
        "step": steps,
        "total_steps": total_steps or steps,
        "device": "cpu, 1 threads",
    }
    status |= {"started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-01T01:00:00+00:00"}
    told = {"summary": error, "traceback": None} if error else None
    (directory / "status.json").write_text(json.dumps(status | {"error": told}))
    (directory / "train.log").write_text("started\n")
    write_log(directory / "eval.csv", EVAL, _evaluations(np.asarray(returns, dtype=float)))
    write_log(directory / "train.csv", TRAIN, _training(len(returns)))
    return directory


def write_log(path: Path, names: Sequence[str], rows: Iterable[Sequence[float]]) -> None:
    """A CSV file as the runs' logger writes it: steps whole, floats with all digits, nothing for NaN."""
    lines = [",".join([str(int(row[0])), *("" if x != x else repr(float(x)) for x in row[1:])]) for row in rows]
    path.write_text("\n".join([",".join(names), *lines, ""]))


def _evaluations(returns: np.ndarray) -> np.ndarray:
    at = np.arange(1, len(returns) + 1)
    bias = returns / 10
    columns = [1_000 * at, returns, 0 * at, returns, returns, returns / 3, bias, bias / 2, bias / 100, bias / 200]
    return np.column_stack([*columns, 0 * at + 2, 10 * at])


def _training(rows: int) -> np.ndarray:
    at = np.arange(1, rows + 1)
    learned = [np.where(at > 5, value, np.nan) for value in (2.5, -3.5, 0.1, 0.2, 50.0, 1.5)]
    columns = [
        1_000 * at,
        *learned,
        0 * at + 4,
        0 * at + 90,
        0 * at + 200,
        20_000 * np.maximum(at - 5, 0),
        0 * at + 250,
    ]
    return np.column_stack([*columns, 0 * at + 1, 0 * at + 0.5, 0 * at + 6, 10 * at])


def _config(
    algo: str, env: str, codebase: str, seed: int, experiment: str, changed: Mapping[str, Any]
) -> dict[str, Any]:
    config: dict[str, Any] = {
        "algo": {"_target_": "droq_exp.agent.Agent", "name": algo, **ALGORITHMS.get(algo, {}), **SHARED},
        "env": {"_target_": "droq_exp.envs.make_env", "name": env, "id": f"{env.title()}-v5", "kwargs": {}},
        "codebase": {"_target_": "droq_exp.codebases.redq.RedqCodebase", "name": codebase, "policy_update_delay": 20},
        "bias": {"enabled": True, "min_pairs": 1000, "steps_per_episode": 350, "temperature": None},
        "training": {"total_steps": 125_000, "start_steps": 5000, "replay_size": 1_000_000},
        "eval": {"interval": 1000, "episodes": 1},
        "hardware": {"device": "auto", "threads": 1, "compile": True, "precision": "fp32"},
        "seed": seed,
        "experiment_name": experiment,
        "output_dir": "outputs",
    }
    differences = {}
    for key, value in changed.items():
        group, _, name = key.partition(".")
        differences[key] = {"recipe": config[group].get(name), "run": value}
        config[group][name] = value
    flat = {f"{group}.{key}": value for group in ("algo", "env") for key, value in config[group].items()}
    return {**config, "differences": differences, "identity": flat}


def write_big_sweep(root: Path, *, runs: int, evaluations: int, seeds: int = 5) -> None:
    """Runs over both code bases, four environments, the algorithms and, where that is not enough, dropout rates."""
    rng = np.random.default_rng(0)
    time = np.linspace(0, 4, evaluations)
    combinations = [
        (codebase, env, algo, rate)
        for rate in (None, 0.0, 0.003, 0.01, 0.03, 0.1, 0.3)
        for codebase in ("redq", "ku")
        for env in ("hopper", "walker2d", "ant", "humanoid")
        for algo in ALGORITHMS
    ]
    for number in range(runs):
        codebase, env, algo, rate = combinations[number // seeds]
        curve = 3_000 * (1 - np.exp(-time * rng.uniform(0.5, 1.5))) + rng.normal(0, 200, evaluations)
        changed = {"algo.dropout_rate": rate} if rate is not None else {}
        write_run(root, algo=algo, env=env, codebase=codebase, seed=number % seeds, returns=curve, changed=changed)
