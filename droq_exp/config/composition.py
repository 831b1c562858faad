"""Compose a run from ``conf/`` and overrides by Hydra's Compose API, then check it."""

from __future__ import annotations

import copy
import sys
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from functools import lru_cache
from typing import Any, NamedTuple

import hydra
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from droq_exp.config import overrides as lines
from droq_exp.config.defaults import register
from droq_exp.config.errors import ConfigError, nearest
from droq_exp.config.files import conf_directory
from droq_exp.config.keys import OPEN, check_key, entry_of, known_keys
from droq_exp.config.parts import Parts, unusual_parts
from droq_exp.config.schema import BY_KEY, PARTS, Config, EnvConfig
from droq_exp.config.sources import with_source
from droq_exp.config.targets import check_hydra
from droq_exp.config.task import check_actions, check_limit, dimensions
from droq_exp.config.validation import checked, resolved

VERSION_BASE = "1.3"
RECIPE_GROUPS = ("algo", "env", "codebase", "experiment")


def compose(overrides: Sequence[str]) -> tuple[Config, Config]:
    """Compose and check one run.

    Args:
        overrides: Hydra overrides of one run, such as ``["algo=droq", "training.total_steps=20000"]``.

    Returns:
        config: everything resolved.
        recipe: what the choices of algo, env, codebase and experiment alone give (with ``env.id`` for ``env=gym``).

    Raises:
        ConfigError: what no run can have.
    """
    with _hydra():
        return _compose_run(lines.parse(overrides))


def compose_sweep(overrides: Sequence[str]) -> list[tuple[Config, Config]]:
    """As ``compose``, for every point of the sweep that ``overrides`` and the chosen experiment ask for.

    An experiment's own sweep stands under ``hydra.sweeper.params`` in its file; a key that ``overrides`` set is theirs.

    Raises:
        ConfigError: what no run can have, naming the first point that has it.
    """
    return compose_points(sweep_points(overrides))


def sweep_points(overrides: Sequence[str]) -> list[list[str]]:
    """The points that ``compose_sweep`` composes, each a list of plain overrides.

    Raises:
        ConfigError: as ``overrides.expand``.
    """
    with _hydra() as loader:
        parsed = lines.parse(overrides)
        with _naming_files(parsed):
            swept = lines.left_to_experiment(_experiment_sweep(parsed), _of_task(parsed))
        return lines.expand([*swept, *overrides], loader)


def compose_points(points: Sequence[Sequence[str]]) -> list[tuple[Config, Config]]:
    """As ``compose`` for each of ``points``, but faster: what they share is composed once.

    Raises:
        ConfigError: what no run can have, naming the first point that has it.
    """
    with _hydra():
        return [_compose_point(point, points) for point in points]


def check_hydra_choices(overrides: Sequence[str]) -> None:
    """Raise ConfigError where ``overrides`` cannot be read, or choose a launcher or sweeper that is not installed."""
    with _hydra():
        _check_launcher(lines.parse(overrides))


def search_block(overrides: Sequence[str]) -> dict[str, Any]:
    """The ``tune`` block of what ``overrides`` choose: each key that is searched by itself, and among what.

    Raises:
        ConfigError: what cannot be read.
    """
    with _hydra():
        chosen = tuple(lines.text(item) for item in lines.parse(overrides) if _is_choice(item))
        return typing.cast("dict[str, Any]", OmegaConf.to_container(_choices(chosen).config.tune))


def own_parts(overrides: Sequence[str]) -> Parts:
    """The unusual parts of the algorithm that ``overrides`` choose.

    Raises:
        ConfigError: what cannot be read, or one that may not be built.
    """
    with _hydra():
        parsed = lines.parse(overrides)
        _refuse_sweeps(parsed)
        with _naming_files(parsed):
            return _parts(_choices(tuple(lines.text(item) for item in parsed if _is_choice(item))).config, parsed)


def _compose_point(point: Sequence[str], points: Sequence[Sequence[str]]) -> tuple[Config, Config]:
    try:
        return _compose_run(lines.parse(point))
    except ConfigError as error:
        raise error.at(lines.distinct(point, points)) from error


def _compose_run(parsed: list[Override]) -> tuple[Config, Config]:
    with _naming_files(parsed):
        return _compose_parsed(parsed)


