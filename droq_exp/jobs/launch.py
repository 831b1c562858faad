"""The head process of jobs: skip what is done, leave alone what is on its way, submit the rest, watch until the end.

Nothing depends on it: jobs go on without it, and the same command again takes up where it was.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from droq_exp.config import Config, ConfigError
from droq_exp.jobs import pool, slurm
from droq_exp.jobs.cluster import check_requests
from droq_exp.jobs.plan import PlannedRun, group_into_jobs, plan_runs, to_submit
from droq_exp.jobs.queue import Queue, QueueUnreachableError
from droq_exp.jobs.record import JobRecord
from droq_exp.jobs.slurm import SubmissionError
from droq_exp.jobs.state import LIVE, STATES, State, summary
from droq_exp.jobs.turns import turn
from droq_exp.runs.files import DamagedError
from droq_exp.runs.lock import HeldError
from droq_exp.runs.status import CUT_SHORT, DONE, read_status
from droq_exp.runs.takeover import check_directory, set_aside

WHAT_NOW = dict.fromkeys(DONE, "nothing to do") | dict.fromkeys(LIVE, "left alone")
LOOKS = 2  # that must agree on a run's end: files on a shared file system are seen late


def launch(points: Sequence[Sequence[str]], composed: Sequence[tuple[Config, Config]]) -> list[int]:
    """Bring about the runs of ``points``, whose hardware has jobs, and wait for them unless ``hardware.wait=false``.

    Args:
        points: each a list of plain overrides.
        composed: what ``compose`` makes of each.

    Returns:
        For each point 0, or 1 where one of its runs ended otherwise than in order.

    Raises:
        SystemExit: told in one line: 2 when two points are one run, or a directory holds another run; 1 when nothing
            could be asked or submitted; 130 on Ctrl-C.
    """
    try:
        runs = plan_runs(points, composed)
        done = submit(runs, _say)
    except (ConfigError, DamagedError) as error:  # told here: Hydra would show a traceback
        _say(f"error: {error}", problem=True)
        sys.exit(2)
    except (HeldError, QueueUnreachableError, SubmissionError) as error:
        _say(f"error: {error}", problem=True)
        sys.exit(1)
    except KeyboardInterrupt:
        _leave()
    hardware = group_into_jobs(runs[:1])[0].hardware
    if not hardware.wait:
        return [0] * len(points)
    try:
        states = _watch(runs, done, hardware.poll_seconds)
    except KeyboardInterrupt:
        _leave()
    counts = Counter(states.values())
    _say(", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]))
    bad = {run.point for run, state in states.items() if state not in DONE}
    return [int(index in bad) for index in range(len(points))]


def submit(
    runs: Sequence[PlannedRun], tell: Callable[[str], None], at_once: int | None = None
) -> dict[PlannedRun, State]:
    """Submit what is to be submitted, when it is this command's turn.

    Args:
        runs: with jobs for hardware.
        tell: is given what is submitted and what is not, a line each.
        at_once: processes of these at a time, where they are this machine's; None: ``hardware.jobs``.

    Returns:
        What is done, and was before.

    Raises:
        ConfigError, DamagedError, QueueUnreachableError: as ``_look``; SubmissionError: as ``slurm.submit``.
    """
    states = _look(runs)
    if not to_submit(states):
        _tell_states(states, tell)
        return {run: state for run, state in states.items() if state in DONE}
    with turn({job.experiment_directory for job in group_into_jobs(runs)}), _uninterrupted():
        states = _look(runs)  # another command may have been faster
        submitted = to_submit(states)
        jobs = group_into_jobs(submitted)
        check_requests(jobs)
        for run in submitted:
            if run.config.training.restart and (aside := set_aside(run.directory)) is not None:
                tell(f"kept aside: {aside}")
        if jobs and jobs[0].hardware.launcher == "slurm":
            slurm.submit(jobs)
        elif jobs:
            pool.submit(jobs, at_once)
        _tell_states(states, tell)  # now that it is true
        if jobs:
            tell(f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'} submitted")
    return {run: state for run, state in states.items() if state in DONE and run not in submitted}


def _look(runs: Sequence[PlannedRun]) -> dict[PlannedRun, State]:
    """The states; raises ConfigError or DamagedError where a run that might be submitted cannot be."""
    queue = Queue()
    states = {run: run.state(queue) for run in runs}
    for run in (run for run, state in states.items() if state not in LIVE):
        check_directory(run.directory, run.config)
        JobRecord.read(run.directory)
    return states


def _tell_states(states: Mapping[PlannedRun, State], tell: Callable[[str], None]) -> None:
    counts = Counter(states.values())
    for state in STATES:
        if counts[state]:
            tell(f"{counts[state]} {state}: {WHAT_NOW.get(state, 'submitted')}")


def _watch(runs: Sequence[PlannedRun], done: Mapping[PlannedRun, State], seconds: float) -> dict[PlannedRun, State]:
    """Wait until no run is queued or running; tell each end but of those ``done``."""
    last: dict[PlannedRun, State] = dict(done)
    agreed: Counter[PlannedRun] = Counter(dict.fromkeys(done, LOOKS))
    silent = False
    while True:
        queue = Queue()
        open_runs = [run for run in runs if agreed[run] < LOOKS]
        try:
            for run in open_runs:
                state = run.state(queue)
                agreed[run] = 0 if state in LIVE else agreed[run] + 1 if last.get(run) == state else 1
                if state in DONE:
                    agreed[run] = LOOKS
                last[run] = state
                if agreed[run] == LOOKS:
                    _tell_end(run, state)
            silent = False
        except QueueUnreachableError as error:
            if not silent:
                _say(f"the queue does not answer, asking again: {error}", problem=True)
            silent = True
        if not silent and all(agreed[run] == LOOKS for run in runs):
            return last
        time.sleep(seconds)


def _tell_end(run: PlannedRun, state: State) -> None:
    if state == "finished":
        _say(f"finished: {run.directory}")
        return
    try:
        status, record = read_status(run.directory) or {}, JobRecord.read(run.directory)
    except DamagedError as error:
        _say(f"{state}: {run.directory}: {error}", problem=True)
        return
    if state in CUT_SHORT:
        _say(f"{state}: {run.directory}: {status.get('reason')}")
        return
    why = f": {what}" if (what := summary(state, status, record)) else ""
    log = f" (log: {record.log})" if record is not None else ""
    _say(f"{state}: {run.directory}{why}{log}", problem=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Keep Ctrl-C, SIGTERM and the terminal's end until the end: a job that is submitted gets its record."""
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {
        number: signal.signal(number, remember) for number in signals if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        if received[0] == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + received[0])


def _leave() -> NoReturn:
    _say("jobs keep running without this command; run it again to find them", problem=True)
    sys.exit(130)


def _say(line: str, *, problem: bool = False) -> None:
    print(line, file=sys.stderr if problem else sys.stdout, flush=True)
