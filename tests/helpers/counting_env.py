"""Tasks whose observations say which episode and step they belong to, and which break on demand.

Importing this module registers ``Counting-v0`` and ``Recycling-v0``.
"""

from __future__ import annotations

import os
import signal
import sys

import gymnasium
import numpy as np


class Counting(gymnasium.Env):
    """Observation [episode, step in it]; the reward is the number of the training step, episodes end by themselves.

    Only the environment that was last seeded with ``broken_seed`` breaks, at its step ``breaks_at`` (0: that reset):
    ``how`` is raise, leave (the process), nan_reward, inf_reward, huge_reward (its square is no float32), or a signal's
    name (sent to this process).
    """

    def __init__(self, length=6, broken_seed=-1, breaks_at=0, how="raise"):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        self.length, self.broken_seed, self.breaks_at, self.how = length, broken_seed, breaks_at, how
        self.seed = None
        self.steps = self.episode = self.time = 0

    def reset(self, *, seed=None, options=None):
        if seed is None:
            self.episode += 1
        else:
            self.seed, self.steps, self.episode = seed, 0, 0
        self.time = 0
        if self.seed == self.broken_seed and self.breaks_at == 0:
            raise RuntimeError("the simulator broke")
        return self._observation(), {}

    def step(self, action):
        self.steps += 1
        self.time += 1
        reward = float(self.steps)
        if self.seed == self.broken_seed and self.steps == self.breaks_at:
            reward = self._break(reward)
        return self._observation(), reward, self.time == self.length, False, {}

    def _break(self, reward):
        if self.how == "raise":
            raise RuntimeError("the simulator broke")
        if self.how == "leave":
            sys.exit(0)
        if self.how.endswith("_reward"):
            return float(self.how.removesuffix("_reward").replace("huge", "3e38"))
        os.kill(os.getpid(), signal.Signals[self.how])
        return reward

    def _observation(self):
        return np.array([self.episode, self.time], dtype=np.float64)


class Recycling(Counting):
    """Hands out the same array again and again, as some tasks do to save memory."""

    def _observation(self):
        if not hasattr(self, "shared"):
            self.shared = np.zeros(2)
        self.shared[:] = self.episode, self.time
        return self.shared


gymnasium.register("Counting-v0", entry_point=Counting, max_episode_steps=1000)
gymnasium.register("Recycling-v0", entry_point=Recycling, max_episode_steps=1000)
