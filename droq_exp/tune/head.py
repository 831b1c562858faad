"""The head of a search: ask for trials, let jobs train them, tell how they ended; until there are enough.

All that must not be lost is in the journal and in the runs' directories. A head that was killed is succeeded by the
same command: it takes up the trials that had not ended, whose jobs have gone on meanwhile, or go on from checkpoints.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from time import sleep

from optuna.trial import FrozenTrial, TrialState

from droq_exp.config import ConfigError
from droq_exp.jobs.launch import submit
from droq_exp.jobs.queue import Queue, QueueUnreachableError
from droq_exp.runs.files import DamagedError
from droq_exp.tune import record
from droq_exp.tune.search import Search
from droq_exp.tune.space import Value
from droq_exp.tune.study import REASON, RUNS, Study, values_of
from droq_exp.tune.trial import TrialUnderWay

FAILURES = 5  # trials in a row after which something else is wrong than their values
PRUNE_FROM = 0.25  # of a trial's steps: before, returns say little of the end
STATES: dict[TrialState, record.State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


class Head:
    """One process's work on a search, whose lock it holds."""

    def __init__(self, search: Search, command: str, trials: int, parallel: int) -> None:
        """Open the journal, or begin it.

        Args:
            search: what it is.
            command: what continues it, for its readers.
            trials: in all, those that earlier heads have made among them.
            parallel: trials at a time.
        """
        self._search, self._command, self._trials, self._parallel = search, command, trials, parallel
        steps = search.config.training.total_steps
        prune_from = max(math.ceil(PRUNE_FROM * steps), search.config.training.start_steps)
        self._study = Study(search.files, search.terms, search.options.seed, prune_from)
        self._open: list[TrialUnderWay] = []
        self._left: list[int] = []  # trials that were interrupted, and wait for the next head
        self._failures = 0  # in a row
        self._silent = False  # whether the queue does not answer

    def run(self) -> int:
        """Make trials until there are enough, or too many have failed; return the exit code.

        Raises:
            ConfigError, DamagedError, QueueUnreachableError, SubmissionError: a trial cannot be begun or taken up. It
                stays in the journal for the next head.
        """
        self._take_up()
        self._write()
        while True:
            self._settle()
            self._ask()
            if not self._open:
                return self._end()
            sleep(self._search.hardware.poll_seconds)

    def _take_up(self) -> None:
        """Go on with what an earlier head has left."""
        left = self._study.under_way()
        ended = len(self._study.trials) - len(left)
        if ended or left:
            _say(f"trials of before: {ended} ended, {len(left)} going on")
        for trial in left:
            self._begin(trial, taken_up=True)
        queue = Queue()
        for under_way in self._open:
            under_way.look(queue)
        self._submit([trial for trial in self._open if trial.failure is None])

    def _ask(self) -> None:
        """Begin as many trials as there is room for."""
        begun = []
        while len(self._open) < self._parallel and len(self._study.trials) < self._trials and not self._hopeless:
            if (trial := self._begin(self._study.ask(), taken_up=False)) is not None:
                begun.append(trial)
        if begun:
            self._submit(begun)
            self._write()

    def _begin(self, trial: FrozenTrial, *, taken_up: bool) -> TrialUnderWay | None:
        values = values_of(trial, self._search.terms)
        try:
            runs = self._search.runs(values)
        except ConfigError as error:  # terms that do not go together: each was checked for itself
            self._fail(trial.number, str(error))
            return None
        folder = runs[0].directory.parent.relative_to(Path(self._search.directory).absolute())
        self._study.place(trial.number, folder.as_posix())
        _say(f"trial {trial.number} {'goes on' if taken_up else 'begins'}: {self._readable(values)}")
        self._open.append(TrialUnderWay(trial.number, values, runs))
        return self._open[-1]

    def _submit(self, trials: Sequence[TrialUnderWay]) -> None:
        """Hand the runs over that are neither done nor on their way; two trials with the same values share theirs."""
        by_directory = {run.directory: run for trial in trials for run in trial.runs}
        hardware = self._search.hardware
        at_once = max(1, getattr(hardware, "jobs", 1) // self._parallel) * len(trials)
        if by_directory:
            submit([*by_directory.values()], lambda line: None, at_once)

    def _settle(self) -> None:
        """Look at the trials under way, prune those that are not worth it, and tell the ends."""
        queue, before = Queue(), len(self._open)
        for trial in list(self._open):
            try:
                trial.look(queue)
                self._silent = False
            except QueueUnreachableError as error:
                if not self._silent:
                    _say(f"the queue does not answer, asking again: {error}")
                self._silent = True
                return
            if self._search.options.prune:
                self._weigh(trial)
            if trial.ended:
                self._open.remove(trial)
                self._tell(trial)
        if len(self._open) < before:
            self._write()

    def _weigh(self, trial: TrialUnderWay) -> None:
        """Report what a trial was worth so far; let it end where that is less than the median."""
        try:
            worth = trial.worth(self._search.config.objective, self._search.options.score)
        except DamagedError:
            return  # its end will tell
        self._study.report(trial.number, {step: value for step, value in worth.items() if math.isfinite(value)})
        if not worth or trial.ended:
            return
        step = max(worth)
        if trial.pruned_at is not None:
            trial.sentence("another seed of the trial was pruned", None)
        elif self._study.should_prune(trial.number):
            median = self._study.median(step)
            trial.sentence(f"{worth[step]:,.1f} at step {step:,}, where the median of trials was {median:,.1f}", median)
        else:
            trial.pardon()

    def _tell(self, trial: TrialUnderWay) -> None:
        """Tell the journal, and the user, how a trial has ended."""
        number = trial.number
        try:
            value = trial.value(self._search.config.objective, self._search.options.score)
            step = trial.pruned_at
        except DamagedError as error:
            self._fail(number, str(error))
            return
        if (why := trial.failure) is not None:
            self._fail(number, why)
        elif (why := trial.interruption) is not None:
            self._left.append(number)
            _say(f"trial {number} is interrupted: {why}")
        elif step is not None:
            self._failures = 0
            self._study.prune(number, f"at step {step:,}")
            _say(f"trial {number} is pruned at step {step:,}")
        elif value is None or not math.isfinite(value):
            self._fail(number, f"its score is {value}" if value is not None else "it has no evaluation")
        else:
            self._failures = 0
            self._study.complete(number, value)
            best = record.best(self._rows())
            assert best is not None
            assert best.value is not None
            so_far = "the best so far" if best.number == number else f"best: trial {best.number}, {best.value:,.1f}"
            _say(f"trial {number}: {value:,.1f} ({so_far})")

    def _fail(self, number: int, why: str) -> None:
        self._failures += 1
        self._study.fail(number, why)
        _say(f"trial {number} has failed: {why}")

    @property
    def _hopeless(self) -> bool:
        return self._failures >= FAILURES

    def _end(self) -> int:
        """Say what came of it."""
        rows = self._rows()
        counts = {state: sum(row.state == state for row in rows) for state in STATES.values()}
        _say(f"{len(rows)} trials: " + ", ".join(f"{count} {state}" for state, count in counts.items() if count))
        if self._hopeless:
            more = f"; the same command makes {missing} more" if (missing := self._trials - len(rows)) > 0 else ""
            _say(f"error: the last {self._failures} trials have failed, so the search ends{more}", problem=True)
        if self._left:
            told = ", ".join(map(str, sorted(self._left)))
            _say(f"error: interrupted, and continued by the same command: trials {told}", problem=True)
        best = record.best(rows)
        if best is None:
            _say("error: no trial has ended with a value", problem=True)
            return 1
        _say(f"best: trial {best.number}, {best.value:,.1f}")
        _say(f"train with its values: {self._about(rows).training}")
        _say(f"draw it all: droq-exp report {self._search.directory}")
        return int(self._hopeless or bool(self._left))

    def _write(self) -> None:
        """Write what readers of the search read."""
        rows = self._rows()
        record.write(self._search.files, self._about(rows), rows)

    def _rows(self) -> list[record.Trial]:
        return [self._row(trial) for trial in self._study.trials]

    def _row(self, trial: FrozenTrial) -> record.Trial:
        values = values_of(trial, self._search.terms)
        texts = {term.key: term.override(values[term.key]).partition("=")[2] for term in self._search.terms}
        state = STATES[trial.state]
        step = trial.last_step if state == "pruned" else None
        reason = str(trial.user_attrs.get(REASON, ""))
        runs = str(trial.user_attrs.get(RUNS, ""))
        return record.Trial(trial.number, state, trial.value, step, runs, reason, texts)

    def _about(self, rows: Sequence[record.Trial]) -> record.About:
        search, best = self._search, record.best(rows)
        values = None if best is None else values_of(self._study.trials[best.number], search.terms)
        return record.About(
            command=self._command,
            terms={term.key: term.text for term in search.terms},
            scales={term.key: term.kind for term in search.terms},
            seeds=search.options.seeds,
            score=search.options.score,
            objective=search.config.objective,
            prune=search.options.prune,
            importance=self._study.importance(),
            training=None if values is None else search.training_command(values),
        )

    def _readable(self, values: dict[str, Value]) -> str:
        shown = {key: value if isinstance(value, str) else f"{value:.6g}" for key, value in values.items()}
        return " ".join(f"{key}={value}" for key, value in shown.items())


def _say(line: str, *, problem: bool = False) -> None:
    print(line, file=sys.stderr if problem else sys.stdout, flush=True)
