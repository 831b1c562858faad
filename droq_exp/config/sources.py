"""Which file says what is wrong: of what is not typed, an error's line is to name the place where it can be mended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from droq_exp.config.errors import ConfigError, nearest
from droq_exp.config.files import GROUPS, choices, conf_directory

GLOBAL = "# @package _global_"


def with_source(error: ConfigError, names: Mapping[str, Any], directories: Sequence[Path]) -> ConfigError:
    """The same error, naming the file that it comes from where one of those chosen has it.

    Args:
        error: of a configuration that was composed, or could not be.
        names: of the choices, by group; of several a list.
        directories: further ones with choices.
    """
    for group, path in chosen_files(names, directories):
        try:
            content = _content(group, path)
        except ConfigError as unreadable:
            return unreadable
        if (misplaced := _misplaced(content, path)) is not None:
            return misplaced
        for other, name in _overridden(content):
            allowed = choices(other, directories) if other in GROUPS else None
            if allowed is not None and name is not None and name not in allowed:
                problem = f"{name!r} in {path} is not a choice; choose from {', '.join(allowed)}"
                return ConfigError(other, problem, nearest(str(name), allowed))
        ours = group != "experiment" and path.is_relative_to(conf_directory())  # and right, as they stand
        if not ours and _holds(content if _is_global(path) else {group: content}, error.key):
            return error.noting(f"in {path}")
    return error


def chosen_files(names: Mapping[str, Any], directories: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """The group and the file of each choice; those that count most come first."""
    for group in sorted(names, key=("debug", "experiment").__contains__, reverse=True):
        chosen = names[group] if isinstance(names[group], list) else [names[group]]
        for name in chosen:
            for root in (*directories, conf_directory()):
                if (path := root / group / f"{name}.yaml").is_file():
                    yield group, path
                    break


def _content(group: str, path: Path) -> dict[str, Any]:
    """What a file says.

    Raises:
        ConfigError: it is no text, no YAML or no mapping, is empty, or is of a group whose files stand for no block.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (OSError, UnicodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ConfigError(group, f"{path} cannot be read: {problem}") from error
    except yaml.YAMLError as error:
        where = str(error).replace('"<unicode string>"', "it")
        raise ConfigError(group, f"{path} is not YAML: {where}") from error
    if content is None:
        raise ConfigError(group, f"{path} is empty")
    if not isinstance(content, dict):
        raise ConfigError(group, f"{path} is no mapping: it holds a {type(content).__name__}")
    if group in ("experiment", "debug") and not _is_global(path):
        raise ConfigError(group, f"the first line of {path} must be {GLOBAL}: what it says is of all groups")
    return content


def _is_global(path: Path) -> bool:
    return GLOBAL in path.read_text(encoding="utf-8")


def _misplaced(content: Mapping[str, Any], path: Path) -> ConfigError | None:
    """Why a file's choice is none, where Hydra's own words would not name the file."""
    defaults = content.get("defaults")
    for entry in defaults if isinstance(defaults, list) else ():
        for place, chosen in entry.items() if isinstance(entry, dict) else ():
            group = str(place).strip().removeprefix("/")
            if group in GROUPS:
                way = f"in {path}, write override /{group}: {chosen}"
                return ConfigError(group, f"{place}: {chosen} would choose it a second time; {way}")
    settings = content.get("hydra")
    if not isinstance(settings, dict):
        return None
    for kind in ("launcher", "sweeper"):
        if not isinstance(settings.get(kind, {}), dict):
            way = f"in {path}, its defaults choose: override /hydra/{kind}: {settings[kind]}"
            return ConfigError(f"hydra.{kind}", f"{settings[kind]!r} is not a block of keys; {way}")
    return None


def _overridden(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The choices in a file's defaults: each group and what is chosen."""
    defaults = content.get("defaults")
    for entry in defaults if isinstance(defaults, list) else ():
        for place, chosen in entry.items() if isinstance(entry, dict) else ():
            group = str(place).removeprefix("override ").strip().removeprefix("/")
            for name in chosen if isinstance(chosen, list) else [chosen]:
                yield group, name


def _holds(content: Any, key: str) -> bool:
    if isinstance(content, dict) and key in content:  # dots and all, which is what is wrong
        return True
    for name in key.split("."):
        if not isinstance(content, dict) or name not in content:
            return False
        content = content[name]
    return True
