"""``droq-exp profile``: a table of what training costs, each cell measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import starmap
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from droq_exp.cli.errors import RefusedError, check_place
from droq_exp.config import compose_points, readable, sweep_points
from droq_exp.config.files import choices
from droq_exp.config.schema import BY_KEY
from droq_exp.import_path import child_environment
from droq_exp.profiling.profile import Cost
from droq_exp.runs.files import write_atomically
from droq_exp.runs.provenance import versions

COLUMNS = ("algo", "env", "ms per loop", "ms in Q updates", "ms per Q update", "critics", "actor", "peak MB")
TEXTS = 2  # columns that are aligned to the left
WIDE = 200  # characters of a line that nobody's terminal bounds
Measured = tuple[Cost, list[str]]  # and what else of the sweep it is of


def profile(overrides: Sequence[str], all_cells: bool, steps: int, json_file: Path | None, markdown: bool) -> None:
    """Measure every point of the sweep that ``overrides`` make, one after the other, and print a table of them.

    Raises:
        ConfigError: what ``launch.py -m`` refuses.
        RefusedError: ``json_file`` cannot be written.
        SystemExit: with code 1 where a cell could not be measured; the others are told.
    """
    if json_file is not None:
        check_place("--json", json_file)
    points = sweep_points([*(_everything(overrides) if all_cells else []), *overrides])
    compose_points(points)  # what is wrong shows before anything is measured
    measured: list[Measured] = []
    failed = False
    for number, point in enumerate(points, 1):
        print(f"[{number}/{len(points)}] {readable(point) or 'as configured'}", file=sys.stderr, flush=True)
        try:
            measured.append((_measure(point, steps), _otherwise(point, points)))
        except RuntimeError as error:
            print(f"not measured: {readable(point)}: {error}", file=sys.stderr, flush=True)
            failed = True
    if measured and markdown:
        print(_markdown(measured))
    elif measured:
        terminal = Console(highlight=False)
        # Cells are cut off where they do not fit; a file or a pipe has room.
        (terminal if terminal.is_terminal else Console(highlight=False, width=WIDE)).print(_table(measured))
    if json_file is not None:
        content = {
            "versions": versions(),
            "cells": [
                asdict(cost) | {"q_update_ms": cost.q_update_ms, "otherwise": otherwise} for cost, otherwise in measured
            ],
        }
        try:
            write_atomically(json_file, json.dumps(content, indent=2) + "\n")
        except OSError as error:
            raise RefusedError(f"--json: {json_file}: {error.strerror}") from error
    if failed:
        sys.exit(1)


def _everything(overrides: Sequence[str]) -> list[str]:
    """The sweep over all algorithms and environments, but for what is chosen already."""
    names = {"algo": choices("algo"), "env": [name for name in choices("env") if name not in BY_KEY]}
    chosen = {line.partition("=")[0] for line in overrides}
    return [f"{group}={','.join(values)}" for group, values in names.items() if group not in chosen]


def _measure(point: Sequence[str], steps: int) -> Cost:
    """Raise RuntimeError, one line, where the process that measures fails."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "droq_exp.profiling.profile", str(steps), *point],
        capture_output=True,
        text=True,
        env=child_environment(),
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise RuntimeError(said[-1] if said else f"its process ended with code {done.returncode}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def _otherwise(point: Sequence[str], points: Sequence[Sequence[str]]) -> list[str]:
    """What of the sweep a row must tell beside algorithm and environment, so that it is told apart."""
    shared = set(point).intersection(*points)
    return [line for line in point if line not in shared and line.partition("=")[0] not in ("algo", "env", "env.id")]


def _row(cost: Cost, otherwise: Sequence[str]) -> list[str]:
    details = ", ".join([*([f"{cost.seeds} seeds"] if cost.seeds > 1 else []), *otherwise])
    return [
        f"{cost.algo} ({details})" if details else cost.algo,
        cost.env,
        f"{cost.loop_ms:,.1f}",
        f"{cost.q_updates_ms:,.1f}",
        f"{cost.q_update_ms:,.2f}",
        f"{cost.critic_parameters:,}",
        f"{cost.actor_parameters:,}",
        f"{cost.peak_memory_mb:,.0f}",
    ]


def _caption(measured: Sequence[Measured]) -> str:
    costs = [cost for cost, _ in measured]
    devices, codebases = sorted({cost.device for cost in costs}), sorted({cost.codebase for cost in costs})
    return f"{'; '.join(devices)}; codebase {', '.join(codebases)}; medians of {costs[0].steps} environment steps"


def _table(measured: Sequence[Measured]) -> Table:
    table = Table(caption=_caption(measured))
    for number, name in enumerate(COLUMNS):
        table.add_column(name, justify="left" if number < TEXTS else "right", overflow="fold")
    for each in measured:
        table.add_row(*map(escape, _row(*each)))
    return table


def _markdown(measured: Sequence[Measured]) -> str:
    rule = ["---"] * TEXTS + ["---:"] * (len(COLUMNS) - TEXTS)
    lines = [f"| {' | '.join(cells)} |" for cells in (COLUMNS, rule, *starmap(_row, measured))]
    return "\n".join([*lines, "", f"{_caption(measured)}."])
