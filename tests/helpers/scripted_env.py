"""An environment whose episodes are written down in the test."""

from __future__ import annotations

import gymnasium
import numpy as np


class Script(gymnasium.Env):
    """Plays the episode that the reset seed picks; observation [seed, step]; the action is remembered, not used.

    Each episode is (rewards, whether it terminates at the end; the time limit otherwise).
    """

    def __init__(self, episodes):
        self.episodes = episodes
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,))
        self.seeds, self.actions = [], []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        self.step_index = 0
        return self._observation(), {}

    def step(self, action):
        self.actions.append(float(action[0]))
        rewards, terminates = self.episodes[self.seeds[-1]]
        assert self.step_index < len(rewards), "stepped past the end"
        reward = rewards[self.step_index]
        self.step_index += 1
        last = self.step_index == len(rewards)
        return self._observation(), reward, last and terminates, last and not terminates, {}

    def _observation(self):
        return np.array([self.seeds[-1], self.step_index], dtype=np.float64)
