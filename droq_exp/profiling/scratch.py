"""The real training loop, timed step by step; nothing is kept of the run."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from droq_exp.agent.agent import Agent
from droq_exp.config import Config
from droq_exp.profiling.timing import WARM_UP_STEPS, synchronise
from droq_exp.runs.directory import RunDirectory, run_directory
from droq_exp.runs.lock import RunLock
from droq_exp.training import hardware
from droq_exp.training.loop import TrainingLoop
from droq_exp.training.progress import Progress
from droq_exp.training.stopping import StopSignal
from droq_exp.training.train import SeedsTogether, open_training

NEVER = 10**9  # steps
AfterStep = Callable[[bool], object]  # is told after each environment step that learns: whether it was evaluated


def train_timed(
    config: Config,
    recipe: Config,
    machine: hardware.Hardware,
    steps: int,
    watch: Callable[[SeedsTogether, TrainingLoop], AfterStep],
) -> tuple[list[float], Agent]:
    """Train as ``config`` says until ``steps`` environment steps that learn have been made after warming up.

    Args:
        config: what to train; ``total_steps`` is put off.
        recipe: as of :func:`droq_exp.training.train.train`.
        machine: has been set up.
        steps: how many to time.
        watch: is called once, before training. What it returns is called after each step that learns, the device's
            work done; its own time does not count.

    Returns:
        Seconds of each environment step that learned: of the one that compiled, of those that warmed up, of ``steps``;
        and the agent.

    Raises:
        RuntimeError: a seed failed.

    """
    config = replace(config, training=replace(config.training, total_steps=NEVER), callbacks={})  # none may stop it
    stop = StopSignal()
    with (
        scratch_runs(config, recipe, machine) as (config, runs),
        open_training(config, runs, [], machine, stop) as together,
    ):
        clock = _Clock(1 + WARM_UP_STEPS + steps, stop)
        loop = TrainingLoop(together.agent, together.replay, together.seed_runs, config, clock, {}, with_phases=False)
        clock.after_step = watch(together, loop)
        loop.begin()
        loop.run(stop)
        for run in runs:
            if run.ended:
                raise RuntimeError(f"the run {run.state} at step {run.step} while it was timed")
        for seed_run in together.seed_runs:
            seed_run.interrupt(loop.step, "the end of the measurement")
    return clock.seconds, together.agent


@contextmanager
def scratch_runs(
    config: Config, recipe: Config, machine: hardware.Hardware
) -> Iterator[tuple[Config, list[RunDirectory]]]:
    """Open the run of each seed in a directory that is removed in the end; the configuration returned names it."""
    with ExitStack() as closing:
        config = replace(config, output_dir=closing.enter_context(tempfile.TemporaryDirectory()))
        runs = []
        for seed in config.seeds:
            place = run_directory(config, recipe, seed)
            place.mkdir(parents=True)
            closing.enter_context(RunLock.acquire(place))
            runs.append(RunDirectory.open(config, recipe, seed, device=machine.description, overrides=[]))
        yield config, runs


class _Clock(Progress):
    """Times the environment steps that learn, and ends training after enough of them."""

    def __init__(self, wanted: int, stop: StopSignal) -> None:
        super().__init__("benchmark", NEVER, [])
        self.seconds: list[float] = []
        self.after_step: AfterStep = bool
        self._wanted, self._stop = wanted, stop
        self._started = time.perf_counter()

    def update(self, step: int, updates: int, last_return: object = None) -> None:
        """Be told of the end of an environment step."""
        synchronise()
        if updates:
            self.seconds.append(time.perf_counter() - self._started)
            # Now, not after the loop: on a machine that others use too, both see the same minutes.
            self.after_step(last_return is not None)
        if len(self.seconds) == self._wanted:
            self._stop.received = signal.SIGTERM
        self._started = time.perf_counter()
