"""The keys that the schema knows, and how an unknown one is reported."""

from __future__ import annotations

import dataclasses
import typing
from functools import lru_cache
from typing import Any

from droq_exp.config import schema
from droq_exp.config.errors import ConfigError, nearest

CODEBASES: dict[str, tuple[type, type]] = {
    "redq": (schema.RedqCodebaseConfig, schema.RedqBiasConfig),
    "ku": (schema.KuCodebaseConfig, schema.KuBiasConfig),
}
LAUNCHERS: dict[str, type] = {  # by hardware.launcher
    "here": schema.HardwareConfig,
    "slurm": schema.SlurmHardwareConfig,
    "parallel": schema.ParallelHardwareConfig,
}
LAUNCHER_CHOICES = {"slurm": ("slurm_cpu", "slurm_gpu"), "parallel": ("cpu_parallel",)}  # of hardware, in conf/
FREE = "env.kwargs"  # whatever the task takes may stand below it
REPLACED = {  # keys of earlier versions, and what says the same now
    "hardware.compile": "is hardware.updates now: compile for true, eager for false, auto for null",
    "hardware.native": "is hardware.updates now: auto for true, compile or eager for false",
}
OPTIONAL_LOGGERS = ("tensorboard", "wandb")


@lru_cache
def known_keys(codebase: str, launcher: str = "here") -> dict[str, Any]:
    """Every key under ``codebase`` and ``launcher`` in dotted form with its annotated type, blocks included."""
    codebase_type, bias_type = CODEBASES[codebase]
    keys: dict[str, Any] = {}
    types = {"codebase": codebase_type, "bias": bias_type, "hardware": LAUNCHERS[launcher]}
    _collect(schema.Config, "", keys, types)
    return keys


def _collect(block: type, prefix: str, keys: dict[str, Any], substitutes: dict[str, type]) -> None:
    hints = typing.get_type_hints(block)
    for field in dataclasses.fields(block):
        key = prefix + field.name
        keys[key] = annotation = substitutes.get(key, hints[field.name])
        for part in (annotation, *typing.get_args(annotation)):
            if dataclasses.is_dataclass(part):
                _collect(typing.cast(type, part), key + ".", keys, substitutes)


def is_free(key: str) -> bool:
    """Whether ``key`` is an argument of the task, which only the task itself can check."""
    return key.startswith(FREE + ".")


def hardware_with(key: str) -> list[str]:
    """The choices of hardware that have ``key``, where not all have it; else nothing."""
    if key in known_keys("redq"):
        return []
    return [
        name for launcher, names in LAUNCHER_CHOICES.items() if key in known_keys("redq", launcher) for name in names
    ]


def is_block(key: str) -> bool:
    """Whether there are keys below ``key`` with some codebase."""
    return key == FREE or any(other.startswith(key + ".") for codebase in CODEBASES for other in known_keys(codebase))


def check_key(key: str, codebase: str, launcher: str, loggers: typing.Collection[str]) -> None:
    """Raise ConfigError unless ``key`` may be set in a run of ``codebase`` by ``launcher`` with these ``loggers``."""
    keys = known_keys(codebase, launcher)
    if is_free(key):
        return
    if key not in keys:
        raise _unknown(key, keys, codebase)
    if key == "hardware.launcher":
        raise ConfigError(key, "is set by the choice of hardware: give hardware=<choice> instead")
    for logger in OPTIONAL_LOGGERS:
        if key.startswith(f"logger.{logger}") and logger not in loggers:
            raise ConfigError(key, f"the {logger} logger is not selected: add logger={logger}")
    if key.count(".") == 1 and key.endswith(".name"):
        group = key.removesuffix(".name")
        raise ConfigError(key, f"is set by the choice of {group}: give {group}=<choice> instead")


def _unknown(key: str, keys: dict[str, Any], codebase: str) -> ConfigError:
    if key in REPLACED:
        return ConfigError(key, REPLACED[key])
    elsewhere = [other for other in CODEBASES if key in known_keys(other)]
    if elsewhere:
        return ConfigError(key, f"exists with codebase={elsewhere[0]} only, not with codebase={codebase}")
    if hardware := hardware_with(key):
        return ConfigError(key, f"exists with hardware={' or '.join(hardware)} only")
    parent = key.rpartition(".")[0]
    while parent and not is_block(parent):
        parent = parent.rpartition(".")[0]
    prefix = parent + "." if parent else ""
    names = {other.removeprefix(prefix).split(".")[0] for other in keys if other.startswith(prefix)}
    allowed = ", ".join(sorted(names - {"_target_", "name", "launcher"}))
    suggestion = _nearest_key(key, prefix, list(keys))
    return ConfigError(key, f"unknown key; allowed {'in ' + parent if parent else 'at the top'}: {allowed}", suggestion)


def _nearest_key(key: str, prefix: str, keys: list[str]) -> str | None:
    """The key meant by ``key``, whose first unknown part follows ``prefix``.

    It is the key of the same last name; else that of a name like the unknown part, below ``prefix`` first; else one
    whose name contains it.
    """
    last, unknown = key.rpartition(".")[2], key.removeprefix(prefix).split(".")[0]
    by_name: dict[str, str] = {}
    for other in sorted(keys, key=lambda other: not other.startswith(prefix)):
        by_name.setdefault(other.rpartition(".")[2], other)
    below = [name for name, other in by_name.items() if other.startswith(prefix)]
    containing = next((name for name in by_name if len(unknown) > 2 and unknown in name), None)
    name = last if last in by_name else nearest(unknown, below) or nearest(unknown, by_name) or containing
    return by_name[name] if name else None
