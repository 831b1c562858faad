"""What training costs: the real training loop of one algorithm on one environment, timed in a process of its own.

``python -m droq_exp.profiling.profile <steps> key=value ...`` prints the measurements as one line of JSON;
``droq-exp profile`` starts one such process for each cell of its table, so that each has its own peak memory.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from droq_exp.agent.agent import Agent
from droq_exp.agent.cuda_graphs import CudaGraphs
from droq_exp.config import Config, compose
from droq_exp.learner.cuda.graph import Captured
from droq_exp.learner.draws import Draws
from droq_exp.learner.programs import Program
from droq_exp.profiling.process_memory import peak_bytes
from droq_exp.profiling.scratch import NEVER, AfterStep, train_timed
from droq_exp.profiling.timing import timed
from droq_exp.training import hardware
from droq_exp.training.loop import TrainingLoop
from droq_exp.training.train import SeedsTogether


@dataclass(frozen=True)
class Cost:
    """What one algorithm costs on one environment; times are medians, for all seeds together.

    Args:
        algo: name of the algorithm.
        env: name of the environment.
        codebase: name of the code base.
        seeds: trained side by side.
        utd_ratio: critic updates per environment step, G.
        device: in words.
        steps: environment steps that were timed.
        loop_ms: of one environment step as a whole: acting, the environment, sampling, all updates.
        q_updates_ms: of the G critic updates of one environment step, their sampling and target updates included.
        critic_parameters: of all critics of one seed; target critics, which are not trained, are not counted.
        actor_parameters: of the policy of one seed.
        peak_memory_mb: on CUDA what torch had allocated at most; otherwise the most that the process had resident,
            compiling included.
        first_update_seconds: of the environment step that made the first updates: compiling, mostly.
    """

    algo: str
    env: str
    codebase: str
    seeds: int
    utd_ratio: int
    device: str
    steps: int
    loop_ms: float
    q_updates_ms: float
    critic_parameters: int
    actor_parameters: int
    peak_memory_mb: float
    first_update_seconds: float

    @property
    def q_update_ms(self) -> float:
        """Of one critic update."""
        return self.q_updates_ms / self.utd_ratio


def measure(config: Config, recipe: Config, steps: int) -> Cost:
    """Train as ``config`` says until ``steps`` environment steps that learn are timed; nothing is kept of the run."""
    machine = hardware.set_up(config)
    q_updates: list[float] = []  # seconds of each environment step's critic updates, made once more

    def watch(together: SeedsTogether, _: TrainingLoop) -> AfterStep:
        update_critics = _critic_updates(together.agent)

        def after_step(_: bool) -> None:
            batch = together.agent.sample(together.replay)
            q_updates.append(timed(lambda: update_critics(batch.rows, batch.draws)))

        return after_step

    unbroken = replace(
        config,
        eval=replace(config.eval, interval=NEVER),
        checkpoint=replace(config.checkpoint, interval=NEVER),
    )
    loops, agent = train_timed(unbroken, recipe, machine, steps, watch)
    return Cost(
        algo=config.algo.name,
        env=config.env.id if config.env.name == "gym" else config.env.name,
        codebase=config.codebase.name,
        seeds=len(agent.seeds),
        utd_ratio=config.algo.utd_ratio,
        device=machine.description,
        steps=steps,
        loop_ms=float(np.median(loops[-steps:])) * 1e3,
        q_updates_ms=float(np.median(q_updates[-steps:])) * 1e3,
        critic_parameters=agent.state.critic.shape[1],
        actor_parameters=agent.state.actor.shape[1],
        peak_memory_mb=_peak_memory(agent.device) / 1e6,
        first_update_seconds=loops[0],
    )


def _critic_updates(agent: Agent) -> Callable[[Any, Draws], None]:
    """Return what makes an environment step's critic updates alone, as the agent makes all: as a graph or directly.

    They come in the runs between policy updates that the order of updates makes.
    """

    execution, critics = agent.execution, Program(agent.spec.programs[0].runs)
    run = execution.learner.run if isinstance(execution, CudaGraphs) else execution.run

    @torch.no_grad()
    def update(rows: Any, draws: Draws) -> None:
        run(critics, rows, draws)

    if isinstance(execution, CudaGraphs):
        return Captured(update, agent.device, execution.learner.changed_tensors)
    return update


def _peak_memory(device: torch.device) -> int:
    """In bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_bytes()


def main(argv: list[str]) -> None:
    """Print what the overrides ``argv[1:]`` cost, measured over ``argv[0]`` environment steps."""
    print(json.dumps(asdict(measure(*compose(argv[1:]), int(argv[0])))))


if __name__ == "__main__":
    main(sys.argv[1:])
