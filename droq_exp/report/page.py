"""``index.html``: everything of a report in one file that opens in a browser without a network."""

from __future__ import annotations

import base64
import glob
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from droq_exp import __version__
from droq_exp.report.build import Report
from droq_exp.report.data import Sweep
from droq_exp.report.page_curves import CHOICES, ROWS, Choice, Packed, pack
from droq_exp.report.page_runs import (
    ENDED_EARLY,
    Configuration,
    Fact,
    RunRow,
    configurations,
    facts,
    problems,
    run_rows,
)
from droq_exp.report.page_style import Label, labels
from droq_exp.report.search import Charts, charts
from droq_exp.report.table import Column, Table
from droq_exp.runs.files import write_atomically
from droq_exp.runs.status import DONE

TEMPLATES = Path(__file__).parent / "templates"
TABLES = ("csv", "md", "tex")
FIGURES = ("pdf", "png", "svg")
SCRIPTS = ("theme", "data", "traces", "charts", "tables")
RUN_COLUMNS = (
    Column("Run"),
    Column("State"),
    Column("Seed", 0),
    Column("Step", 0),
    Column("Total", 0),
    Column("Last return", 1),
    Column("Differences from the recipe"),
    Column("Config"),
)


@dataclass(frozen=True)
class Link:
    """To a file, relative to the page."""

    text: str
    href: str


@dataclass(frozen=True)
class Files:
    """The forms in which a table or figure lies beside the page."""

    title: str
    links: list[Link]


@dataclass(frozen=True)
class Page:
    """What the templates show."""

    title: str
    version: str
    written: str
    counts: list[tuple[str, int]]
    total: int
    facts: list[Fact]
    troubles: list[RunRow]
    underway: list[RunRow]
    absent: Sequence[str]
    searches: list[Charts]
    problems: list[str]
    curves: Packed
    evaluated: bool
    metrics: Mapping[str, Sequence[Choice]]
    labels: list[Label]
    tables: list[tuple[Table, list[Link]]]
    figures: list[Files]
    run_columns: Sequence[Column]
    runs: list[RunRow]
    configs: list[Configuration]


def write_page(sweep: Sweep, report: Report, path: Path, rows: int = ROWS) -> None:
    """Write the page of ``report`` to ``path``, whose directory exists; it links the figures and tables beside it.

    Args:
        sweep: the runs.
        report: what was made of them.
        path: of the page.
        rows: of all runs' eval.csv together; of more, the page draws only every second, third and so on, and says so.

    Raises:
        OSError: it cannot be written.
    """
    write_atomically(path, _render(_page(sweep, report, path, rows)))


def _render(page: Page) -> str:
    """The page as HTML; every text in it is escaped but our own scripts and style."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = _scripts()
    return environment.get_template("page.html.j2").render(
        page=page,
        scripts=scripts,
        policy=_policy(scripts.values()),
        css=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
    )


def _page(sweep: Sweep, report: Report, path: Path, thin_beyond: int) -> Page:
    rows = run_rows(sweep, path)
    return Page(
        title=f"Report: {', '.join(sweep.sources)}",
        version=__version__,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        counts=sorted(sweep.counts.items(), key=lambda item: -item[1]),
        total=len(rows),
        facts=facts(sweep),
        troubles=[row for row in rows if row.state in ENDED_EARLY],
        underway=[row for row in rows if row.state not in (*ENDED_EARLY, *DONE)],
        absent=report.missing,
        searches=[charts(search) for search in report.searches],
        problems=problems(sweep),
        curves=pack(sweep, report, thin_beyond),
        evaluated=any(len(run.eval) or len(run.train) for run in sweep.runs),
        metrics=CHOICES,
        labels=labels(report.styles, sweep.cells),
        tables=[(table, _beside(path, name, TABLES)) for name, table in report.tables.items()],
        figures=_figures(path),
        run_columns=RUN_COLUMNS,
        runs=rows,
        configs=configurations(sweep),
    )


def _beside(path: Path, name: str, suffixes: Sequence[str]) -> list[Link]:
    """The files ``name`` that lie in the directory of the page, or in one directly below it."""
    found = [(suffix, file) for suffix in suffixes for file in _near(path, f"{glob.escape(name)}.{suffix}")]
    return [Link(suffix, quote(file.relative_to(path.parent).as_posix())) for suffix, file in found]


def _figures(path: Path) -> list[Files]:
    names = {file.stem for suffix in FIGURES for file in _near(path, f"*.{suffix}")}
    return [Files(name.replace("_", " "), _beside(path, name, FIGURES)) for name in sorted(names)]


def _near(path: Path, pattern: str) -> list[Path]:
    return sorted([*path.parent.glob(pattern), *path.parent.glob(f"*/{pattern}")])


def _scripts() -> dict[str, Markup]:
    """The page's scripts by name; they are ours and plotly's, so they are not escaped."""
    from plotly.offline import get_plotlyjs  # takes long to import

    own = {name: (TEMPLATES / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS}
    return {name: Markup(text) for name, text in {**own, "plotly": get_plotlyjs()}.items()}


def _policy(scripts: Iterable[Markup]) -> str:
    """A content security policy: no network, and no script but ``scripts``, whatever stands in the results."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"
