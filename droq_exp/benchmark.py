"""Measure how fast this project runs on this machine.

``python -m droq_exp.benchmark learner algo=droq env=hopper`` times the updates of one environment step against their
floor: the matrix multiplications alone, at the rate that this machine reaches between the timed steps. Overrides are
those of ``launch.py``; the last line printed is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from droq_exp import hardware
from droq_exp.agent import Agent
from droq_exp.config import ConfigError, compose
from droq_exp.config.schema import Config
from droq_exp.learner.spec import LearnerSpec
from droq_exp.replay import Replay
from droq_exp.training import build_agent, make_environments

WARM_UP_STEPS = 3
PROBE_FLOPS = 1.4e9  # a probe takes a few milliseconds: long against the clock, short against an environment step


def learner_flops(spec: LearnerSpec, policy_updates: int) -> int:
    """Floating-point operations of the matrix multiplications of one environment step.

    A forward pass of a layer is one multiplication, its weight gradient another, its input gradient a third. The
    critics' first layer needs no input gradient in their own update and no weight gradient in the policy's, and their
    last layer is no matrix multiplication here (a row reduction).
    """
    hidden = list(zip((spec.obs_dim + spec.act_dim, *spec.hidden_sizes), spec.hidden_sizes, strict=False))
    actor = list(zip((spec.obs_dim, *spec.hidden_sizes), (*spec.hidden_sizes, 2 * spec.act_dim), strict=True))
    critic_pass, critic_inner, actor_pass = (
        sum(2 * spec.batch_size * fan_in * fan_out for fan_in, fan_out in layers)
        for layers in (hidden, hidden[1:], actor)
    )
    critic_update = (
        spec.num_critics * (2 * critic_pass + critic_inner) + spec.target_forwards * critic_pass + actor_pass
    )
    policy_update = 3 * actor_pass + spec.num_critics * 2 * critic_pass
    return spec.seeds * (spec.utd_ratio * critic_update + policy_updates * policy_update)


class Probe:
    """The rate of batched matrix multiplication, floating-point operations a second, at the learner's own shape."""

    def __init__(self, spec: LearnerSpec, device: torch.device) -> None:
        """Use as many matrices as one batched layer of the critics has, at least two."""
        copies, width = max(2, spec.seeds * spec.num_critics), max(spec.hidden_sizes)
        self._x = torch.randn(copies, spec.batch_size, width, device=device)
        self._w = torch.randn(copies, width, width, device=device)
        self._out = torch.empty(copies, spec.batch_size, width, device=device)
        self._flops = 2 * copies * spec.batch_size * width * width
        self._repeats = max(1, round(PROBE_FLOPS / self._flops))

    def rate(self) -> float:
        """Measure once."""
        seconds = timed(lambda: [torch.bmm(self._x, self._w, out=self._out) for _ in range(self._repeats)])
        return self._repeats * self._flops / seconds


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


def time_learner(agent: Agent, replay: Replay, steps: int) -> LearnerTimes:
    """Time the updates of ``steps`` environment steps, a probe of the machine's rate before each."""
    first = timed(lambda: agent.update(agent.sample(replay)))
    for _ in range(WARM_UP_STEPS):
        agent.update(agent.sample(replay))
    policy_updates = len(agent.style.policy_updates(agent.spec.utd_ratio))
    flops = learner_flops(agent.spec, policy_updates)
    probe = Probe(agent.spec, agent.device)
    probe.rate()
    floors, times = [], []
    for _ in range(steps):
        floors.append(flops / probe.rate())
        times.append(timed(lambda: agent.update(agent.sample(replay))))
    return LearnerTimes(float(np.median(times)) * 1e3, float(np.median(floors)) * 1e3, first)


def timed(function: Callable[[], object]) -> float:
    """Seconds that a call takes, the device's work included."""
    synchronise()
    start = time.perf_counter()
    function()
    synchronise()
    return time.perf_counter() - start


def benchmark_learner(config: Config, steps: int) -> dict[str, object]:
    """Build the learner that ``config`` describes, for its environment, and time it on made-up experience."""
    machine = hardware.set_up(config.hardware)
    seeds = config.seed if isinstance(config.seed, list) else [config.seed]
    envs = make_environments(config, len(seeds))
    agent = build_agent(config, seeds, envs[0], machine)
    replay = Replay(len(seeds), config.training.replay_size, agent.spec.row_size, agent.device)
    rng = np.random.default_rng(0)
    for _ in range(config.training.start_steps + 1):
        rows = rng.standard_normal((len(seeds), agent.spec.row_size), dtype=np.float32)
        rows[:, -1] = 0
        replay.add(torch.from_numpy(rows))
    times = time_learner(agent, replay, steps)
    updates = len(seeds) * config.algo.utd_ratio * 1e3 / times.ms_per_env_step
    return {
        "benchmark": "learner",
        "algo": config.algo.name,
        "env": config.env.id,
        "codebase": config.codebase.name,
        "dropout_rate": config.algo.dropout_rate,
        "seeds": len(seeds),
        "device": machine.description,
        "compiled": machine.compile_updates,
        "native": machine.native,
        "torch": torch.__version__,
        "steps": steps,
        "first_update_seconds": round(times.first_update_seconds, 2),
        "updates_per_second": round(updates, 1),
        "ms_per_env_step": round(times.ms_per_env_step, 3),
        "floor_ms": round(times.floor_ms, 3),
        "ratio": round(times.ratio, 3),
    }


def synchronise() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main(argv: list[str] | None = None) -> None:
    """Run ``python -m droq_exp.benchmark <what> [--steps N] [key=value ...]``."""
    parser = argparse.ArgumentParser(prog="python -m droq_exp.benchmark", description="Time a part of this project.")
    parser.add_argument("what", choices=["learner"], help="learner: the updates of one environment step")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as for launch.py")
    parser.add_argument("--steps", type=int, default=40, help="timed environment steps (default 40)")
    args = parser.parse_intermixed_args(argv)
    if args.steps < 1:
        parser.error("--steps: at least 1")
    try:
        config, _ = compose(args.overrides)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    result = benchmark_learner(config, args.steps)
    print(
        f"{result['algo']} {result['env']} ({result['codebase']}), {result['device']}: "
        f"{result['ms_per_env_step']} ms per environment step, {result['ratio']} times the floor"
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
