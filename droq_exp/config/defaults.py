"""The schema's defaults as Hydra finds them: ``conf/`` repeats none, each file there names those it starts from.

``base`` is what all runs share; ``codebase/base_redq``, ``hardware/base_slurm``, ``logger/base_wandb`` and the like are
what one kind of choice has.
"""

from __future__ import annotations

from functools import cache

from hydra.core.config_store import ConfigStore

from droq_exp.config import schema
from droq_exp.config.keys import ALWAYS, CODEBASES, LAUNCHERS, OPEN, defaults

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
    always = {group: {name: defaults(blocks[name]) for name in ALWAYS.get(group, ())} for group, blocks in OPEN.items()}
    store(name="base", node=base | always)
    for name, (codebase, bias) in CODEBASES.items():
        node = {"codebase": defaults(codebase), "bias": defaults(bias)}
        store(group="codebase", name=f"base_{name}", node=node, package="_global_")
    for name, hardware in LAUNCHERS.items():
        store(group="hardware", name=f"base_{name}", node=defaults(hardware))
    for group, blocks in OPEN.items():
        for name, block in blocks.items():
            store(group=group, name=f"base_{name}", node={name: defaults(block)})
