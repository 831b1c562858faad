#!/usr/bin/env python
"""Kill runs at random moments, start them again until they are finished, and compare with runs left alone.

    python scripts/kill_campaign.py --output /tmp/campaign --kills 38 --signals 19 --jobs 2

Each case (an algorithm, a code base, a task; one more with three seeds in one process) is trained twice, compiled,
with bias estimates: once to the end below ``<output>/reference``, once with SIGKILLs and preemption signals below
``<output>/disturbed``. On a CPU both must end with the same weights, to the bit, and the same CSVs, timing columns
aside. A line per case is printed as it ends, and at last a JSON summary; the exit code is 1 where anything differs or
went wrong.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
TIMING = {"updates_per_second", *(f"{name}_seconds" for name in ("env", "sample", "update", "evaluate", "wall"))}
INTERVAL = 100  # environment steps between two evaluations; checkpoints come twice as often
SMALL = (
    *("hardware=cpu", "hardware.threads=1", "hardware.updates=native", "bias.enabled=true", "training.start_steps=200"),
    *(f"eval.interval={INTERVAL}", "eval.episodes=2", f"checkpoint.interval={INTERVAL // 2}", "algo.utd_ratio=4"),
    *("algo.hidden_sizes=[128,128]", "algo.batch_size=128"),  # a launch is mostly start-up then
)
# Of the code base redq: a policy update per environment step, and fewer pairs for a bias estimate.
SMALL_REDQ = ("codebase.policy_update_delay=4", "bias.min_pairs=200")
# Runs launch.py as a SLURM job does under submitit: somebody handles the preemption signal before training does.
AS_A_JOB = (
    "import runpy, signal, sys; signal.signal(signal.SIGUSR2, lambda *_: sys.exit(128 + signal.SIGUSR2)); "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)
PREEMPTIONS = (signal.SIGUSR2, signal.SIGTERM)
COUNTS = ("kills", "kills_during_writes", "signals", "launches")
PATIENCE = 1800.0  # seconds that a run may take between two disturbances


@dataclass(frozen=True)
class Case:
    """A run to be disturbed; ``name`` is what ``--cases`` looks at."""

    algorithm: str
    codebase: str
    task: str
    seed: str = "0"

    @property
    def seeds(self) -> int:
        """How many are trained side by side."""
        return self.seed.count(",") + 1

    @property
    def name(self) -> str:
        """Such as ``droq-ku-ant`` or ``droq-redq-hopper-pack``."""
        return "-".join([self.algorithm, self.codebase, self.task, *(["pack"] if self.seeds > 1 else [])])

    def overrides(self, steps: int, output: Path) -> list[str]:
        """What to say to launch.py for ``steps`` environment steps, with results below ``output``."""
        chosen = [f"algo={self.algorithm}", f"codebase={self.codebase}", f"env={self.task}", f"seed={self.seed}"]
        small = [*SMALL, *(SMALL_REDQ if self.codebase == "redq" else ())]
        return [*chosen, *small, f"training.total_steps={steps}", f"output_dir={output}"]


CASES = [
    *(
        Case(algorithm, codebase, task)
        for algorithm in ("sac", "droq", "redq")
        for codebase in ("redq", "ku")
        for task in ("hopper", "ant", "humanoid")
    ),
    Case("droq", "redq", "hopper", seed="[0,1,2]"),
]


@dataclass(frozen=True)
class Strike:
    """One disturbance: when, and by which signal.

    ``when`` is "start" (any moment from the process's first), "training" (after ``rows`` evaluations and part of an
    interval) or "writing" (the same, then at the next write of a checkpoint). ``delay`` is in intervals, for "start" in
    start-up times.
    """

    signal: signal.Signals
    when: str
    rows: int
    delay: float


@dataclass
class Result:
    """How a case went; ``problems`` is empty where it is as the undisturbed run."""

    case: str
    kills: int = 0
    kills_during_writes: int = 0
    signals: int = 0
    launches: int = 0
    went_on_from: list[tuple[int, int]] = field(default_factory=list)
    """Per launch after the first: evaluations in eval.csv before it, and those it started with."""
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


def plan(randomness: random.Random, kills: int, signals: int, intervals: int) -> list[Strike]:
    """Draw the disturbances of one case in the order in which they strike."""
    strikes = []
    for number in range(kills + signals):
        which = signal.SIGKILL if number < kills else randomness.choice(PREEMPTIONS)
        # A process that has not come to training handles no signal yet.
        moments = {"start": 0.15, "training": 0.45, "writing": 0.4} if which == signal.SIGKILL else {"training": 1.0}
        (when,) = randomness.choices(list(moments), list(moments.values()))
        # Not in the last interval: the run might be finished before.
        strikes.append(Strike(which, when, randomness.randrange(intervals - 1), randomness.random()))
    randomness.shuffle(strikes)
    return sorted(strikes, key=lambda strike: strike.rows)


class CampaignError(Exception):
    """A case that cannot go on; ``str`` says why."""


class Launch:
    """One process that trains one case, from its start to its end, whichever way that comes."""

    def __init__(self, case: Case, overrides: list[str], directory: Path, log: Path) -> None:
        """Start it; its runs are below ``directory``, and what it prints is appended to ``log``."""
        self._case, self._directory, self._log = case, directory, log
        self._leftovers = self._temporaries()
        self._stamps = self._status_stamps()
        self.rows_before = self._rows()
        self.fewest_rows: int | None = None  # since the runs were opened
        with log.open("a") as output:
            print("$ launch.py", *overrides, file=output, flush=True)
            self._process = subprocess.Popen(
                [sys.executable, "-c", AS_A_JOB, "launch.py", *overrides],
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a SIGKILL takes the compiler's processes along, as a lost node does
            )

    def finish(self) -> None:
        """Leave it alone to the end, which must be a good one."""
        self._watch(lambda: False)
        self._expect(0)

    def strike(self, strike: Strike, interval: float, start_up: float) -> bool:
        """Disturb it when the moment has come and wait for its end; False where it was finished before.

        ``interval`` and ``start_up`` are the undisturbed run's times in seconds.
        """
        if strike.when == "start":
            self._pause(strike.delay * start_up)
        else:
            self._watch(lambda: self._opened() and self._rows() >= strike.rows)
            self._pause(strike.delay * interval)
        if strike.when == "writing":
            deadline, there = time.monotonic() + 2 * interval, self._temporaries()
            self._watch(lambda: bool(self._temporaries() - there) or time.monotonic() > deadline, poll=0.0005)
        if self._process.poll() is None:
            if strike.signal == signal.SIGKILL:
                self.kill()
            else:
                self._process.send_signal(strike.signal)
                self._watch(lambda: False)
        if self._process.returncode == 0:
            return False
        if strike.signal == signal.SIGKILL:
            self._expect(-signal.SIGKILL)
        else:
            self._expect(128 + strike.signal)
            states = {json.loads((run / "status.json").read_text())["state"] for run in find_runs(self._directory)}
            if states != {"interrupted"}:
                raise CampaignError(f"after {strike.signal.name} the state is {sorted(states)}")
        return True

    def kill(self) -> None:
        """End the process and those it started, without a chance to say anything."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    @property
    def died_writing(self) -> bool:
        """Whether it left a half-written file of a checkpoint."""
        return bool(self._temporaries() - self._leftovers)

    @property
    def started_over(self) -> bool:
        """Whether it went back to step 0 where there must have been a checkpoint to go on from.

        There are two checkpoints per evaluation, and at worst the last one is damaged.
        """
        return self.rows_before >= 2 and self.fewest_rows == 0

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self._watch(lambda: time.monotonic() > end)

    def _watch(self, condition: Callable[[], bool], poll: float = 0.02) -> None:
        """Wait until ``condition`` holds or the process has ended."""
        deadline = time.monotonic() + PATIENCE
        while not condition() and self._process.poll() is None:
            if self._opened():
                rows = self._rows()
                self.fewest_rows = rows if self.fewest_rows is None else min(rows, self.fewest_rows)
            if time.monotonic() > deadline:
                self.kill()
                raise CampaignError(f"nothing happened for {PATIENCE:.0f} s; see {self._log}")
            time.sleep(poll)

    def _expect(self, code: int) -> None:
        if self._process.returncode != code:
            raise CampaignError(f"exit code {self._process.returncode} where {code} was expected; see {self._log}")

    def _opened(self) -> bool:
        """Whether this process has opened the directories of all its seeds."""
        stamps = self._status_stamps()
        return len(stamps) == self._case.seeds and all(self._stamps.get(run) != stamps[run] for run in stamps)

    def _status_stamps(self) -> dict[Path, int]:
        # By inode too: files are replaced, and two replacements may have the same time.
        files = ((run, (run / "status.json").stat()) for run in find_runs(self._directory))
        return {run: hash((file.st_mtime_ns, file.st_ino)) for run, file in files}

    def _rows(self) -> int:
        """Evaluations made so far, of the seed with the fewest."""
        return min((len(rows(run / "eval.csv")) for run in find_runs(self._directory)), default=0)

    def _temporaries(self) -> set[Path]:
        """Files and directories below the runs' checkpoints that are not yet what they will be."""
        found: set[Path] = set()
        for run in find_runs(self._directory):
            for place, directories, files in os.walk(run / "checkpoint"):
                names = [name for name in (*directories, *files) if name.startswith(".") and name.endswith(".tmp")]
                found.update(Path(place, name) for name in names)
        return found


