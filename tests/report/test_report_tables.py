"""The numbers in the tables, against what made-up runs must give."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from made_up import write_run
from reports import only, rows

from droq_exp.report.build import build
from droq_exp.report.data import load
from droq_exp.report.table import PAGE, Column, Table


def test_final_performance(partial: Path) -> None:
    found = rows(partial, "final_performance")
    droq = only(found, algorithm="droq")
    # Steps 26,000 to 30,000 of seeds 0 and 1, by hand; seed 2 is not there.
    assert (droq["return"], droq["low"], droq["high"], droq["step"]) == (2_950, 2_800, 3_100, 30_000)
    assert (droq["seeds"], droq["of"], droq["left out"]) == (2, 3, "seed 2 (interrupted, at step 12,000)")
    redq = only(found, algorithm="redq")
    assert (redq["return"], redq["low"] != redq["low"], redq["seeds"], redq["of"]) == (1_400, True, 1, 2)


def test_beside_the_papers(partial: Path) -> None:
    found = rows(partial, "published_comparison")
    droq = only(found, algorithm="droq", step=10_000)
    # 8,000 to 12,000 of the seeds: means 1,000, 1,300 and 1,000; the figure says 440.
    assert (droq["ours"], droq["low"], droq["high"]) == (1_100, 1_000, 1_300)
    assert (droq["seeds"], droq["papers"], droq["ours less papers"], droq["papers' is"]) == (3, 440, 660, "below")
    assert only(found, algorithm="droq", step=15_000)["seeds"] == 2
    assert only(found, algorithm="redq", step=10_000)["papers' is"] == "one seed"
    assert {row["environment"] for row in found} == {"hopper"}


def test_a_window_may_be_cut_short_by_the_end_of_a_run_that_is_done_only(tmp_path: Path) -> None:
    rising = [100.0 * step for step in range(1, 21)]
    run = write_run(tmp_path, returns=rising)
    assert only(rows(tmp_path, "published_comparison"), step=20_000)["ours"] == 1_900  # 18,000 to 20,000
    status = (run / "status.json").read_text()
    (run / "status.json").write_text(status.replace("finished", "stopped"))
    assert only(rows(tmp_path, "published_comparison"), step=20_000)["ours"] == 1_900
    assert not rows(tmp_path, "unfinished_runs")
    (run / "status.json").write_text(status.replace("finished", "interrupted"))
    assert [row["step"] for row in rows(tmp_path, "published_comparison")] == [5_000, 10_000, 15_000]


@pytest.mark.parametrize(
    "changed", [{"algo.utd_ratio": 5}, {"algo.hidden_sizes": [64, 64]}, {"training.start_steps": 1}]
)
def test_only_the_same_experiment_stands_beside_the_papers(tmp_path: Path, changed: dict[str, object]) -> None:
    """Neither a run that differs from its recipe, nor one whose experiment has another recipe than the papers."""
    write_run(tmp_path / "as_published")
    assert rows(tmp_path / "as_published", "published_comparison")
    write_run(tmp_path / "differs", changed=changed)
    assert not rows(tmp_path / "differs", "published_comparison")
    run = write_run(tmp_path / "other", experiment="mine", changed=changed)
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"differences": {}}))
    run.parent.rename(run.parent.with_name("hopper"))
    assert not rows(tmp_path / "other", "published_comparison")


def test_sample_efficiency(partial: Path) -> None:
    found = rows(partial, "sample_efficiency")
    # Half of REDQ's last return, 3,070: on a straight line the mean of five evaluations is the middle one.
    droq = only(found, algorithm="droq", target=1_535)
    assert (droq["steps"], droq["least"], droq["most"], droq["reached"], droq["of"]) == (14_500, 13_000, 16_000, 2, 3)
    never = only(found, algorithm="redq", target=3_070)
    assert (never["steps"], never["reached"], never["of"]) == (None, 0, 1)
    assert only(found, algorithm="sac", target=6)["target is"] == "100% of the best here"


def test_aggregates_say_which_environments_are_not_in(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path, seed=seed, returns=[3_070.0 + seed] * 6)
        write_run(tmp_path, seed=seed, returns=[4_060.0 / 2] * 6, env="walker2d")
        write_run(tmp_path, algo="sac", seed=seed, returns=[3_070.0 / 4] * 6)
    found = rows(tmp_path, "aggregates")
    droq = only(found, algorithm="droq", aggregate="mean")
    assert droq["value"] == pytest.approx((1 + 0.5 / 3_070 + 0.5) / 2)
    assert (droq["runs"], droq["environments"], droq["not in"]) == (4, "hopper, walker2d", "")
    assert only(found, algorithm="droq", aggregate="optimality gap")["value"] == pytest.approx((0 + 0.5) / 2)
    sac = only(found, algorithm="sac", aggregate="IQM")
    assert (sac["value"], sac["not in"]) == (pytest.approx(0.25), "walker2d")
    better = only(rows(tmp_path, "probability_of_improvement"), algorithm="droq", over="sac")
    assert (better["probability"], better["runs"], better["environments"]) == (1, 2, "hopper")


def test_cells_that_have_hardly_begun_are_not_compared(partial: Path, tmp_path: Path) -> None:
    write_run(tmp_path, returns=[100.0] * 20)
    write_run(tmp_path, algo="redq", returns=[90.0] * 10)
    write_run(tmp_path, algo="sac", returns=[80.0] * 9)
    report = build(load([tmp_path]))
    (comparison,) = report.comparisons.values()
    assert (comparison.step, [cell.algo for cell in comparison.scores]) == (10_000, ["droq", "redq"])
    assert any(line.startswith("redq/hopper/sac: at step 9,000") for line in report.missing)


def test_dropout_rates(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path, seed=seed, returns=[100.0] * 6)
        write_run(tmp_path, seed=seed, returns=[200.0 + seed] * 6, changed={"algo.dropout_rate": 0.1})
        write_run(tmp_path, seed=seed, changed={"algo.dropout_rate": 0.2, "algo.gamma": 0.9})
    found = rows(tmp_path, "dropout_sensitivity")
    assert [(row["dropout rate"], row["return"]) for row in found] == [(0.0001, 100), (0.1, 200.5)]


def test_where_the_time_goes(partial: Path, tmp_path: Path) -> None:
    droq = only(rows(partial, "run_time"), algorithm="droq")
    names = ("env, s", "sample, s", "update, s", "evaluate, s", "other, s", "s per 1,000 steps", "update, %")
    assert [droq[name] for name in names] == pytest.approx([1, 0.5, 6, 2, 0.5, 10, 60])
    assert droq["updates per s"] == 250


def test_runs_made_before_times_were_measured(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    for name, without in (("eval.csv", "evaluate_seconds"), ("train.csv", "update_seconds")):
        lines = [line.split(",") for line in (run / name).read_text().splitlines()]
        kept = [index for index, column in enumerate(lines[0]) if column != without]
        (run / name).write_text("".join(",".join(line[index] for index in kept) + "\n" for line in lines))
    (table,) = [table for table in build(load([tmp_path])).tables.values() if table.name == "run_time"]
    (texts,) = table.texts
    shown = dict(zip([column.name for column in table.columns], texts, strict=True))
    assert (shown["env, s"], shown["update, s"], shown["evaluate, %"], shown["other, s"]) == ("1.0", "-", "-", "-")
    assert shown["s per 1,000 steps"] == "10.0"
    assert not rows(tmp_path, "unfinished_runs")


def test_unfinished_runs_and_missing_seeds(partial: Path) -> None:
    failed = only(rows(partial, "unfinished_runs"), state="failed")
    assert failed["what is wrong"] == "RuntimeError: a_b & 50%"
    assert failed["log"] == str(partial / "runs/redq/redq/hopper/seed_1/train.log")
    assert only(rows(partial, "missing_seeds"), algorithm="redq")["missing"] == "2"


def test_the_three_forms_of_a_table() -> None:
    columns = (Column("run_1 & more"), Column("return", 1))
    table = Table(
        "a_b", "100%", "Of $ and | {all}.", columns, (("a|b_c\n^~\\", -0.04), ("x,y", float("nan")), ('"', None))
    )
    assert table.to_csv() == 'run_1 & more,return\n"a|b_c\n^~\\",-0.04\n"x,y",\n"""",\n'
    markdown = table.to_markdown().splitlines()
    assert markdown[2:7] == [
        "| run_1 & more | return |",
        "| --- | ---: |",
        "| a\\|b\\_c ^\\~\\\\ | 0.0 |",
        "| x,y | - |",
        '| " | - |',
    ]
    latex = table.to_latex().splitlines()
    assert r"\caption{100\%. Of \$ and \textbar{} \{all\}.}" in latex
    assert r"a\textbar{}b\_c \textasciicircum{}\textasciitilde{}\textbackslash{} & 0.0 \\" in latex
    assert latex[-3:] == [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    long = Table("a", "b", "c", columns, (("x", 1.0),) * (PAGE + 1))
    assert long.to_latex().splitlines()[-1] == r"\end{longtable}"
