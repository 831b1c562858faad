"""``droq-exp compare``: two directories in one table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import write_run
from run_files import ENVIRONMENT, droq_exp, error_line

from droq_exp.report.bootstrap import (
    aggregate_intervals,
    difference_interval,
    improvement_interval,
    probability_of_improvement,
)

FIRST = (10.0, 20.0, 60.0, 30.0)
SECOND = (40.0, 15.0, 70.0, 50.0)


def write(root: Path, returns: tuple[float, ...], seeds: tuple[int, ...] | None = None, **of: Any) -> Path:
    """A run of each return, which all its evaluations have."""
    for seed, value in zip(seeds or range(len(returns)), returns, strict=True):
        write_run(root, seed=seed, returns=[value] * 6, **of)
    return root / of.get("experiment", "runs")


def compared(capsys: pytest.CaptureFixture[str], *directories: Path) -> dict[str, Any]:
    assert droq_exp("compare", *map(str, directories), "--json") == 0
    out, error = capsys.readouterr()
    assert error == ""
    return json.loads(out)


def test_what_a_row_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand, and for the intervals by the report's own functions."""
    a = write(tmp_path, (*FIRST, 999.0), experiment="a", env="other")
    b = write(tmp_path, (-999.0, *SECOND), (7, 0, 1, 2, 3), experiment="b", env="other")
    told = compared(capsys, a, b)
    assert (told["A"], told["B"]) == (str(a), str(b))
    (row,) = told["rows"]
    assert (row["codebase"], row["environment"], row["algorithm"], row["step"]) == ("redq", "other", "droq", 6000)
    assert row["seeds"] == [0, 1, 2, 3]
    assert (row["first"]["value"], row["second"]["value"]) == (25, 45)  # of the middle halves
    assert row["difference"]["value"] == pytest.approx(43.75 - 30)
    assert row["probability"]["value"] == (3 + 1 + 4 + 3) / 16
    x, y = [np.array(FIRST)], [np.array(SECOND)]
    assert row["probability"]["value"] == probability_of_improvement(x, y)
    wanted = {
        "first": aggregate_intervals(x)["IQM"],
        "second": aggregate_intervals(y)["IQM"],
        "difference": difference_interval(x, y),
        "probability": improvement_interval(x, y),
    }
    assert {name: (row[name]["low"], row[name]["high"]) for name in wanted} == wanted
    assert told["missing"] == ["A has no redq/other/droq, seed 7", "B has no redq/other/droq, seed 4"]


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, level in (("a", 1000.0), ("b", 1500.0)):
        for env in ("hopper", "ant"):
            write(tmp_path, (level, level + 100, level + 200), experiment=name, env=env)
    a = write(tmp_path, (1.0,), experiment="a", algo="sac")
    assert droq_exp("compare", str(a), str(tmp_path / "b")) == 0
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    table = [[cell.strip() for cell in line if cell] for line in lines]
    assert table[0] == ["A: a"]
    assert table[2][-4:] == ["IQM of A", "IQM of B", "B less A", "B is better"]
    assert table[3][:6] == ["redq", "ant", "droq", "6,000", "3", "1,100 [1,000, 1,200]"]
    assert table[3][6:] == ["1,600 [1,500, 1,700]", "500 [367, 633]", "1.00 [1.00, 1.00]"]
    assert table[4][1] == "hopper"
    assert table[5][:3] == ["redq", "all of these", "droq"]
    assert table[5][-1] == "1.00 [1.00, 1.00]"
    assert float(table[5][3].split()[0]) < 1  # in units of the papers
    assert table[-1] == ["missing: B has no redq/hopper/sac"]


def test_algorithms_variants_and_code_bases_beside_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for of in ({}, {"algo": "sac"}, {"changed": {"algo.dropout_rate": 0.5}}, {"codebase": "ku"}):
        write(tmp_path, (1.0, 2.0), **of)
    redq = tmp_path / "runs" / "redq"
    variant = next(path for path in (redq / "droq").iterdir() if path.name != "hopper")

    def algorithms(*directories: Path) -> list[str]:
        return [f"{row['codebase']}: {row['algorithm']}" for row in compared(capsys, *directories)["rows"]]

    assert algorithms(redq / "sac", redq / "droq" / "hopper") == ["redq: sac / droq"]
    assert algorithms(redq / "droq" / "hopper", variant) == ["redq: droq / droq (dropout_rate=0.5)"]
    assert algorithms(redq / "droq" / "hopper", tmp_path / "runs" / "ku") == ["redq / ku: droq"]
    assert droq_exp("compare", str(redq / "sac"), str(redq / "droq")) == 2  # which of the two?
    assert "each more than one thing of it" in error_line(capsys)


def test_one_seed_has_no_interval_and_tasks_without_a_common_unit_only_a_probability(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        for env in ("one", "two"):
            write(tmp_path, (5.0,), experiment=name, env=env)
    *_, everything = compared(capsys, tmp_path / "a", tmp_path / "b")["rows"]
    nothing = {"value": None, "low": None, "high": None}
    assert (everything["first"], everything["difference"]) == (nothing, nothing)
    assert everything["probability"] == {"value": 0.5, "low": None, "high": None}
    assert droq_exp("compare", str(tmp_path / "a"), str(tmp_path / "b")) == 0
    assert capsys.readouterr().out.splitlines()[3].split()[-4:] == ["5.000", "5.000", "0.000", "0.50"]


def test_nothing_in_common_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path, FIRST, experiment="a")
    cases = {
        write(tmp_path, SECOND, experiment="b", env="ant"): "a and b have no task in common",
        write(tmp_path, (1.0,), (9,), experiment="c"): "a and c have no evaluated seed in common: ",
        tmp_path / "nowhere": "is not a directory",
        a / "redq": "lies in ",
    }
    for other, words in cases.items():
        assert droq_exp("compare", str(a), str(other)) == 2
        assert words in error_line(capsys)


def test_a_seed_that_is_behind_is_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path, FIRST, experiment="a")
    b = write(tmp_path, SECOND[:3], experiment="b")
    write_run(tmp_path, seed=3, returns=[1.0], experiment="b", state="running", total_steps=6000)
    told = compared(capsys, a, b)
    assert told["rows"][0]["seeds"] == [0, 1, 2]
    (line,) = told["missing"]
    assert line.startswith("B has no redq/hopper/droq, seed 3 (")
    assert line.endswith(", at step 1,000)")


@pytest.mark.program
def test_nothing_of_a_run_is_imported(tmp_path: Path) -> None:
    a, b = (write(tmp_path, FIRST, experiment=name) for name in "ab")
    code = (
        "import atexit, sys; from droq_exp.cli.app import main; "
        "atexit.register(lambda: print(sorted({'torch', 'gymnasium', 'wandb', 'mujoco'} & set(sys.modules)))); "
        f"main(['compare', {str(a)!r}, {str(b)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"
