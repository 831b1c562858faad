"""What the page tells beside its charts: tables, runs, what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from made_sweep import EVIL, failed, made_run, written
from page_charts import chart_of, hover, lines
from playwright.sync_api import Page, expect


def test_tables_sort_with_unknown_values_last(page: Page) -> None:
    table = page.get_by_role("table", name="Scores")
    assert "Made up, <b>plainly</b>." in page.locator("#table-1").inner_text()

    def column(index: int) -> list[str]:
        return table.locator(f"tbody td:nth-child({index})").all_inner_texts()

    assert column(2) == ["1,200.0", "-", "-3.0", "90.0"]
    header = table.get_by_role("columnheader", name="score")
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert column(2) == ["-3.0", "90.0", "1,200.0", "-"]
    header.get_by_role("button").press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert column(1) == ["b", "d", "c", "a"]
    table.get_by_role("button", name="line").press("Space")
    assert column(1) == ["a", "b", "c", "d"]
    assert header.get_attribute("aria-sort") is None


def test_runs_are_filtered_and_lead_to_their_configuration(page: Page) -> None:
    page.get_by_label("Filter").fill("seed_1 sac")
    assert page.locator("#run-count").inner_text() == "1 of 8 runs"
    assert page.locator("#run-table tbody tr:visible").count() == 1
    assert page.locator(".config:visible").count() == 1
    details = page.locator(".config:visible")
    assert details.get_attribute("open") is None
    page.locator("#run-table tbody tr:visible a").click()
    expect(details.locator("pre")).to_contain_text("batch_size: 256")
    page.get_by_label("Filter").fill("dropout_rate=0.1")
    expect(page.locator(".config:visible summary")).to_contain_text("dropout_rate=0.1")
    assert page.locator("#run-table tbody tr:visible").count() == 1


def test_what_is_missing_is_told_and_nothing_in_it_is_html(page: Page, report: Path) -> None:
    missing = page.get_by_role("region", name="What is missing")
    expect(missing).to_contain_text("Ended early: 1 of 8 runs")
    assert missing.locator(".error").inner_text() == EVIL
    assert missing.locator(".log a").get_attribute("href") == "../outputs/runs/redq/redq/hopper/seed_0/train.log"
    expect(missing).to_contain_text("redq/hopper/sac: no seed 2")
    assert page.title() == "Report: outputs"
    odd = "odd \"<b>%{x}', code base redq"
    assert lines(chart_of(page, odd))["droq"]["y"] == [100, 200, 300]
    page.get_by_label("single seeds").check()
    chart = chart_of(page, odd)
    hover(chart, 2000, 200)
    expect(chart.locator(".hoverlayer")).to_contain_text("droq seed 0")
    assert page.locator("#figures a").get_attribute("href") == "figures/return.svg"


def test_without_any_evaluation(opened: Callable[..., Page], tmp_path: Path) -> None:
    for seed in range(2):
        made_run(tmp_path / "outputs", "sac", "ant", seed, evaluations=0, total=9000, end=failed("no such thing"))
    page = opened(written(tmp_path / "outputs"))
    expect(page.get_by_role("region", name="Learning curves")).to_contain_text("No run has an evaluation yet")
    expect(page.get_by_role("region", name="What is missing")).to_contain_text("Ended early: 2 of 2 runs")
    assert page.locator(".chart").count() == 0
