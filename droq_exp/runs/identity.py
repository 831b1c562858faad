"""What a run *is*: the values that its results depend on, and the directory that follows from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from droq_exp.config.errors import shown
from droq_exp.config.schema import BY_KEY, Config

# What a run's config.yaml tells beside its configuration.
NOT_CONFIGURATION = ("format", "differences", "identity", "observation", "code")
GROUPS = ("algo", "env", "codebase", "training", "eval", "bias")  # of the configuration; what a run's results depend on
ONCE = ("training.restart", "training.accept_code")  # said of one command, and no part of what a run is
SHOWN = ("eval.video_every",)  # of what training does, for people to look at; its results do not depend on it
ABSENT = "(absent)"  # stands for a key that only one of the two configurations has


def identity(config: Config) -> dict[str, Any]:
    """Flat mapping such as {"algo.gamma": 0.99, ...} of everything that makes this run another run.

    ``training.total_steps`` is left out, since more of it extends a run; so are what is
    said of one command (``ONCE``), what is filmed (``SHOWN``), the seed, which has a directory of its own, and
    hardware, logger and output settings, precision excepted.
    """
    values: dict[str, Any] = {}
    for group in GROUPS:
        values.update(_flatten(group, _without_own_targets(getattr(config, group))))
    values.update(_flatten("callbacks", config.callbacks))  # nothing where there are none, as before they existed
    for key in ("training.total_steps", *ONCE, *SHOWN):
        del values[key]
    values["hardware.precision"] = config.hardware.precision
    return values


def _without_own_targets(block: Any) -> dict[str, Any]:
    """The content of a block; a target that is the schema's own default says nothing."""
    content = {}
    for field in fields(block):
        value = getattr(block, field.name)
        if is_dataclass(value):
            value = _without_own_targets(value)
        if field.name != "_target_" or value != field.default:
            content[field.name] = value
    return content


def differences(config: Config, recipe: Config) -> dict[str, tuple[Any, Any]]:
    """Identity values in which a run departs from its recipe: {key: (recipe's value, run's value)}, by key."""
    theirs, ours = identity(recipe), identity(config)
    pairs = {key: (theirs.get(key, ABSENT), ours.get(key, ABSENT)) for key in sorted({*theirs, *ours})}
    return {key: pair for key, pair in pairs.items() if _canonical(pair[0]) != _canonical(pair[1])}


def conflict(stored: dict[str, Any], config: Config) -> str | None:
    """Tell where the identity ``stored`` in a run directory departs from ``config``'s; None where it does not.

    A key that did not exist when the run was made stands for what was done then, where the schema says what that is.
    """
    ours = identity(config)
    stored = absent_values(config) | stored
    pairs = ((key, stored.get(key, ABSENT), ours.get(key, ABSENT)) for key in sorted({*stored, *ours}))
    told = [
        f"{key} is {shown(there)} there and {shown(here)} here"
        for key, there, here in pairs
        if _canonical(there) != _canonical(here)
    ]
    return "; ".join(told) or None


def departures(stored: Any, config: Config) -> list[str]:
    """Keys in which ``config`` is not what the ``stored`` identity beside it says; those that only one knows aside.

    So are hardware and callbacks, which a reader of a run leaves out.
    """
    ours = {key: value for key, value in identity(config).items() if not key.startswith(("hardware.", "callbacks."))}
    told = stored if isinstance(stored, dict) else {}
    return [key for key, value in ours.items() if key in told and _canonical(told[key]) != _canonical(value)]


def younger_keys(stored: dict[str, Any], config: Config) -> dict[str, Any]:
    """The keys that a stored identity is too old to have, with their values then where ``config`` has others."""
    ours = identity(config)
    absent = {key: value for key, value in absent_values(config).items() if key not in stored}
    return {key: value for key, value in absent.items() if _canonical(value) != _canonical(ours.get(key, ABSENT))}


def absent_values(config: Config) -> dict[str, Any]:
    """The values for which keys younger than a stored identity stand, as the schema declares them (``absent``)."""
    return {key: value for group in GROUPS for key, value in _absent(group, getattr(config, group))}


def _absent(prefix: str, block: Any) -> Iterator[tuple[str, Any]]:
    for field in fields(block):
        key, value = f"{prefix}.{field.name}", getattr(block, field.name)
        if "absent" in field.metadata:
            yield key, field.metadata["absent"]
        if is_dataclass(value):
            yield from _absent(key, value)


def group_parts(config: Config, recipe: Config) -> list[str]:
    """What the seeds of a run share, as folder names: experiment, codebase, algorithm, environment (and variant)."""
    changed = {key: run for key, (_, run) in differences(config, recipe).items()}
    environment = environment_name(config)
    if changed:
        environment = f"{environment}-{short_hash(changed)}"
    return [config.experiment_name, config.codebase.name, config.algo.name, environment]


def environment_name(config: Config) -> str:
    """Folder name of the task: its name in ``conf/env``, or the Gymnasium id where a key says which it is."""
    return folder_of_id(config.env.id) if config.env.name in BY_KEY else config.env.name


def folder_of_id(task: str) -> str:
    """A Gymnasium id as a folder name: neither "+" nor "=" may occur in an id, so different ones stay different."""
    return task.replace("/", "+").replace(":", "=")


def short_hash(changed: Mapping[str, Any]) -> str:
    """Eight hex digits over the values that differ from the recipe, {key: run's value}."""
    return hashlib.sha256(_canonical(changed).encode()).hexdigest()[:8]


def run_directory(config: Config, recipe: Config, seed: int) -> Path:
    """Where this run's output goes: a function of what the run is, never of the clock."""
    return Path(config.output_dir).joinpath(*group_parts(config, recipe), f"seed_{seed}")


def _flatten(prefix: str, content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flatten(f"{prefix}.{key}", value)
        else:
            yield f"{prefix}.{key}", value


def _canonical(value: Any) -> str:
    """JSON that does not depend on key order or on the spelling of a number (1, 1.0)."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
