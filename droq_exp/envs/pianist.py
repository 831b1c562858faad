"""RoboPianist's environment as a Gymnasium task, with what its authors' training adds to it."""

from __future__ import annotations

from typing import Any

import dm_env
import numpy as np
from gymnasium import spaces

from droq_exp.envs.dm_env import DmEnv
from droq_exp.envs.key_scores import key_scores

SCORES = ("precision", "recall", "f1")


class Pianist(DmEnv):
    """Two hands that play a song; the observation also has the last action and the last reward.

    Observations, float64, are the suite's in its own order, then ``action`` ``[act]``, in the action's own bounds
    (after a reset: the lower ones), then ``reward`` (after a reset: 0). The authors' ``ObservationActionReward`` adds
    the same numbers; they sort the parts by name.

    An episode lasts as long as the song and is truncated then: its last discount is 1. So it is where the task's
    ``wrong_press_termination`` ends it before, since the task sets its discount to 0 too late.

    The ``info`` of each step has ``precision``, ``recall`` and ``f1`` of the keys, means over the steps so far. At the
    song's end they are those of the authors' ``MidiEvaluationWrapper``, which imports scikit-learn and FluidSynth.
    """

    def __init__(self, env: dm_env.Environment, **picture: Any) -> None:
        """Take a new environment of ``robopianist.suite.load``; ``picture`` has what DmEnv draws by."""
        # The environment declares no time limit, and the song's length in steps has no public name.
        super().__init__(env, max_episode_steps=len(env.task._notes), **picture)
        lengths = dict(self.observation_order)
        before = sum(length for _, length in self.observation_order[: [*lengths].index("goal")])
        self._goal_now = slice(before, before + env.task.piano.n_keys)  # what follows it is of the pedal, and of later
        assert isinstance(self.action_space, spaces.Box)
        self._lowest = self.action_space.low  # [act]
        self.observation_order += [("action", len(self._lowest)), ("reward", 1)]
        size = sum(length for _, length in self.observation_order)
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,), dtype=np.float64)
        self._goal = np.zeros(0, dtype=bool)  # the keys that the step to come should press
        self._scores, self._steps = np.zeros(len(SCORES)), 0  # summed over the episode's steps, and how many these are

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin an episode; the observation, float64 ``[obs]``, and {}."""
        obs, info = super().reset(seed=seed, options=options)
        self._goal, self._scores, self._steps = obs[self._goal_now] > 0, np.zeros(len(SCORES)), 0
        return np.concatenate([obs, self._lowest, [0.0]]), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Act, ``[act]``; ResetNeeded where no episode is under way."""
        obs, reward, terminated, truncated, info = super().step(action)
        self._scores += key_scores(self._goal, self.adapted.task.piano.activation)
        self._steps += 1
        self._goal = obs[self._goal_now] > 0
        info |= zip(SCORES, (self._scores / self._steps).tolist(), strict=True)
        return np.concatenate([obs, action, [reward]]), reward, terminated, truncated, info
