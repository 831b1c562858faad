"""Parts of an algorithm other than the usual: the dataclass of each is the schema of the keys below ``algo.<part>``."""

from __future__ import annotations

import dataclasses
import importlib
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from omegaconf import MISSING

from droq_exp.config import schema
from droq_exp.config.errors import ConfigError, shown
from droq_exp.config.rules import FORMS, kind_of
from droq_exp.config.targets import BUILT_IN, check_target, import_target
from droq_exp.exits import no_exit

Parts = tuple[tuple[str, str], ...]  # (key, target) of each part that is not the usual one

USUAL: dict[str, str | None] = {name: block._target_ for name, block in schema.PARTS.items()}
UNREAD: dict[str, Any] = {
    "layer_norm": False,
    "dropout_rate": 0.0,
    "actor_hidden_sizes": None,
    "activation": "relu",
    "target_mode": "min",
    "target_passes": 1,
}
TYPES = "bool, int, float, str, list[int] or list[str]"


def unusual_parts(algo: Mapping[str, Any]) -> Parts:
    """The parts in a composed ``algo`` that are not the usual ones: another of this project's, or a user's own.

    Raises:
        ConfigError: one that may not be built.
    """
    found = []
    for name in schema.PARTS:
        block = algo.get(name)
        target = block.get("_target_") if isinstance(block, Mapping) else None
        if isinstance(target, str) and target not in ("", MISSING, USUAL[name]):
            check_target(f"algo.{name}._target_", target)
            found.append((f"algo.{name}", target))
    return tuple(found)


@lru_cache
def part_block(key: str, target: str) -> type:
    """The schema of a part that is not the usual one: ``_target_``, and the fields of its dataclass.

    Raises:
        ConfigError: it cannot be imported, is no frozen dataclass, lacks a method of its part or has a field that no
            key can give.
    """
    place = f"{key}._target_"
    try:
        with no_exit():
            return _part_block(key, place, target)
    except ConfigError:
        raise
    except Exception as error:  # the class may be anything
        raise ConfigError(place, f"{target} cannot be a part: {_line(error)}") from error


def _part_block(key: str, place: str, target: str) -> type:
    from droq_exp.learner.parts import missing_methods  # imports torch, as the part does

    cls = import_target(place, target)
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen):  # type: ignore[attr-defined]
        raise ConfigError(place, f"{target} is not a frozen dataclass, as a part must be")
    missing = missing_methods(key.removeprefix("algo."), cls)
    if missing:
        raise ConfigError(
            place, f"{target} lacks {', '.join(missing)}; droq_exp/learner/parts.py says what a part must have"
        )
    try:
        hints = typing.get_type_hints(cls)
    except Exception as error:
        raise ConfigError(place, f"the types of {target}'s fields cannot be read: {error}") from error
    (own,) = dataclasses.fields(schema.PARTS[key.removeprefix("algo.")])
    fields: list[tuple[str, Any, Any]] = [("_target_", str, dataclasses.field(metadata=own.metadata))]
    for field in dataclasses.fields(cls):
        if not _is_form(hints[field.name]):
            problem = f"has the type {hints[field.name]} in {target}; a key may have {TYPES}, each also with | None"
            raise ConfigError(f"{key}.{field.name}", problem)
        if field.default_factory is not dataclasses.MISSING:
            field.default_factory()  # it may raise
        default = {"default": field.default, "default_factory": field.default_factory}
        given: dict[str, Any] = {name: value for name, value in default.items() if value is not dataclasses.MISSING}
        fields.append(
            (field.name, hints[field.name], dataclasses.field(kw_only=True, metadata=field.metadata, **given))
        )
    return dataclasses.make_dataclass(cls.__name__, fields)


def build_parts(algo: schema.AlgoConfig) -> dict[str, Any]:
    """The unusual parts of a checked ``algo``, by field of the learner's spec; lists become tuples."""
    built = {}
    for name in schema.PARTS:
        block = getattr(algo, name)
        if block._target_ != USUAL[name]:
            values = {key: value for key, value in dataclasses.asdict(block).items() if key != "_target_"}
            own = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
            made = import_target(f"algo.{name}._target_", block._target_)
            try:
                with no_exit():
                    built[name] = made(**own)
            except Exception as error:  # its own checks of its keys
                raise ConfigError(f"algo.{name}", _line(error)) from error
    return built


def check_parts(config: schema.Config) -> None:
    """Raise ConfigError where a shared key changes nothing, or the order of updates cannot be followed."""
    unusual = build_parts(config.algo)
    _check_read(config.algo, unusual)
    _check_units(config.algo, unusual)
    _check_own(config, unusual)
    _check_features(config.algo)
    objective = unusual.get("objective")
    if config.algo.per.enabled and objective is not None and not callable(getattr(objective, "error", None)):
        problem = f"{type(objective).__name__} has no method error, which makes priorities; false works"
        raise ConfigError("algo.per.enabled", problem)
    _check_order(config, unusual.get("order"))


