"""A table of the report, and its three forms: CSV for programs, Markdown and LaTeX for papers."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

Value = str | int | float | None
PAGE = 40  # rows that fit on one
LATEX_NEEDS = "% needs \\usepackage[T1]{fontenc} and the packages booktabs"
LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
    }
)


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        name: its heading, with the unit.
        digits: decimals of its numbers; None where it holds text.
    """

    name: str
    digits: int | None = None

    @property
    def numeric(self) -> bool:
        """Whether it is of numbers."""
        return self.digits is not None

    def text(self, value: Value) -> str:
        """``value`` as people read it; "-" where there is none."""
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return "-"
        if isinstance(value, str):
            return value
        rounded = round(value, self.digits or 0) + 0  # no "-0"
        return f"{rounded:,.{self.digits or 0}f}"


@dataclass(frozen=True)
class Table:
    """Rows of values, not yet rounded; None and NaN stand for "not known".

    Args:
        name: of its files.
        title: a few words.
        caption: what the columns mean and how the numbers were made, as plain text.
        columns: their headings and formats.
        rows: a value for each column.
    """

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]

    @property
    def texts(self) -> list[list[str]]:
        """The rows as people read them."""
        return [[column.text(value) for column, value in zip(self.columns, row, strict=True)] for row in self.rows]

    def to_csv(self) -> str:
        """All digits, nothing where a value is not known; no text that a spreadsheet takes for a formula."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.name for column in self.columns])
        for row in self.rows:
            writer.writerow([_csv_cell(value) for value in row])
        return text.getvalue()

    def to_markdown(self) -> str:
        """Title, table and caption."""
        head = _markdown_row(column.name for column in self.columns)
        rule = _markdown_row("---:" if column.numeric else "---" for column in self.columns)
        body = [_markdown_row(map(_markdown_text, row)) for row in self.texts]
        return "\n".join([f"## {self.title}", "", head, rule, *body, "", self.caption, ""])

    def to_latex(self) -> str:
        """A ``table``, or over pages a ``longtable``, with booktabs; quotation marks need T1 fonts."""
        alignment = "".join("r" if column.numeric else "l" for column in self.columns)
        caption = f"\\caption{{{self.title.translate(LATEX)}. {self.caption.translate(LATEX)}}}"
        label = f"\\label{{tab:{self.name.replace('_', '-')}}}"
        head = ["\\toprule", _latex_row([column.name for column in self.columns]), "\\midrule"]
        body = [_latex_row(row) for row in self.texts]
        if len(self.rows) > PAGE:
            start = [f"\\begin{{longtable}}{{{alignment}}}", f"{caption}{label}\\\\", *head, "\\endhead"]
            lines = [LATEX_NEEDS + ",longtable", *start, *body, "\\bottomrule", "\\end{longtable}"]
        else:
            start = ["\\begin{table}", caption, label, "\\centering", f"\\begin{{tabular}}{{{alignment}}}"]
            lines = [LATEX_NEEDS, *start, *head, *body, "\\bottomrule", "\\end{tabular}", "\\end{table}"]
        return "\n".join(lines) + "\n"


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\|`*_<>\[\]#~])", r"\\\1", " ".join(text.split()))


def _latex_row(cells: list[str]) -> str:
    return " & ".join(" ".join(cell.split()).translate(LATEX) for cell in cells) + r" \\"


def _csv_cell(value: Value) -> Value:
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
