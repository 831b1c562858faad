"""The page's charts: what they draw for each choice, by mouse and by keyboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from made_sweep import configuration, made_run, written
from page_charts import chart_of, hover, lines, titles, traces
from playwright.sync_api import Page, expect


def test_curves_are_means_with_intervals_and_published_ones_behind(page: Page) -> None:
    chart = chart_of(page)
    drawn = lines(chart)
    assert list(drawn) == ["droq", "droq (dropout_rate=0.1)", "sac"]
    assert drawn["droq"]["x"] == [1000.0 * at for at in range(1, 13)]
    assert drawn["droq"]["y"] == [100.0 * at + 1 for at in range(1, 13)]  # mean of the seeds 0, 1 and 2
    bands = [trace for trace in traces(chart) if trace["kind"] == "band"]
    assert len(bands) == 2  # the variant has one seed, so no interval
    assert traces(chart)[0]["name"] == "droq, published"  # behind; that of SAC begins where ours ends
    assert lines(chart, "published")["droq, published"]["x"] == [5000, 10000, 12000]  # to where ours end
    assert chart.locator(".scatterlayer .trace").count() == 6
    assert "mean of the seeds" in page.locator("#notes").inner_text()
    page.get_by_label("Published").select_option("whole")
    assert list(lines(chart, "published")) == ["droq, published", "sac, published"]
    assert len(lines(chart, "published")["droq, published"]["x"]) > 10
    page.get_by_label("Published").select_option("off")
    assert lines(chart, "published") == {}


def test_algorithms_are_switched_by_mouse_and_keyboard(page: Page) -> None:
    chart = chart_of(page)
    button = page.get_by_role("button", name="sac")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert list(lines(chart)) == ["droq", "droq (dropout_rate=0.1)"]
    assert "sac, published" not in lines(chart, "published")
    button.focus()
    page.keyboard.press("Space")
    assert button.get_attribute("aria-pressed") == "true"
    assert "sac" in lines(chart)
    page.get_by_role("button", name="none").press("Enter")
    assert traces(chart) == []
    expect(chart).to_contain_text("all are switched off")
    page.get_by_role("button", name="all").click()
    assert len(lines(chart)) == 3


def test_metric_and_horizontal_axis(page: Page) -> None:
    chart = chart_of(page)
    assert titles(chart) == ["Environment steps", "Return"]
    page.get_by_label("Metric").select_option(label="Mean of Q-bias")
    assert titles(chart)[1] == "Mean of Q-bias"
    assert lines(chart)["droq"]["y"] == [-float(at) for at in range(1, 13)]
    page.get_by_label("Metric").select_option(label="Critic updates per second")
    assert lines(chart)["sac"]["y"] == [200.0] * 8
    page.get_by_label("Horizontal axis").select_option("updates")
    assert titles(chart)[0] == "Critic updates"
    assert lines(chart)["sac"]["x"] == [20_000.0 * at for at in range(1, 9)]
    page.get_by_label("Metric").select_option("return_iqm")
    page.get_by_label("Horizontal axis").select_option("wall")
    assert titles(chart) == ["Wall time (minutes)", "Return (IQM)"]
    assert lines(chart)["droq"]["x"] == pytest.approx([at / 3 for at in range(1, 13)])  # 10, 20 and 30 s each
    assert lines(chart, "published") == {}
    assert "not shown" in page.locator("#notes").inner_text()


def test_time_never_runs_backwards_where_a_slow_seed_ends(opened: Callable[..., Page], tmp_path: Path) -> None:
    made_run(tmp_path / "outputs", "droq", "hopper", 0, evaluations=4)  # 10 s for 1,000 steps
    made_run(tmp_path / "outputs", "droq", "hopper", 8, evaluations=2)  # 90 s
    page = opened(written(tmp_path / "outputs"))
    page.get_by_label("Horizontal axis").select_option("wall")
    assert titles(chart_of(page))[0] == "Wall time (minutes)"
    assert [60 * x for x in lines(chart_of(page))["droq"]["x"]] == pytest.approx([50, 100, 110, 120])


def test_single_seeds(page: Page) -> None:
    page.get_by_label("single seeds").check()
    drawn = lines(chart_of(page), "seeds")["droq"]
    assert drawn["x"][12] is None  # a gap between the seeds
    assert [drawn["y"][seed * 13 + 11] for seed in range(3)] == [1200, 1201, 1202]


def test_hovering_tells_values_and_number_of_seeds(page: Page) -> None:
    chart = chart_of(page)
    hover(chart, 4000, 400)
    told = chart.locator(".hoverlayer")
    expect(told).to_contain_text("4,000")
    expect(told).to_contain_text("droq : 401 [400, 402], n = 3")
    expect(told).to_contain_text("sac : 200.5 [200, 201], n = 2")


def test_charts_by_keyboard(page: Page) -> None:
    chart = chart_of(page)
    chart.focus()
    page.keyboard.press("ArrowRight")
    readout = page.locator(".readout").first
    expect(readout).to_have_text(
        "Environment steps 1,000: droq 101 [100, 102], n = 3; droq (dropout_rate=0.1) 100 (one seed), n = 1; "
        "sac 50.5 [50, 51], n = 2"
    )
    expect(chart.locator(".hoverlayer")).to_contain_text("n = 3")
    page.keyboard.press("End")
    expect(readout).to_contain_text("Environment steps 12,000: droq ")
    before = chart.evaluate("c => c.layout.xaxis.range")
    page.keyboard.press("+")
    after = chart.evaluate("c => c.layout.xaxis.range")
    assert after[1] - after[0] == pytest.approx((before[1] - before[0]) / 2)
    page.keyboard.press("0")
    assert chart.evaluate("c => c.layout.xaxis.autorange") is True


def test_much_is_thinned_and_that_is_told(opened: Callable[..., Page], tmp_path: Path) -> None:
    for seed in range(2):
        made_run(tmp_path / "outputs", "droq", "hopper", seed, evaluations=10 - seed)
    page = opened(written(tmp_path / "outputs", rows=7))
    assert "one in 3 rows" in page.locator("#notes").inner_text()
    assert lines(chart_of(page))["droq"]["x"] == [3000, 6000, 9000, 10000]
    page.get_by_label("single seeds").check()
    assert lines(chart_of(page), "seeds")["droq"]["x"] == [3000, 6000, 9000, 10000, None, 3000, 6000, 9000, None]


def test_directories_compared(opened: Callable[..., Page], tmp_path: Path) -> None:
    for name, slope, evaluations in (("old", 10, 6), ("new", 20, 4)):
        for seed in range(2):
            made_run(tmp_path / name, "droq", "hopper", seed, evaluations=evaluations, slope=slope)
    (tmp_path / "new" / "runs" / "redq" / "droq" / "hopper" / "seed_1" / "eval.csv").write_text("step,return_mean\n1,")
    page = opened(written(tmp_path / "old", tmp_path / "new"))
    chart = chart_of(page)
    drawn = lines(chart)
    assert {name: line["y"][-1] for name, line in drawn.items()} == {"droq (new)": 80, "droq (old)": 60.5}
    assert list(lines(chart, "published")) == ["droq, published"]
    page.get_by_role("button", name="droq (new)").click()
    assert list(lines(chart, "published")) == ["droq, published"]
    page.get_by_role("button", name="droq (old)").click()
    assert traces(chart) == []
    expect(page.get_by_role("region", name="What is missing")).to_contain_text(
        "new: runs/redq/droq/hopper/seed_1: eval.csv"
    )


def test_one_chart_is_as_wide_as_the_page_and_equal_lines_all_show(opened: Callable[..., Page], tmp_path: Path) -> None:
    for algo, slope in (("droq", 10), ("redq", 10), ("sac", 20)):
        config = configuration(algo, "hopper")
        made_run(tmp_path / "outputs", algo, "hopper", 0, evaluations=3, slope=slope, config=config)
    page = opened(written(tmp_path / "outputs"), viewport={"width": 1600, "height": 900})
    widths = page.evaluate(
        "[...document.querySelectorAll('#panels, .chart')].map(e => e.getBoundingClientRect().width)"
    )
    assert widths[1] == pytest.approx(widths[0])
    drawn = chart_of(page).evaluate("c => c.data.filter(t => t.meta.kind === 'line').map(t => [t.name, t.line.width])")
    assert drawn == [["droq", 6], ["redq", 2], ["sac", 2]]


def test_variants_are_off_at_first_where_lines_are_many(opened: Callable[..., Page], tmp_path: Path) -> None:
    made_run(tmp_path / "outputs", "droq", "hopper", 0, evaluations=2)
    for i in range(12):
        changed = {"algo.dropout_rate": {"recipe": 0.0001, "run": (i + 10) / 100}}
        folder = f"hopper-0000000{i:x}"
        made_run(tmp_path / "outputs", "droq", "hopper", 0, evaluations=2, differences=changed, folder=folder)
    page = opened(written(tmp_path / "outputs"))
    assert list(lines(chart_of(page))) == ["droq"]
    assert "Switched off: 12 of 13 lines" in page.locator("#notes").inner_text()
    page.get_by_role("button", name="droq (dropout_rate=0.15)").click()
    assert list(lines(chart_of(page))) == ["droq", "droq (dropout_rate=0.15)"]
