"""Title and caption of every table: what its columns mean and how the numbers were made."""

from __future__ import annotations

from collections.abc import Iterable

from droq_exp.report.bootstrap import RESAMPLES
from droq_exp.report.published import READING_ERROR
from droq_exp.report.scores import WINDOW
from droq_exp.report.table import Column, Table, Value

ALL = "all of these"  # environments, in a row below theirs

CAPTIONS = {
    "search_trials": (
        "Trials of the search",
        """The best first. Value: the score of the trial's seeds, by their objective; of a pruned trial, what it was
        worth when it was pruned. The runs of its seeds are in the folder named, below the search's own.""",
    ),
    "search_importance": (
        "Importance of what was searched",
        """How much each key had to do with a complete trial's being in the best quarter, by PED-ANOVA (Watanabe et al.
        2023, arXiv:2304.10255), in sum 1. Of few trials it is a rough guess.""",
    ),
    "final_performance": (
        "Final performance",
        f"""Mean return over the evaluations of the last {2 * WINDOW:,} steps up to the step given, which at least half
        of the seeds have reached; mean over seeds with its 95% bootstrap interval, and interquartile mean (IQM).
        Seeds that have not come that far are left out.""",
    ),
    "published_comparison": (
        "Ours and the papers' returns",
        f"""Ours is the mean over seeds of the evaluations within {WINDOW:,} steps of the step, with its 95% bootstrap
        interval. The papers' is their mean over several seeds, smoothed as drawn and read off the figures with an
        error of about {READING_ERROR}. The last column says where the papers' value lies: within, above or below
        our interval, the reading error left out of account; a single seed has no interval. Only cells that are the
        same experiment are compared.""",
    ),
    "sample_efficiency": (
        "Sample efficiency",
        f"""Steps after which the mean return of the evaluations within {WINDOW:,} steps is at least the target for the
        first time: mean, least and most of the seeds that reached it, and how many of those with evaluations did.
        Where not all did, the mean is of the quicker ones. Targets are parts of the papers' last return of REDQ, or
        of the best cell's return where nothing is published.""",
    ),
    "aggregates": (
        "Aggregates over environments",
        f"""Returns at the step at which the cells of an environment are compared, divided by the papers' last return of
        REDQ on it. Interquartile mean (IQM) over all runs, mean over environments of the means over seeds, and
        optimality gap (by how much runs fall short of 1; less is better), by rliable, with 95% stratified-bootstrap
        intervals of {RESAMPLES:,} resamples. Rows over different environments cannot be compared with each other.""",
    ),
    "probability_of_improvement": (
        "Probability of improvement",
        """Probability that a run of the algorithm returns more than a run of the other one, on an environment that
        both have and at the step at which its cells are compared, ties counted half; mean over these environments,
        by rliable, with 95% stratified-bootstrap intervals.""",
    ),
    "dropout_sensitivity": (
        "Sensitivity to the dropout rate",
        f"""Mean return over the evaluations of the last {2 * WINDOW:,} steps up to the step at which the cells of the
        environment are compared, for runs that differ in their dropout rate alone; mean over seeds with its 95%
        bootstrap interval.""",
    ),
    "differences": (
        "The directories compared",
        f"""Mean return at the last step that at least half of the seeds of both have, over seeds, and the second's less
        the first's with its 95% bootstrap interval; probability that a run of the second returns more than one of
        the first, by rliable. Seeds are resampled in each directory by themselves, {RESAMPLES:,} times: seeds of
        the same number are no pairs, for runs that differ in anything soon go their own ways. "{ALL}": the mean
        over the environments above.""",
    ),
    "run_time": (
        "Where the time goes",
        """Seconds for 1,000 environment steps, and their shares of the whole, in the mean over the seeds: acting and
        stepping the environment, drawing and gathering minibatches, updating, evaluating (the bias estimate
        included), and what is left (compiling, writing logs and checkpoints). Critic updates per second are of one
        seed, evaluations left out. Times compare only where runs had the machine alike. "-": made before these
        times were measured.""",
    ),
    "unfinished_runs": (
        "Unfinished and damaged runs",
        """Runs that failed, were interrupted, vanished, still run or wait, and finished ones whose files are damaged.
        What they have measured is in curves and tables, as far as it goes.""",
    ),
    "missing_seeds": ("Missing seeds", "Seeds of which other cells have a run and these have none."),
}


def table(name: str, columns: Iterable[Column], rows: Iterable[tuple[Value, ...]]) -> Table:
    """The table of that name, with its title and caption."""
    title, caption = CAPTIONS[name]
    return Table(name, title, " ".join(caption.split()), tuple(columns), tuple(rows))


def texts(*names: str) -> list[Column]:
    """Columns of text."""
    return [Column(name) for name in names]


def numbers(digits: int, *names: str) -> list[Column]:
    """Columns of numbers with so many decimals."""
    return [Column(name, digits) for name in names]


def return_digits(values: Iterable[Value]) -> int:
    """Decimals for returns like these: none, unless they are small."""
    largest = max((abs(value) for value in values if isinstance(value, int | float)), default=1_000)
    return 0 if largest >= 100 else 1 if largest >= 10 else 3
