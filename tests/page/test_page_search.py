"""What the page shows of a search."""

from __future__ import annotations

from made_sweep import EVIL
from playwright.sync_api import Page, expect


def test_best_values_and_three_charts(page: Page) -> None:
    section = page.get_by_role("region", name="Search")
    expect(section).to_contain_text("2 complete, 1 pruned, 1 failed, 1 running")
    expect(section).to_contain_text("Best values: trial 3, 2,000.0")
    assert section.locator("dd").all_inner_texts() == ["0.0001", "[64]"]
    assert section.locator("pre").inner_text() == f"train {EVIL}"
    history = section.get_by_role("img", name="Values of the trials")
    assert [history.locator(f".mark.{state}").count() for state in ("complete", "pruned", "failed")] == [2, 1, 1]
    heights = [float(mark.get_attribute("cy") or "") for mark in history.locator("circle.complete").all()]
    assert heights[1] < heights[0]  # better is higher
    assert EVIL not in (history.locator(".failed title").text_content() or "")
    across = section.get_by_role("img", name="The values of each trial")
    assert across.locator("polyline").count() == 3
    assert across.locator("polyline.best title").text_content() == (
        "trial 3: 2,000 (algo.dropout_rate=0.0001, algo.hidden_sizes=[64])"
    )
    best = (across.locator("polyline.best").get_attribute("points") or "").split()
    ends = [across.locator("line.axis").nth(index).get_attribute("x1") for index in range(3)]
    assert [float(point.split(",")[0]) for point in best] == [float(end or "") for end in ends]
    bars = section.get_by_role("img", name="Importance").locator("rect")
    lengths = [float(bar.get_attribute("width") or "") for bar in bars.all()]
    assert lengths[0] == 3 * lengths[1]
    page.get_by_role("navigation").get_by_role("link", name="Search").click()
    expect(section).to_be_in_viewport()
