"""All runs of a report, and which of them are seeds of the same thing."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from droq_exp.cli.errors import RefusedError
from droq_exp.cli.runs import survey
from droq_exp.report.run_data import RunData, read_run

NAMED_DIFFERENCES = 3  # of a variant, in its label
PRUNING = "callbacks.prune."  # of the trials of a search, and no value that it tries
LONG_NUMBER = 8  # digits and signs


@dataclass(frozen=True, order=True)
class Cell:
    """What the seeds of one curve share; ``str`` of it names it.

    Args:
        codebase: the code base.
        env: name of the task, with what of ``env`` differs from the recipe, and a MuJoCo of other contacts: "hopper",
            "hopper (kwargs.x=1)", "hopper (MuJoCo 3.4.0)".
        algo: name of the algorithm.
        variant: what else differs from the recipe, such as "dropout_rate=0.1"; "" where nothing does.
        experiment: "" where all runs are of one experiment.
        source: label of the directory; "" where directories are not compared.
    """

    codebase: str
    env: str
    algo: str
    variant: str = ""
    experiment: str = ""
    source: str = ""

    @property
    def line(self) -> str:
        """What tells it from other cells of its code base and environment: "droq (dropout_rate=0.1)"."""
        details = ", ".join(part for part in (self.variant, self.experiment, self.source) if part)
        return f"{self.algo} ({details})" if details else self.algo

    def __str__(self) -> str:
        """Such as "redq/hopper/droq"."""
        return f"{self.codebase}/{self.env}/{self.line}"


@dataclass(frozen=True, eq=False)
class Sweep:
    """The runs below one or several directories.

    Args:
        sources: label of each directory that was asked for, and the directory, in the order they were given.
        cells: the runs of each cell, by seed. Every run is in exactly one, unless it is a repetition.
        repeated: runs of a seed that another directory has too; they are in no cell.
        problem: why SLURM does not answer, where the state of a run depends on it; else None.
        compared: whether the directories are to be compared, else their runs belong together.
    """

    sources: Mapping[str, Path]
    cells: Mapping[Cell, tuple[RunData, ...]]
    repeated: tuple[RunData, ...]
    problem: str | None
    compared: bool

    @cached_property
    def runs(self) -> tuple[RunData, ...]:
        """All runs, by cell and seed, the repeated ones last."""
        return (*(run for runs in self.cells.values() for run in runs), *self.repeated)

    @cached_property
    def panels(self) -> dict[tuple[str, str], tuple[Cell, ...]]:
        """The cells of each (codebase, env): what is drawn into one pair of axes."""
        panels = defaultdict(list)
        for cell in self.cells:
            panels[cell.codebase, cell.env].append(cell)
        return {key: tuple(cells) for key, cells in panels.items()}

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many runs are in each state."""
        return dict(Counter(run.state for run in self.runs))


def load(directories: Sequence[Path], compared: bool = False) -> Sweep:
    """Read all runs at or below ``directories``; files that are damaged or missing are told in ``RunData.problems``.

    Raises:
        RefusedError: a directory does not exist, holds no run, or lies in another one.
    """
    _check_apart(directories)
    sources = _labels(directories)
    runs, problem = [], None
    for label, directory in sources.items():
        views, trouble = survey(directory)
        problem = problem or trouble
        runs += [read_run(view, label) for view in views]
    cells, repeated = _cells(runs, compared)
    return Sweep(sources, cells, repeated, problem, compared)


def _check_apart(directories: Sequence[Path]) -> None:
    resolved = [directory.resolve() for directory in directories]
    for i, inner in enumerate(resolved):
        for j, outer in enumerate(resolved):
            if i != j and inner.is_relative_to(outer):
                told = "is given twice" if inner == outer else f"lies in {directories[j]}, which is given too"
                raise RefusedError(f"{directories[i]} {told}")


def _labels(directories: Sequence[Path]) -> dict[str, Path]:
    """The shortest ends of the paths that tell them apart."""
    resolved = [directory.resolve() for directory in directories]
    for length in range(1, max(len(path.parts) for path in resolved) + 1):
        names = [os.sep.join(path.parts[-length:]) for path in resolved]
        if len({*names}) == len(names):
            break
    return dict(zip(names, directories, strict=True))


def _cells(runs: Sequence[RunData], compared: bool) -> tuple[dict[Cell, tuple[RunData, ...]], tuple[RunData, ...]]:
    several = len({run.experiment for run in runs}) > 1
    variants = _variants(runs)
    grouped: dict[Cell, dict[Any, RunData]] = defaultdict(dict)
    repeated = []
    for run in runs:
        env_part, variant = variants[run.codebase, run.algo, run.env, run.hash]
        task = ", ".join(part for part in (env_part, run.physics) if part)
        cell = Cell(
            codebase=run.codebase,
            env=f"{run.env} ({task})" if task else run.env,
            algo=run.algo,
            variant=variant,
            experiment=run.experiment if several else "",
            source=run.source if compared else "",
        )
        seed = run.seed if run.seed is not None else run.directory  # an unknown seed is nobody's repetition
        if seed in grouped[cell]:
            repeated.append(run)
        else:
            grouped[cell][seed] = run
    by_seed = {
        cell: tuple(sorted(grouped[cell].values(), key=lambda run: -1 if run.seed is None else run.seed))
        for cell in sorted(grouped)
    }
    return by_seed, tuple(repeated)


Variant = tuple[str, str, str, str]  # codebase, algo, env, hash


def _variants(runs: Iterable[RunData]) -> dict[Variant, tuple[str, str]]:
    """For each variant what differs from the recipe, (in the task, elsewhere), as short as it stays clear."""
    found: dict[Variant, dict[str, tuple[Any, Any]]] = {}
    for run in runs:
        key = (run.codebase, run.algo, run.env, run.hash)
        if run.differences or key not in found:
            found[key] = run.differences
    values = defaultdict(set)
    for differences in found.values():
        for name, (_, value) in differences.items():
            values[name].add(str(value))
    everywhere = {
        name for name in values if len(values[name]) == 1 and all(name in differences for differences in found.values())
    }
    told = {}
    for key, differences in found.items():
        # What tells variants apart comes first, for a label names only the first few.
        told_of = (name for name in differences if not name.startswith(PRUNING))
        names = sorted(told_of, key=lambda name: (name in everywhere, name))
        task = [name for name in names if name.startswith("env.")]
        other = [name for name in names if not name.startswith("env.")]
        told[key] = (_text(task, differences), _text(other, differences) or ("" if task else key[3]))
    return _apart(told)


def _text(names: Sequence[str], differences: Mapping[str, tuple[Any, Any]]) -> str:
    parts = [f"{name.partition('.')[2] or name}={_short(differences[name][1])}" for name in names[:NAMED_DIFFERENCES]]
    more = len(names) - len(parts)
    return ", ".join([*parts, *([f"{more} more"] if more else [])])


def _short(value: Any) -> str:
    """A value of a search has more digits than tell it from others."""
    return f"{value:.4g}" if isinstance(value, float) and len(str(value)) > LONG_NUMBER else str(value)


def _apart(told: dict[Variant, tuple[str, str]]) -> dict[Variant, tuple[str, str]]:
    """Add the hash where two variants would be called the same."""
    counted = Counter((*key[:3], *texts) for key, texts in told.items())
    return {
        key: texts
        if counted[(*key[:3], *texts)] == 1
        else (texts[0], ", ".join(part for part in (texts[1], key[3]) if part))
        for key, texts in told.items()
    }
