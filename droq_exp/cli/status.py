"""``droq-exp status``: a table of runs, why some have ended early, what is wrong with others, and counts."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from droq_exp.cli.runs import ListedRun, shown, survey
from droq_exp.training.progress import duration

STYLES = {
    "finished": "green",
    "stopped": "green",
    "pruned": "green",
    "running": "cyan",
    "queued": "blue",
    "interrupted": "yellow",
    "vanished": "red",
    "failed": "red",
    "unknown": "magenta",
}
WORDS = {"finished": "done"}  # shorter in a table
UNDER_WAY = ("running", "queued", "unknown")


def show(directory: Path, interval: float | None, as_json: bool) -> None:
    """Print the state of the runs below ``directory``; again every ``interval`` seconds until nothing is under way.

    Raises:
        RefusedError: there is no run.
    """
    console = Console(highlight=False)
    while True:
        runs, problem = survey(directory)
        if as_json:
            print(json.dumps({"runs": [_plain(run) for run in runs], "counts": _counts(runs), "problem": problem}))
        else:
            if interval is not None and console.is_terminal:
                console.clear()
            _print(runs, problem, console)
        if interval is None or not any(run.state in UNDER_WAY for run in runs):
            return
        time.sleep(interval)


def counts_text(runs: Sequence[ListedRun]) -> str:
    """Such as "80 runs: 31 done, 12 running, 37 queued"."""
    parts = [f"{count:,} {WORDS.get(state, state)}" for state, count in _counts(runs).items()]
    return f"{len(runs):,} run{'s' if len(runs) != 1 else ''}: {', '.join(parts)}"


def _counts(runs: Sequence[ListedRun]) -> dict[str, int]:
    counted = Counter(run.state for run in runs)
    return {state: counted[state] for state in STYLES if state in counted}  # type: ignore[index]


def _print(runs: Sequence[ListedRun], problem: str | None, console: Console) -> None:
    console.print(_table(runs), soft_wrap=True)
    for run in runs:
        if run.reason is not None:
            console.print(Text(f"{run.state}: {run.name}: {run.reason}", STYLES[run.state]), soft_wrap=True)
        if run.error is not None or run.log is not None:
            where = f" (see {shown(str(run.log))})" if run.log is not None else ""
            line = Text(f"{run.state}: {run.name}: {run.error or 'unknown reason'}{where}", STYLES[run.state])
            console.print(line, soft_wrap=True)
    if problem is not None:
        console.print(Text(f"the queue does not answer: {problem}", STYLES["unknown"]), soft_wrap=True)
    console.print(counts_text(runs), soft_wrap=True)


def _table(runs: Sequence[ListedRun]) -> Text:
    """As one text: a rich table of a thousand rows takes longer than everything else together."""
    width = max(len(run.name) for run in runs)
    table = Text(f"{'run':<{width}}  {'state':<11}  {'step':>11}  {'%':>4}  {'return':>9}  {'left':>9}", "bold")
    for run in runs:
        table.append(f"\n{run.name:<{width}}  ", "not bold")
        table.append(f"{WORDS.get(run.state, run.state):<11}", f"not bold {STYLES[run.state]}")
        percent = f"{run.step / run.total_steps:.0%}" if run.total_steps else "-"
        last = f"{run.last_return:,.1f}" if run.last_return is not None else "-"
        left = duration(run.seconds_left) if run.seconds_left is not None else "-"
        table.append(f"  {run.step:>11,}  {percent:>4}  {last:>9}  {left:>9}", "not bold")
    return table


def _plain(run: ListedRun) -> dict[str, object]:
    return asdict(run) | {"directory": str(run.directory), "log": str(run.log) if run.log is not None else None}
