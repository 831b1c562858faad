"""Optuna's part: a journal in the search's folder, what to try next, what is worth going on, what mattered."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from droq_exp.runs.guard import check
from droq_exp.tune.space import Term, Value

JOURNAL = "journal.log"
NAME = "search"  # of the one study in the journal
REASON = "reason"  # attribute of a trial: why it failed or was pruned, in a line
RUNS = "runs"  # attribute: the folder of its seeds, below the search's
PRUNING_AFTER = 5  # trials that have ended with a value: the median of fewer says little
# The best trials, by whose share of the values importance is judged: of a tenth, Optuna's default, hardly any are left.
BEST_SHARE = 0.25


class Study:
    """The trials of one search. Its folder's lock is held: nobody else writes the journal.

    What is tried next depends on the sampler's seed, the trial's number and what is known when it is asked for.
    """

    def __init__(self, folder: Path, terms: Sequence[Term], seed: int, prune_from: int) -> None:
        """Open the journal in ``folder``, or begin it; no trial is pruned before step ``prune_from``."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._path = folder / JOURNAL
        self._terms = terms
        self._seed = seed
        _mend(self._path)
        with _quiet():
            self._study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(self._path))),
                study_name=NAME,
                direction="maximize",
                pruner=MedianPruner(n_startup_trials=PRUNING_AFTER, n_warmup_steps=prune_from),
                load_if_exists=True,
            )

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials, by number."""
        return self._study.get_trials(deepcopy=False)

    def under_way(self) -> list[FrozenTrial]:
        """The trials that have not ended, each with a value for every key.

        A process that was killed while it asked has left one without some of them: it gets them now.
        """
        left = [trial.number for trial in self.trials if not trial.state.is_finished()]
        for number in left:
            self._sampler(number)
            self._suggest(self._trial(number))
        return [self.trials[number] for number in left]

    def ask(self) -> FrozenTrial:
        """Begin a trial: its number, and a value for each key."""
        check(self._path)
        self._sampler(len(self.trials))
        with _quiet():
            trial = self._study.ask()
        self._suggest(trial)
        return self.trials[trial.number]

    def place(self, number: int, runs: str) -> None:
        """Note the folder of a trial's seeds."""
        if self.trials[number].user_attrs.get(RUNS) != runs:
            check(self._path)
            self._trial(number).set_user_attr(RUNS, runs)

    def report(self, number: int, values: Mapping[int, float]) -> None:
        """Tell what a trial was worth at some steps; what was told before stays."""
        told = self.trials[number].intermediate_values
        for step, value in sorted(values.items()):
            if step not in told:
                check(self._path)
                self._trial(number).report(value, step)

    def should_prune(self, number: int) -> bool:
        """Whether a trial is worth less than the median of those that have ended were at its last step told."""
        return self._trial(number).should_prune()

    def median(self, step: int) -> float:
        """What the complete trials were worth at a step that some of them have told of, in the median."""
        complete = [trial for trial in self.trials if trial.state is TrialState.COMPLETE]
        told = [trial.intermediate_values[step] for trial in complete if step in trial.intermediate_values]
        return float(np.median(told))

    def complete(self, number: int, value: float) -> None:
        """End a trial with its value."""
        check(self._path)
        self._study.tell(number, value)

    def prune(self, number: int, reason: str) -> None:
        """End a trial that was not worth going on; its value is the last one told."""
        check(self._path)
        self._trial(number).set_user_attr(REASON, reason)
        self._study.tell(number, state=TrialState.PRUNED)

    def fail(self, number: int, reason: str) -> None:
        """End a trial without a value."""
        check(self._path)
        self._trial(number).set_user_attr(REASON, reason)
        self._study.tell(number, state=TrialState.FAIL)

    def importance(self) -> dict[str, float]:
        """How much each key had to do with being among the best trials, in sum 1; nothing while too few have ended.

        By PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255), which Optuna has without scikit-learn.
        """
        ended = [trial for trial in self.trials if trial.state is TrialState.COMPLETE]
        if len(ended) < 4 or len({trial.value for trial in ended}) < 2:
            return {}
        with _quiet():
            evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
            return get_param_importances(self._study, evaluator=evaluator)

    def _trial(self, number: int) -> optuna.Trial:
        return optuna.Trial(self._study, self.trials[number]._trial_id)

    def _sampler(self, number: int) -> None:
        """A sampler of the trial's own: a search that goes on must not draw again what it began with."""
        with _quiet():
            # The liar takes trials under way for bad ones, so that several at once are not all the same.
            self._study.sampler = TPESampler(seed=_mixed(self._seed, number), constant_liar=True)

    def _suggest(self, trial: optuna.Trial) -> None:
        check(self._path)
        with _quiet():
            for term in self._terms:
                _value(trial, term)


def values_of(trial: FrozenTrial, terms: Sequence[Term]) -> dict[str, Value]:
    """A trial's values by key, in the order of the terms."""
    return {term.key: trial.params[term.key] for term in terms}


def _value(trial: optuna.Trial, term: Term) -> Value:
    """The trial's value of a term: the one that it has, or a new one."""
    if term.kind == "choice":
        return trial.suggest_categorical(term.key, term.values)
    low, high, log = term.low, term.high, term.kind == "log"
    assert low is not None
    assert high is not None
    if term.integer:
        return trial.suggest_int(term.key, int(low), int(high), step=int(term.step or 1), log=log)
    return trial.suggest_float(term.key, low, high, step=term.step, log=log)


def _mixed(seed: int, number: int) -> int:
    """A seed for each trial of each search, in 32 bits as Optuna takes it."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def _mend(path: Path) -> None:
    """Remove what a process that was killed has left: half a line at the end, and Optuna's own lock."""
    lock = path.with_name(f"{path.name}.lock")
    if lock.is_symlink():
        lock.unlink()
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        check(path)
        os.truncate(path, whole)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's remarks: that something may change in a later version, that few trials say little."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", message="Target and region quantiles")
        yield
