"""``droq-exp sync``: upload what wandb kept offline below a directory, each file once, in the order it was written."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from droq_exp.cli.errors import RefusedError
from droq_exp.cli.runs import find as find_runs
from droq_exp.cli.wandb_server import check_server
from droq_exp.loggers import wandb_files
from droq_exp.loggers.wandb_files import DamagedFileError, EmptyFileError, OfflineRun, synced_marker
from droq_exp.runs.owner import owner

STATES = ("to upload", "uploaded", "uploaded in part", "uploaded before", "still running", "empty", "damaged", "failed")

INCOMPLETE = "the file ends with an incomplete record"  # what wandb says having uploaded all that comes before it


def sync(directory: Path, project: str | None, entity: str | None, dry_run: bool, time_limit: float) -> None:
    """Upload the offline wandb files below ``directory`` that have not been, and tell what became of each.

    Args:
        directory: any level of the output directory.
        project: None: as each run was configured.
        entity: likewise.
        dry_run: only tell what would be uploaded; touches no network.
        time_limit: seconds that the upload of one run may take.

    Raises:
        RefusedError: there is no offline file, nobody is logged in, or wandb's server does not answer.
        SystemExit: with code 1 where a file is damaged or could not be uploaded.
    """
    paths = wandb_files.find(directory)
    if not paths:
        find_runs(directory)  # refuses what holds no run at all
        raise RefusedError(f"{directory} has no offline wandb runs; logger=wandb makes them")
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
        given = (("project", project), ("entity", entity))
        options = [f"--{name}={value}" for name, value in given if value is not None]
        for _, parts in groupby(waiting, key=_run_directory):
            states.update(_upload_parts(directory, list(parts), options, time_limit))
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
    except EmptyFileError as error:
        holder = owner(path.resolve().parents[2])
        return "still running" if holder is not None and holder.alive() else "empty", str(error)
    except DamagedFileError as error:
        return "damaged", str(error)
    if run.synced:
        return "uploaded before", _words(run)
    # What is logged after an upload would be left out: wandb notes that the file is done.
    holder = owner(path.resolve().parents[2]) if run.exit_code is None else None
    return "still running" if holder is not None and holder.alive() else "to upload", _words(run)


def _words(run: OfflineRun) -> str:
    end = {None: "cut off", 0: "finished", 130: "interrupted"}.get(run.exit_code, "failed")
    steps = f"{len(run.steps):,} rows to step {run.steps[-1]:,}" if run.steps else "no rows"
    return f"{'/'.join(filter(None, (run.entity, run.project, run.run_id)))}, {steps}, {end}"


def _tell(directory: Path, path: Path, state: str, what: str) -> None:
    name = path.parent.relative_to(directory) if path.parent.is_relative_to(directory) else path.parent
    print(f"{state:<16}  {name}: {what}", flush=True)


def _upload_parts(directory: Path, paths: Sequence[Path], options: Sequence[str], time_limit: float) -> Iterator[str]:
    """Upload the files of one run in order; yields their states. wandb appends the rows of each to those before it."""
    state = ""
    for path in paths:
        if state == "failed":
            what = "skipped: the part before it failed"
        else:
            state, what = _upload(path, options, time_limit)
        _tell(directory, path, state, what)
        yield state


def _upload(path: Path, options: Sequence[str], time_limit: float) -> tuple[str, str]:
    """Upload one file by `wandb sync`; the new state, and what went wrong where it is "failed"."""
    try:
        with tempfile.TemporaryDirectory() as logs:  # wandb leaves its own in the current directory
            done = subprocess.run(
                [sys.executable, "-P", "-m", "wandb", "sync", *options, str(path.resolve())],
                cwd=logs,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=time_limit,
            )
    except subprocess.TimeoutExpired:
        return "failed", f"not finished within {time_limit:g} s"
    if synced_marker(path).exists():
        return "uploaded", "done"
    said = [" ".join(line.split()) for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if any(INCOMPLETE in line for line in said):
        synced_marker(path).touch()  # no more will come, and another upload would append the same rows again
        return "uploaded in part", "except its last record, in which its process was killed"
    wrong = [line for line in said if "ERROR" in line] or said
    return "failed", wrong[-1] if wrong else f"wandb sync ended with code {done.returncode}"