@contextmanager
def _naming_files(parsed: Sequence[Override]) -> Iterator[None]:
    """Let errors name the file that they come from, but where what is wrong was typed."""
    try:
        yield
    except ConfigError as error:
        typed = [item.key_or_group for item in parsed if not _is_choice(item)]
        about = f"{error.key}."  # the key, or its block where a part has judged it as a whole
        if any(about.startswith(f"{key}.") or f"{key}.".startswith(about) for key in typed):
            raise
        chosen = [item for item in parsed if _is_choice(item)]
        names = {item.key_or_group: item.value() for item in chosen if not item.is_sweep_override()}
        with suppress(ConfigError):  # where they can be composed, with what files have chosen
            names |= _choices(tuple(map(lines.text, chosen))).names
        raise with_source(error, names, lines.search_path(parsed)) from error


def _compose_parsed(parsed: list[Override]) -> tuple[Config, Config]:
    _refuse_sweeps(parsed)
    _check_launcher(parsed)
    _refuse_experiment_sweep(parsed)
    chosen = [item for item in parsed if _is_choice(item)]
    skeleton = _choices(tuple(map(lines.text, chosen))).config
    launcher = skeleton.hardware.get("launcher", "here")
    values = [item for item in parsed if item not in chosen]
    parts = _parts(skeleton, parsed)
    directories = lines.search_path(parsed)
    entries = {group: {name for name, block in skeleton[group].items() if block is not None} for group in OPEN}
    for group, name in _typed_entries(values):
        entries[group].add(name)
    for key in (key for item in values for key in lines.keys(item)):
        check_key(key, skeleton.codebase.name, launcher, parts, entries, directories)
    config = _checked(parsed)
    recipe_lines = [item for item in chosen if item.is_hydra_override() or item.key_or_group in RECIPE_GROUPS]
    if config.env.name in BY_KEY:
        recipe_lines += [item for item in parsed if item.key_or_group in ("env.id", "env.task")]
    recipe = _checked(recipe_lines, like=config.env)
    if config.env.id != recipe.env.id:
        problem = f"{config.env.name} is {recipe.env.id}; another task is chosen by env=gym env.id={config.env.id}"
        raise ConfigError("env.id", problem)
    check_limit(config.env)
    check_actions(config.env, config.codebase._target_)
    return config, recipe


def _parts(skeleton: DictConfig, parsed: Sequence[Override]) -> Parts:
    """The unusual parts of the algorithm that is chosen, or of what is typed in their place."""
    algo = typing.cast("dict[str, Any]", OmegaConf.to_container(skeleton.algo, resolve=False))
    for place, target in _typed_targets(parsed):
        if place.startswith("algo."):
            algo[place.removeprefix("algo.")] = {"_target_": None if target is None else str(target)}
    return unusual_parts(algo)


def _typed_entries(parsed: Sequence[Override]) -> Iterator[tuple[str, str]]:
    """The entries of open groups, not this project's, whose targets are typed: the group and the name of each."""
    for place, _ in _typed_targets(parsed):
        group, _, name = place.partition(".")
        if group in OPEN and name not in OPEN[group]:
            yield group, name


def _refuse_sweeps(parsed: Sequence[Override]) -> None:
    for item in parsed:
        if item.is_sweep_override():
            key, values = item.key_or_group, item.get_value_string()
            listed = key == "seed" and item.value_type is ValueType.SIMPLE_CHOICE_SWEEP
            also = f" (or {key}=[{values}], side by side in one process)" if listed else ""
            known = known_keys("redq").get(key)
            if key in lines.MANY or (known is not None and typing.get_origin(known.annotation) is list):
                also = f"; {key}=[{values}] is all of them in one run"
            several = f"{values} is several values for one run"
            raise ConfigError(key, f"{several}; python launch.py -m runs one after the other{also}")


def _of_task(parsed: Sequence[Override]) -> list[Override]:
    return [item for item in parsed if not item.is_hydra_override()]


def _experiment_sweep(parsed: Sequence[Override]) -> dict[str, Any]:
    """``hydra.sweeper.params`` of the chosen experiment; the last choice counts, as with Hydra."""
    search = [lines.text(item) for item in parsed if item.key_or_group == "hydra.searchpath"]
    chosen = [item for item in parsed if item.key_or_group == "experiment"][-1:]
    if not chosen:
        return {}
    if not chosen[0].is_sweep_override():
        return _sweep_of(*search, lines.text(chosen[0]))
    chosen[0].config_loader = GlobalHydra.instance().config_loader()  # for glob(...)
    for name in chosen[0].sweep_string_iterator():
        if _sweep_of(*search, f"experiment={name}"):
            raise ConfigError("experiment", f"{name} is a sweep itself; such experiments are run one per command")
    return {}


