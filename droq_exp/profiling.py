"""What training costs: the real training loop of one algorithm on one environment, timed in a process of its own.

``python -m droq_exp.profiling <steps> key=value ...`` prints the measurements as one line of JSON; ``droq-exp profile``
starts one such process for each cell of its table, so that each has its own peak memory.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from droq_exp import hardware
from droq_exp.agent import Agent
from droq_exp.benchmark import WARM_UP_STEPS, synchronise, timed
from droq_exp.config import Config, compose
from droq_exp.lock import RunLock
from droq_exp.loggers import Loggers
from droq_exp.loop import TrainingLoop
from droq_exp.member import Member
from droq_exp.progress import Progress
from droq_exp.replay import Replay
from droq_exp.run import Run, run_directory
from droq_exp.stopping import StopSignal
from droq_exp.training import build_agent, make_environments

NEVER = 10**9  # steps


@dataclass(frozen=True)
class Cost:
    """What one algorithm costs on one environment; times are medians, for all seeds of the pack together.

    Args:
        algo: name of the algorithm.
        env: name of the environment.
        codebase: name of the code style.
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


class _Clock(Progress):
    """Times the environment steps that learn, the critic updates alone between them, and ends training after enough."""

    def __init__(self, agent: Agent, replay: Replay, steps: int, stop: StopSignal) -> None:
        super().__init__("profile", NEVER, agent.seeds)
        self.loops: list[float] = []  # seconds of each environment step
        self.q_updates: list[float] = []  # of each one's critic updates, made once more
        self._agent, self._replay, self._stop = agent, replay, stop
        self._wanted = 1 + WARM_UP_STEPS + steps  # the first of them compiles
        self._started = time.perf_counter()

    def update(self, step: int, updates: int, last_return: object = None) -> None:
        """Be told of the end of an environment step."""
        synchronise()
        if updates:
            self.loops.append(time.perf_counter() - self._started)
            # Now, not after the loops: on a machine that others use too, both see the same minutes.
            self.q_updates.append(timed(lambda: _update_critics(self._agent, self._replay)))
        if len(self.loops) == self._wanted:
            self._stop.received = signal.SIGTERM
        self._started = time.perf_counter()


def measure(config: Config, recipe: Config, steps: int) -> Cost:
    """Train as ``config`` says until ``steps`` environment steps that learn are timed; nothing is kept of the run."""
    seeds = config.seed if isinstance(config.seed, list) else [config.seed]
    machine = hardware.set_up(config.hardware)
    stop = StopSignal()
    with ExitStack() as closing:
        directory = closing.enter_context(tempfile.TemporaryDirectory())
        config = replace(
            config,
            output_dir=directory,
            training=replace(config.training, total_steps=NEVER),
            eval=replace(config.eval, interval=NEVER),
            checkpoint=replace(config.checkpoint, interval=NEVER),
        )
        envs, eval_envs = (make_environments(config, len(seeds)) for _ in range(2))
        agent = build_agent(config, seeds, envs[0], machine)
        replay = Replay(len(seeds), config.training.replay_size, agent.spec.row_size, agent.device)
        members = []
        for seed, env, eval_env in zip(seeds, envs, eval_envs, strict=True):
            place = run_directory(config, recipe, seed)
            place.mkdir(parents=True)
            lock = closing.enter_context(RunLock.acquire(place))
            run = Run.open(config, recipe, seed, lock, device=machine.description, overrides=[])
            members.append(Member(run, Loggers(config.logger, run.info), env, eval_env))
            closing.callback(members[-1].close, "interrupted")
        clock = _Clock(agent, replay, steps, stop)
        loop = TrainingLoop(agent, replay, members, config, clock, {})
        loop.begin()
        loop.run(stop)
        for member in members:
            if not member.active:
                raise RuntimeError(f"the run {member.run.state} at step {member.run.step} while it was timed")
        for member in members:
            member.interrupt(loop.step, "the end of the measurement")
    return Cost(
        algo=config.algo.name,
        env=config.env.id if config.env.name == "gym" else config.env.name,
        codebase=config.codebase.name,
        seeds=len(seeds),
        utd_ratio=config.algo.utd_ratio,
        device=machine.description,
        steps=steps,
        loop_ms=float(np.median(clock.loops[-steps:])) * 1e3,
        q_updates_ms=float(np.median(clock.q_updates[-steps:])) * 1e3,
        critic_parameters=agent.state.critic.shape[1],
        actor_parameters=agent.state.actor.shape[1],
        peak_memory_mb=_peak_memory(agent.device) / 1e6,
        first_update_seconds=clock.loops[0],
    )


@torch.no_grad()
def _update_critics(agent: Agent, replay: Replay) -> None:
    """All critic updates of one environment step, in the runs between policy updates that the code style makes."""
    batch = agent.sample(replay)
    start = 0
    for last in agent.style.policy_updates(agent.spec.utd_ratio):
        agent.learner.critic_updates(batch.rows, batch.draws, start, last + 1)
        start = last + 1


def _peak_memory(device: torch.device) -> int:
    """In bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        # Not getrusage, where Linux says: there a process starts at the peak of the one that started it.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def main(argv: list[str]) -> None:
    """Print what the overrides ``argv[1:]`` cost, measured over ``argv[0]`` environment steps."""
    print(json.dumps(asdict(measure(*compose(argv[1:]), int(argv[0])))))


if __name__ == "__main__":
    main(sys.argv[1:])
