"""How the lines of the page's charts look: the figures' colours and dashes, and a mark that needs no colour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import cycle

from droq_exp.report.curve_figures import MOST
from droq_exp.report.data import Cell
from droq_exp.report.style import LineStyle

PAGE = {"light": "#ffffff", "dark": "#15171b"}  # as in page.css
CONTRAST = 4.5  # at least, of lines to the dark page: the colours were chosen for a white one
# Plotly's name of each mark and its outline as an SVG path, for the legend.
SYMBOLS = {
    "circle": "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z",
    "square": "M-3.2 -3.2h6.4v6.4h-6.4z",
    "diamond": "M0 -4.6L4.6 0L0 4.6L-4.6 0z",
    "triangle-up": "M0 -4.2L4.2 3.2H-4.2z",
    "cross": "M-1.4 -4h2.8v2.6h2.6v2.8h-2.6v2.6h-2.8v-2.6h-2.6v-2.8h2.6z",
    "triangle-down": "M0 4.2L4.2 -3.2H-4.2z",
    "hourglass": "M-3.6 -3.8H3.6L-3.6 3.8H3.6z",
    "bowtie": "M-3.8 -3.6V3.6L3.8 -3.6V3.6z",
}
# Plotly's name of each of the figures' dashes, and SVG's.
DASHES = {
    "solid": ("solid", "none"),
    "dotted": ("dot", "2 3"),
    "dashdot": ("dashdot", "7 3 2 3"),
    "longdash": ("longdash", "9 4"),
}


@dataclass(frozen=True)
class Label:
    """A line: its name, its colour on either page, its dashes and its mark, both for plotly and for SVG."""

    text: str
    light: str
    dark: str
    dash: str
    svg_dash: str
    symbol: str
    svg_symbol: str
    shown: bool


def labels(styles: Mapping[str, LineStyle], cells: Iterable[Cell]) -> list[Label]:
    """The lines of all charts, each once, in the order of ``styles``; of many, variants are not shown at first."""
    recipes = {cell.line for cell in cells if not cell.variant} or {*list(styles)[:MOST]}
    return [
        Label(
            text=text,
            light=style.colour,
            dark=_visible(style.colour, PAGE["dark"]),
            dash=DASHES[style.dash][0],
            svg_dash=DASHES[style.dash][1],
            symbol=symbol,
            svg_symbol=outline,
            shown=len(styles) <= MOST or text in recipes,
        )
        for (text, style), (symbol, outline) in zip(styles.items(), cycle(SYMBOLS.items()), strict=False)
    ]


def _visible(colour: str, page: str) -> str:
    """``colour``, mixed with as much white as it takes to be seen on the dark ``page``."""
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    for percent in range(0, 101, 5):
        mixed = "#" + "".join(f"{round(channel + (255 - channel) * percent / 100):02x}" for channel in channels)
        if contrast(mixed, page) >= CONTRAST:
            break
    return mixed


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two colours "#rrggbb" by WCAG 2: from 1 to 21."""
    low, high = sorted(map(_luminance, (first, second)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
