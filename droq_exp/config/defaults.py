"""The schema's defaults as Hydra finds them: ``conf/`` repeats none, each file there names those it starts from.

``base`` is what all runs share; ``codebase/base_redq``, ``hardware/base_slurm``, ``logger/base_wandb`` and the like are
what one kind of choice has.
"""

from __future__ import annotations

from functools import cache

from hydra.core.config_store import ConfigStore

from droq_exp.config import schema
from droq_exp.config.keys import CODEBASES, LAUNCHERS, LOGGERS, OPTIONAL_LOGGERS, defaults

SHARED = {
    "algo": schema.AlgoConfig,
    "env": schema.EnvConfig,
    "training": schema.TrainingConfig,
    "eval": schema.EvalConfig,
    "checkpoint": schema.CheckpointConfig,
}


@cache  # it takes 13 ms, and each composition asks for it
def register() -> None:
    """Give Hydra the defaults, once a process."""
    store = ConfigStore.instance().store
    base = defaults(schema.Config) | {name: defaults(block) for name, block in SHARED.items()}
    loggers = {name: None if name in OPTIONAL_LOGGERS else defaults(block) for name, block in LOGGERS.items()}
    store(name="base", node=base | {"logger": loggers})
    for name, (codebase, bias) in CODEBASES.items():
        node = {"codebase": defaults(codebase), "bias": defaults(bias)}
        store(group="codebase", name=f"base_{name}", node=node, package="_global_")
    for name, hardware in LAUNCHERS.items():
        store(group="hardware", name=f"base_{name}", node=defaults(hardware))
    for name in OPTIONAL_LOGGERS:
        store(group="logger", name=f"base_{name}", node={name: defaults(LOGGERS[name])})
