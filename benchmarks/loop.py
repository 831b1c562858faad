"""The whole training loop: what an environment step takes, and how much of it is not the learner.

The real loop trains, in a directory that is removed afterwards, after at most ``steps`` random steps that do not count.
Within ``steps`` timed environment steps it is evaluated three times (returns, bias estimate, weights, CSV, status) and
writes three checkpoints. Both are then weighed by their own intervals: with ``eval.interval=1000`` a thousandth of an
evaluation is part of an environment step. A policy that has hardly learned falls soon, and its evaluation is cheap:
``env.kwargs.terminate_when_unhealthy=false`` (where a task knows it) gives episodes of full length, as a trained policy
has them. A checkpoint appends fewer new transitions here than in a real run; that is microseconds of an environment
step. Times are means, not medians, since what is rare (a reset) counts too. On a GPU each part is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.learner import described
from droq_exp.config import Config
from droq_exp.profiling.scratch import AfterStep, train_timed
from droq_exp.profiling.timing import synchronise
from droq_exp.training import hardware
from droq_exp.training.loop import TrainingLoop
from droq_exp.training.train import SeedsTogether

MEASUREMENTS = 3  # evaluations and checkpoints in the timed steps
LEAST_STEPS = 2 * MEASUREMENTS

LEARNER = ("sampling", "updates")
PARTS = (*LEARNER, "acting", "environment", "storing", "checkpoint")


@dataclass(frozen=True)
class LoopTimes:
    """Means, in milliseconds: of an environment step's parts, of an evaluation and of a checkpoint.

    ``parts`` are those of a step without evaluation and checkpoint; ``other`` is what is left of it: the loop itself.
    """

    parts: dict[str, float]
    evaluation: float
    checkpoint: float

    @property
    def learner(self) -> float:
        """Sampling and updates of an environment step."""
        return sum(self.parts[name] for name in LEARNER)

    @property
    def step(self) -> float:
        """An environment step without evaluation and checkpoint."""
        return sum(self.parts.values())


class Meter:
    """Adds up the seconds spent in some calls, by part, and keeps them for each environment step."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        self.steps: list[dict[str, float]] = []
        self._now = dict.fromkeys(PARTS, 0.0)

    def watch(self, owner: object, method: str, part: str) -> None:
        """From now on count the calls of ``owner.method`` as ``part``."""
        function: Callable[..., Any] = getattr(owner, method)

        def metered(*args: Any, **kwargs: Any) -> Any:
            synchronise()
            started = time.perf_counter()
            result = function(*args, **kwargs)
            synchronise()
            self._now[part] += time.perf_counter() - started
            return result

        setattr(owner, method, metered)

    def end_step(self) -> None:
        """Begin another environment step."""
        self.steps.append(self._now)
        self._now = dict.fromkeys(PARTS, 0.0)


def benchmark_loop(config: Config, recipe: Config, steps: int) -> dict[str, Any]:
    """Time ``steps`` environment steps of the training that ``config`` describes, each with its updates."""
    machine = hardware.set_up(config)
    times = time_loop(config, recipe, machine, steps)
    evaluation = times.evaluation / config.eval.interval
    checkpoint = times.checkpoint / config.checkpoint.interval
    total = times.step + evaluation + checkpoint
    seeds = len(config.seeds)
    return {
        "benchmark": "loop",
        **described(config, machine),
        "utd_ratio": config.algo.utd_ratio,
        "steps": steps,
        "ms_per_env_step": round(total, 3),
        "learner_ms": round(times.learner, 3),
        **{f"{name}_ms": round(value, 4) for name, value in times.parts.items() if name not in LEARNER},
        "evaluation_ms": round(evaluation, 4),
        "checkpoint_ms": round(checkpoint, 4),
        "overhead": round((total - times.learner) / times.learner, 4),
        "env_steps_per_second": round(seeds * 1e3 / total, 1),
        "env_steps_per_second_without_evaluation": round(seeds * 1e3 / times.step, 1),
        "seconds_per_evaluation": round(times.evaluation / 1e3, 3),
        "seconds_per_checkpoint": round(times.checkpoint / 1e3, 4),
    }


def time_loop(config: Config, recipe: Config, machine: hardware.Hardware, steps: int) -> LoopTimes:
    """Train for ``steps`` timed environment steps, at least ``LEAST_STEPS``."""
    meter, evaluated = Meter(), []

    def watch(together: SeedsTogether, loop: TrainingLoop) -> AfterStep:
        meter.watch(together.agent, "sample", "sampling")
        meter.watch(together.agent, "update", "updates")
        meter.watch(together.agent, "explore", "acting")
        meter.watch(together.replay, "add", "storing")
        meter.watch(loop, "save", "checkpoint")
        for env in together.envs:
            meter.watch(env, "step", "environment")
            meter.watch(env, "reset", "environment")

        def after_step(was_evaluated: bool) -> None:
            meter.end_step()
            evaluated.append(was_evaluated)

        return after_step

    short = shortened(config, steps)
    seconds, _ = train_timed(short, recipe, machine, steps, watch)
    return _times(seconds[-steps:], meter.steps[-steps:], evaluated[-steps:])


def shortened(config: Config, steps: int) -> Config:
    """As ``config``, with few random steps, and evaluated and saved three times within ``steps`` timed steps."""
    start = min(config.training.start_steps, steps)
    interval = steps // MEASUREMENTS
    return replace(
        config,
        training=replace(config.training, start_steps=start),
        eval=replace(config.eval, interval=interval),
        checkpoint=replace(config.checkpoint, interval=interval),
    )


def _times(seconds: list[float], steps: list[dict[str, float]], evaluated: list[bool]) -> LoopTimes:
    plain = [number for number, was_evaluated in enumerate(evaluated) if not was_evaluated]
    parts = {name: 1e3 * float(np.mean([steps[number][name] for number in plain])) for name in PARTS}
    other = 1e3 * float(np.mean([seconds[number] - sum(steps[number].values()) for number in plain]))
    rest = [seconds[number] - sum(steps[number].values()) for number, was in enumerate(evaluated) if was]
    saved = [steps[number]["checkpoint"] for number, was in enumerate(evaluated) if was]
    del parts["checkpoint"]
    return LoopTimes({**parts, "other": other}, 1e3 * float(np.mean(rest)) - other, 1e3 * float(np.mean(saved)))
