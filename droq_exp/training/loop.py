"""The training loop: acts, stores, updates, measures and saves every interval. It knows no algorithm."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from droq_exp.agent.agent import Agent
from droq_exp.agent.replay import Replay
from droq_exp.config.schema import Config
from droq_exp.evaluation.returns import Measurement, measure
from droq_exp.runs.checkpoint import save_weights
from droq_exp.training.progress import Progress
from droq_exp.training.seed_run import Member
from droq_exp.training.stopping import StopSignal
from droq_exp.training.stopwatch import Stopwatch


class TrainingLoop:
    """Trains the members of a pack in lockstep: one environment step of each, then one update of all."""

    def __init__(
        self,
        agent: Agent,
        replay: Replay,
        members: Sequence[Member],
        config: Config,
        progress: Progress,
        conditions: dict[str, Any],
    ) -> None:
        """``members`` are in the order of the agent's seeds; then ``begin`` or ``resume``, then ``run``.

        ``conditions`` is stored in checkpoints: what else equal numbers depend on.
        """
        self.step = 0
        self._measured = 0  # the last step that was measured
        self._stored = 0  # transitions that the journals hold
        self._agent = agent
        self._replay = replay
        self._members = members
        self._config = config
        self._progress = progress
        self._conditions = conditions
        self._journals = [member.run.checkpoints.journal(agent.spec.row_size) for member in members]
        self._started = time.monotonic()
        self._evaluating = 0.0  # seconds spent in measurements, which updates per second leave out
        self._stopwatch = Stopwatch("env", "sample", "update")  # since the last measurement
        self._last_measure = (0, 0.0)  # updates and training seconds at the last measurement

    @property
    def done(self) -> bool:
        """Whether the last step has been made and measured."""
        return self.step == self._config.training.total_steps and self._measured == self.step

    def begin(self) -> None:
        """Start from step 0."""
        for member in self._members:
            member.begin()

    def resume(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from checkpoints of one step, one for each member, as :meth:`save` wrote them."""
        self.step, loop = states[0]["step"], states[0]["loop"]
        self._stored = self.step
        self._measured = loop["measured"]
        self._started = time.monotonic() - loop["wall_seconds"]
        self._evaluating = loop["evaluating_seconds"]
        self._stopwatch.resume(loop["stopwatch"])
        self._last_measure = (loop["last_measure"][0], loop["last_measure"][1])
        for index, (member, journal, state) in enumerate(zip(self._members, self._journals, states, strict=True)):
            journal.restore(state["journal"])
            held = min(self.step, self._replay.capacity)
            self._replay.restore(index, self.step, journal.read(self.step - held, self.step))
            self._agent.load_member_state(index, state["agent"])
            try:
                member.resume(state["member"], journal.read(self.step - state["member"]["length"], self.step))
            except Exception as error:  # the other seeds go on
                member.fail(self.step, error)

    def save(self) -> None:
        """Write a checkpoint of every active member; one whose disk refuses fails, the others go on."""
        self._fail_non_finite()
        self._store_transitions()
        for index, member in enumerate(self._members):
            if member.active:
                try:
                    member.run.checkpoints.save(self.step, self._state(index))
                except Exception as error:
                    member.fail(self.step, error)

    def _store_transitions(self) -> None:
        for index, (member, journal) in enumerate(zip(self._members, self._journals, strict=True)):
            if member.active:
                try:
                    member.run.check_lock()
                    journal.append(self._replay.since(index, self._stored))
                except Exception as error:
                    member.fail(self.step, error)
        self._stored = self._replay.added

    def _state(self, index: int) -> dict[str, Any]:
        return {
            "step": self.step,
            "row_size": self._agent.spec.row_size,
            "journal": self._journals[index].blocks,
            "agent": self._agent.member_state(index),
            "member": self._members[index].state(),
            "loop": {
                "measured": self._measured,
                "wall_seconds": time.monotonic() - self._started,
                "evaluating_seconds": self._evaluating,
                "stopwatch": dict(self._stopwatch.seconds),
                "last_measure": list(self._last_measure),
            },
            "conditions": self._conditions,
        }

    def run(self, stop: StopSignal) -> None:
        """Train until the last step, until every member has failed, or until a signal arrives."""
        total, start = self._config.training.total_steps, self._config.training.start_steps
        random_steps = self._agent.codebase.random_steps(start)
        first_update = self._agent.codebase.first_update_step(start, self._agent.spec.batch_size)
        while self.step < total and stop.received is None and any(member.active for member in self._members):
            self.step += 1
            with self._stopwatch("env"):
                self._act(self.step <= random_steps)
            if self.step >= first_update:
                self._update()
            if self._config.hardware.detect_anomaly:
                self._fail_non_finite()
            returns = None
            if self.step % self._config.eval.interval == 0 or self.step == total:
                returns = self._measure()
            if self.step % self._config.checkpoint.interval == 0 and self.step < total:
                self.save()
            self._progress.update(self.step, self._agent.state.critic_updates, returns)

    def _act(self, random: bool) -> None:
        """Step every active member's environment once and store the transitions."""
        obs = np.stack([member.obs for member in self._members])
        actions = self._agent.random_action() if random else self._agent.explore(obs)
        rows = np.zeros((len(self._members), self._agent.spec.row_size), dtype=np.float32)
        for row, member, action in zip(rows, self._members, actions, strict=True):
            if member.active:
                try:
                    row[:] = member.step(action)
                except Exception as error:  # one seed's environment broke: the others go on
                    member.fail(self.step, error)
        if self._replay.added - self._stored == self._replay.capacity:
            self._store_transitions()  # before the oldest of them is overwritten
        self._replay.add(torch.from_numpy(rows))

    def _update(self) -> None:
        with self._stopwatch("sample"):
            batch = self._agent.sample(self._replay)
        with self._stopwatch("update"):
            self._agent.update(batch)

    def _measure(self) -> list[float]:
        """Log the interval's training metrics, evaluate, and keep the weights. Returns each member's mean return."""
        self._fail_non_finite()
        training = self._take_training_metrics()
        started = time.monotonic()
        measured = measure(
            self._agent,
            {
                index: self._measurement(index, member, metrics)
                for index, (member, metrics) in enumerate(zip(self._members, training, strict=True))
                if member.active
            },
        )
        returns = [math.nan] * len(self._members)
        for index, result in measured.items():
            if isinstance(result, Exception):  # one seed's measurement broke: the others went on
                self._members[index].fail(self.step, result)
            else:
                returns[index] = result
        self._evaluating += time.monotonic() - started
        self._measured = self.step
        return returns

    def _take_training_metrics(self) -> list[dict[str, float]]:
        updates, seconds = self._agent.state.critic_updates, time.monotonic() - self._started - self._evaluating
        before, before_seconds = self._last_measure
        self._last_measure = (updates, seconds)
        common = {
            "updates": updates,
            "updates_per_second": (updates - before) / (seconds - before_seconds),
            **self._stopwatch.take(),
            "wall_seconds": time.monotonic() - self._started,
        }
        return [metrics | common for metrics in self._agent.take_metrics()]

    def _measurement(self, index: int, member: Member, training: dict[str, float]) -> Measurement[float]:
        """Keep a member's weights, evaluate it and log everything. Its result is the mean return."""
        config, started = self._config, time.monotonic()
        save_weights(member.run.directory / "checkpoint", self._agent.state.member(index), self.step)
        measured = yield from self._agent.codebase.measure(
            self._agent,
            index,
            member.eval_envs,
            member.run.seed,
            self.step,
            config.eval.episodes,
            config.bias,
            self._agent.spec.gamma,
        )
        metrics = {f"train/{name}": value for name, value in (training | member.take_episodes()).items()}
        metrics |= {f"eval/{name}": value for name, value in measured.items()}
        metrics["eval/evaluate_seconds"] = time.monotonic() - started
        metrics["eval/wall_seconds"] = time.monotonic() - self._started
        member.log(self.step, metrics)
        member.run.update(self.step)
        return measured["return_mean"]

    def _fail_non_finite(self) -> None:
        for index, member in enumerate(self._members):
            if member.active and (bad := self._agent.non_finite(index)):
                member.fail(self.step, f"not finite at step {self.step}: {', '.join(bad)}")
