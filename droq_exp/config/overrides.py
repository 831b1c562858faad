"""The command line's overrides: parsed, checked by name, expanded into the points of a sweep."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    Override,
    OverrideType,
    QuotedString,
    RangeSweep,
    Sweep,
)
from hydra.errors import HydraException

from droq_exp.config.errors import ConfigError, nearest
from droq_exp.config.files import GROUPS, choices
from droq_exp.config.habits import way_instead
from droq_exp.config.keys import ALWAYS, FREE, entry_of, is_block, is_free, is_part
from droq_exp.config.targets import is_trusted, targets_in

# What a user may set of Hydra's own.
HYDRA_KEYS = ("hydra.searchpath", "hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper")
MANY = ("logger", "callbacks")  # groups of which several choices may be selected
OPTIONAL = ("callbacks", "experiment", "debug")
MOST_POINTS = 10_000  # of a sweep: each is composed before the first starts, so that more are never meant


def parse(overrides: Sequence[str]) -> list[Override]:
    """Parse ``overrides`` and check everything but the names of plain keys, which depend on the choices made.

    A ``+`` is dropped (the schema says which keys there are), but set on arguments of the task, on keys of the
    algorithm's parts and on loggers and callbacks, which Hydra would otherwise take for unknown keys.

    Args:
        overrides: as typed.

    Raises:
        ConfigError: bad syntax, a deletion, one of Hydra's own keys, or an unknown choice.
    """
    parsed = [_parse_one(text) for text in overrides]
    directories = search_path(parsed)
    for override in parsed:
        if is_group(override):
            _check_choices(override, directories)
    return parsed


def is_group(override: Override) -> bool:
    """Whether the override chooses from a group."""
    return override.key_or_group in GROUPS


def keys(override: Override) -> list[str]:
    """The key that a plain override sets, or those within it when it sets a whole block.

    Raises:
        ConfigError: something else than a mapping for a block.
    """
    if override.is_sweep_override():
        return [override.key_or_group]
    return _keys_within(override.key_or_group, override.value())


def _keys_within(key: str, value: Any) -> list[str]:
    if not is_block(key):
        return [key]
    entry = entry_of(key)
    if value is None and entry and entry[1] not in ALWAYS.get(entry[0], ()):
        return []  # leaves out what a file has, if it has it
    if not isinstance(value, dict):
        raise ConfigError(key, f"{value!r} is not a block of keys; allowed: {key}.<name>=<value>")
    within = [name for part, inner in value.items() for name in _keys_within(f"{key}.{part}", inner)]
    return [key] if key == FREE else within


def left_to_experiment(params: Mapping[str, Any], given: Sequence[Override]) -> list[str]:
    """The part of an experiment's own sweep that the command line leaves to it, as overrides.

    Args:
        params: ``hydra.sweeper.params`` of the experiment: each key with what would be typed after ``key=``.
        given: the command line's overrides; a key that they set is theirs.
    """
    theirs = {key for item in given for key in ([item.key_or_group] if is_group(item) else keys(item))}
    kept = {key: values for key, values in params.items() if key not in theirs}
    return [f"{key}={values if isinstance(values, str) else json.dumps(values)}" for key, values in kept.items()]


def expand(overrides: Sequence[str], loader: Any) -> list[list[str]]:
    """The points of the sweep that ``overrides`` ask for, each a list of plain overrides.

    Args:
        overrides: as typed.
        loader: Hydra's configuration loader, for ``glob(...)``.

    Raises:
        ConfigError: as ``parse``, or a sweep without end, without any point or of too many.
    """
    parsed = parse(overrides)
    points = 1
    for override in parsed:
        override.config_loader = loader
        if override.is_interval_sweep():
            raise ConfigError(override.key_or_group, "interval() has no end; a sweep takes a,b,c, choice() or range()")
        if not override.is_sweep_override():
            continue
        points *= _count(override)
        if not points:
            raise ConfigError(override.key_or_group, f"{override.get_value_string()} is no value at all")
        if points > MOST_POINTS:
            raise ConfigError(override.key_or_group, f"a sweep has at most {MOST_POINTS:,} points")
    hydra = [text(override) for override in parsed if override.is_hydra_override()]
    task = [override for override in parsed if not override.is_hydra_override()]
    return [hydra + point for batch in BasicSweeper.split_arguments(task, None) for point in batch]


def text(override: Override) -> str:
    """The override as Hydra is to read it."""
    assert override.input_line is not None
    return f"{override.get_key_element()}={override.get_value_string()}"


def quoted(value: str) -> str:
    """A text that Hydra reads back as it is, whatever its characters: with quotes, and no part of it interpolated."""
    value = re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", value)
    value = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + (r"\'" if found[2] else ""), value)
    return f"'{value}'"


def plain(overrides: Sequence[str]) -> list[str]:
    """Checked ``overrides`` as Hydra is to read them."""
    return [text(override) for override in parse(overrides)]


def readable(point: Sequence[str]) -> str:
    """A point of a sweep as one would type it."""
    return " ".join(line.lstrip("+") for line in point if not line.startswith(HYDRA_KEYS))


def distinct(point: Sequence[str], points: Sequence[Sequence[str]]) -> str:
    """What of a point of a sweep the other ``points`` have not all in common with it, as one would type it."""
    shared = set(points[0]).intersection(*points[1:])
    return readable([line for line in point if line not in shared])


def typed_key(line: str) -> str:
    """The key that an override sets, without the pluses before it."""
    return line.partition("=")[0].lstrip("+")


def search_lines(overrides: Sequence[str]) -> list[str]:
    """Those of ``overrides`` by which further configuration directories are searched."""
    return [line for line in overrides if line.startswith("hydra.searchpath")]


def search_path(parsed: Sequence[Override]) -> list[Path]:
    """Further configuration directories that are asked for.

    Raises:
        ConfigError: the path of a package that is not trusted: looking there imports it.
    """
    values = [item.value() for item in parsed if item.key_or_group == "hydra.searchpath"]
    places = [str(place) for value in values if isinstance(value, list) for place in value]
    for place in places:
        package = place.removeprefix("pkg://")
        if package != place and not is_trusted(package):
            problem = f"{place} imports {package}; --trust {package.partition('.')[0]} allows that"
            raise ConfigError("hydra.searchpath", problem)
    return [Path(place.removeprefix("file://")) for place in places]


def task_modules(overrides: Sequence[str]) -> list[str]:
    """The modules that the tasks of ``overrides`` name, such as "module:" of ``env.id=module:Task-v0``.

    Raises:
        ConfigError: as ``parse``.
    """
    chosen = [item for item in parse(overrides) if item.key_or_group == "env.id"]
    tasks = [str(value) for item in chosen for value in _typed_values(item)]
    return [f"{task.rpartition(':')[0]}:" for task in tasks if ":" in task]


def typed_targets(overrides: Sequence[str]) -> list[str]:
    """The targets that ``overrides`` name.

    Raises:
        ConfigError: as ``parse``.
    """
    found: list[str] = []
    for item in parse(overrides):
        if item.is_hydra_override() or item.key_or_group == "hydra":
            continue
        last = item.key_or_group.rpartition(".")[2]
        for value in _typed_values(item):
            found += targets_in({last: value})
    return found


def _typed_values(override: Override) -> list[Any]:
    """The value of an override, or the values that it sweeps over, without Hydra's quotes."""
    value = override.value()
    values = value.list if isinstance(value, ChoiceSweep) else [value]
    return [each.text if isinstance(each, QuotedString) else each for each in values]