def _sweep_of(*overrides: str) -> dict[str, Any]:
    swept = _choices(overrides).swept
    for key in swept:
        if key == "experiment" or key.startswith("hydra"):
            raise ConfigError(f"hydra.sweeper.params.{key}", "an experiment sweeps over the keys of a run only")
    return swept


def _refuse_experiment_sweep(parsed: Sequence[Override]) -> None:
    task = _of_task(parsed)
    swept = [line.partition("=")[0] for line in lines.left_to_experiment(_experiment_sweep(parsed), task)]
    if swept:
        name = [item.value() for item in task if item.key_or_group == "experiment"][-1]
        one = " ".join(f"{key}=<value>" for key in swept)
        problem = f"{name} is a sweep over {', '.join(swept)}: python launch.py -m runs it, {one} one run of it"
        raise ConfigError("experiment", problem)


def _check_launcher(parsed: Sequence[Override]) -> None:
    for item in parsed:
        if item.key_or_group in ("hydra/launcher", "hydra/sweeper"):
            kind = item.key_or_group.removeprefix("hydra/")
            allowed = GlobalHydra.instance().config_loader().get_group_options(item.key_or_group)
            if item.value() not in allowed:
                problem = f"{item.value()!r} is not a {kind}; choose from {', '.join(allowed)}"
                if kind == "launcher":
                    problem += "; hardware=cpu_parallel trains several runs at a time"
                raise ConfigError(item.key_or_group, problem, nearest(str(item.value()), allowed))


def _compose(parsed: Sequence[Override]) -> DictConfig:
    """What Hydra composes of the choices, with the values set as it sets them.

    No choice depends on a value, so that runs which differ by values alone share what takes the time.
    """
    chosen = [item for item in parsed if _is_choice(item)]
    config, names, _ = _choices(tuple(map(lines.text, chosen)))
    composed = copy.deepcopy(config)
    with _told():
        _make_room(composed, parsed)
        OmegaConf.set_struct(composed, True)
        ConfigLoaderImpl._apply_overrides_to_config([item for item in parsed if not _is_choice(item)], composed)
        OmegaConf.set_struct(composed, False)
    for group in ("algo", "env", "codebase"):
        name = OmegaConf.select(composed, f"{group}.name")
        if name != names[group]:
            raise ConfigError(f"{group}.name", f"{name!r} is not the name of its file, as it must be: {names[group]}")
    if composed.experiment_name is None:
        composed.experiment_name = names["experiment"] or "runs"
    return composed


def _make_room(composed: DictConfig, parsed: Sequence[Override]) -> None:
    """Take the keys of what a typed target replaces away: they are those of its class, not of the new one."""
    for place, target in _typed_targets(parsed):
        block = OmegaConf.select(composed, place)
        if isinstance(block, DictConfig) and block.get("_target_") != target:
            OmegaConf.update(composed, place, {"_target_": target}, merge=False)


def _typed_targets(parsed: Sequence[Override]) -> Iterator[tuple[str, Any]]:
    """The parts of the algorithm, and the loggers and callbacks, whose targets are typed; and these."""
    for item in parsed:
        key = item.key_or_group
        entry = entry_of(key)
        place = ".".join(entry) if entry else ".".join(key.split(".")[:2])
        if entry or (place.startswith("algo.") and place.removeprefix("algo.") in PARTS):
            value = item.value()
            if key == f"{place}._target_":
                yield place, value
            elif key == place and isinstance(value, dict) and "_target_" in value:
                yield place, value["_target_"]


def _is_choice(item: Override) -> bool:
    return lines.is_group(item) or item.is_hydra_override()


class _Chosen(NamedTuple):
    config: DictConfig  # shared, so never changed
    names: dict[str, Any]  # of the choices, by group
    swept: dict[str, Any]  # hydra.sweeper.params


def _choices(overrides: tuple[str, ...]) -> _Chosen:
    """What is composed of ``conf/`` alone is kept while its files stay as they are; of others, during a command."""
    return _compose_choices(overrides, _command if lines.search_lines(overrides) else _conf_files())


