"""Tasks that do what tasks should not, one thing each. Importing this module registers ``Odd-v0``."""

from __future__ import annotations

import random
import sys

import gymnasium
import numpy as np

GIVEN = {  # what a step returns instead, or a reset
    "reward of shape (1,)": {"reward": np.ones(1)},
    "reward None": {"reward": None},
    "reward of text": {"reward": "much"},
    "reward nan": {"reward": float("nan")},
    "reward beyond float32": {"reward": 1e39},
    "terminated an array": {"terminated": np.zeros(1, dtype=bool)},
    "truncated None": {"truncated": None},
    "observation of another shape": {"obs": np.zeros(3)},
    "observation of a matrix": {"obs": np.zeros((2, 1))},
    "observation of text": {"obs": ["a", "b"]},
    "observation of complex numbers": {"obs": np.array([0, 1j])},
    "observation masked": {"obs": np.ma.masked_array([0.0, 1.0], [True, False])},
    "reward complex": {"reward": 1j},
    "reward masked": {"reward": np.ma.masked_array(1.0, True)},
    "observation inf": {"obs": np.array([0, np.inf])},
    "observation beyond float32": {"obs": np.array([0, 1e300])},
}


class Odd(gymnasium.Env):
    """Observation [0, step]; ``odd`` names the thing, which begins with step ``since`` (0: at reset, where it can).

    Actions outside the box are refused if ``strict``.
    """

    def __init__(self, odd=None, since=2, low=(-1.0,), high=(1.0,), dtype="float32", ends=True, strict=True):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = gymnasium.spaces.Box(np.array(low, dtype), np.array(high, dtype), dtype=np.dtype(dtype))
        self.odd, self.since, self.ends, self.strict = odd, since, ends, strict
        self.resets = 0
        self.seen = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.resets = 0, self.resets + 1
        if self.odd == "leaves" and self.since == 0:
            sys.exit(0)
        return (self._obs(), {}) if self.odd != "reset of the old kind" else self._obs()

    def step(self, action):
        self.seen.append(np.array(action))
        assert not self.strict or self.action_space.contains(action), "outside of the box"
        if self.odd == "leaves" and self.time >= self.since:
            sys.exit(0)
        self.time += 1
        result = {"obs": self._obs(), "reward": float(action[0]), "terminated": False, "truncated": False}
        result["truncated"] = self.ends and self.time == 20
        if self.odd in GIVEN and self.time >= self.since:
            result |= GIVEN[self.odd]
        if self.odd == "changes the action":
            action *= 5
        if self.odd == "curriculum":
            result["reward"] += self.resets
        if self.odd == "global draws":
            result["reward"] += np.random.rand() + random.random()
        values = tuple(result.values())
        return (*values, {}) if self.odd != "step of the old kind" else values

    def close(self):
        if self.odd == "close":
            raise RuntimeError("the simulator is gone")
        if self.odd == "close leaves":
            sys.exit(0)

    def _obs(self):
        if self.since == 0 and self.odd in GIVEN and "obs" in GIVEN[self.odd]:
            return GIVEN[self.odd]["obs"]
        if self.odd == "one observation array":
            self.shared = vars(self).get("shared", np.zeros(2))
            self.shared[1] = self.time
            return self.shared
        return np.array([0.0, self.time])


gymnasium.register("Odd-v0", entry_point=Odd, max_episode_steps=20)
gymnasium.register("Needy-v0", entry_point=Odd, kwargs={"odd": "reward None"}, max_episode_steps=20)
gymnasium.register("Endless-v0", entry_point=Odd, kwargs={"ends": False})
