"""What the page tells of the runs themselves: where they come from, what is missing, what each one was."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from droq_exp.jobs.state import LIVE
from droq_exp.report.data import Sweep
from droq_exp.report.run_data import RunData
from droq_exp.runs.files import dump_yaml

NONE = "-"
ENDED_EARLY = ("failed", "vanished", "interrupted")
VERSIONS = ("droq_exp", "python", "torch", "numpy", "gymnasium", "mujoco")  # in this order, others after them
# What tells seeds and places apart and no more.
OF_ONE_RUN = ("seed", "output_dir")


@dataclass(frozen=True)
class Fact:
    """A line, or several, of the page's header."""

    term: str
    lines: list[str]


@dataclass(frozen=True)
class RunRow:
    """A run in the page's table and, where it has trouble, in the list above; all texts, "-" where not known."""

    name: str
    state: str
    seed: str
    step: str
    total: str
    reached: str
    last_return: str
    differences: str
    error: str
    log: str
    log_href: str
    config: int


@dataclass(frozen=True)
class Configuration:
    """What the runs of a cell share, and what each of them has otherwise."""

    number: int
    title: str
    subtitle: str
    differences: list[str]
    per_run: list[str]
    text: str
    search: str


def facts(sweep: Sweep) -> list[Fact]:
    """Directories, dates, versions, commits and devices; where runs differ, with the number of runs."""
    runs = sweep.runs
    told = [
        Fact("Directories" if len(sweep.sources) > 1 else "Directory", [str(path) for path in sweep.sources.values()]),
        Fact("Made", [_dates(runs)]),
        Fact("Git commits", _counted(runs, lambda run: str(run.status.get("git_commit") or "unknown")[:10])),
        Fact("Devices", _counted(runs, lambda run: str(run.status.get("device") or "unknown"))),
        Fact("Versions", _counted(runs, lambda run: _versions(run.status.get("versions")))),
    ]
    if sweep.problem is not None:
        told.append(Fact("The queue does not answer", [sweep.problem]))
    return told


def run_rows(sweep: Sweep, path: Path) -> list[RunRow]:
    """All runs, as the page at ``path`` shows them."""
    numbers = {run: i for i, runs in enumerate(_grouped(sweep).values(), 1) for run in runs}
    return [_run_row(run, _name(run, sweep), numbers[run], path) for run in sweep.runs]


def problems(sweep: Sweep) -> list[str]:
    """What was wrong with runs' files, a line each."""
    return [f"{_name(run, sweep)}: {problem}" for run in sweep.runs for problem in run.problems]


def configurations(sweep: Sweep) -> list[Configuration]:
    """One for each cell, in order; the repeated runs are with the cell that they repeat."""
    return [_configuration(i, *item) for i, item in enumerate(_grouped(sweep).items(), 1)]


def _grouped(sweep: Sweep) -> Mapping[tuple[str, ...], Sequence[RunData]]:
    groups: dict[tuple[str, ...], list[RunData]] = {(str(cell),): list(runs) for cell, runs in sweep.cells.items()}
    for run in sweep.repeated:
        groups.setdefault((f"{run.codebase}/{run.env}/{run.algo}", "seeds that another directory has too"), []).append(
            run
        )
    return groups


def _dates(runs: Sequence[RunData]) -> str:
    started = [str(run.status["started"]) for run in runs if run.status.get("started")]
    ended = [str(run.status["ended"]) for run in runs if run.status.get("ended")]
    if not started:
        return "not started yet"
    under_way = any(run.state in LIVE for run in runs)
    end = "now: some still run" if under_way or not ended else f"{_minute(max(ended))} UTC"
    return f"{_minute(min(started))} to {end}"


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


def _versions(versions: Any) -> str:
    if not isinstance(versions, dict):
        return "unknown"
    names = sorted(versions, key=lambda name: VERSIONS.index(name) if name in VERSIONS else len(VERSIONS))
    return ", ".join(f"{name} {versions[name]}" for name in names)


def _counted(runs: Iterable[RunData], text: Callable[[RunData], str]) -> list[str]:
    counted = Counter(map(text, runs)).most_common()
    if len(counted) == 1:
        return [counted[0][0]]
    return [f"{value} ({count:,} run{'s' if count > 1 else ''})" for value, count in counted]


def _name(run: RunData, sweep: Sweep) -> str:
    return f"{run.source}: {run.name}" if len(sweep.sources) > 1 else run.name


def _run_row(run: RunData, name: str, config: int, path: Path) -> RunRow:
    step = f"{run.step:,}"
    total = f"{run.total_steps:,}" if run.total_steps is not None else NONE
    returns = run.eval["return_mean"].dropna()
    return RunRow(
        name=name,
        state=run.state,
        seed=str(run.seed) if run.seed is not None else NONE,
        step=step,
        total=total,
        reached=f"{step} of {total}" if run.total_steps is not None else step,
        last_return=f"{returns.iloc[-1]:,.1f}" if len(returns) else NONE,
        differences="; ".join(_differences(run)) or NONE,
        error=run.error or "No reason is known.",
        log=str(run.log) if run.log is not None else "",
        log_href=quote(Path(os.path.relpath(run.log, path.parent)).as_posix()) if run.log is not None else "",
        config=config,
    )


def _differences(run: RunData) -> list[str]:
    return [f"{key}={value} (recipe: {recipe})" for key, (recipe, value) in run.differences.items()]


def _configuration(number: int, names: tuple[str, ...], runs: Sequence[RunData]) -> Configuration:
    known = [run for run in runs if run.config]
    shared = known[0].config if known else {}
    text = dump_yaml({key: value for key, value in shared.items() if key not in OF_ONE_RUN}, sort_keys=False)
    states = Counter(run.state for run in runs)
    seeds = ", ".join(str(run.seed) for run in runs if run.seed is not None)
    told = [f"{count} {state}" for state, count in states.items()]
    return Configuration(
        number=number,
        title=names[0],
        subtitle="; ".join([*names[1:], f"seeds {seeds}" if seeds else "seed not known", ", ".join(told)]),
        differences=_differences(known[0]) if known else [],
        per_run=_per_run(shared, runs),
        text=text if known else "config.yaml could not be read.",
        search=" ".join([*names, *states, *(run.name for run in runs), *(_differences(known[0]) if known else [])]),
    )


def _per_run(shared: Mapping[str, Any], runs: Sequence[RunData]) -> list[str]:
    """Such as "seed_1: hardware.device=cpu" where the shared configuration has another value."""
    base = _flat(shared)
    lines = []
    for run in runs:
        if not run.config:
            lines.append(f"{run.name}: no configuration")
            continue
        own = _flat(run.config)
        changed = [key for key in {**base, **own} if own.get(key) != base.get(key) and key not in OF_ONE_RUN]
        if changed:
            lines.append(f"{run.name}: {', '.join(f'{key}={own.get(key, NONE)}' for key in changed)}")
    return lines


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
