"""``droq-exp evaluate``: returns of a run's stored weights on fresh episodes, as JSON."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from droq_exp.cli.errors import RefusedError, check_place
from droq_exp.cli.runs import only
from droq_exp.envs.make import close
from droq_exp.evaluation.episodes import SIDE_BY_SIDE, Trajectory
from droq_exp.evaluation.load import LoadedPolicy, load
from droq_exp.evaluation.returns import summary
from droq_exp.runs.checkpoint import CheckpointError
from droq_exp.runs.files import write_atomically
from droq_exp.runs.provenance import versions


def evaluate(directory: Path, episodes: int, seed: int, stochastic: bool, output: Path | None) -> None:
    """Print one line of JSON about ``episodes`` fresh episodes; write it to ``output`` too, where given.

    Raises:
        RefusedError: there is not exactly one run, its weights cannot be used, or ``output`` cannot be written.
        ConfigError: its config.yaml cannot be used, or its task cannot be made here.
    """
    if output is not None:
        check_place("--output", output)
    with redirect_stdout(sys.stderr):  # what a task prints is no JSON
        run = open_run(directory)
        envs = [run.make_env() for _ in range(min(episodes, SIDE_BY_SIDE))]
        console = Console(stderr=True)
        played = track(
            run.episodes(envs, episodes, seed, stochastic=stochastic),
            f"{run.config.env.id}, step {run.step:,}",
            total=episodes,
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        trajectories = list(played)
        close(*envs)
    text = json.dumps(_result(run, seed, stochastic, trajectories))
    if output is not None:
        try:
            write_atomically(output, text + "\n")
        except OSError as error:
            raise RefusedError(f"--output: {output}: {error.strerror}") from error
    print(text, flush=True)


def open_run(directory: Path) -> LoadedPolicy:
    """The one run at or below ``directory``, read in a process of one thread: its networks are small.

    Raises:
        RefusedError: there is not exactly one, or its weights cannot be used.
        ConfigError: as ``trained.load``.
    """
    torch.set_num_threads(1)
    try:
        return load(only(directory))
    except CheckpointError as error:
        raise RefusedError(str(error)) from error


def _result(run: LoadedPolicy, seed: int, stochastic: bool, trajectories: list[Trajectory]) -> dict[str, object]:
    returns = [float(trajectory.reward.sum()) for trajectory in trajectories]
    return {
        "run": str(run.directory.resolve()),
        "env": run.config.env.id,
        "step": run.step,
        "seed": seed,
        "episodes": len(trajectories),
        "policy": "stochastic" if stochastic else "deterministic",
        **summary(trajectories),
        "return_median": float(np.median(returns)),
        "returns": returns,
        "lengths": [len(trajectory) for trajectory in trajectories],
        "terminated": [trajectory.terminated for trajectory in trajectories],
        "versions": versions(),
    }
