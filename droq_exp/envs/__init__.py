"""Tasks: how they are made, adapted, and which of them the algorithms can learn."""

import gymnasium

from droq_exp.envs.make import make_env

__all__ = ["make_env"]

# By name: the module, which imports MuJoCo, waits until the task is made.
gymnasium.register("droq_exp/Quadruped-v0", "droq_exp.envs.quadruped:Quadruped", max_episode_steps=400)
