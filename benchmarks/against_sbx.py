"""SBX (JAX) and this project in turn on the same machine, at equal work.

SBX runs in a process of its own, by whatever interpreter has it. Blocks of a few environment steps alternate, ours,
theirs, ours, ..., so that both see the same machine; the other waits meanwhile. SBX takes the minimum over all critics
as the target, so ours does too (``algo.num_min``). Neither is evaluated, writes checkpoints or checks its environment.
With ``hardware.threads`` given, SBX's process is bound to as many processors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate

from benchmarks.learner import build_learner
from benchmarks.peer_process import start_sbx
from droq_exp.codebases import Codebase
from droq_exp.config import Config, ConfigError, compose, compose_points
from droq_exp.profiling.scratch import NEVER, train_timed
from droq_exp.profiling.timing import WARM_UP_STEPS, timed
from droq_exp.training import hardware

BLOCK = 5  # environment steps' updates before it is the other's turn
LOOP_BLOCKS = 10
ALGORITHMS = (["algo=sac"], ["algo=droq", "algo.dropout_rate=0.01"], ["algo=redq"])
RANDOM_STEPS = 1000


def compare(overrides: Sequence[str], python: str, steps: int, loop_steps: int) -> dict[str, Any]:
    """Compare the updates of each algorithm, and the first one's loop at one update an environment step.

    Raises:
        ConfigError: what no run can have, or SBX cannot do.
        RefusedError: ``python`` has no SBX.
        ChildProcessError: SBX failed.

    """
    points = compose_points(algorithms(overrides))
    at_one, recipe = compose([*algorithms(overrides)[0], "algo.utd_ratio=1"])
    updates, loop = [equal_work(config) for config, _ in points], equal_work(at_one)
    machine = hardware.set_up(loop)
    described = {"device": machine.description, "codebase": loop.codebase.name, "torch": torch.__version__}
    return {
        "benchmark": "sbx",
        **described,
        "updates": [compare_updates(config, python, steps) for config in updates],
        "loop": [compare_loops(loop, recipe, python, loop_steps)],
    }


def algorithms(overrides: Sequence[str]) -> list[list[str]]:
    """``overrides`` for each of the algorithms to compare: the one that is chosen, else SAC, DroQ and REDQ."""
    chosen = any(line.startswith("algo=") for line in overrides)
    return [[*algorithm, *overrides] for algorithm in ([[]] if chosen else ALGORITHMS)]


def equal_work(config: Config) -> Config:
    """As ``config``, with the target that SBX computes.

    Raises:
        ConfigError: it is nothing that SBX can do.

    """
    algo = config.algo
    if isinstance(config.seed, list):
        raise ConfigError("seed", f"{config.seed}: SBX trains one seed")
    if algo.target_mode != "min" or algo.target_passes != 1:
        key = "target_mode" if algo.target_mode != "min" else "target_passes"
        raise ConfigError(f"algo.{key}", f"SBX knows only the minimum of one pass of each critic, not {algo.name}")
    start = min(config.training.start_steps, RANDOM_STEPS)
    return replace(
        config,
        algo=replace(algo, num_min=float(algo.num_critics)),
        training=replace(config.training, start_steps=start),
        eval=replace(config.eval, interval=NEVER),
        checkpoint=replace(config.checkpoint, interval=NEVER),
    )


def compare_updates(config: Config, python: str, steps: int) -> dict[str, Any]:
    """Compare the updates of an environment step: medians of ``steps`` of each, in milliseconds."""
    machine = hardware.set_up(config)
    ours: list[float] = []
    theirs: list[float] = []
    with start_sbx(python, settings(config), machine.device) as sbx:
        learning = build_learner(config, machine)
        for _ in range(1 + WARM_UP_STEPS):
            learning.step()
        sbx.ask(f"updates {WARM_UP_STEPS}")
        while len(ours) < steps:
            ours += [timed(learning.step) for _ in range(BLOCK)]
            theirs += sbx.ask(f"updates {BLOCK}")
    mine, other = (1e3 * float(np.median(seconds[:steps])) for seconds in (ours, theirs))
    return {
        **_described(config),
        "steps": steps,
        "ms_per_env_step": round(mine, 3),
        "sbx_ms_per_env_step": round(other, 3),
        "times_as_fast": round(other / mine, 3),
        **sbx.versions,
    }


def compare_loops(config: Config, recipe: Config, python: str, steps: int) -> dict[str, Any]:
    """Compare environment steps per second of the whole loop: medians over ten blocks of a tenth of ``steps`` each."""
    machine = hardware.set_up(config)
    block = max(1, steps // LOOP_BLOCKS)
    theirs: list[float] = []
    with start_sbx(python, settings(config), machine.device) as sbx:
        ours = train_in_turn(config, recipe, machine, block, lambda: theirs.append(sbx.ask(f"loop {block}")))
    mine, other = (block / float(np.median(blocks)) for blocks in (ours, theirs))
    return {
        **_described(config),
        "steps": block * LOOP_BLOCKS,
        "env_steps_per_second": round(mine, 1),
        "sbx_env_steps_per_second": round(other, 1),
        "times_as_fast": round(mine / other, 3),
        **sbx.versions,
    }


def train_in_turn(
    config: Config, recipe: Config, machine: hardware.Hardware, block: int, others: Callable[[], object]
) -> np.ndarray:
    """Train ten blocks of ``block`` environment steps, and have ``others`` make theirs after each; our seconds."""
    made = -1 - WARM_UP_STEPS  # timed environment steps

    def after_step(_: bool) -> None:
        nonlocal made
        made += 1
        if made > 0 and made % block == 0:
            others()

    seconds, _ = train_timed(config, recipe, machine, block * LOOP_BLOCKS, lambda together, loop: after_step)
    return np.reshape(seconds[-block * LOOP_BLOCKS :], (LOOP_BLOCKS, block)).sum(axis=1)


def settings(config: Config) -> dict[str, Any]:
    """What :mod:`benchmarks.sbx_driver` is told, for the work of ``config``."""
    algo = config.algo
    codebase: Codebase = instantiate(asdict(config.codebase))
    return {
        "threads": config.hardware.threads,
        "env_id": config.env.id,
        "env_kwargs": config.env.kwargs,
        "agent": {
            "learning_starts": config.training.start_steps,
            "buffer_size": config.training.replay_size,
            "batch_size": algo.batch_size,
            "gradient_steps": algo.utd_ratio,
            "policy_delay": algo.utd_ratio // codebase.order.programs(algo.utd_ratio)[0].policy_updates,
            "train_freq": 1,
            "learning_rate": algo.critic_learning_rate,
            "gamma": algo.gamma,
            "tau": algo.tau,
            "policy_kwargs": {
                "net_arch": algo.hidden_sizes,
                "n_critics": algo.num_critics,
                "dropout_rate": algo.dropout_rate or None,
                "layer_norm": algo.layer_norm,
            },
        },
    }


def _described(config: Config) -> dict[str, Any]:
    return {
        "algo": config.algo.name,
        "env": config.env.id,
        "num_critics": config.algo.num_critics,
        "dropout_rate": config.algo.dropout_rate,
        "utd_ratio": config.algo.utd_ratio,
    }
