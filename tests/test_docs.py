"""The README and ``docs/``: every command composes or parses, every link leads somewhere, and the site builds."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer.main

from droq_exp.cli.app import app
from droq_exp.config import compose
from droq_exp.config.composition import sweep_points

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COMMAND = re.compile(r"^(?: {4}| {6}|)(?:\$ )?(?P<words>(?:python launch\.py|droq-exp) .*)$", re.MULTILINE)
ELSEWHERE = ("my_", "examples/", "hydra/sweeper=")  # a user's own modules, and examples that have tests of their own


def commands(program: str) -> list[Any]:
    found: dict[tuple[str, ...], Path] = {}
    for page in PAGES:
        for match in COMMAND.finditer(page.read_text(encoding="utf-8")):
            try:
                words = tuple(shlex.split(match["words"], comments=True))
            except ValueError:  # a sentence with an apostrophe
                continue
            start = tuple(program.split())
            if words[: len(start)] == start:
                found.setdefault(words[len(start) :], page)
    return [pytest.param(words, id=f"{page.name}: {' '.join(words)}") for words, page in found.items()]


@cache
def composed(point: tuple[str, ...]) -> None:
    compose(point)


@pytest.mark.program
@pytest.mark.parametrize("words", commands("python launch.py"))
def test_a_command_that_trains_composes(words: tuple[str, ...]) -> None:
    overrides = [word for word in words if "=" in word]
    if any(place in word for word in words for place in ELSEWHERE) or "algo.dropout_rat=0.1" in words:
        pytest.skip("of a user's own, or shown as refused")
    if any("robopianist" in word for word in words) and find_spec("robopianist") is None:
        pytest.skip("robopianist is not installed")
    overrides = [word for word in overrides if word != "hardware.precision=bf16"]  # which not every processor has
    points = sweep_points(overrides)
    composed(tuple(points[0]))
    composed(tuple(points[-1]))


@pytest.mark.parametrize("words", commands("droq-exp"))
def test_a_command_of_droq_exp_parses(words: tuple[str, ...]) -> None:
    name, *arguments = words
    known: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    if name.startswith(("<", "--")) or "[OPTIONS]" in arguments:
        pytest.skip("stands for any command")
    known[name].make_context(name, [each for each in arguments if each != "--help"])


def links() -> Iterator[Any]:
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in dict.fromkeys(re.findall(r"\]\(([^)\s]+)\)", text)):
            if not target.startswith(("http:", "https:", "mailto:")):
                yield pytest.param(page, target, id=f"{page.relative_to(ROOT)}: {target}")


@pytest.mark.parametrize(("page", "target"), list(links()))
def test_a_link_leads_somewhere(page: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    assert file.exists()
    if anchor and file.suffix == ".md":
        titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\]\(.*?\)", "", title)).strip().lower() for title in titles]
        assert anchor in [title.replace(" ", "-") for title in plain]


@pytest.mark.program
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "--8<--" not in (tmp_path / "site" / "algorithms" / "droq" / "index.html").read_text(encoding="utf-8")
