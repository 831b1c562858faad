"""Typed configuration: the schema, the composition of ``conf/`` and the checks made once, before anything runs."""

from droq_exp.config.composition import compose, compose_points, compose_sweep, sweep_points
from droq_exp.config.errors import ConfigError
from droq_exp.config.overrides import left_to_experiment, plain, readable, task_modules
from droq_exp.config.schema import Config

__all__ = [
    "Config",
    "ConfigError",
    "compose",
    "compose_points",
    "compose_sweep",
    "left_to_experiment",
    "plain",
    "readable",
    "sweep_points",
    "task_modules",
]
