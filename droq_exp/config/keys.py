"""The keys that the schema declares, by their dotted names, and how an unknown one is reported."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from droq_exp.config import schema
from droq_exp.config.errors import ConfigError, nearest
from droq_exp.config.files import choices
from droq_exp.config.habits import key_meant
from droq_exp.config.parts import Parts, part_block
from droq_exp.config.rules import Relation, Rule, type_words

CODEBASES: dict[str, tuple[type, type]] = {
    "redq": (schema.RedqCodebaseConfig, schema.RedqBiasConfig),
    "ku": (schema.KuCodebaseConfig, schema.KuBiasConfig),
}
LAUNCHERS: dict[str, type] = {  # by hardware.launcher
    "here": schema.HardwareConfig,
    "slurm": schema.SlurmHardwareConfig,
    "parallel": schema.ParallelHardwareConfig,
}
OPEN: dict[str, dict[str, type]] = {  # groups of entries by name: this project's, and whatever has a target
    "logger": {"csv": schema.CsvConfig, "tensorboard": schema.TensorBoardConfig, "wandb": schema.WandbConfig},
    "callbacks": {"early_stop": schema.EarlyStopConfig},
}
ALWAYS = {"logger": ("csv",)}  # of these, what need not be chosen
LAUNCHER_CHOICES = {"slurm": ("slurm_cpu", "slurm_gpu"), "parallel": ("cpu_parallel",)}  # of hardware, in conf/
FREE = "env.kwargs"  # whatever the task takes may stand below it
REPLACED = {  # keys of earlier versions and of descriptions elsewhere, and what says the same now
    "env.model_dir": "is an argument of the task: env=quadruped env.kwargs.model_dir=<folder> takes another robot",
    "hardware.compile": "has become hardware.updates: compile for true, eager for false, auto for null",
    "hardware.native": "has become hardware.updates: auto for true, compile or eager for false",
}


@dataclass(frozen=True)
class Key:
    """One key, or a block of them, as ``droq_exp.config.schema`` declares it."""

    name: str
    annotation: Any
    default: Any  # MISSING from OmegaConf where it must be given; a block's: None
    meaning: str
    rule: Rule | None
    relation: Relation | None

    @property
    def is_block(self) -> bool:
        """Whether keys stand below it."""
        return self.name in OPEN or bool(_blocks(self.annotation))

    @property
    def settable(self) -> bool:
        """Whether it is a value that a user gives, not one that follows from a choice."""
        last = self.name.rpartition(".")[2]
        return not self.is_block and (last not in ("_target_", "name", "launcher") or is_part(self.name))

    @property
    def allowed(self) -> str:
        """What its values may be, in words."""
        if self.relation:
            return self.relation.words
        return self.rule.allowed if self.rule else type_words(self.annotation)


@lru_cache
def known_keys(codebase: str, launcher: str = "here", parts: Parts = ()) -> MappingProxyType[str, Key]:
    """Every key under ``codebase`` and ``launcher`` by its dotted name, blocks included.

    ``parts`` are the unusual parts of the algorithm, whose keys are among them.

    Raises:
        ConfigError: one of these is not what a part must be.
    """
    codebase_type, bias_type = CODEBASES[codebase]
    types = {"codebase": codebase_type, "bias": bias_type, "hardware": LAUNCHERS[launcher]}
    types |= {f"algo.{name}": block for name, block in schema.PARTS.items()}
    types |= {key: part_block(key, target) for key, target in parts}
    return MappingProxyType({each.name: each for each in _collect(schema.Config, "", types)})


def _collect(block: type, prefix: str, substitutes: dict[str, type]) -> Iterator[Key]:
    hints = typing.get_type_hints(block)
    for field in dataclasses.fields(block):
        name = prefix + field.name
        annotation, told = substitutes.get(name, hints[field.name]), field.metadata
        blocks = _blocks(annotation)
        default = None if blocks else _default(field)
        yield Key(name, annotation, default, told.get("meaning", ""), told.get("rule"), told.get("relation"))
        for part in blocks:
            yield from _collect(part, name + ".", substitutes)
        for entry, its_block in OPEN.get(name, {}).items():
            yield Key(f"{name}.{entry}", its_block, None, "", None, None)
            yield from _collect(its_block, f"{name}.{entry}.", substitutes)


def _blocks(annotation: Any) -> list[type]:
    parts = (annotation, *typing.get_args(annotation))
    return [typing.cast(type, part) for part in parts if dataclasses.is_dataclass(part)]


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def defaults(block: type) -> dict[str, Any]:
    """The defaults of a block of the schema; where its keys must be given, OmegaConf's MISSING."""
    return {field.name: _plain(_default(field)) for field in dataclasses.fields(block) if "meaning" in field.metadata}


def _plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def entry_of(key: str) -> tuple[str, str] | None:
    """The open group and the name of the entry there that ``key`` is of or stands for; None of any other key."""
    group, _, rest = key.partition(".")
    return (group, rest.partition(".")[0]) if group in OPEN and rest else None


def is_part(key: str) -> bool:
    """Whether ``key`` is a part of the algorithm or stands below one, where an unusual one has keys of its own."""
    return any(f"{key}.".startswith(f"algo.{part}.") for part in schema.PARTS)


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


def check_key(
    key: str,
    codebase: str,
    launcher: str,
    parts: Parts = (),
    entries: typing.Mapping[str, typing.Collection[str]] = MappingProxyType({}),
    directories: Sequence[Path] = (),
) -> None:
    """Raise ConfigError unless ``key`` may be set in a run with these choices.

    Args:
        key: its dotted name.
        codebase: by name.
        launcher: by name.
        parts: the unusual parts of the algorithm.
        entries: of each open group the names that are there. The keys of one that is not this project's are for its
            class to tell, once all is composed.
        directories: further ones with choices.
    """
    keys = known_keys(codebase, launcher, parts)
    entry = entry_of(key)
    if is_free(key) or (entry and entry[1] not in OPEN[entry[0]] and entry[1] in entries.get(entry[0], ())):
        return
    if key not in keys:
        if entry and entry[1] not in OPEN[entry[0]] and entry[1] in choices(entry[0], directories):
            raise ConfigError(key, f"{entry[1]} is not chosen: add {entry[0]}={entry[1]}")
        raise _unknown(key, keys, codebase)
    if key == "hardware.launcher":
        raise ConfigError(key, "is set by the choice of hardware: give hardware=<choice> instead")
    if entry and entry[1] not in (*ALWAYS.get(entry[0], ()), *entries.get(entry[0], ())):
        raise ConfigError(key, f"{entry[1]} is not chosen: add {entry[0]}={entry[1]}")
    if key.count(".") == 1 and key.endswith(".name"):
        group = key.removesuffix(".name")
        raise ConfigError(key, f"is set by the choice of {group}: give {group}=<choice> instead")


def _unknown(key: str, keys: typing.Mapping[str, Key], codebase: str) -> ConfigError:
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
    if is_part(parent) and not allowed:
        return ConfigError(key, f"{parent} has no keys of its own; {parent}._target_=<class> names one that has")
    dotted = key.replace("/", ".")
    suggestion = dotted if dotted in keys else key_meant(key) or _nearest_key(key, prefix, list(keys))
    where = f"in {parent}" if parent else "at the top"
    return ConfigError(key, "unknown key", suggestion, f"allowed {where}: {allowed}")


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
