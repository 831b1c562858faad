"""How the page looks: colours, contrast, narrow and wide windows, on paper, and where the focus is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from page_charts import chart_of
from playwright.sync_api import Page, expect


def background(page: Page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


CONTRASTS = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = channels(colour).map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((channels(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = {};
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
    if (!own || element.closest("script, style, .hoverlayer") || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const colour = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
    const [low, high] = [luminance(colour), luminance(behind(element))].sort((a, b) => a - b);
    const names = element.className.baseVal ?? element.className;
    found[`${element.tagName} ${names} ${colour}`] = (high + 0.05) / (low + 0.05);
  }
  return found;
}"""


def test_colours_follow_the_system_or_the_choice_which_is_remembered(opened: Callable[..., Page], report: Path) -> None:
    page = opened(report, color_scheme="dark")
    dark = background(page)
    line = chart_of(page).evaluate("c => c.data[0].line.color")
    page.get_by_label("Colours").select_option("light")
    assert dark == "rgb(21, 23, 27)"
    assert background(page) == "rgb(255, 255, 255)"
    assert chart_of(page).evaluate("c => c.layout.paper_bgcolor") == "rgb(255, 255, 255)"
    assert chart_of(page).evaluate("c => c.data[0].line.color") != line
    page.reload()
    assert background(page) == "rgb(255, 255, 255)"
    assert page.get_by_label("Colours").input_value() == "light"
    page.get_by_label("Colours").select_option("auto")
    assert background(page) == dark
    page.emulate_media(color_scheme="light")
    assert background(page) == "rgb(255, 255, 255)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_schemes(opened: Callable[..., Page], report: Path, scheme: str) -> None:
    page = opened(report, color_scheme=scheme)
    page.get_by_role("button", name="sac").click()
    page.locator("summary").first.click()
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 20
    assert {what: ratio for what, ratio in contrasts.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("width", [400, 1600])
def test_nothing_is_wider_than_the_window(opened: Callable[..., Page], report: Path, width: int) -> None:
    page = opened(report, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("[...document.querySelectorAll('.chart')].every(c => c.scrollWidth <= c.clientWidth)")


def test_print_is_black_on_white_without_controls_and_whole(opened: Callable[..., Page], report: Path) -> None:
    page = opened(report, color_scheme="dark")
    page.emulate_media(media="print")
    assert background(page) == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    expect(page.get_by_label("Metric")).to_be_hidden()
    expect(page.get_by_label("Filter")).to_be_hidden()
    expect(page.get_by_role("button", name="sac")).to_be_visible()  # it is the legend
    assert chart_of(page).evaluate("c => [c.layout.width, c.layout.paper_bgcolor]") == [330, "rgb(255, 255, 255)"]
    assert page.evaluate(
        "[...document.querySelectorAll('.scroll')].every(s => getComputedStyle(s).overflowY === 'visible')"
    )
    page.emulate_media(media="screen")
    assert background(page) == "rgb(21, 23, 27)"


def test_every_control_is_reached_by_tab_and_shows_it(opened: Callable[..., Page], report: Path) -> None:
    page = opened(report)
    reached = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        told = page.evaluate(
            "[document.activeElement.id || document.activeElement.name || document.activeElement.textContent,"
            " getComputedStyle(document.activeElement).outlineStyle]"
        )
        reached.add(told[0])
        assert told[1] != "none"
    assert {"theme", "metric", "axis", "shape", "published", "sac", "none"} <= reached
