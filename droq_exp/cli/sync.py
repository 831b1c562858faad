"""``droq-exp sync``: upload what wandb kept offline below a directory, each file once, in the order it was written."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from droq_exp import wandb_files
from droq_exp.cli.errors import Refusal
from droq_exp.cli.runs import find as find_runs
from droq_exp.cli.wandb_server import check_server
from droq_exp.lock import owner
from droq_exp.wandb_files import Damaged, OfflineRun, synced_marker

STATES = ("to upload", "uploaded", "uploaded before", "still written", "damaged", "failed")


def sync(directory: Path, project: str | None, entity: str | None, dry_run: bool, time_limit: float) -> None:
    """Upload the offline wandb files below ``directory`` that have not been, and tell what became of each.

    Args:
        directory: any level of the output directory.
        project: None: as each run was configured.
        entity: likewise.
        dry_run: only tell what would be uploaded; touches no network.
        time_limit: seconds that the upload of one run may take.

    Raises:
        Refusal: there is no offline file, nobody is logged in, or wandb's server does not answer.
        SystemExit: with code 1 where a file is damaged or could not be uploaded.
    """
    paths = wandb_files.find(directory)
    if not paths:
        find_runs(directory)  # refuses what holds no run at all
        raise Refusal(f"{directory} holds no offline run of wandb; logger=wandb makes them")
    states: Counter[str] = Counter()
    waiting = []
    for path in paths:
        state, run = _look(path)
        _tell(directory, path, state, run)
        states[state] += 1
        if state == "to upload":
            waiting.append(path)
    if waiting and not dry_run:
        check_server()
        states["to upload"] = 0
        for _, group in groupby(waiting, key=_run_directory):
            states.update(_upload(directory, list(group), project, entity, time_limit))
    counted = [f"{states[state]:,} {state}" for state in STATES if states[state]]
    print(f"{len(paths):,} offline {'run' if len(paths) == 1 else 'runs'}: {', '.join(counted)}")
    if states["damaged"] or states["failed"]:
        sys.exit(1)


def _run_directory(path: Path) -> Path:
    return path.parents[2]


def _look(path: Path) -> tuple[str, str]:
    """The state of a file, and what it holds or what is wrong with it."""
    try:
        run = wandb_files.read(path)
    except Damaged as error:
        return "damaged", str(error)
    if run.synced:
        return "uploaded before", _words(run)
    # What is logged after an upload would be left out: wandb notes that the file is done.
    holder = owner(path.resolve().parents[2]) if run.exit_code is None else None
    return "still written" if holder is not None and holder.alive() else "to upload", _words(run)


def _words(run: OfflineRun) -> str:
    end = {None: "cut off", 0: "finished", 130: "interrupted"}.get(run.exit_code, "failed")
    steps = f"{run.rows:,} rows to step {run.last_step:,}" if run.last_step is not None else "no rows"
    return f"{'/'.join(filter(None, (run.entity, run.project, run.run_id)))}, {steps}, {end}"


def _tell(directory: Path, path: Path, state: str, what: str) -> None:
    name = path.parent.relative_to(directory) if path.parent.is_relative_to(directory) else path.parent
    print(f"{state:<15}  {name}: {what}", flush=True)


def _upload(
    directory: Path, paths: Sequence[Path], project: str | None, entity: str | None, time_limit: float
) -> Counter[str]:
    """Upload the files of one run by `wandb sync`, which appends those of a resumed run in order."""
    options = [f"--{name}={value}" for name, value in (("project", project), ("entity", entity)) if value is not None]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "wandb", "sync", *options, *map(str, paths)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=time_limit,
        )
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        problem = said[-1] if said else f"wandb sync ended with code {done.returncode}"
    except subprocess.TimeoutExpired:
        problem = f"not done within {time_limit:g} s"
    states = ["uploaded" if synced_marker(path).exists() else "failed" for path in paths]
    for path, state in zip(paths, states, strict=True):
        _tell(directory, path, state, problem if state == "failed" else "done")
    return Counter(states)