def chooses_sweeper(overrides: Sequence[str]) -> bool:
    """Whether ``overrides`` choose who makes the points of a sweep."""
    return any(line.startswith("hydra/sweeper=") for line in overrides)


def targets_of_directory(directory: str | os.PathLike[str]) -> list[str]:
    """The targets that the files of a configuration directory name; a file that cannot be read has none."""
    found: list[str] = []
    for path in sorted(Path(directory).rglob("*.yaml")):
        with suppress(OSError, ValueError, yaml.YAMLError):
            found += targets_in(yaml.safe_load(path.read_text(encoding="utf-8")))
    return found


@lru_cache(maxsize=1024)  # the points of a sweep have most of their lines in common, and ANTLR is slow
def _read(line: str) -> Override:
    return OverridesParser.create().parse_override(line)


def _parse_one(line: str) -> Override:
    try:
        override = copy.copy(_read(line))  # its type is set below
    except HydraException as error:
        raise _syntax_error(line) from error
    key = override.key_or_group
    if not key:
        raise _syntax_error(line)
    if override.is_delete():
        raise ConfigError(f"~{key}", "nothing can be removed; set it to another value")
    if override.is_hydra_override() or key == "hydra":
        if not key.startswith(HYDRA_KEYS):
            problem = f"Hydra's own settings are fixed, but for {', '.join(HYDRA_KEYS)}"
            raise ConfigError(key, f"{problem}; {way}" if (way := way_instead(key)) else problem)
        _check_hydra_value(key, override.value())
        return override
    if override.package is not None:
        raise ConfigError(f"{key}@{override.package}", f"a choice stays in its place: {key}=<choice>")
    if not isinstance(override.value(), Sweep) and _holds_sweep(override.value()):
        raise ConfigError(key, f"{override.get_value_string()}: a sweep stands alone, not inside a list or a mapping")
    added = is_free(key) or key == FREE or is_part(key) or entry_of(key) is not None
    override.type = OverrideType.FORCE_ADD if added else OverrideType.CHANGE
    return override


