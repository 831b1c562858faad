"""``droq-exp plan``: what ``launch.py -m`` with the same overrides would do; nothing is started or written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from droq_exp.cli.status import STYLES, WORDS
from droq_exp.config import compose_points, sweep_points
from droq_exp.config.schema import ParallelHardwareConfig, SlurmHardwareConfig
from droq_exp.jobs.cluster import check_requests
from droq_exp.jobs.plan import PlannedJob, PlannedRun, group_into_jobs, plan_runs, to_submit
from droq_exp.jobs.queue import Queue
from droq_exp.jobs.state import LIVE, STATES, State
from droq_exp.launch.checks import check_sweep
from droq_exp.runs.checkpoint_files import FOLDER, state_steps
from droq_exp.runs.status import DONE
from droq_exp.runs.takeover import check_directory


def plan(overrides: Sequence[str]) -> None:
    """Print the runs of the sweep with their states, the jobs that would be submitted, and totals.

    Raises:
        ConfigError: what ``launch.py -m`` refuses.
        QueueUnreachableError: the state of a run depends on SLURM, and SLURM does not answer.
    """
    points = sweep_points(overrides)
    composed = compose_points(points)
    check_sweep([config for config, _ in composed], overrides)
    runs = plan_runs(points, composed)
    queue = Queue()
    states = {run: run.state(queue) for run in runs}
    waiting = to_submit(states)
    _check_directories([run for run, state in states.items() if state not in LIVE])
    jobs = group_into_jobs(waiting) if runs[0].config.hardware.launcher != "here" else []
    check_requests(jobs)
    numbers = {run: number for number, job in enumerate(jobs, 1) for run in job.runs}
    console = Console(highlight=False)
    console.print(_table(states, numbers), soft_wrap=True)
    counted = Counter(states.values())
    parts = [f"{counted[state]:,} {WORDS.get(state, state)}" for state in STATES if counted[state]]
    console.print(f"{_number(len(runs), 'run')}: {', '.join(parts)}", soft_wrap=True)
    for line in _requests(jobs, len(waiting)):
        console.print(line, soft_wrap=True, markup=False)


def _check_directories(runs: Sequence[PlannedRun]) -> None:
    """Refuse, as the launch does, a directory that holds another run than the command's, or one of other code."""
    for run in runs:
        check_directory(run.directory, run.config)


def _table(states: dict[PlannedRun, State], numbers: dict[PlannedRun, int]) -> Text:
    names = {run: "/".join(run.directory.parts[-5:]) for run in states}
    width = max(map(len, names.values()))
    table = Text(f"{'run':<{width}}  {'state':<11}  would be", "bold")
    for run, state in states.items():
        table.append(f"\n{names[run]:<{width}}  ", "not bold")
        table.append(f"{WORDS.get(state, state):<11}", f"not bold {STYLES.get(state, '')}")
        table.append(f"  {_action(run, state, numbers.get(run))}", "not bold")
    return table


def _action(run: PlannedRun, state: State, number: int | None) -> str:
    restart = run.config.training.restart
    if state in LIVE:
        return "left alone"
    if state in DONE and not restart:
        return "skipped"
    resumes = not restart and bool(state_steps(run.directory / FOLDER))
    verb = "started" if state == "missing" else "resumed" if resumes else "started over"
    return f"{verb} in job {number}" if number is not None else f"{verb} here"


def _requests(jobs: Sequence[PlannedJob], waiting: int) -> list[str]:
    """What the jobs ask for, a line for each kind of them, and the sum."""
    if not waiting:
        return ["nothing to do"]
    if not jobs:
        return [f"{_number(waiting, 'run')} would be trained here, one after another"]
    kinds = Counter(f"{_request(job)}, {_number(len(job.runs), 'seed')}" for job in jobs)
    lines = [f"{count:,} x {kind}" for kind, count in kinds.items()]
    total = f"{_number(len(jobs), 'job')} would be submitted"
    hardware = [job.hardware for job in jobs if isinstance(job.hardware, SlurmHardwareConfig)]
    if hardware:
        gpu_hours = sum(each.hours * each.gpus_per_node for each in hardware)
        cpu_hours = sum(each.hours * each.cpus for each in hardware)
        total += f"; at most {gpu_hours:,.0f} GPU hours and {cpu_hours:,.0f} CPU hours before a requeue"
    return [*lines, total]


def _request(job: PlannedJob) -> str:
    hardware = job.hardware
    if isinstance(hardware, ParallelHardwareConfig):
        return f"a process on this machine, {hardware.jobs} at once"
    assert isinstance(hardware, SlurmHardwareConfig)
    named = [f"{key} {getattr(hardware, key)}" for key in ("account", "qos", "constraint") if getattr(hardware, key)]
    parts = [
        f"partition {hardware.partition or '(default)'}",
        *named,
        f"{hardware.gpus_per_node} GPU",
        f"{hardware.cpus} CPU",
        f"{hardware.memory_gb:g} GB",
        f"{hardware.hours:g} h",
    ]
    return ", ".join(parts)


def _number(count: int, of: str) -> str:
    return f"{count:,} {of}{'' if count == 1 else 's'}"
