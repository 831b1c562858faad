"""From a composed configuration to a checked ``Config``: types by the schema, values by the rules, targets, device."""

from __future__ import annotations

import dataclasses
import typing
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from droq_exp.callbacks import build
from droq_exp.config.errors import ConfigError, nearest, shown
from droq_exp.config.habits import way_instead
from droq_exp.config.keys import CODEBASES, FREE, LAUNCHERS, OPEN, Key, check_key, is_block, known_keys
from droq_exp.config.parts import Parts, check_parts, unusual_parts
from droq_exp.config.rules import FORMS, Rule, kind_of, type_words
from droq_exp.config.schema import Config, SlurmHardwareConfig
from droq_exp.config.signature import own_keys
from droq_exp.config.targets import BUILT_IN, check_free, check_target, check_task, import_target
from droq_exp.cpu import has_bf16, usable_cpus

METHOD = {"logger": "log", "callbacks": "evaluated"}  # that an entry must have
PASSED = {"logger": ("info",)}  # what the entries of a group are built with, beside their keys


def to_config(composed: DictConfig) -> Config:
    """Resolve ``composed`` (as Hydra composes ``conf/``, tables included), check it and make it a ``Config``.

    Raises:
        ConfigError: an unknown or missing key, a wrong type, a value that its rule does not allow, a ``_target_``
            that is neither this project's nor trusted, a task of a module that is not trusted, or a device that is
            not there.
    """
    return checked(resolved(composed))


def checked(values: dict[str, Any]) -> Config:
    """The second half of ``to_config``: of what ``resolved`` gives, which is left as it is."""
    codebase = values.get("codebase", {}).get("name")
    if codebase not in CODEBASES:
        raise ConfigError("codebase.name", f"{codebase!r} is not one of {', '.join(CODEBASES)}")
    launcher = values.get("hardware", {}).get("launcher", "here")
    if launcher not in LAUNCHERS:
        raise ConfigError("hardware.launcher", f"{launcher!r} is not one of {', '.join(LAUNCHERS)}")
    parts = unusual_parts(values.get("algo", {}))
    _check_names(values, "", codebase, launcher, parts)
    keys = known_keys(codebase, launcher, parts)
    config = _build(Config, "", values, keys)
    _check_values(config, keys)
    _check_targets(config)
    check_parts(config)
    _complete_entries(config)
    _complete_wrappers(config)
    _check_callbacks(config)
    _check_threads(config)
    _check_device(config)
    return config


def resolved(composed: DictConfig) -> dict[str, Any]:
    """The first half of ``to_config``, which takes longer than the other: all values, without the tables."""
    try:
        values = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        with suppress(OmegaConfBaseException):
            _refuse_missing(OmegaConf.missing_keys(composed))  # of which the error may be a consequence
        raise ConfigError(error.full_key or "configuration", _first_line(error)) from error
    assert isinstance(values, dict)
    _refuse_missing(_missing("", values))
    values.pop("paper", None)  # the tables have done their work
    return typing.cast("dict[str, Any]", values)


def _refuse_missing(keys: Iterable[str]) -> None:
    for key in sorted(keys):
        raise ConfigError(key, f"must be given: {key}=<value>")


