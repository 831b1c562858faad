"""One look for every figure and for the page: which line has which colour and dashes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from droq_exp.report.data import Cell

# Okabe and Ito's colours without black and yellow, which vanish on a dark and a white page, and more in Paul Tol's
# manner. Those of algorithms that are compared with each other are as far apart as so many can be.
ALGORITHM_COLOURS = {
    "droq": "#0072b2",
    "redq": "#d55e00",
    "sac": "#009e73",
    "duvn": "#cc79a7",
    "droq_single": "#56b4e9",
    "droq_no_dropout": "#e69f00",
    "droq_no_layernorm": "#999933",
    "redq_layernorm": "#7a4a1f",
    "speq": "#a88b00",
    "redq_ofe": "#f4a582",
    "crossq": "#6f2da8",
    "xqc": "#c2187a",
    "flashsac": "#4d4d4d",
}
DASHES = ("solid", "dotted", "dashdot", "longdash")  # "dashed" is what the published curves are


@dataclass(frozen=True)
class LineStyle:
    """How a line is drawn: ``colour`` as #rrggbb, ``dash`` one of ``DASHES``."""

    colour: str
    dash: str


def line_styles(cells: Iterable[Cell]) -> dict[str, LineStyle]:
    """The style of each ``Cell.line``: an algorithm's recipe has its own colour, wherever it occurs.

    Variants have the colours that no algorithm here needs, then those again with other dashes. Directories that are
    compared differ by dashes alone.
    """
    cells = list(cells)
    curves = sorted({(cell.algo, cell.variant, cell.experiment) for cell in cells})
    sources = sorted({cell.source for cell in cells})
    chosen: dict[tuple[str, str, str], tuple[str, int]] = {}
    for curve in curves:
        algo, variant, _ = curve
        colour = ALGORITHM_COLOURS.get(algo)
        if not variant and colour is not None and (colour, 0) not in chosen.values():
            chosen[curve] = (colour, 0)
    own = {colour for colour, _ in chosen.values()}
    order = sorted(ALGORITHM_COLOURS.values(), key=lambda colour: colour in own)
    free = (pair for pair in ((colour, dash) for dash, colour in product(range(len(DASHES)), order)))
    for curve in curves:
        if curve not in chosen:
            chosen[curve] = next((pair for pair in free if pair not in chosen.values()), (order[0], 0))
    return {
        cell.line: _style(*chosen[cell.algo, cell.variant, cell.experiment], sources.index(cell.source))
        for cell in cells
    }


def _style(colour: str, dash: int, source: int) -> LineStyle:
    return LineStyle(colour, DASHES[(dash + source) % len(DASHES)])