def _check_read(algo: schema.AlgoConfig, unusual: Mapping[str, Any]) -> None:
    """Refuse a value that none of the parts looks at.

    A part names the keys of ``algo`` that it looks at in ``reads``; one that names none may look at any.
    """
    if not unusual:
        return
    parts = [*unusual.values()]
    parts += [import_target(f"algo.{name}", target) for name, target in USUAL.items() if target and name not in unusual]
    reads = [_reads(part) for part in parts]
    for key, value in {**UNREAD, "num_min": algo.num_critics}.items():
        given = getattr(algo, key)
        if given != value and not any(key in names for names in reads):
            names = ", ".join(type(part).__name__ for part in unusual.values())
            problem = f"{shown(given)} would change nothing: neither {names} nor another part looks at it"
            raise ConfigError(f"algo.{key}", problem)


def _check_units(algo: schema.AlgoConfig, unusual: Mapping[str, Any]) -> None:
    """Refuse an objective of several outputs with critics that do not look at how many it needs."""
    objective, critic = unusual.get("objective"), unusual.get("critic")
    try:
        with no_exit():
            units = getattr(objective, "units", 1)
    except Exception as error:  # it may be anything
        problem = f"{type(objective).__name__} does not tell its units: {_line(error)}"
        raise ConfigError("algo.objective", problem) from error
    if units == 1 or (critic is not None and "units" in _reads(critic, ("units",))):
        return
    name = (algo.critic._target_ if critic is None else type(critic).__name__).rpartition(".")[2]
    able = " or ".join(schema.OTHER_PARTS["critic"][1:])
    problem = f"it needs {units} outputs of each critic, and {name} has its own; algo.critic._target_={able} has them"
    raise ConfigError("algo.objective", problem)


def _check_own(config: schema.Config, unusual: Mapping[str, Any]) -> None:
    """Refuse what a part itself refuses, and an order under a code base that it does not go with."""
    for name, part in unusual.items():
        try:
            with no_exit():
                problem = part.problem_with(config.algo) if hasattr(part, "problem_with") else None
                codebases = tuple(getattr(part, "codebases", (config.codebase.name,)))
        except Exception as error:  # it may do anything
            problem = f"{type(part).__name__} cannot be asked whether it goes with the rest: {_line(error)}"
            raise ConfigError(f"algo.{name}", problem) from error
        if config.codebase.name not in codebases:
            problem = f"{type(part).__name__} does not go with codebase={config.codebase.name}, but with "
            problem += " or ".join(f"codebase={each}" for each in codebases)
        if problem is not None:
            raise ConfigError(f"algo.{name}", problem)


def _check_features(algo: schema.AlgoConfig) -> None:
    """Refuse what features have not been taught to go together with."""
    if algo.features._target_ is None:
        return
    for key, apart, why in (
        ("algo.n_step", algo.n_step == 1, "they predict the next observation, which rows of several steps have not"),
        ("algo.per.enabled", not algo.per.enabled, "a new row's error is of critics that see (s, a) itself"),
        ("algo.joint_pass", not algo.joint_pass, "they would be in the statistics of the critics' minibatches"),
    ):
        if not apart:
            raise ConfigError(key, f"does not go with algo.features._target_={algo.features._target_}: {why}")


def _check_order(config: schema.Config, order: Any) -> None:
    """Refuse an order, of the algorithm or of a user's own code base; this project's code bases are not asked."""
    key, codebase = "algo.order", config.codebase._target_
    if order is None:
        if codebase in BUILT_IN:
            return
        key, order = "codebase", _codebase(config.codebase).order
    from droq_exp.learner.programs import problem_with  # imports torch, as the order has done

    try:
        with no_exit():
            problem = problem_with(order.programs(config.algo.utd_ratio), config.algo.utd_ratio)
    except Exception as error:  # it may do anything
        problem = f"{type(error).__name__}: {_line(error)}"
    if problem is not None:
        raise ConfigError(f"{key}._target_", f"{type(order).__name__}.programs({config.algo.utd_ratio}): {problem}")


def _codebase(block: Any) -> Any:
    """A user's own code base, as the run would build it."""
    target = block._target_
    # By name, for the code bases' own modules import this package.
    protocol = importlib.import_module("droq_exp.codebases.protocol").Codebase
    made = import_target("codebase._target_", target)
    values = {name: value for name, value in dataclasses.asdict(block).items() if name != "_target_"}
    asked = [name for name in dir(protocol) if not name.startswith("_")]
    try:
        with no_exit():
            codebase = made(**values)
            missing = [name for name in asked if not hasattr(codebase, name)]
    except Exception as error:  # it may do anything
        raise ConfigError("codebase._target_", f"{target} cannot be built: {_line(error)}") from error
    if missing:
        problem = f"{target} lacks {', '.join(missing)}; droq_exp/codebases/protocol.py says what a code base must have"
        raise ConfigError("codebase._target_", problem)
    return codebase


def _reads(part: Any, default: tuple[str, ...] = (*UNREAD, "num_min")) -> tuple[str, ...]:
    try:
        named = getattr(part, "reads", default)
        return tuple(named)
    except Exception as error:  # it may be anything
        raise ConfigError("algo", f"reads of {type(part).__name__} names no keys: {_line(error)}") from error


def _line(error: BaseException) -> str:
    """Its message in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _is_form(annotation: Any) -> bool:
    try:
        return kind_of(annotation)[0] in FORMS
    except (ValueError, TypeError):  # a union of several types, or nothing that can be looked up
        return False