def _missing(key: str, value: Any) -> Iterator[str]:
    if value == MISSING:
        yield key
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _missing(f"{key}.{name}" if key else str(name), inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _missing(f"{key}[{number}]", inner)


def _check_names(values: dict[str, Any], prefix: str, codebase: str, launcher: str, parts: Parts) -> None:
    keys = known_keys(codebase, launcher, parts)
    for name, value in values.items():
        key = f"{prefix}{name}"
        if "." in str(name):  # it would stand beside the key that is meant, and change nothing
            first, rest = str(name).split(".", 1)
            way = way_instead(key) or f"it is {first}: {{{rest}: ...}}"
            raise ConfigError(key, f"a key in a file has no dots; {way}")
        if key not in keys and prefix.rstrip(".") not in OPEN:
            check_key(key, codebase, launcher, parts)
        if isinstance(value, dict) and is_block(key) and key != FREE:
            _check_names(value, key + ".", codebase, launcher, parts)


def _build(block: type, key: str, values: Any, keys: Mapping[str, Key]) -> Any:
    """A dataclass ``block`` from the mapping ``values`` found at ``key``; strict about types, as Hydra is not."""
    if not isinstance(values, dict):
        raise ConfigError(key, f"{shown(values)} is not a block of keys")
    fields = {}
    for field in dataclasses.fields(block):
        name = f"{key}.{field.name}" if key else field.name
        if field.name in values:
            fields[field.name] = _convert(name, keys[name].annotation, values[field.name], keys)
        elif field.default is MISSING or field.default is field.default_factory is dataclasses.MISSING:
            raise ConfigError(name, "must be given")
    return block(**fields)


def _build_open(group: str, values: Any, keys: Mapping[str, Key]) -> dict[str, dict[str, Any]]:
    """The entries of a group by name, without those that are null; of the keys only this project's are checked."""
    entries = {}
    for name, block in (values or {}).items():
        key = f"{group}.{name}"
        if block is None:
            continue
        if not isinstance(block, dict):
            raise ConfigError(key, f"is no part by itself: each has a name, as in {group}.mine._target_=<class>")
        if not isinstance(block.get("_target_"), str):  # of this project's, the choice gives it
            way = f"{group}={name} chooses it" if name in OPEN[group] else f"{key}._target_=<class> does"
            raise ConfigError(key, f"nothing says what is built of its keys: {way}, {key}=null leaves it out")
        entries[name] = (
            dataclasses.asdict(_build(OPEN[group][name], key, block, keys)) if name in OPEN[group] else block
        )
    return entries


def _complete_entries(config: Config) -> None:
    """Check the keys of the entries that are not this project's, and give them the defaults of their classes."""
    for group, ours in OPEN.items():
        chosen = getattr(config, group)
        for name in chosen.keys() & ours.keys():
            target = chosen[name]["_target_"]
            if target != vars(ours[name])["_target_"]:
                problem = f"{name} is this project's own; {group}.<another name>._target_={target} adds yours"
                raise ConfigError(f"{group}.{name}._target_", problem)
        for name in chosen.keys() - ours.keys():
            target, key = chosen[name]["_target_"], f"{group}.{name}"
            given = {own: value for own, value in chosen[name].items() if own != "_target_"}
            made = import_target(f"{key}._target_", target)
            if not (isinstance(made, type) and callable(getattr(made, METHOD[group], None))):
                # Nothing is called that is something else.
                raise ConfigError(f"{key}._target_", f"{target} is no class with a method {METHOD[group]}")
            chosen[name] = {"_target_": target, **own_keys(key, made, given, PASSED.get(group, ()))}


def _complete_wrappers(config: Config) -> None:
    """Check the wrappers of the task and their keys, and give them the defaults of their classes."""
    for number, wrapper in enumerate(config.env.wrappers):
        key, target = f"env.wrappers[{number}]", wrapper.get("_target_")
        if not isinstance(target, str):
            raise ConfigError(key, "nothing says what is built: each wrapper has a _target_=<class>")
        made = import_target(f"{key}._target_", target)
        _check_wrapper(f"{key}._target_", target, made)
        given = {own: value for own, value in wrapper.items() if own != "_target_"}
        config.env.wrappers[number] = {"_target_": target, **own_keys(key, made, given, ("env",))}


def _check_wrapper(key: str, target: str, made: Any) -> None:
    from gymnasium import Wrapper, wrappers  # here, since it takes long

    if not (isinstance(made, type) and issubclass(made, Wrapper)):
        raise ConfigError(key, f"{target} is no wrapper of Gymnasium")
    lost = "its statistics outlive an episode and are in no checkpoint"
    if issubclass(made, wrappers.NormalizeObservation):
        raise ConfigError(key, f"{lost}; env.normalize_observation=true keeps its own")
    if issubclass(made, wrappers.NormalizeReward):
        raise ConfigError(key, f"{lost}; algo.reward_scale=return_std keeps its own")


def _check_callbacks(config: Config) -> None:
    """Make each once: only it knows which of its keys go together."""
    for name, block in config.callbacks.items():
        try:
            build(block)
        except Exception as error:  # it may do anything
            raise ConfigError(f"callbacks.{name}", str(error) or type(error).__name__) from error


def _convert(key: str, annotation: Any, value: Any, keys: Mapping[str, Key]) -> Any:
    if key in OPEN:
        return _build_open(key, value, keys)
    kind, optional = kind_of(annotation)
    if annotation is Any:
        rule = keys[key].rule
        return rule.convert(value) if rule else value
    if optional and value is None:
        return value
    if dataclasses.is_dataclass(kind):
        return _build(typing.cast(type, kind), key, value, keys)
    form = FORMS[kind]
    if not form.accepts(value):
        nearest_integer = str(int(value)) if kind is int and isinstance(value, float) and value.is_integer() else None
        raise ConfigError(key, f"{shown(value)} is not {type_words(annotation)}", nearest_integer)
    return form.convert(value)


def _check_values(config: Config, keys: Mapping[str, Key]) -> None:
    values = {name: _lookup(config, name) for name in keys}
    for key, (found, value) in values.items():
        rule = keys[key].rule
        if found and rule and not _accepts(key, rule, value):
            problem = f"{shown(value)} is not allowed; it must be {rule.allowed}"
            raise ConfigError(key, problem, nearest(str(value), rule.names))
    for key, (_, value) in values.items():
        relation = keys[key].relation
        if relation and not relation.holds(config):
            raise ConfigError(key, f"{shown(value)} is not allowed; it must be {relation.allowed(config)}")


def _accepts(key: str, rule: Rule, value: Any) -> bool:
    try:
        return bool(rule.accepts(value))
    except Exception as error:  # a rule of the user's own, or a default of theirs that is of another type
        raise ConfigError(key, f"{shown(value)} cannot be judged by its rule: {error}") from error


def _lookup(config: Config, key: str) -> tuple[bool, Any]:
    node: Any = config
    for name in key.split("."):
        inner = node if isinstance(node, dict) else vars(node)
        if name not in inner:
            return False, None  # of a part that is not chosen
        node = inner[name]
    return True, node


def _check_targets(config: Config) -> None:
    """Targets at their named places, and nothing like one in what is free; tasks of modules that are trusted."""
    check_free("env.kwargs", config.env.kwargs)
    check_free("tune", config.tune)
    targets = {name: getattr(config, name)._target_ for name in ("algo", "env", "codebase")}
    entries = {f"{group}.{name}": block["_target_"] for group in OPEN for name, block in getattr(config, group).items()}
    for key, target in {**targets, **entries}.items():
        check_target(f"{key}._target_", target)
        if target not in BUILT_IN:  # those are not imported before training: --cfg and the checks stay quick
            import_target(f"{key}._target_", target)
    check_task("env.id", config.env.id)


def _check_threads(config: Config) -> None:
    hardware = config.hardware
    if hardware.threads is None:
        return
    if isinstance(hardware, SlurmHardwareConfig):
        most, of = hardware.cpus, f"hardware.cpus={hardware.cpus}"
    else:
        most = usable_cpus()
        of = f"the {most} CPUs that this process may use"
    if hardware.threads > most:
        raise ConfigError("hardware.threads", f"{hardware.threads} is not allowed; it must be at most {of}")


def _check_device(config: Config) -> None:
    device, precision = config.hardware.device, config.hardware.precision
    if device == "cpu" and precision == "tf32":
        raise ConfigError("hardware.precision", "tf32 needs CUDA; hardware.device=cpu takes fp32 and bf16")
    if device != "cpu" and precision == "bf16":
        raise ConfigError("hardware.precision", f"bf16 runs on CPUs only; it needs hardware.device=cpu, not {device}")
    updates = config.hardware.updates
    if precision == "bf16" and updates not in ("auto", "native"):
        problem = f"only this project's C++ computes in bf16; it does not go with hardware.updates={updates}"
        raise ConfigError("hardware.precision", problem)
    if updates == "graphs" and device == "cpu":
        raise ConfigError("hardware.updates", "graphs are CUDA graphs; with hardware.device=cpu it may be auto")
    if updates == "native" and device.startswith("cuda"):
        raise ConfigError("hardware.updates", f"native runs on CPUs; with hardware.device={device} it may be auto")
    if not device.startswith("cuda") and precision == "fp32":
        return
    if config.hardware.launcher == "slurm":
        return  # the job looks, on its own node
    if precision == "bf16":
        if not has_bf16():
            raise ConfigError("hardware.precision", "this CPU has no bf16 instructions (AVX512-BF16); it must be fp32")
        return
    import torch  # only where a GPU is asked for: importing it takes seconds

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a driver too old is told in several lines
        available = torch.cuda.is_available()
    if not available:
        key, shown = ("hardware.device", device) if device.startswith("cuda") else ("hardware.precision", precision)
        raise ConfigError(
            key, f"{shown} needs a GPU and none is usable here; hardware=auto or hardware=cpu run without"
        )
    index = int(device.partition(":")[2] or 0)
    last = torch.cuda.device_count() - 1
    if index > last:
        raise ConfigError("hardware.device", f"{device} is not here; allowed: cuda:0 to cuda:{last}")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
