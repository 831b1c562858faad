"""Tasks: how they are made, adapted, and which of them the algorithms can learn."""

from droq_exp.envs.make import make_env

__all__ = ["make_env"]
