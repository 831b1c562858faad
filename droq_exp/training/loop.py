"""The training loop: acts, stores, updates, measures and saves every interval. It knows no algorithm."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from droq_exp.agent.agent import Agent
from droq_exp.agent.replay import Replay
from droq_exp.callbacks import Stop
from droq_exp.config.schema import Config
from droq_exp.evaluation.episodes import BrokenOffError
from droq_exp.evaluation.returns import Measurement, evaluate, evaluation_seeds, measure
from droq_exp.runs.status import CUT_SHORT
from droq_exp.training.filming import Filming
from droq_exp.training.phases import LOG_EVERY, Phase, Phases, phases_of
from droq_exp.training.progress import Progress
from droq_exp.training.resume import restored_replay_file
from droq_exp.training.seed_run import SeedRun
from droq_exp.training.stopping import StopSignal
from droq_exp.training.stopwatch import Stopwatch

PIECE = 65_536  # transitions that are read back at once


class TrainingLoop:
    """Trains several seeds in lockstep: one environment step of each, then one update of all."""

    def __init__(
        self,
        agent: Agent,
        replay: Replay,
        seed_runs: Sequence[SeedRun],
        config: Config,
        progress: Progress,
        conditions: dict[str, Any],
        filming: Filming | None = None,
        *,
        with_phases: bool = True,
    ) -> None:
        """``seed_runs`` are in the order of the agent's seeds; then ``begin`` or ``resume``, then ``run``.

        ``conditions`` is stored in checkpoints: what else equal numbers depend on. ``filming``: where there are to be
        videos. ``with_phases=False`` is for who
        times environment steps.
        """
        self.step = 0
        self._measured = [0] * len(seed_runs)  # the last step at which each seed was
        self._stored = 0  # transitions that the replay files hold
        self._agent = agent
        self._replay = replay
        self._seed_runs = seed_runs
        self._config = config
        self._progress = progress
        self._conditions = conditions
        self._filming = filming
        self._replay_files = [
            seed_run.run.checkpoints.replay_file(agent.spec.layout.single.size) for seed_run in seed_runs
        ]
        self._started = time.monotonic()
        self._evaluating = 0.0  # seconds spent in measurements, which updates per second leave out
        training = config.training
        self._random_steps = agent.codebase.random_steps(training.start_steps)
        rows = agent.spec.batch_size + agent.spec.n_step - 1
        # The environment step after which updates begin.
        self.first_update = agent.codebase.first_update_step(training.start_steps, rows)
        phases = phases_of(config, agent.spec, self.first_update) if with_phases else []
        self._phases = Phases(phases, training.total_steps)
        # Since the last measurement.
        self._stopwatch = Stopwatch("env", "sample", "update", *(["phase"] if self._phases else []))
        self._last_measure = (0, 0.0)  # updates and training seconds at the last measurement

    @property
    def seconds(self) -> float:
        """Since the first step, without those between an interruption and its continuation."""
        return time.monotonic() - self._started

    @property
    def done(self) -> bool:
        """Whether the last step has been made and measured."""
        finished = self.step == self._config.training.total_steps and not self._phases.under_way
        return finished and not self._unmeasured

    def begin(self) -> None:
        """Start from step 0."""
        for seed_run in self._seed_runs:
            seed_run.begin()

    def resume(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from checkpoints of one step, one for each seed, as :meth:`save` wrote them."""
        self.step, loop = states[0]["step"], states[0]["loop"]
        self._stored = self.step
        self._measured = [state["loop"]["measured"] for state in states]
        self._started = time.monotonic() - loop["wall_seconds"]
        self._evaluating = loop["evaluating_seconds"]
        self._stopwatch.resume(loop["stopwatch"])
        self._last_measure = (loop["last_measure"][0], loop["last_measure"][1])
        if "phases" in loop:
            self._phases.resume(loop["phases"])
        for index, (seed_run, state) in enumerate(zip(self._seed_runs, states, strict=True)):
            replay_file = restored_replay_file(seed_run.run, state, self._agent.spec.layout.single)
            self._replay_files[index] = replay_file
            for first in range(self._replay.first_needed(self.step), self.step, PIECE):
                self._replay.restore(index, first, replay_file.read(first, min(first + PIECE, self.step)))
            if self._replay.priorities is not None:
                self._replay.priorities.load_state_of(index, state["priorities"])
            self._agent.load_seed_state(index, state["agent"])
            # Those of the last evaluation, whatever has become of their file.
            if self._measured[index] == self.step:
                seed_run.run.checkpoints.save_weights(self._agent.weights_of(index), self.step)
            try:
                seed_run.resume(state["member"], replay_file.read(self.step - state["member"]["length"], self.step))
            except Exception as error:  # the other seeds go on
                seed_run.fail(self.step, error)

    def save(self) -> None:
        """Write a checkpoint of every active seed; one whose disk refuses fails, the others go on."""
        self._fail_non_finite()
        self._store_transitions()
        for index, seed_run in enumerate(self._seed_runs):
            if seed_run.active:
                self._save_seed(index)

    def _save_seed(self, index: int) -> None:
        seed_run = self._seed_runs[index]
        try:
            seed_run.run.checkpoints.save(self.step, self._state(index))
        except Exception as error:
            seed_run.fail(self.step, error)

    def _store_transitions(self) -> None:
        for index, (seed_run, replay_file) in enumerate(zip(self._seed_runs, self._replay_files, strict=True)):
            if seed_run.active:
                try:
                    replay_file.append(self._replay.since(index, self._stored))
                except Exception as error:
                    seed_run.fail(self.step, error)
        self._stored = self._replay.added

    def _state(self, index: int) -> dict[str, Any]:
        priorities = self._replay.priorities
        return {
            "step": self.step,
            "seed": self._seed_runs[index].run.seed,
            "row_size": self._agent.spec.layout.single.size,
            "replay_file": self._replay_files[index].name,
            "journal": self._replay_files[index].blocks,
            "priorities": None if priorities is None else priorities.state_of(index),
            "agent": self._agent.seed_state(index),
            "member": self._seed_runs[index].state(),
            "loop": {
                "measured": self._measured[index],
                "wall_seconds": self.seconds,
                "evaluating_seconds": self._evaluating,
                "stopwatch": dict(self._stopwatch.seconds),
                "last_measure": list(self._last_measure),
                "phases": self._phases.state(),
            },
            "conditions": self._conditions,
        }

    def run(self, stop: StopSignal) -> None:
        """Train until the last step, until every seed has stopped or failed, or until a signal arrives."""
        self._progress.phases, self._progress.first_update = self._phases, self.first_update
        self._note_phases()
        if self._phases.under_way:  # a signal broke that phase off
            self._learn(stop)
        elif self._unmeasured:  # or that measurement
            self._progress.update(self.step, self._agent.state.critic_updates, self._measure(stop))
        total = self._config.training.total_steps
        while self.step < total and stop.received is None and self._any_active:
            self.step += 1
            with self._stopwatch("env"):
                self._act(self.step <= self._random_steps)
            self._learn(stop)

    def _learn(self, stop: StopSignal) -> None:
        """Do what comes after an environment step: phases, updates, measurement, checkpoint.

        A signal breaks a phase off; the run goes on from there.
        """
        if self.step == self.first_update:
            self._fail_without_rows()
        for phase in self._phases.to_do(self.step):
            while self._phases.done < phase.updates:
                if stop.received is not None or not self._any_active:
                    return
                self._run_chunk(phase)
        if self.step >= self.first_update:
            self._update()
        if self._config.hardware.detect_anomaly:
            self._fail_non_finite()
        returns = None
        if self._unmeasured:
            returns = self._measure(stop)
        if self.step % self._config.checkpoint.interval == 0 and self.step < self._config.training.total_steps:
            self.save()
        self._progress.update(self.step, self._agent.state.critic_updates, returns)

    def _run_chunk(self, phase: Phase) -> None:
        """Make some updates of a phase, and log and save at its intervals."""
        started = time.monotonic()
        with self._stopwatch("phase"):
            self._agent.run_phase(phase.name, self._replay)
        self._phases.count(phase, time.monotonic() - started)
        self._note_phases()
        if self._config.hardware.detect_anomaly:
            self._fail_non_finite()
        if self._phases.passes(LOG_EVERY) or self._phases.done == phase.updates:
            self._log_phase(phase)
        if self._phases.passes(self._config.checkpoint.interval):
            self.save()
        self._progress.in_phase(self.step, self._agent.state.critic_updates)

    def _log_phase(self, phase: Phase) -> None:
        self._fail_non_finite()
        seconds = {"wall_seconds": self.seconds}
        taken = self._agent.take_phase_metrics(phase.name, self._replay)
        for seed_run, metrics in zip(self._seed_runs, taken, strict=True):
            if seed_run.active:
                try:
                    seed_run.log_phase(phase.name, self.step, metrics | seconds)
                except Exception as error:
                    seed_run.fail(self.step, error)

    def _note_phases(self) -> None:
        if self._phases:
            for seed_run in self._seed_runs:
                seed_run.run.note_phases(self._phases.told())

    @property
    def _any_active(self) -> bool:
        return any(seed_run.active for seed_run in self._seed_runs)

    def _act(self, random: bool) -> None:
        """Step every active seed's environment once and store the transitions."""
        obs = np.stack([seed_run.obs for seed_run in self._seed_runs])
        self._agent.observe(obs)
        actions = self._agent.random_action() if random else self._agent.explore(obs)
        rows = np.zeros((len(self._seed_runs), self._agent.spec.layout.single.size), dtype=np.float32)
        for row, seed_run, action in zip(rows, self._seed_runs, actions, strict=True):
            if seed_run.active:
                try:
                    row[:] = seed_run.step(action)
                except Exception as error:  # one seed's environment broke: the others go on
                    seed_run.fail(self.step, error)
        if self._replay.added - self._stored == self._replay.kept:
            self._store_transitions()  # before the oldest of them is overwritten
        self._agent.receive(rows)
        self._replay.add(torch.from_numpy(rows))
        self._agent.stored(self._replay)

    def _update(self) -> None:
        with self._stopwatch("sample"):
            batch = self._agent.sample(self._replay)
        with self._stopwatch("update"):
            self._agent.update(batch)

    @property
    def _unmeasured(self) -> list[int]:
        """The active seeds of which a measurement is due and has not been made."""
        total, interval = self._config.training.total_steps, self._config.eval.interval
        if self.step == 0 or (self.step % interval and self.step != total):
            return []
        return [i for i, each in enumerate(self._seed_runs) if each.active and self._measured[i] != self.step]

    def _measure(self, stop: StopSignal) -> list[float] | None:
        """Evaluate, keep the weights and log the interval's metrics. Returns each seed's mean return.

        A signal breaks it off: then nothing has changed, None is returned, and the run measures when it goes on.
        """
        self._fail_non_finite()
        started = time.monotonic()
        try:
            measured = measure(
                self._agent,
                {index: self._measurement(index, self._seed_runs[index]) for index in self._unmeasured},
                lambda: stop.received is not None,
            )
            beside = self._measure_beside(measured, stop)
            self._film([index for index, result in measured.items() if not isinstance(result, Exception)], stop)
        except BrokenOffError:
            self._evaluating += time.monotonic() - started
            return None
        training = self._take_training_metrics(started)
        self._evaluating += time.monotonic() - started
        returns = [math.nan] * len(self._seed_runs)
        for index, result in measured.items():
            seed_run = self._seed_runs[index]
            self._measured[index] = self.step
            if isinstance(result, Exception):  # one seed's measurement broke: the others went on
                seed_run.fail(self.step, result)
                continue
            try:
                asked = self._log(index, training[index], result | beside[index])
            except Exception as error:
                seed_run.fail(self.step, error)
                continue
            returns[index] = result["return_mean"]
            if asked is not None:
                self._stop(index, asked)
        return returns

    def _measure_beside(self, measured: Iterable[int], stop: StopSignal) -> dict[int, dict[str, float]]:
        """Evaluate what the agent wants to be told apart from what counts, of the seeds that were measured."""
        found: dict[int, dict[str, float]] = {index: {} for index in measured}
        for column, agent in self._agent.measured_beside(self.step // self._config.eval.interval).items():
            returns = {index: self._returns(self._seed_runs[index]) for index in found}
            for index, result in measure(agent, returns, lambda: stop.received is not None).items():
                if not isinstance(result, Exception):  # then there is none to log
                    found[index][column] = result
        return found

    def _film(self, indices: Iterable[int], stop: StopSignal) -> None:
        """Film an episode of seeds that were measured, before loggers are told, which look for it."""
        if self._filming is not None and self._filming.is_due(self.step):
            for index in indices:
                run = self._seed_runs[index].run
                self._filming.film(self._agent, index, run, self.step, lambda: stop.received is not None)

    def _returns(self, seed_run: SeedRun) -> Measurement[float]:
        episodes = self._config.eval.episodes
        seeds = evaluation_seeds(seed_run.run.seed, self.step, episodes)
        metrics, _ = yield from evaluate(seed_run.eval_envs(episodes), seeds)
        return metrics["return_mean"]

    def _stop(self, index: int, asked: Stop) -> None:
        """End one seed in order; of what it takes to go on it keeps as much as a finished one does."""
        seed_run, keep = self._seed_runs[index], self._config.checkpoint.keep_replay
        if keep:
            self._store_transitions()
            self._save_seed(index)
        if seed_run.active:
            seed_run.stop(self.step, asked)
        if seed_run.run.state in CUT_SHORT and not keep:
            seed_run.run.checkpoints.drop()

    def _take_training_metrics(self, at: float) -> list[dict[str, float]]:
        updates, seconds = self._agent.state.critic_updates, at - self._started - self._evaluating
        before, before_seconds = self._last_measure
        self._last_measure = (updates, seconds)
        common = {
            "updates": updates,
            "updates_per_second": (updates - before) / (seconds - before_seconds),
            **self._stopwatch.take(),
            "wall_seconds": at - self._started,
        }
        taken = [metrics | common for metrics in self._agent.take_metrics()]
        if self._agent.spec.features is None:
            return taken
        return [a | b for a, b in zip(taken, self._agent.take_feature_metrics(self._replay), strict=True)]

    def _measurement(self, index: int, seed_run: SeedRun) -> Measurement[dict[str, float]]:
        """Evaluate a seed; its result is what the code base measures, and the seconds that it took."""
        config, started = self._config, time.monotonic()
        measured = yield from self._agent.codebase.measure(
            self._agent,
            index,
            seed_run.eval_envs,
            seed_run.run.seed,
            self.step,
            config.eval.episodes,
            config.bias,
            self._agent.spec.return_discount,
        )
        return measured | {"evaluate_seconds": time.monotonic() - started}

    def _log(self, index: int, training: dict[str, float], measured: dict[str, float]) -> Stop | None:
        """Keep a seed's weights and log everything; return what is to end it, or None."""
        seed_run = self._seed_runs[index]
        seed_run.run.checkpoints.save_weights(self._agent.weights_of(index), self.step)
        metrics = {f"train/{name}": value for name, value in (training | seed_run.take_episodes()).items()}
        metrics |= {f"eval/{name}": value for name, value in measured.items()}
        metrics["eval/wall_seconds"] = self.seconds
        return seed_run.log(self.step, metrics)

    def _fail_without_rows(self) -> None:
        spec = self._agent.spec
        for seed_run, made in zip(self._seed_runs, self._replay.made, strict=True):
            if seed_run.active and not made:
                problem = f"no episode has had algo.n_step={spec.n_step} steps, and algo.n_step_form=ku takes no fewer"
                seed_run.fail(self.step, f"nothing to learn from: {problem}; algo.n_step_form=standard does")

    def _fail_non_finite(self) -> None:
        for index, seed_run in enumerate(self._seed_runs):
            if seed_run.active and (bad := self._agent.non_finite(index)):
                seed_run.fail(self.step, f"not finite at step {self.step}: {', '.join(bad)}")