@lru_cache(maxsize=256)
def _compose_choices(overrides: tuple[str, ...], files: object) -> _Chosen:
    with _told():
        composed = hydra.compose("config", list(overrides), return_hydra_config=True)
    settings = OmegaConf.to_container(composed.hydra, resolve=False)
    check_hydra(settings, own_sweeper=lines.chooses_sweeper(overrides))
    names = dict(composed.hydra.runtime.choices)
    swept = OmegaConf.to_container(composed.hydra.sweeper.params or OmegaConf.create())
    OmegaConf.set_struct(composed, False)
    with open_dict(composed):
        del composed["hydra"]
    for group in ("algo", "env", "codebase", "hardware", *OPEN):
        if not isinstance(composed.get(group), DictConfig):
            way = f"in a file's defaults, {{override /{group}: <choice>}} chooses"
            raise ConfigError(group, f"{composed.get(group)!r} is not a block of keys; {way}")
    return _Chosen(composed, names, typing.cast("dict[str, Any]", swept))


_command = object()  # another one at each entry of ``_hydra``


@lru_cache(maxsize=1)  # emptied at each entry of ``_hydra``
def _conf_files() -> tuple[tuple[str, int, int], ...]:
    """Changes when a file of ``conf/`` does."""
    found = [(path, path.stat()) for path in sorted(conf_directory().rglob("*.yaml"))]
    return tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in found)


@contextmanager
def _told() -> Iterator[None]:
    """Make Hydra's errors and OmegaConf's a ConfigError."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        cause = error.__cause__ or error
        key = getattr(cause, "full_key", None) or "configuration"
        raise ConfigError(key, str(cause).partition("full_key:")[0].partition("Config search path:")[0]) from error


def _checked(parsed: Sequence[Override], like: EnvConfig | None = None) -> Config:
    """Check what ``parsed`` compose. A recipe's task may need the arguments of the run's, which is ``like`` it."""
    # Nothing depends on the seed, so that the seeds of a sweep share all but the checks.
    seeds = [item.value() for item in parsed if _is_plain_seed(item)]
    others = tuple(lines.text(item) for item in parsed if not _is_plain_seed(item))
    values = copy.deepcopy(_values(others, _command))
    config = checked({**values, "seed": seeds[-1]} if seeds else values)
    try:
        _, act_dim = dimensions(config.env)
    except ConfigError:
        if like is None or like.id != config.env.id:
            raise
        _, act_dim = dimensions(like)
    if config.algo.target_entropy_per_dim is not None:
        typed = [key for item in parsed if not _is_choice(item) for key in lines.keys(item)]
        if "algo.target_entropy" not in typed:
            config.algo.target_entropy = config.algo.target_entropy_per_dim * act_dim
        elif "algo.target_entropy_per_dim" in typed:
            raise ConfigError("algo.target_entropy", "does not go with algo.target_entropy_per_dim: give one of them")
        else:  # what is typed goes before what a file says
            config.algo.target_entropy_per_dim = None
    if config.algo.target_entropy is None:
        config.algo.target_entropy = -float(act_dim)
    if config.algo.learning_rate_end is not None and config.algo.learning_rate_horizon is None:
        config.algo.learning_rate_horizon = config.training.total_steps * config.algo.utd_ratio
    if config.algo.per.enabled and config.algo.per.error is None:
        config.algo.per.error = "first" if config.codebase.name == "ku" else "mean"
    return config


def _is_plain_seed(item: Override) -> bool:
    return item.key_or_group == "seed" and "$" not in item.get_value_string()


@lru_cache(maxsize=64)
def _values(overrides: tuple[str, ...], command: object) -> dict[str, Any]:
    return resolved(_compose(lines.parse(overrides)))


@contextmanager
def _hydra() -> Iterator[Any]:
    """Hydra on ``conf/``, whether or not we are inside hydra.main already; yields its configuration loader."""
    global _command
    register()
    _command = object()
    _conf_files.cache_clear()
    held = GlobalHydra.instance().hydra
    GlobalHydra.instance().hydra = None
    try:
        # What a user's own part or task prints is not to stand in what is asked for, such as --cfg or JSON.
        with (
            redirect_stdout(sys.stderr),
            hydra.initialize_config_dir(str(conf_directory()), version_base=VERSION_BASE),
        ):
            yield GlobalHydra.instance().config_loader()
    finally:
        GlobalHydra.instance().hydra = held


def _paper(key: str, *, _root_: DictConfig) -> Any:
    """``${paper:key}``: the value of the tables of the chosen codebase, in the row of the chosen environment."""
    name = OmegaConf.select(_root_, "env.name")
    row = name if name in _root_.paper else "default"
    return _root_.paper[row][key]


OmegaConf.register_new_resolver("paper", _paper, replace=True)
