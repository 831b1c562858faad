"""``droq-exp report``: a page, figures and tables of the runs below directories, and what is missing in them."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from droq_exp.cli.errors import RefusedError
from droq_exp.cli.status import STYLES, WORDS
from droq_exp.config.rules import LONGEST_PATH
from droq_exp.report.build import Report, build
from droq_exp.report.data import Sweep, load
from droq_exp.report.files import PAGE, write_report

SHOWN = 20  # lines of what is missing; all are on the page
NAMED = 3  # places in such a line


def report(directories: Sequence[Path], compared: bool, output: Path | None) -> None:
    """Write the report of the runs below ``directories`` into ``output`` (None: ``report/`` in the first of them).

    Args:
        directories: any levels of output directories, none within another.
        compared: draw each directory for itself, beside the others; else their runs belong together.
        output: made where it is missing; files of an earlier report in it are replaced.

    Raises:
        RefusedError: there is no run, the directories do not go together, or the output cannot be written.
    """
    if compared and len(directories) < 2:
        raise RefusedError("--compare needs at least two directories; see droq-exp --help")
    place = output if output is not None else directories[0] / "report"
    given = output is not None or directories[0].is_dir()  # else what is given is wrong, not what follows from it
    if given and any(path.exists() and not path.is_dir() for path in (place, *place.parents)):
        raise RefusedError(f"{place} cannot be created: a file is in the way; give another --output")
    if len(str(place)) > LONGEST_PATH:
        raise RefusedError(f"{place} has more than {LONGEST_PATH:,} characters; give another --output")
    with _without_collector():
        sweep = load(directories, compared)
        made = build(sweep)
        try:
            written = write_report(sweep, made, place)
        except OSError as error:
            what = f"{error.filename or place} cannot be written: {error.strerror}"
            raise RefusedError(f"{what}; give another --output") from error
    _print(sweep, made, place, written)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Do not look for garbage: nearly everything read lives to the end, and looking through it takes a sixth of all."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def together(lines: Sequence[str]) -> Iterator[str]:
    """What is missing, each as "where: what": all places that lack the same in one line, in the order of the first."""
    places: dict[str, list[str]] = {}
    for line in lines:
        where, _, what = line.rpartition(": ")
        places.setdefault(what, []).append(where)
    for what, found in places.items():
        more = f" and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
        yield f"{found[0]}: {what}" if len(found) == 1 else f"{what}: {', '.join(found[:NAMED])}{more}"


def _print(sweep: Sweep, made: Report, place: Path, written: Sequence[Path]) -> None:
    counts = ", ".join(
        f"{sweep.counts[state]:,} {WORDS.get(state, state)}" for state in STYLES if state in sweep.counts
    )
    print(f"{len(sweep.runs):,} run{'s' if len(sweep.runs) != 1 else ''}: {counts}")
    damaged = sum(bool(run.problems) for run in sweep.runs)
    if damaged:
        print(f"{damaged:,} with damaged files, see {place / 'tables' / 'unfinished_runs.md'}")
    missing = list(together(made.missing))
    for line in missing[:SHOWN]:
        print(f"missing: {line}")
    if len(missing) > SHOWN:
        print(f"missing: {len(missing) - SHOWN:,} lines more, see {place / PAGE}")
    kinds = Counter(path.suffix.removeprefix(".") for path in written)
    print(f"written to {place}: {', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}")
    print(f"open {place / PAGE}")
