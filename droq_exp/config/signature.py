"""The keys of a class that is not this project's: the parameters that it takes, with their types and defaults."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

from droq_exp.config.errors import ConfigError, nearest, shown
from droq_exp.config.rules import FORMS
from droq_exp.config.targets import check_free

PLAIN = (type(None), bool, int, float, str)
BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def own_keys(
    key: str, made: Callable[..., Any], given: Mapping[str, Any], passed: Collection[str] = ()
) -> dict[str, Any]:
    """What ``made`` is to be called with: ``given``, and the defaults of its other parameters, so that they are seen.

    A default that no YAML can hold is left to the class.

    Args:
        key: the place of the block in the configuration.
        made: a class (the fields of a dataclass are its parameters) or a function.
        given: the block without its target.
        passed: parameters that the program fills itself.

    Raises:
        ConfigError: a key that is no parameter, one that must be given, or a value of another type than is annotated,
            where that type is one that this project's own keys have.
    """
    check_free(key, dict(given))
    try:
        parameters = inspect.signature(made).parameters
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}._target_", f"nothing that can be called: {error}") from error
    any_name = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    named = {name: each.default for name, each in parameters.items() if each.kind in BY_NAME}
    for name in passed:
        if name not in named and not any_name:
            raise ConfigError(f"{key}._target_", f"takes no argument {name}, as it must here")
    defaults = {name: default for name, default in (named | _made_defaults(made)).items() if name not in passed}
    hints = _hints(made)
    checked = {}
    for name, value in given.items():
        if name in defaults:
            value = _converted(f"{key}.{name}", hints.get(name), value)
        elif not any_name or name in passed:
            near = nearest(name, defaults)
            allowed = f"allowed in {key}: {', '.join(sorted(defaults)) or 'none'}"
            raise ConfigError(f"{key}.{name}", "unknown key", f"{key}.{near}" if near else None, allowed)
        checked[name] = value
    for name, default in defaults.items():
        if default is inspect.Parameter.empty and name not in given:
            raise ConfigError(f"{key}.{name}", f"must be given: {key}.{name}=<value>")
    return {name: default for name, default in defaults.items() if _is_plain(default)} | checked


def _made_defaults(made: Any) -> dict[str, Any]:
    """The defaults that a dataclass makes anew for each object."""
    fields = dataclasses.fields(made) if dataclasses.is_dataclass(made) else ()
    return {each.name: each.default_factory() for each in fields if callable(each.default_factory)}


def _hints(made: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(made.__init__ if inspect.isclass(made) else made)
    except Exception:  # names that only a type checker has imported: then no type is checked
        return {}


def _converted(key: str, annotation: Any, value: Any) -> Any:
    """``value`` as its annotation has it, such as a 3 that is to be a text; of types unknown here, as it is."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    parts = typing.get_args(annotation) if union else (annotation,)
    kinds = [part for part in parts if part is not type(None)]
    null = len(kinds) < len(parts)
    if any(kind not in FORMS for kind in kinds) or type(value) in kinds or (null and value is None):
        return value
    accepting = [FORMS[kind] for kind in kinds if FORMS[kind].accepts(value)]
    if not accepting:
        words = " or ".join(FORMS[kind].words for kind in kinds)
        raise ConfigError(key, f"{shown(value)} is not {words}{', or null' if null else ''}")
    return accepting[0].convert(value)


def _is_plain(value: Any) -> bool:
    if type(value) is dict:
        return all(type(name) is str and _is_plain(inner) for name, inner in value.items())
    return all(map(_is_plain, value)) if type(value) is list else type(value) in PLAIN
