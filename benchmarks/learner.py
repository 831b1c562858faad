"""The updates of one environment step against their floor, which is probed between the steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.floor import Probe, learner_flops
from droq_exp.agent.agent import Agent
from droq_exp.agent.n_step import replay_of
from droq_exp.agent.replay import Replay
from droq_exp.config import Config
from droq_exp.envs.build import build_env
from droq_exp.profiling.timing import WARM_UP_STEPS, timed
from droq_exp.training import hardware
from droq_exp.training.hardware import Hardware
from droq_exp.training.train import build_agent


class Learning(NamedTuple):
    """An agent and the experience that it learns from."""

    agent: Agent
    replay: Replay

    def step(self) -> None:
        """Make the updates of one environment step."""
        self.agent.update(self.agent.sample(self.replay))


@dataclass
class LearnerTimes:
    """What :func:`time_learner` measured; medians, in milliseconds."""

    ms_per_env_step: float
    floor_ms: float
    first_update_seconds: float

    @property
    def ratio(self) -> float:
        """How many times the floor an environment step's updates take."""
        return self.ms_per_env_step / self.floor_ms


def benchmark_learner(config: Config, steps: int) -> dict[str, Any]:
    """Time the learner that ``config`` describes over ``steps`` environment steps' updates on made-up experience."""
    machine = hardware.set_up(config)
    learning = build_learner(config, machine)
    times = time_learner(learning, steps)
    return {
        "benchmark": "learner",
        **described(config, machine),
        "steps": steps,
        "first_update_seconds": round(times.first_update_seconds, 2),
        **rounded(config, times),
    }


def build_learner(config: Config, machine: Hardware, held: int | None = None) -> Learning:
    """Build the learner of ``config`` for its environment, with ``held`` made-up transitions of each seed.

    None: as many as a run has at its first update.
    """
    seeds = config.seeds
    agent = build_agent(config, seeds, build_env(config.env), machine)
    replay = replay_of(agent.spec, config.training.replay_size, agent.device)
    rng, layout = np.random.default_rng(0), agent.spec.layout.single
    columns = layout.columns
    count = min(config.training.start_steps + 1, replay.capacity) if held is None else held
    for seed_index in range(len(seeds)):
        rows = rng.standard_normal((count, layout.size), dtype=np.float32)
        rows[:, columns.terminated] = rows[:, columns.truncated] = 0
        rows[1:, columns.obs] = rows[:-1, columns.next_obs]  # one episode
        replay.restore(seed_index, 0, rows)
    agent.stored(replay)
    return Learning(agent, replay)


def time_learner(learning: Learning, steps: int) -> LearnerTimes:
    """Time the updates of ``steps`` environment steps, a probe of the machine's rate before each.

    Where environment steps differ in turn, so many are timed at a time, and ``steps`` may be exceeded.
    """
    spec = learning.agent.spec
    turn = len(spec.programs)
    first = timed(learning.step)
    for _ in range(WARM_UP_STEPS):
        learning.step()
    flops = learner_flops(spec)
    probe = Probe(spec, learning.agent.device)
    probe.rate()
    floors, times = [], []
    for _ in range(-(-steps // turn)):
        floors.append(flops / probe.rate())
        times.append(timed(lambda: [learning.step() for _ in range(turn)]) / turn)
    return LearnerTimes(float(np.median(times)) * 1e3, float(np.median(floors)) * 1e3, first)


def described(config: Config, machine: Hardware) -> dict[str, Any]:
    """What was measured, and on what."""
    return {
        "algo": config.algo.name,
        "env": config.env.id,
        "codebase": config.codebase.name,
        "dropout_rate": config.algo.dropout_rate,
        "seeds": len(config.seeds),
        "device": machine.description,
        "updates": machine.backend.name,
        "compiled": machine.backend.compiled,
        "precision": config.hardware.precision,
        "torch": torch.__version__,
    }


def rounded(config: Config, times: LearnerTimes) -> dict[str, float]:
    """``times`` as they are printed; updates are critic updates, of all seeds together."""
    updates = len(config.seeds) * config.algo.utd_ratio
    return {
        "updates_per_second": round(updates * 1e3 / times.ms_per_env_step, 1),
        "ms_per_env_step": round(times.ms_per_env_step, 3),
        "floor_ms": round(times.floor_ms, 3),
        "ratio": round(times.ratio, 3),
    }
