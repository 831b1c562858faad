"""``droq-exp report``: what it writes, what it says, what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from made_up import write_run
from reports import make_report, only, written

from droq_exp.cli.report import together
from droq_exp.report import score_figures
from droq_exp.report.build import build
from droq_exp.report.curve_figures import learning_curves
from droq_exp.report.curves import METRICS
from droq_exp.report.data import load
from droq_exp.report.render import look, render

pytestmark = pytest.mark.program


def test_what_is_written(partial_report: Path) -> None:
    figures = {path.name for path in (partial_report / "figures").iterdir()}
    assert {f"return_redq.{ending}" for ending in ("pdf", "png", "svg")} <= figures
    assert {"final_performance_redq.png", "aggregates_redq.png", "run_time.png", "bias_mean_redq.png"} <= figures
    assert {path.suffix for path in (partial_report / "tables").iterdir()} == {".csv", ".md", ".tex"}
    listed = json.loads((partial_report / "report.json").read_text())
    assert listed[-1] == "index.html"
    lie_there = {str(path.relative_to(partial_report)) for path in partial_report.rglob("*") if path.is_file()}
    assert {*listed} == lie_there - {"report.json"}
    page = (partial_report / "index.html").read_text()
    assert "figures/return_redq.pdf" in page
    assert "tables/final_performance.tex" in page


def test_figures_are_what_their_endings_say(partial_report: Path) -> None:
    heads = {"pdf": b"%PDF-", "png": b"\x89PNG", "svg": b"<?xml"}
    for path in (partial_report / "figures").iterdir():
        assert path.read_bytes().startswith(heads[path.suffix[1:]])
    svg = (partial_report / "figures" / "return_redq.svg").read_text()
    assert all(text in svg for text in ("droq, n = 3", "redq, n = 1", "published mean", "swimmer"))


def test_a_report_is_no_run_and_repeats_itself(
    partial: Path, partial_report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again"
    assert make_report(partial, "--output", again, figures={"return_redq", "final_performance_redq"}) == 0
    paths = list(again.rglob("*/*.*"))  # the page tells when it was written
    assert len(paths) > 2 * 3
    for path in paths:
        assert (partial_report / path.relative_to(again)).read_bytes() == path.read_bytes(), path.name
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "6 runs: 4 done, 1 interrupted, 1 failed"
    assert "missing: redq/hopper/redq: no seed 2" in printed
    assert any("redq/hopper/droq, seed 2 (interrupted, at step 12,000)" in line for line in printed)
    assert any("redq/hopper/redq, seed 1 (failed, at step 0)" in line for line in printed)
    assert printed[-2].startswith(f"written to {again}: ")
    assert printed[-1] == f"open {again / 'index.html'}"


@pytest.mark.slow
def test_every_figure_repeats_itself(partial: Path, partial_report: Path, tmp_path: Path) -> None:
    assert make_report(partial, "--output", tmp_path) == 0
    for path in partial_report.rglob("*/*.*"):
        assert (tmp_path / path.relative_to(partial_report)).read_bytes() == path.read_bytes(), path.name


def test_the_text_above_the_axes_is_as_wide_as_the_figure(tmp_path: Path) -> None:
    write_run(tmp_path)
    sweep = load([tmp_path])
    with look():
        figure = learning_curves(sweep, build(sweep), "redq", METRICS["return"])
        assert figure is not None
        figure.draw_without_rendering()
        title = figure.get_suptitle()
        (text,) = (child for child in figure.get_children() if getattr(child, "get_text", str)() == title)
        assert text.get_window_extent().x1 <= figure.bbox.x1
        assert "published mean" in title.replace("\n", " ")


def test_special_characters_in_tables(partial_report: Path) -> None:
    tex = (partial_report / "tables" / "unfinished_runs.tex").read_text()
    assert r"RuntimeError: a\_b \& 50\% &" in tex
    assert r"\toprule" in tex
    assert r"RuntimeError: a\_b & 50%" in (partial_report / "tables" / "unfinished_runs.md").read_text()


def test_two_directories_compared(tmp_path: Path) -> None:
    for seed in (0, 1):
        for name, more in (("a", 0.0), ("b", 50.0)):
            write_run(tmp_path / name, seed=seed, returns=[100.0 + more + 10 * seed] * 6)
            write_run(tmp_path / name, seed=seed, returns=[200.0 + 3 * more] * 6, env="ant")
    write_run(tmp_path / "b", algo="sac")
    assert make_report(tmp_path / "a", tmp_path / "b", "--compare", figures={"differences"}) == 0
    report = tmp_path / "a" / "report"
    hopper = only(written(report, "differences"), environment="hopper")
    assert (hopper["first"], hopper["second"], hopper["second less first"]) == ("a", "b", "50.0")
    assert (float(hopper["low"]), float(hopper["high"]), hopper["probability"]) == (40, 60, "1.0")
    together = only(written(report, "differences"), environment="all of these")
    assert (float(together["second less first"]), together["seeds of first"]) == (100, "4")
    assert (report / "figures" / "differences.png").exists()
    assert {row["algorithm"] for row in written(report, "final_performance")} == {"droq (a)", "droq (b)", "sac (b)"}


def test_files_of_an_earlier_report_go_and_others_stay(tmp_path: Path) -> None:
    run = write_run(tmp_path / "outputs", returns=[], state="failed", error="no")
    report = tmp_path / "report"
    assert make_report(tmp_path / "outputs", "--output", report, figures=()) == 0
    unfinished, mine = (report / "tables" / name for name in ("unfinished_runs.csv", "mine.csv"))
    mine.write_text("kept")
    assert unfinished.exists()
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps(status | {"state": "finished", "error": None}))
    assert make_report(tmp_path / "outputs", "--output", report, figures=()) == 0
    assert (unfinished.exists(), mine.exists()) == (False, True)


def test_runs_without_any_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, returns=[], state="failed", total_steps=1_000, error="no")
    assert make_report(tmp_path) == 0
    assert "missing: redq/hopper: no evaluation" in capsys.readouterr().out
    assert only(written(tmp_path / "report", "final_performance"))["return"] == ""
    assert not (tmp_path / "report" / "figures").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "nowhere is not a directory"),
        (["empty"], "has no runs"),
        (["outputs", "--compare"], "--compare needs at least two directories"),
        (["outputs", "--output", "file/report"], "a file is in the way"),
        (["outputs", "--output", "taken"], "taken/tables cannot be written: File exists"),
        (["file"], "file is not a directory"),
        ([], "Missing argument"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "outputs")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "tables").write_text("")
    monkeypatch.chdir(tmp_path)
    assert make_report(*arguments) == 2
    printed = capsys.readouterr().err
    assert (printed.count("\n"), told in printed) == (1, True)
    assert sorted(os.listdir()) == ["empty", "file", "outputs", "taken"]


def test_long_names_leave_room_for_what_is_drawn(tmp_path: Path) -> None:
    changed = {"algo.hidden_sizes": [16, 16], "algo.target_entropy": -2.5, "algo.critic_learning_rate": 0.001}
    for root in (tmp_path / "first", tmp_path / "second"):
        write_run(root, seed=0, changed=changed)
        write_run(root, seed=0)
    sweep = load([tmp_path / "first", tmp_path / "second"], compared=True)
    report = build(sweep)
    figures = [
        score_figures.final_performance(report, "redq"),
        score_figures.aggregates(sweep, report, "redq"),
        score_figures.improvement(report, "redq"),
        score_figures.run_time(report),
        score_figures.differences(report),
    ]
    for figure in figures:
        assert figure is not None
        render(figure)
        widths = [axes.get_position().width for axes in figure.axes]
        assert sum(widths) > 0.35, widths


def test_a_task_that_only_variants_have_is_left_out_of_a_figure_with_too_many_lines(tmp_path: Path) -> None:
    write_run(tmp_path)
    for number in range(13):
        write_run(tmp_path, env="ant", changed={"algo.dropout_rate": (number + 1) / 100})
    report = build(load([tmp_path]))
    figure = score_figures.final_performance(report, "redq")
    assert figure is not None
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["hopper, at 5,000 steps"]
    assert len(report.tables["final_performance"].rows) == 14


def test_places_that_lack_the_same_share_a_line() -> None:
    lines = [*(f"redq/env{number}/sac: no seed 2" for number in range(9)), "redq/hopper: no evaluation"]
    assert list(together(lines)) == [
        "no seed 2: redq/env0/sac, redq/env1/sac, redq/env2/sac and 6 more",
        "redq/hopper: no evaluation",
    ]
