"""What a search is: its terms, the run around them, and the directory that follows from both."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from droq_exp.config import Config, ConfigError, compose_points, overrides, own_parts, plain, search_block
from droq_exp.config.overrides import quoted, search_lines, typed_key
from droq_exp.config.schema import HardwareConfig, JobsHardwareConfig, ParallelHardwareConfig
from droq_exp.jobs.plan import PlannedRun, plan_runs
from droq_exp.runs.identity import environment_name, group_parts, identity, run_directory, short_hash
from droq_exp.tune.space import SEARCHABLE, Term, Value, parse, split

FOLDER = "tune"  # below output_dir: an experiment's folder there is a search
FILES = "search"  # below a search's own folder: what is the search's and no run's
PRUNE = "+callbacks.prune._target_=droq_exp.callbacks.prune.Prune"
# Nothing of a run that a search asks for: what it says itself, and what is said of one command.
OURS = {
    "seed": "--seeds says with how many seeds each trial is made",
    "training.restart": "a search goes on; another --seed begins another one",
    "hardware.wait": "a search waits for its trials, since the next depends on them",
}
POLL_SECONDS = 2.0  # between two looks at trials that train here
Score = Literal["mean", "iqm"]


@dataclass(frozen=True)
class Options:
    """What a search is beside its terms and its run.

    Args:
        seeds: of each trial, from 0 on.
        score: how a trial's value comes of its seeds' scores.
        prune: whether trials that are not worth their time end early.
        seed: of the sampler.
    """

    seeds: int
    score: Score
    prune: bool
    seed: int


@dataclass(frozen=True)
class Search:
    """A search that can be made: each term's ends compose.

    Args:
        terms: by key.
        lines: the overrides that all trials share.
        options: the rest of what it is.
        directory: its folder: of its files, and of its trials' runs.
        config: of the first corner.
    """

    terms: tuple[Term, ...]
    lines: tuple[str, ...]
    options: Options
    directory: Path
    config: Config

    @property
    def files(self) -> Path:
        """Where journal, tables and lock are."""
        return self.directory / FILES

    @property
    def hardware(self) -> JobsHardwareConfig:
        """How its trials run: as jobs, also where hardware has none. Then each is one process, and they take turns."""
        hardware = self.config.hardware
        if isinstance(hardware, JobsHardwareConfig):
            return hardware
        values = {field.name: getattr(hardware, field.name) for field in fields(HardwareConfig)}
        own = {"jobs": 1, "seeds_per_job": self.options.seeds, "poll_seconds": POLL_SECONDS}
        return ParallelHardwareConfig(**values | own | {"launcher": "parallel"})

    def runs(self, values: Mapping[str, Value]) -> list[PlannedRun]:
        """The runs of a trial with these ``values``, one for each seed.

        Raises:
            ConfigError: no run can have them.
        """
        seeds = ",".join(map(str, range(self.options.seeds)))
        place = [
            f"experiment_name={self.directory.name}",
            f"output_dir={quoted(str(self.directory.parent.absolute()))}",
            f"seed=[{seeds}]",
        ]
        point = plain([*self.lines, *self._values(values), *([PRUNE] if self.options.prune else []), *place])
        ((config, recipe),) = compose_points([point])
        return plan_runs([point], [(replace(config, hardware=self.hardware), recipe)])

    def training_command(self, values: Mapping[str, Value]) -> str:
        """What trains with ``values`` outside the search, as one would type it."""
        seeds = ",".join(map(str, range(self.options.seeds)))
        search = search_lines(self.lines)
        words = [line for line in self.lines if line not in search]
        seed = [f"seed=[{seeds}]" if self.options.seeds > 1 else "seed=0"]
        return shlex.join(["droq-exp-train", *search, *words, *self._values(values), *seed])

    def _values(self, values: Mapping[str, Value]) -> list[str]:
        return [term.override(values[term.key]) for term in self.terms]


def make_search(lines: Sequence[str], options: Options) -> Search:
    """Check everything, and compose a run at each end of each term; nothing is written.

    Args:
        lines: as typed, with the terms among them; those of the experiment's ``tune`` block are added.
        options: the rest.

    Raises:
        ConfigError: what cannot be searched.
    """
    block = search_block([line for line in lines if line.startswith(("hydra.searchpath", "experiment="))])
    texts, given = split(lines, block)
    for item in overrides.parse(given):
        if item.key_or_group in OURS:
            raise ConfigError(item.key_or_group, f"is not given here: {OURS[item.key_or_group]}")
    if not texts:
        known = "; experiment=tune_droq has some" if not block else ""
        raise ConfigError("tune", f"nothing is searched: give a term such as 'algo.gamma=range(0.9,0.99)'{known}")
    terms = tuple(parse(texts, own_parts(given)))
    config, recipe = _check_corners(terms, given)
    if not getattr(config.hardware, "wait", True):
        raise ConfigError("hardware.wait", f"is false: {OURS['hardware.wait']}")
    if options.prune and "prune" in config.callbacks:
        raise ConfigError("callbacks.prune", "is --prune's own; yours has another name")
    name = _name(config, recipe, terms, options)
    directory = Path(config.output_dir) / FOLDER / name
    shared = [line for line in plain(given) if typed_key(line) not in ("output_dir", "experiment_name")]
    search = Search(terms, tuple(shared), options, directory, config)
    search.runs({term.key: term.corners[0] for term in terms})  # which says what else stands in the way
    return search


def _check_corners(terms: Sequence[Term], given: Sequence[str]) -> tuple[Config, Config]:
    """Compose a run at each end of each term, the others at their first; return the first of these."""
    first = {term.key: term.override(term.corners[0]) for term in terms}
    at_ends = [(term, {**first, term.key: term.override(value)}) for term in terms for value in term.corners[1:]]
    points = [[*plain(given), *values.values()] for values in (first, *(values for _, values in at_ends))]
    begin, *others = compose_points(points)
    place = run_directory(*begin, 0)
    for (term, _), other in zip(at_ends, others, strict=True):
        if run_directory(*other, 0) == place:
            raise ConfigError(term.key, "is not searched: a run is the same with any value of it")
    return begin


def _name(config: Config, recipe: Config, terms: Sequence[Term], options: Options) -> str:
    """A plain folder name: what is searched, as one would say it, and a hash over all that the search is."""
    searched = {term.key for term in terms}
    groups = group_parts(config, recipe)[1:3]
    content = {
        "terms": {term.key: term.text for term in terms},
        "groups": [groups[0], None if SEARCHABLE in searched else groups[1], environment_name(config)],
        "run": {key: value for key, value in identity(config).items() if key not in searched},
        "total_steps": config.training.total_steps,
        "objective": config.objective,
        **{field.name: getattr(options, field.name) for field in fields(options)},
    }
    first = config.experiment_name if config.experiment_name != "runs" else config.algo.name
    said = re.sub(r"[^A-Za-z0-9._-]", "_", f"{first}-{environment_name(config)}")
    return f"{said}-{short_hash(content)}"
