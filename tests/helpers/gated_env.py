"""A task that takes its time until a file appears, so that a test finds its runs in the middle of training."""

from __future__ import annotations

import time
from pathlib import Path

import gymnasium
from counting_env import Counting

SLOW_FROM = 55  # training steps done at full speed, the first evaluation at 50 and some updates among them


class Gated(Counting):
    """As ``Counting``; but while there is no file ``gate``, each step from ``SLOW_FROM`` on takes 0.2 s."""

    def __init__(self, gate=None, **kwargs):
        super().__init__(**kwargs)
        self.gate = None if gate is None else Path(gate)

    def step(self, action):
        if self.gate is not None and self.steps >= SLOW_FROM and not self.gate.exists():
            time.sleep(0.2)
        return super().step(action)


gymnasium.register("Gated-v0", entry_point=Gated, max_episode_steps=1000)
