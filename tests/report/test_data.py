"""Runs are read whatever state their files are in, and what is wrong is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import write_run
from reports import only, rows

from droq_exp.cli.errors import RefusedError
from droq_exp.report.build import build
from droq_exp.report.data import load
from droq_exp.report.run_data import RunData
from droq_exp.runs import provenance


def _only(root: Path) -> RunData:
    (run,) = load([root]).runs
    return run


def test_what_a_run_is(tmp_path: Path) -> None:
    write_run(tmp_path / "outputs", seed=3, changed={"algo.utd_ratio": 5})
    run = _only(tmp_path / "outputs")
    assert (run.experiment, run.codebase, run.algo, run.env, run.seed) == ("runs", "redq", "droq", "hopper", 3)
    assert (len(run.hash), run.differences) == (8, {"algo.utd_ratio": (20, 5)})
    assert (run.state, run.step, run.config["algo"]["utd_ratio"], run.problems) == ("finished", 5_000, 5, ())
    assert run.eval["return_mean"].tolist() == [100, 200, 300, 400, 500]
    assert run.eval["step"].dtype == np.int64


@pytest.mark.parametrize(
    ("lines", "steps", "problem"),
    [
        (["1000,1", "2000,2", "3000,"], [1000, 2000, 3000], "return_mean is no finite number in 1 of 3 rows"),
        (["1000,nan", "2000,inf", "3000,4"], [1000, 2000, 3000], "return_mean is no finite number in 2 of 3 rows"),
        (["1000,1", "2000,2", "20"], [1000, 2000], "1 line left out, damaged"),
        (["1000,1", "what,ever", "\x00\xff,3", "3000,2,7"], [1000], "3 lines left out, damaged"),
        (["1000,1", "2000,2", "1000,3"], [1000, 2000], "1 line left out, of a step told again"),
        (["3000,1", "2000,2"], [2000, 3000], "steps are not in order"),
        ([",1", "-5,2", "2.5,2", "4000,1", "1e30,2"], [4000], "4 lines left out, without a step"),
    ],
)
def test_damaged_lines_are_left_out_and_told(tmp_path: Path, lines: list[str], steps: list[int], problem: str) -> None:
    run = write_run(tmp_path)
    (run / "eval.csv").write_bytes("\n".join(["step,return_mean", *lines, ""]).encode("latin-1"))
    read = _only(tmp_path)
    assert read.eval["step"].tolist() == steps
    assert any(problem in each for each in read.problems), read.problems
    assert problem in str(rows(tmp_path, "unfinished_runs")[0]["what is wrong"])


def test_of_a_repeated_step_the_last_row_holds(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    (run / "eval.csv").write_text("step,return_mean\n1000,1\n2000,2\n1000,3\n")
    assert _only(tmp_path).eval["return_mean"].tolist() == [3, 2]


def test_a_last_line_that_is_cut_off_inside_its_last_number_is_not_believed(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    text = (run / "eval.csv").read_text()
    (run / "eval.csv").write_text(text[:-3])
    read = _only(tmp_path)
    assert len(read.eval) == 4
    assert "eval.csv: the last line is cut off" in read.problems


@pytest.mark.parametrize("name", ["config.yaml", "status.json", "eval.csv", "train.csv"])
@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe{:[", b"step\n"])
def test_any_file_may_be_missing_or_damaged(tmp_path: Path, name: str, content: bytes | None) -> None:
    write_run(tmp_path, seed=0)
    broken = write_run(tmp_path, seed=1)
    (broken / "job.json").write_text("{}")  # so that it is a run without its status too
    if content is None:
        (broken / name).unlink()
    else:
        (broken / name).write_bytes(content)
    assert [run.seed for run in load([tmp_path]).runs] == [0, 1]
    assert only(rows(tmp_path, "final_performance"))["of"] == 2


@pytest.mark.parametrize("name", ["config.yaml", "job.json", "eval.csv", "train.csv"])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    run = write_run(tmp_path)
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir()  # fails for every user, as a file of somebody else's does
    (told,) = rows(tmp_path, "unfinished_runs")
    assert "cannot be read" in str(told["what is wrong"])


@pytest.mark.parametrize(
    "told", [{"state": 5}, {"step": None}, {"total_steps": "many"}, {"error": "text"}, {"step": "x"}]
)
def test_a_status_of_other_kinds_is_damaged(tmp_path: Path, told: dict[str, Any]) -> None:
    run = write_run(tmp_path)
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps(status | told))
    assert f"is damaged ({next(iter(told))} is " in str(rows(tmp_path, "unfinished_runs")[0]["what is wrong"])


def test_evaluations_without_returns_are_told(tmp_path: Path) -> None:
    (write_run(tmp_path) / "eval.csv").write_text("step,return_mean\n1000,\n")
    missing = build(load([tmp_path])).missing
    assert missing == (
        "redq/hopper/droq: no return that is a number: not in the comparison at step 1,000 of redq/hopper",
    )


def test_copies_of_variants_stay_variants_wherever_they_lie(tmp_path: Path) -> None:
    for number, rate in enumerate((0.1, 0.2)):
        run = write_run(tmp_path / "outputs", returns=[100.0 * number] * 5, changed={"algo.dropout_rate": rate})
        shutil.copytree(run, tmp_path / "copies" / f"copy_{number}")
    copied = load([tmp_path / "copies"])
    assert [cell.line for cell in copied.cells] == ["droq (dropout_rate=0.1)", "droq (dropout_rate=0.2)"]
    assert not copied.repeated
    assert [row["return"] for row in rows(tmp_path / "copies", "final_performance")] == [0, 100]


def test_a_copy_of_a_run_of_any_task_knows_the_task(tmp_path: Path) -> None:
    changed = {"env.name": "gym", "env.id": "ALE/Pong-v5"}
    shutil.copytree(write_run(tmp_path / "outputs", env="gym", changed=changed), tmp_path / "copy")
    assert _only(tmp_path / "copy").env == "ALE+Pong-v5"


def test_cells_hold_the_seeds_of_one_thing(tmp_path: Path) -> None:
    for seed in (10, 2):
        write_run(tmp_path, seed=seed)
        write_run(tmp_path, seed=seed, changed={"algo.dropout_rate": 0.1})
        write_run(tmp_path, seed=seed, changed={"env.id": "Hopper-v4"})
    cells = load([tmp_path]).cells
    assert {str(cell): [run.seed for run in runs] for cell, runs in cells.items()} == {
        "redq/hopper/droq": [2, 10],
        "redq/hopper/droq (dropout_rate=0.1)": [2, 10],
        "redq/hopper (id=Hopper-v4)/droq": [2, 10],
    }


def test_experiments_are_told_apart_only_where_there_are_several(tmp_path: Path) -> None:
    write_run(tmp_path, experiment="a")
    assert [cell.line for cell in load([tmp_path]).cells] == ["droq"]
    write_run(tmp_path, experiment="b")
    assert [cell.line for cell in load([tmp_path]).cells] == ["droq (a)", "droq (b)"]


def test_directories_together_and_apart(tmp_path: Path) -> None:
    first, second = tmp_path / "here" / "outputs", tmp_path / "there" / "outputs"
    for root, seed in ((first, 0), (first, 1), (second, 1), (second, 2)):
        write_run(root, seed=seed)
    together = load([first, second])
    assert [[run.seed for run in runs] for runs in together.cells.values()] == [[0, 1, 2]]
    assert [run.source for run in together.repeated] == ["there/outputs"]
    apart = load([first, second], compared=True)
    assert [cell.line for cell in apart.cells] == ["droq (here/outputs)", "droq (there/outputs)"]
    assert not apart.repeated


def test_directories_that_do_not_go_together(tmp_path: Path) -> None:
    write_run(tmp_path / "outputs")
    with pytest.raises(RefusedError, match="is given twice"):
        load([tmp_path / "outputs", tmp_path / "outputs"])
    with pytest.raises(RefusedError, match="lies in"):
        load([tmp_path / "outputs", tmp_path / "outputs" / "runs"])


def test_runs_with_a_mujoco_of_other_contacts_are_in_cells_of_their_own(tmp_path: Path) -> None:
    for seed, version in enumerate(("3.3.3", "3.3.5", "3.3.6", "3.4.0", None)):
        path = write_run(tmp_path, seed=seed) / "status.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"versions": {"mujoco": version}}))
    cells = load([tmp_path]).cells
    assert {cell.env: [run.seed for run in runs] for cell, runs in cells.items()} == {
        "hopper": [0, 1, 4],
        "hopper (MuJoCo 3.3.6)": [2],
        "hopper (MuJoCo 3.4.0)": [3],
    }


def test_a_run_of_two_mujocos_joins_neither(tmp_path: Path) -> None:
    """Whichever of them came last."""
    for seed, versions in enumerate((["3.3.5"], ["3.3.5", "3.4.0"], ["3.4.0"])):
        path = write_run(tmp_path, seed=seed) / "status.json"
        told = {"versions": {"mujoco": "3.3.5"}, "mujoco_versions": versions}
        path.write_text(json.dumps(json.loads(path.read_text()) | told))
    cells = load([tmp_path]).cells
    assert {cell.env: [run.seed for run in runs] for cell, runs in cells.items()} == {
        "hopper": [0],
        "hopper (MuJoCo 3.3.5 and 3.4.0)": [1],
        "hopper (MuJoCo 3.4.0)": [2],
    }


def test_all_mujocos_that_have_simulated_a_run_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "versions", lambda: {"mujoco": "3.3.5"})
    assert provenance.mujoco_versions({}) == ["3.3.5"]
    assert provenance.mujoco_versions({"versions": {"mujoco": "3.4.0"}}) == ["3.4.0", "3.3.5"]  # before it was kept
    before = {"versions": {"mujoco": "3.4.0"}, "mujoco_versions": ["3.3.5", "3.4.0"]}
    assert provenance.mujoco_versions(before) == ["3.3.5", "3.4.0"]
