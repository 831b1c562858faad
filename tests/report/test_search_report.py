"""The tables of a search in a report, which needs no Optuna for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_sweep import write_search
from made_up import write_run
from reports import rows

import droq_exp
from droq_exp.report.build import build
from droq_exp.report.data import load


@pytest.fixture
def search(tmp_path: Path) -> Path:
    write_run(tmp_path)
    write_search(tmp_path)
    return tmp_path


def test_trials_the_best_first_and_importance(search: Path) -> None:
    assert [(row["trial"], row["state"], row["value"], row["pruned at"]) for row in rows(search, "search_trials")] == [
        (3, "complete", 2000.0, None),
        (0, "complete", 1000.0, None),
        (1, "pruned", 500.0, 3000),
        (2, "failed", None, None),
        (4, "running", None, None),
    ]
    assert rows(search, "search_trials")[0]["algo.hidden_sizes"] == "[64]"
    assert [(row["key"], row["searched"], row["importance"]) for row in rows(search, "search_importance")] == [
        ("algo.dropout_rate", "log(0.0001,0.1)", 0.75),
        ("algo.hidden_sizes", "choice([256,256],[64])", 0.25),
    ]


def test_searches_that_are_pooled_are_named(search: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    write_run(other, seed=1)
    write_search(other)
    tables = build(load([search, other])).tables
    assert {row[0] for row in tables["search_trials"].rows} == {search.name, other.name}


def test_a_search_is_found_below_what_is_reported(tmp_path: Path) -> None:
    for name in ("one", "other"):
        folder = tmp_path / "outputs" / "tune" / name
        folder.mkdir(parents=True)
        write_run(folder)
        write_search(folder)
    assert [search.name for search in build(load([tmp_path / "outputs"])).searches] == ["tune/one", "tune/other"]
    assert [search.name for search in build(load([tmp_path / "outputs" / "tune"])).searches] == ["one", "other"]


@pytest.mark.parametrize("content", ["{", "{}", '{"command": 3}', "[]"])
def test_damage_is_told_and_stops_no_report(search: Path, content: str) -> None:
    (search / "search" / "search.json").write_text(content)
    made = build(load([search]))
    assert "search_trials" not in made.tables
    (line,) = (line for line in made.missing if "search.json" in line)
    assert "the search's command writes it anew" in line


def test_only_the_search_itself_imports_optuna() -> None:
    package = Path(droq_exp.__file__).parent
    sources = {path.relative_to(package).as_posix(): path.read_text() for path in package.rglob("*.py")}
    users = {name for name, text in sources.items() if "import optuna" in text or "from optuna" in text}
    assert users == {"tune/head.py", "tune/study.py"}
