"""Typed configuration: the schema, the composition of ``conf/`` and the checks made once, before anything runs."""

from droq_exp.config.composition import (
    check_hydra_choices,
    compose,
    compose_points,
    compose_sweep,
    own_parts,
    search_block,
    sweep_points,
)
from droq_exp.config.errors import ConfigError
from droq_exp.config.overrides import (
    chooses_sweeper,
    distinct,
    left_to_experiment,
    plain,
    readable,
    search_lines,
    targets_of_directory,
    task_modules,
    typed_key,
    typed_targets,
)
from droq_exp.config.schema import Config

__all__ = [
    "Config",
    "ConfigError",
    "check_hydra_choices",
    "chooses_sweeper",
    "compose",
    "compose_points",
    "compose_sweep",
    "distinct",
    "left_to_experiment",
    "own_parts",
    "plain",
    "readable",
    "search_block",
    "search_lines",
    "sweep_points",
    "targets_of_directory",
    "task_modules",
    "typed_key",
    "typed_targets",
]