def _check_hydra_value(key: str, value: Any) -> None:
    """Refuse a name where Hydra takes a block of keys, and a single directory where it takes a list."""
    if key in ("hydra.launcher", "hydra.sweeper") and not isinstance(value, dict):
        choice = f"{key.replace('.', '/')}={value}"
        raise ConfigError(key, f"{value!r} is not a block of keys; a choice has a slash", choice)
    if key == "hydra.searchpath" and not isinstance(value, list):
        raise ConfigError(key, f"{value!r} is not a list; --config-dir=<folder> adds a directory of your own")


def _holds_sweep(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_sweep, value.values()))
    return any(map(_holds_sweep, value)) if isinstance(value, list) else isinstance(value, Sweep)


def _syntax_error(line: str) -> ConfigError:
    key, equals, value = line.partition("=")
    if not equals or not key:
        group = next((group for group in GROUPS if line in choices(group)), None)
        return ConfigError(line or "''", "not of the form key=value", f"{group}={line}" if group else None)
    return ConfigError(key or "''", f"{value!r} cannot be read; quote spaces, brackets and letters beyond ASCII")


def _check_choices(override: Override, directories: Sequence[Path]) -> None:
    group, allowed = override.key_or_group, choices(override.key_or_group, directories)
    if isinstance(override.value(), Glob):
        return  # matches what there is; a sweep without any point is refused where it is expanded
    values = list(override.sweep_iterator()) if override.is_discrete_sweep() else [override.value()]
    for value in values:
        value = Override._convert_value(value)  # type: ignore[arg-type]  # plain, without Hydra's quotes
        names = value if isinstance(value, list) and group in MANY else [value]
        for name in names:
            if not isinstance(name, str) or name not in allowed:
                raise _bad_choice(group, name, allowed)


def _is_id(name: Any) -> bool:
    """Whether it looks like an id of Gymnasium's, which are many and need not be registered yet."""
    return isinstance(name, str) and re.fullmatch(r"[\w:./-]+-v\d+", name) is not None


def _bad_choice(group: str, name: Any, allowed: list[str]) -> ConfigError:
    more = " (csv is always on)" if group == "logger" else " (leave it out for none)" if group in OPTIONAL else ""
    more += "; --config-dir=<folder> adds your own" if group == "experiment" and name is not None else ""
    more += f"; a task of Gymnasium's: env=gym env.id={name}" if group == "env" and _is_id(name) else ""
    many = f"; several runs: -m {group}={','.join(map(str, name))}" if isinstance(name, list) else ""
    return ConfigError(
        group,
        f"{'null' if name is None else repr(name)} is not a choice; choose from {', '.join(allowed)}{more}{many}",
        nearest(str(name), allowed),
    )


def _count(override: Override) -> int:
    """Values of a sweep; what goes beyond ``MOST_POINTS`` is not counted."""
    try:
        swept = override.value()
        # Not the range's own iterator: shuffled, it makes a list of all values first.
        values = swept.range() if isinstance(swept, RangeSweep) else override.sweep_string_iterator()
        return len(list(islice(values, MOST_POINTS + 1)))
    except (HydraException, ValueError, ArithmeticError) as error:
        raise ConfigError(override.key_or_group, f"{override.get_value_string()}: {error}") from error
