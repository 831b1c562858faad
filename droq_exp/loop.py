"""The training loop: acts, stores, updates, and measures every interval. It knows no algorithm."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch

from droq_exp.agent import Agent
from droq_exp.checkpoint import save_weights
from droq_exp.config.schema import Config
from droq_exp.member import Member
from droq_exp.progress import Progress
from droq_exp.replay import Replay
from droq_exp.stopping import StopSignal


class TrainingLoop:
    """Trains the members of a pack in lockstep: one environment step of each, then one update of all."""

    def __init__(
        self, agent: Agent, replay: Replay, members: Sequence[Member], config: Config, progress: Progress
    ) -> None:
        """``members`` are in the order of the agent's seeds."""
        self.step = 0
        self._measured = 0  # the last step that was measured
        self._agent = agent
        self._replay = replay
        self._members = members
        self._config = config
        self._progress = progress
        self._started = time.monotonic()
        self._evaluating = 0.0  # seconds spent in measurements, which updates per second leave out
        self._last_measure = (0, 0.0)  # updates and training seconds at the last measurement

    @property
    def done(self) -> bool:
        """Whether the last step has been made and measured."""
        return self.step == self._config.training.total_steps and self._measured == self.step

    def run(self, stop: StopSignal) -> None:
        """Train until the last step, until every member has failed, or until a signal arrives."""
        total, start = self._config.training.total_steps, self._config.training.start_steps
        random_steps = self._agent.style.random_steps(start)
        first_update = self._agent.style.first_update_step(start)
        while self.step < total and stop.received is None and any(member.active for member in self._members):
            self.step += 1
            self._act(self.step <= random_steps)
            if self.step >= first_update:
                self._agent.update(self._replay)
            if self._config.hardware.detect_anomaly:
                self._fail_non_finite()
            returns = None
            if self.step % self._config.eval.interval == 0 or self.step == total:
                returns = self._measure()
            self._progress.update(self.step, self._agent.state.critic_updates, returns)

    def _act(self, random: bool) -> None:
        """Step every active member's environment once and store the transitions."""
        obs_dim = self._agent.spec.obs_dim
        obs = np.stack([member.obs if member.active else np.zeros(obs_dim) for member in self._members])
        actions = self._agent.random_action() if random else self._agent.explore(obs)
        rows = np.zeros((len(self._members), self._agent.spec.row_size), dtype=np.float32)
        for row, member, action in zip(rows, self._members, actions, strict=True):
            if member.active:
                try:
                    row[:] = member.step(action)
                except Exception as error:  # one seed's environment broke: the others go on
                    member.fail(self.step, error)
        self._replay.add(torch.from_numpy(rows))

    def _measure(self) -> list[float]:
        """Log the interval's training metrics, evaluate, and keep the weights. Returns each member's mean return."""
        self._fail_non_finite()
        training = self._take_training_metrics()
        started = time.monotonic()
        returns = [
            self._measure_member(index, member, metrics) if member.active else math.nan
            for index, (member, metrics) in enumerate(zip(self._members, training, strict=True))
        ]
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
            "wall_seconds": time.monotonic() - self._started,
        }
        return [metrics | common for metrics in self._agent.take_metrics()]

    def _measure_member(self, index: int, member: Member, training: dict[str, float]) -> float:
        config = self._config
        try:
            save_weights(member.run.directory / "checkpoint", self._agent.state.member(index), self.step)
            measured = self._agent.style.measure(
                self._agent, index, member.eval_env, member.run.seed, self.step, config.eval.episodes, config.bias
            )
            metrics = {f"train/{name}": value for name, value in (training | member.take_episodes()).items()}
            metrics |= {f"eval/{name}": value for name, value in measured.items()}
            metrics["eval/wall_seconds"] = time.monotonic() - self._started
            member.log(self.step, metrics)
            member.run.update(self.step)
        except Exception as error:  # one seed's evaluation broke: the others go on
            member.fail(self.step, error)
            return math.nan
        return measured["return_mean"]

    def _fail_non_finite(self) -> None:
        for index, member in enumerate(self._members):
            if member.active and (bad := self._agent.non_finite(index)):
                member.fail(self.step, f"not finite at step {self.step}: {', '.join(bad)}")
