"""The files of a report, all in one directory."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from droq_exp.report.build import Report
from droq_exp.report.data import Sweep
from droq_exp.report.figures import rendered_figures
from droq_exp.report.page import write_page
from droq_exp.runs.files import write_atomically

PAGE = "index.html"
CONTENTS = "report.json"  # which files are the report's, so that the next one removes those it no longer has


def write_report(sweep: Sweep, report: Report, directory: Path) -> list[Path]:
    """Write tables, figures and the page into ``directory``, made where it is missing, in place of an earlier report's.

    Returns:
        The files, in the order in which they were written.
    """
    earlier = _earlier(directory)
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for path, content in _contents(sweep, report):
        place = directory / path
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, content)
        written.append(place)
    kept = [*(path.relative_to(directory).as_posix() for path in written), PAGE]
    write_atomically(directory / CONTENTS, json.dumps(kept, indent=2) + "\n")
    for name in earlier - {*kept}:
        (directory / name).unlink(missing_ok=True)
    write_page(sweep, report, directory / PAGE)  # links what lies beside it now
    return [*written, directory / PAGE]


def _contents(sweep: Sweep, report: Report) -> Iterable[tuple[Path, bytes | str]]:
    for table in report.tables.values():
        for ending, text in (("csv", table.to_csv()), ("md", table.to_markdown()), ("tex", table.to_latex())):
            yield Path("tables") / f"{table.name}.{ending}", text
    for name, contents in rendered_figures(sweep, report):
        for ending, content in contents.items():
            yield Path("figures") / f"{name}.{ending}", content


def _earlier(directory: Path) -> set[str]:
    try:
        names = json.loads((directory / CONTENTS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return set()
    # Names that lead elsewhere are no files of a report.
    ours = ("tables", "figures")
    return {str(name) for name in names if Path(str(name)).parent.as_posix() in ours}
