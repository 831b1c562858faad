"""What the page's charts show, as a test reads it."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page


def chart_of(page: Page, title: str = "hopper, code base redq") -> Locator:
    return page.locator(".panel", has=page.get_by_role("heading", name=title, exact=True)).locator(".chart")


def traces(chart: Locator) -> list[dict[str, Any]]:
    """What is drawn: kind, name, x and y of each trace."""
    return chart.evaluate("c => c.data.map(t => ({kind: t.meta.kind, name: t.name, x: [...t.x], y: [...t.y]}))")


def lines(chart: Locator, kind: str = "line") -> dict[str, dict[str, Any]]:
    return {trace["name"]: trace for trace in traces(chart) if trace["kind"] == kind}


def hover(chart: Locator, x: float, y: float) -> None:
    """Put the mouse on a point of the chart, told in its own coordinates."""
    at = chart.evaluate(
        "(c, at) => ['xaxis', 'yaxis'].map((name, i) => c._fullLayout[name]._offset + c._fullLayout[name].d2p(at[i]))",
        [x, y],
    )
    chart.hover(position={"x": at[0], "y": at[1]})


def titles(chart: Locator) -> list[str]:
    return [chart.locator(f".g-{axis}title").text_content() or "" for axis in "xy"]
