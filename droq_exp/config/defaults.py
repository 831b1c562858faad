"""The schema's defaults as Hydra finds them: ``conf/`` repeats none, each file there names those it starts from.

``base`` is what all runs share; ``codebase/base_redq``, ``hardware/base_slurm``, ``logger/base_wandb`` and the like are
what one kind of choice has.
"""

from __future__ import annotations

from hydra.core.config_store import ConfigStore

from droq_exp.config import schema
from droq_exp.config.keys import CODEBASES, LAUNCHERS, defaults

LOGGERS = {"csv": schema.CsvConfig, "tensorboard": schema.TensorBoardConfig, "wandb": schema.WandbConfig}
SHARED = {
    "algo": schema.AlgoConfig,
    "env": schema.EnvConfig,
    "training": schema.TrainingConfig,
    "eval": schema.EvalConfig,
    "checkpoint": schema.CheckpointConfig,
}


def register() -> None:
    """Give Hydra the defaults; more than once is as good as once."""
    store = ConfigStore.instance().store
    base = defaults(schema.Config) | {name: defaults(block) for name, block in SHARED.items()}
    store(name="base", node=base | {"logger": {"csv": defaults(LOGGERS["csv"]), "tensorboard": None, "wandb": None}})
    for name, (codebase, bias) in CODEBASES.items():
        node = {"codebase": defaults(codebase), "bias": defaults(bias)}
        store(group="codebase", name=f"base_{name}", node=node, package="_global_")
    for name, hardware in LAUNCHERS.items():
        store(group="hardware", name=f"base_{name}", node=defaults(hardware))
    for name in ("tensorboard", "wandb"):
        store(group="logger", name=f"base_{name}", node={name: defaults(LOGGERS[name])})
