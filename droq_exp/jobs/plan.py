"""From the points of a command to jobs: each run's directory and state, and which seeds share a job."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from droq_exp.config import Config, ConfigError, overrides
from droq_exp.config.schema import JobsHardwareConfig
from droq_exp.config.targets import trusted
from droq_exp.import_path import places_for_jobs
from droq_exp.jobs.job import Job
from droq_exp.jobs.queue import Queue
from droq_exp.jobs.record import JobRecord
from droq_exp.jobs.state import LIVE, State, point_state
from droq_exp.runs.identity import run_directory
from droq_exp.runs.status import DONE


@dataclass(frozen=True, eq=False)  # one object for each run
class PlannedRun:
    """One seed of what a command asks for."""

    point: int  # index of the command's point
    config: Config  # with this seed alone
    directory: Path  # absolute
    shared: tuple[str, ...]  # overrides of the run but for its seed, with an absolute output_dir

    @property
    def overrides(self) -> list[str]:
        """What makes exactly this run, from any current directory."""
        return [*self.shared, f"seed={self.config.seed}"]

    def state(self, queue: Queue) -> State:
        """What has become of it; raises as ``point_state``."""
        return point_state(self.directory, self.config.training.total_steps, queue)


@dataclass(frozen=True)
class PlannedJob:
    """Runs that one process trains side by side: they differ in the seed alone."""

    runs: tuple[PlannedRun, ...]

    @property
    def hardware(self) -> JobsHardwareConfig:
        """What it asks for."""
        hardware = self.runs[0].config.hardware
        assert isinstance(hardware, JobsHardwareConfig)
        return hardware

    @property
    def job(self) -> Job:
        """What is to be called."""
        seeds = ",".join(str(run.config.seed) for run in self.runs)
        overrides = [*self.runs[0].shared, f"seed=[{seeds}]" if len(self.runs) > 1 else f"seed={seeds}"]
        directories = [str(run.directory) for run in self.runs]
        return Job(overrides, directories, self.runs[0].config.training.total_steps, trusted(), places_for_jobs())

    def record(self, backend: str, job_id: str, submitted: str, log: Path) -> None:
        """Write ``job.json`` into its runs' directories."""
        for run in self.runs:
            JobRecord(backend, job_id, submitted, str(log), run.overrides).write(run.directory)

    @property
    def experiment_directory(self) -> Path:
        """The folder of its experiment, absolute."""
        config = self.runs[0].config
        return Path(config.output_dir).absolute() / config.experiment_name


def plan_runs(points: Sequence[Sequence[str]], composed: Sequence[tuple[Config, Config]]) -> list[PlannedRun]:
    """The runs of a command's points, each seed one.

    Args:
        points: each a list of plain overrides.
        composed: what ``compose`` makes of each.

    Raises:
        ConfigError: two points have the same directory, which two jobs must not share, or one
            that SLURM cannot name.
    """
    runs = [run for index, point in enumerate(points) for run in _runs(index, point, *composed[index])]
    by_directory: dict[Path, PlannedRun] = {}
    for run in runs:
        if run.config.hardware.launcher == "slurm" and {*"%\\"} & {*str(run.directory)}:
            problem = (
                f"{run.directory.parents[4]}: sbatch reads % and \\ in the names of a job's files as signs of its own"
            )
            raise ConfigError("output_dir", f"{problem}; output_dir=<a directory without them> works")
        other = by_directory.setdefault(run.directory, run)
        if other is not run:
            raise ConfigError("sweep", f"two points are the same run: {run.directory}")
    return runs


def group_into_jobs(runs: Sequence[PlannedRun]) -> list[PlannedJob]:
    """Share ``runs`` out among jobs of ``hardware.seeds_per_job`` seeds, in their order."""
    groups: dict[str, list[PlannedRun]] = {}
    for run in runs:
        groups.setdefault(json.dumps(asdict(replace(run.config, seed=None)), sort_keys=True), []).append(run)
    jobs = []
    for group in groups.values():
        size = PlannedJob((group[0],)).hardware.seeds_per_job
        jobs += [PlannedJob(tuple(group[start : start + size])) for start in range(0, len(group), size)]
    return jobs


def to_submit(states: dict[PlannedRun, State]) -> list[PlannedRun]:
    """Those that are neither done (unless they are to start over) nor on their way."""
    return [
        run for run, state in states.items() if state not in LIVE and (state not in DONE or run.config.training.restart)
    ]


def _runs(index: int, point: Sequence[str], config: Config, recipe: Config) -> list[PlannedRun]:
    output_dir = Path(config.output_dir).absolute()
    # A job that is requeued must not start over once more: the head sets directories aside before it submits.
    ours = ("seed", "output_dir", "training.restart")
    kept = [item for item in overrides.parse(point) if item.key_or_group not in ours]
    shared = (*map(overrides.text, kept), f"output_dir={overrides.quoted(str(output_dir))}")
    config = replace(config, output_dir=str(output_dir))
    return [
        PlannedRun(index, replace(config, seed=seed), run_directory(config, recipe, seed), shared)
        for seed in config.seeds
    ]
