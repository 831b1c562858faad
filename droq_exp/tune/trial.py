"""A trial under way: its runs, how far they are, what they are worth, and how they have ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from scipy.stats import trim_mean

from droq_exp.callbacks.prune import pass_verdict, withdraw_verdict
from droq_exp.jobs.launch import LOOKS
from droq_exp.jobs.plan import PlannedRun
from droq_exp.jobs.queue import Queue
from droq_exp.jobs.record import JobRecord
from droq_exp.jobs.state import LIVE, State, summary
from droq_exp.runs.files import DamagedError
from droq_exp.runs.score import evaluations, score_of
from droq_exp.runs.status import DONE, read_status
from droq_exp.tune.search import Score
from droq_exp.tune.space import Value

CUT = 0.25  # of the scores at either end, which the interquartile mean leaves out


@dataclass(eq=False)
class TrialUnderWay:
    """One trial of a search.

    Args:
        number: of the trial.
        values: by key.
        runs: one for each seed.
        states: of the runs, when they were last looked at.
    """

    number: int
    values: Mapping[str, Value]
    runs: Sequence[PlannedRun]
    states: dict[PlannedRun, State] = field(default_factory=dict)
    _agreed: Counter[PlannedRun] = field(default_factory=Counter)
    _sentence: tuple[str, float | None] | None = None

    def look(self, queue: Queue) -> None:
        """See what has become of the runs; raises QueueUnreachableError."""
        for run in self.runs:
            state = run.state(queue)
            self._agreed[run] = self._agreed[run] + 1 if self.states.get(run) == state else 1
            self.states[run] = state

    @property
    def ended(self) -> bool:
        """Whether no run goes on. Files on a shared file system are seen late: two looks must agree on a bad end."""
        return all(
            state in DONE or (state not in LIVE and self._agreed[run] >= LOOKS) for run, state in self.states.items()
        )

    @property
    def failure(self) -> str | None:
        """Why a run has failed, in a line, and where to read more; None where none has."""
        return self._problem(("failed",))

    @property
    def interruption(self) -> str | None:
        """Why a run does not go on that could, in a line; None where none is such."""
        return self._problem(("interrupted", "vanished", "missing"))

    @property
    def pruned_at(self) -> int | None:
        """The step at which a run was pruned, the first of them; None where none was."""
        pruned = [run for run in self.runs if self.states[run] == "pruned"]
        return min(((read_status(run.directory) or {"step": 0})["step"] for run in pruned), default=None)

    def worth(self, objective: str, score: Score) -> dict[int, float]:
        """What the trial would be worth, had it ended at each of the steps at which all seeds were evaluated.

        Raises:
            DamagedError: a file of a run is damaged.
        """
        found = [evaluations(run.directory) for run in self.runs]
        steps = sorted(set.intersection(*({*each} for each in found)))
        return {
            step: combined([score_of({at: each[at] for at in each if at <= step}, objective) for each in found], score)
            for step in steps
        }

    def value(self, objective: str, score: Score) -> float | None:
        """What the trial is worth at its end, to which its seeds may have come at different steps; None: unknown.

        Raises:
            DamagedError: a file of a run is damaged.
        """
        found = [evaluations(run.directory) for run in self.runs]
        return combined([score_of(each, objective) for each in found], score) if all(found) else None

    def sentence(self, reason: str, unless: float | None) -> None:
        """Let the runs that go on end as pruned, at their next evaluations; None: whatever these are."""
        if self._sentence != (reason, unless):
            self._sentence = (reason, unless)
            for run, state in self.states.items():
                if state in LIVE:
                    pass_verdict(run.directory, reason, unless)

    def pardon(self) -> None:
        """Take the sentence back: the trial has become better."""
        if self._sentence is not None:
            self._sentence = None
            for run in self.runs:
                withdraw_verdict(run.directory)

    def _problem(self, states: Sequence[State]) -> str | None:
        for run in self.runs:
            if (state := self.states[run]) in states:
                try:
                    status, record = read_status(run.directory) or {}, JobRecord.read(run.directory)
                except DamagedError as error:
                    return f"seed {run.config.seed}: {error}"
                told = summary(state, status, record) or state
                return f"seed {run.config.seed}: {told}" + (f" (log: {record.log})" if record is not None else "")
        return None


def combined(scores: Sequence[float], score: Score) -> float:
    """The mean of the seeds' scores, or of their middle half; of fewer than four the two are one."""
    return fmean(scores) if score == "mean" else float(trim_mean(scores, CUT))
