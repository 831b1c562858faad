#!/usr/bin/env python
"""Kill runs at random moments, start them again until they are finished, and compare with runs left alone.

    python scripts/kill_campaign.py --output /tmp/campaign --kills 38 --signals 19 --split-brains 19 --jobs 2
    python scripts/kill_campaign.py --output /tmp/damage --kills 0 --signals 0 --damage --cases sac-ku-hopper

Each case (an algorithm, a code base, a task; one more with three seeds in one process) is trained twice, compiled,
with bias estimates: once to the end below ``<output>/reference``, once with SIGKILLs and preemption signals below
``<output>/disturbed``. On a CPU both must end with the same weights, to the bit, and the same CSVs, timing columns
aside. In a split brain (below ``<output>/split-<n>``) a process stands still, is taken for dead, and wakes up when
another one has finished its run. Two heads (below ``<output>/heads-<n>``) are given the same sweep at almost the same
moment: each run gets one job, and ends as it does alone. With ``--damage`` every file of a killed run is damaged in
five ways, one at a time: started again it ends identical, or is refused in a line. A line per case is printed as it
ends, and at last a JSON summary; the exit code is 1 where anything differs or went wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from campaign_damage import damaged_runs
from campaign_runs import CASES, INTERVAL, ROOT, Case, compare, find_runs, rows

# Runs launch.py as a SLURM job does under submitit: somebody handles the preemption signal before training does.
AS_A_JOB = (
    "import runpy, signal, sys; signal.signal(signal.SIGUSR2, lambda *_: sys.exit(128 + signal.SIGUSR2)); "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)
PREEMPTIONS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGHUP)
COUNTS = ("kills", "kills_during_writes", "signals", "split_brains", "two_heads", "damages", "refusals", "launches")
SUBMITTED = re.compile(r"(?m)^(\d+) jobs? submitted$")
LOCK_LOST = 75  # exit code of a process that finds its run taken over
PATIENCE = 1800.0  # seconds that a run may take between two disturbances


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
    split_brains: int = 0
    two_heads: int = 0
    damages: int = 0
    refusals: int = 0
    """Of the damaged runs; all others ended identical."""
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


def started(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Python with ``command`` in a session of its own; what it prints is appended to ``log``."""
    with log.open("a") as output:
        print("$", *command, file=output, flush=True)
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a SIGKILL takes the compiler's processes along, as a lost node does
        )


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
        self._process = started(["-c", AS_A_JOB, "launch.py", *overrides], log)

    def finish(self) -> None:
        """Leave it alone to the end, which must be a good one."""
        self._watch(lambda: False)
        self._expect(0)

    def strike(self, strike: Strike, interval: float, start_up: float) -> bool:
        """Disturb it when the moment has come and wait for its end; False where it was finished before.

        ``interval`` and ``start_up`` are the undisturbed run's times in seconds.
        """
        self._wait_for(strike, interval, start_up)
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

    def stand_still(self, strike: Strike, interval: float) -> bool:
        """Stop it when the moment has come, and let it look dead to others; False where it was finished before."""
        self._wait_for(strike, interval, 0.0)
        if self._process.poll() is not None:
            return False
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)
        for run in find_runs(self._directory):
            lock = run / "lock.json"
            lock.write_text(json.dumps(json.loads(lock.read_text()) | {"host": "elsewhere", "boot_id": "another"}))
            then = time.time() - 130
            os.utime(lock, (then, then))
        return True

    def wake_up(self) -> None:
        """Let it go on: it must end at once, in order, and change nothing."""
        before = self._contents()
        self._process.send_signal(signal.SIGCONT)
        self._watch(lambda: False)
        self._expect(LOCK_LOST)
        changed = sorted(name for name, _ in before.items() ^ self._contents().items())
        if changed:
            raise CampaignError(f"a process that had lost its run has changed {', '.join(changed)}")

    def _contents(self) -> dict[str, bytes]:
        # A stopped write may have its temporary file there, which the process removes.
        files = (path for path in self._directory.rglob("*") if path.is_file() and path.suffix != ".tmp")
        return {str(path): path.read_bytes() for path in files}

    def _wait_for(self, strike: Strike, interval: float, start_up: float) -> None:
        if strike.when == "start":
            self._pause(strike.delay * start_up)
        else:
            self._watch(lambda: self._opened() and self._rows() >= strike.rows)
            self._pause(strike.delay * interval)
        if strike.when == "writing":
            deadline, there = time.monotonic() + 2 * interval, self._temporaries()
            self._watch(lambda: bool(self._temporaries() - there) or time.monotonic() > deadline, poll=0.0005)

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
        self._heads: list[subprocess.Popen[bytes]] = []
        self._stopped = False
        (output / "logs").mkdir(parents=True)

    def run(self, case: Case, kills: int, signals: int, splits: int, heads: int, damage: bool) -> Result:
        """Train ``case`` twice and compare."""
        begin = time.monotonic()
        result = Result(case.name)
        try:
            self._run(case, kills, signals, splits, heads, damage, result)
        except CampaignError as error:
            result.problems.append(str(error))
        result.seconds = round(time.monotonic() - begin, 1)
        return result

    def stop(self) -> None:
        """End everything that still runs."""
        self._stopped = True
        for launch in self._launches:
            launch.kill()
        for head in self._heads:
            head.kill()  # its jobs go on, as they do without a head

    def _run(self, case: Case, kills: int, signals: int, splits: int, heads: int, damage: bool, result: Result) -> None:
        begin = time.monotonic()
        self._launch(case, "reference").finish()
        total = time.monotonic() - begin
        runs = find_runs(self._output / "reference" / case.name)
        walls = [float(row["wall_seconds"]) for row in rows(runs[0] / "eval.csv")]
        interval, start_up = walls[-1] / len(walls), total - walls[-1]

        randomness = random.Random(f"{self._seed} {case.name}")
        strikes = plan(randomness, kills, signals, self._steps // INTERVAL)
        for number in range(splits):
            self._split_brain(case, number, randomness, interval, result)
        for number in range(heads if case.seeds == 1 else 0):
            self._two_heads(case, number, randomness.random() * start_up, result)
        if damage:
            self._damage(case, randomness, result)
        if not strikes:
            return
        for strike in strikes:
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
        self._compare(case, "disturbed", result)

    def _split_brain(self, case: Case, number: int, randomness: random.Random, interval: float, result: Result) -> None:
        when = randomness.choice(["training", "writing"])
        strike = Strike(signal.SIGSTOP, when, randomness.randrange(self._steps // INTERVAL - 1), randomness.random())
        kind = f"split-{number}"
        stale = self._launch(case, kind)
        result.launches += 1
        if not stale.stand_still(strike, interval):
            return
        self._launch(case, kind).finish()
        result.launches += 1
        stale.wake_up()
        result.split_brains += 1
        self._compare(case, kind, result)

    def _two_heads(self, case: Case, number: int, gap: float, result: Result) -> None:
        """Give the case's run, and that of another seed, to two commands, ``gap`` seconds apart."""
        directory = self._output / f"heads-{number}" / case.name
        logs = [self._output / "logs" / f"{case.name}-heads-{number}-{which}.log" for which in "ab"]
        heads = []
        for log in logs:
            heads.append(started(["launch.py", "-m", *case.sweep(self._steps, directory)], log))
            time.sleep(gap * (log is logs[0]))
        self._heads += heads
        codes = [head.wait(PATIENCE) for head in heads]
        submitted = [int(count) for log in logs for count in SUBMITTED.findall(log.read_text())]
        attempts = [json.loads((run / "status.json").read_text())["attempts"] for run in find_runs(directory)]
        if codes != [0, 0] or sum(submitted) != len(attempts) or set(attempts) != {1}:
            told = f"exit codes {codes}, jobs {submitted} for runs with {attempts} attempts"
            raise CampaignError(f"two heads: {told}; see {logs[0]}")
        result.two_heads += 1
        self._compare(case, f"heads-{number}", result)

    def _damage(self, case: Case, randomness: random.Random, result: Result) -> None:
        killed = self._launch(case, "killed")
        killed.strike(Strike(signal.SIGKILL, "training", self._steps // INTERVAL // 2, 0.8), 0.0, 0.0)
        before, reference, copies = (self._output / kind / case.name for kind in ("killed", "reference", "damaged"))
        log = self._output / "logs" / f"{case.name}-damage.log"
        for harm, outcome, problems in damaged_runs(case, self._steps, before, reference, copies, randomness):
            with log.open("a") as output:
                print(harm, outcome, *problems, sep=": ", file=output)
            result.damages += 1
            result.refusals += outcome == "refused"
            result.problems += [f"{harm}: {problem}" for problem in problems]

    def _compare(self, case: Case, kind: str, result: Result) -> None:
        for run in find_runs(self._output / "reference" / case.name):
            other = self._output / kind / run.relative_to(self._output / "reference")
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


def shares(total: int, count: int) -> list[int]:
    """``total`` dealt out to ``count``, as evenly as possible."""
    return [total // count + (number < total % count) for number in range(count)]


def main(argv: list[str] | None = None) -> int:
    """Run the campaign; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="a directory to make, for runs, logs, summary.json")
    parser.add_argument("--kills", type=int, default=38, help="SIGKILLs over all cases (default: %(default)s)")
    parser.add_argument("--signals", type=int, default=19, help="SIGUSR2 and SIGTERM likewise (default: %(default)s)")
    parser.add_argument("--split-brains", type=int, default=19, help="likewise (default: %(default)s)")
    parser.add_argument("--two-heads", type=int, default=0, help="likewise, of the cases of one seed")
    parser.add_argument("--damage", action="store_true", help="damage files too, of the cases of one seed")
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
    dealt = [shares(total, len(cases)) for total in (args.kills, args.signals, args.split_brains, args.two_heads)]
    deals = zip(cases, *dealt, [args.damage and case.seeds == 1 for case in cases], strict=True)
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