class Campaign:
    """What all cases have in common."""

    def __init__(self, output: Path, steps: int, seed: int) -> None:
        """``output`` is a directory that does not exist yet; ``seed`` is of the campaign's own random numbers."""
        self._output, self._steps, self._seed = output, steps, seed
        self._launches: list[Launch] = []
        self._stopped = False
        (output / "logs").mkdir(parents=True)

    def run(self, case: Case, kills: int, signals: int) -> Result:
        """Train ``case`` twice and compare."""
        begin = time.monotonic()
        result = Result(case.name)
        try:
            self._run(case, kills, signals, result)
        except CampaignError as error:
            result.problems.append(str(error))
        result.seconds = round(time.monotonic() - begin, 1)
        return result

    def stop(self) -> None:
        """End everything that still runs."""
        self._stopped = True
        for launch in self._launches:
            launch.kill()

    def _run(self, case: Case, kills: int, signals: int, result: Result) -> None:
        begin = time.monotonic()
        self._launch(case, "reference").finish()
        total = time.monotonic() - begin
        runs = find_runs(self._output / "reference" / case.name)
        walls = [float(row["wall_seconds"]) for row in rows(runs[0] / "eval.csv")]
        interval, start_up = walls[-1] / len(walls), total - walls[-1]

        for strike in plan(random.Random(f"{self._seed} {case.name}"), kills, signals, self._steps // INTERVAL):
            launch = self._launch(case, "disturbed")
            struck = launch.strike(strike, interval, start_up)
            note(result, launch)
            if not struck:
                break
            if strike.signal == signal.SIGKILL:
                result.kills += 1
                result.kills_during_writes += launch.died_writing
            else:
                result.signals += 1
        launch = self._launch(case, "disturbed")  # where it is finished, this says so and does nothing
        launch.finish()
        note(result, launch)
        for run in runs:
            other = self._output / "disturbed" / run.relative_to(self._output / "reference")
            result.problems += compare(run, other)

    def _launch(self, case: Case, kind: str) -> Launch:
        directory = self._output / kind / case.name
        overrides = case.overrides(self._steps, directory)
        launch = Launch(case, overrides, directory, self._output / "logs" / f"{case.name}-{kind}.log")
        self._launches.append(launch)
        if self._stopped:
            launch.kill()
        return launch


def note(result: Result, launch: Launch) -> None:
    """Keep from where ``launch`` went on, unless it ended before it came to that."""
    result.launches += 1
    if launch.fewest_rows is None or result.launches == 1:
        return
    result.went_on_from.append((launch.rows_before, launch.fewest_rows))
    if launch.started_over:
        result.problems.append(f"launch {result.launches} started over, {launch.rows_before} evaluations were there")


def find_runs(directory: Path) -> list[Path]:
    """Directories of all seeds below ``directory`` that have been opened once, by name."""
    return sorted(path.parent for path in directory.glob("*/*/*/*/seed_*/status.json"))


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file; none where there is no file."""
    try:
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []


def compare(first: Path, second: Path) -> list[str]:
    """Differences between two run directories that should have the same results, a line each."""
    found = []
    state = json.loads((second / "status.json").read_text())["state"] if second.is_dir() else "missing"
    if state != "finished":
        return [f"{second}: {state}"]
    for name in ("train.csv", "eval.csv"):
        ours, theirs = untimed(first / name), untimed(second / name)
        if ours != theirs or not ours:
            same = sum(one == other for one, other in zip(ours, theirs, strict=False))
            found.append(f"{second / name}: {same} of {len(ours)} rows are the same, {len(theirs)} there")
    a, b = tensors(first), tensors(second)
    different = [key for key in sorted({*a, *b}) if a.get(key) != b.get(key)]
    if different:
        found.append(f"{second / 'checkpoint' / 'weights.pt'}: {', '.join(different)}")
    return found


def untimed(path: Path) -> list[list[tuple[str, str]]]:
    """Rows of a CSV file as text, without the columns that measure time."""
    return [[pair for pair in row.items() if pair[0] not in TIMING] for row in rows(path)]


def tensors(run: Path) -> dict[str, tuple[Any, ...]]:
    """Content of ``weights.pt`` to the bit: type, shape and bytes by name."""
    content = torch.load(run / "checkpoint" / "weights.pt", weights_only=True)
    found: dict[str, tuple[Any, ...]] = {}
    for key, value in content.items():
        tensor = torch.as_tensor(value).contiguous()
        found[key] = (tensor.dtype, tensor.shape, tensor.numpy().tobytes())
    return found


def shares(total: int, count: int) -> list[int]:
    """``total`` dealt out to ``count``, as evenly as possible."""
    return [total // count + (number < total % count) for number in range(count)]


def main(argv: list[str] | None = None) -> int:
    """Run the campaign; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="a directory to make, for runs, logs, summary.json")
    parser.add_argument("--kills", type=int, default=38, help="SIGKILLs over all cases (default: %(default)s)")
    parser.add_argument("--signals", type=int, default=19, help="SIGUSR2 and SIGTERM likewise (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=600, help="environment steps of a run (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the disturbances (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="cases at the same time (default: %(default)s)")
    parser.add_argument("--cases", default="", help="only cases whose name has one of these, such as redq-ku,pack")
    args = parser.parse_args(argv)
    cases = [case for case in CASES if any(part in case.name for part in args.cases.split(","))]
    if not cases:
        parser.error(f"--cases: none of {', '.join(case.name for case in CASES)}")
    if args.output.exists():
        parser.error(f"--output: {args.output} exists")
    if args.steps < 2 * INTERVAL or args.steps % INTERVAL:
        parser.error(f"--steps: a multiple of {INTERVAL}, at least {2 * INTERVAL}")

    campaign = Campaign(args.output.absolute(), args.steps, args.seed)
    results: list[Result] = []
    deals = zip(cases, shares(args.kills, len(cases)), shares(args.signals, len(cases)), strict=True)
    with ThreadPoolExecutor(args.jobs) as pool:
        futures = [pool.submit(campaign.run, *deal) for deal in deals]
        try:
            for future in as_completed(futures):
                results.append(future.result())
                report(results[-1])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            campaign.stop()
            raise
    summary = {
        "cases": len(results),
        "identical": sum(not result.problems for result in results),
        **{key: sum(getattr(result, key) for result in results) for key in COUNTS},
        **{"steps": args.steps, "seed": args.seed, "torch": torch.__version__},
        "results": [asdict(result) for result in sorted(results, key=lambda result: result.case)],
    }
    text = json.dumps(summary, indent=2)
    (args.output / "summary.json").write_text(text + "\n")
    print(text)
    return int(any(result.problems for result in results))


def report(result: Result) -> None:
    """Print the line of a case, and its problems below."""
    verdict = "DIFFERENT" if result.problems else "identical"
    counts = ", ".join(f"{getattr(result, key)} {key.replace('_', ' ')}" for key in COUNTS)
    print(f"{result.case:24} {verdict}  {counts}, {result.seconds:.0f} s", flush=True)
    for problem in result.problems:
        print(f"    {problem}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
