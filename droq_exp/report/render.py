"""From a drawing to PDF, PNG and SVG that look alike, and are the same bytes whenever the data are the same."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.figure import Figure

WIDTH = 7.2  # inches: a page of text
DPI = 160
# Of droq_exp.report.style.DASHES.
DASHES: dict[str, Any] = {"solid": "-", "dotted": ":", "dashdot": "-.", "longdash": (0, (8, 2))}
LOOK: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "text.parse_math": False,  # names of tasks and variants may hold anything
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "white",
    "pdf.fonttype": 42,  # text stays text, as journals ask
    "svg.fonttype": "none",
    "svg.hashsalt": "droq_exp",
}


@contextmanager
def look() -> Iterator[None]:
    """Draw as all figures here are drawn, whatever a matplotlibrc in the working directory says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(LOOK)
        yield


def render(figure: Figure) -> dict[str, bytes]:
    """The figure by file ending: pdf, png, svg."""
    with look():
        figure.draw_without_rendering()  # lays it out, once for the three
        figure.set_layout_engine("none")
        return {
            "pdf": _saved(figure, "pdf", {"CreationDate": None}),
            "png": _saved(figure, "png", {"Software": None}),
            "svg": _saved(figure, "svg", {"Date": None}),
        }


def _saved(figure: Figure, form: str, metadata: dict[str, str | None]) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=form, dpi=DPI, metadata=metadata)
    return file.getvalue()
