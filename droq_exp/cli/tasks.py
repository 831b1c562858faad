"""``droq-exp tasks``: what is installed and can be learned."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout

from rich.console import Console
from rich.table import Table

from droq_exp.cli.errors import RefusedError
from droq_exp.config.errors import ConfigError
from droq_exp.config.schema import EnvConfig
from droq_exp.config.task import Task, tried
from droq_exp.envs.suites import broken_suites, installed, missing_suites

COLUMNS = ("id", "observation", "action", "limit")


def tasks(word: str | None, as_json: bool) -> None:
    """Print the tasks whose ids contain ``word``, each tried first: id, sizes, and steps of an episode.

    Raises:
        RefusedError: none that is installed has it in its id.
    """
    logging.disable(logging.WARNING)  # of those that cannot be closed, say
    try:
        with redirect_stdout(sys.stderr):  # what a task prints is none of the list
            found = list(_found(word or ""))
    finally:
        logging.disable(logging.NOTSET)
    missing = [f"{suite}: {way}" for suite, way in missing_suites()]
    if as_json:
        print(json.dumps({"tasks": [dict(zip(COLUMNS, row, strict=True)) for row in found], "missing": missing}))
        return
    if not found:
        problem = f"no task that is installed and can be learned has {word!r} in its id"
        raise RefusedError("; not installed: ".join([problem, ", ".join(missing)]) if missing else problem)
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "id" else "right", no_wrap=True)
    for row in found:
        table.add_row(*("-" if value is None else str(value) for value in row))
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no width, and ids are not to be cut
    console.print(table)
    for package, reason in broken_suites():
        console.print(f"broken: {package}: {reason}", style="red", soft_wrap=True, markup=False)
    for line in missing:
        console.print(f"not installed: {line}", style="dim", soft_wrap=True, markup=False)


def _found(word: str) -> Iterator[tuple[str, int, int, int | None]]:
    """(id, observations, actions, limit) of each task that can be learned."""
    for id in installed():
        if word.casefold() in id.casefold() and (task := _learnable(id)):
            yield id, task.obs_dim, task.act_dim, task.step_limit


def _learnable(id: str) -> Task | None:
    try:
        return tried(EnvConfig(name="gym", id=id))
    except ConfigError:
        return None
