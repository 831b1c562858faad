"""``index.html``, opened in a real browser: what it shows and how it is operated."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_sweep import configuration, failed, made_run
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from droq_exp.report.build import build
from droq_exp.report.data import load
from droq_exp.report.page import write_page
from droq_exp.report.table import Column, Table

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
QUIET = [*ARGUMENTS, "--disable-background-networking", "--disable-component-update"]
EVIL = "</script><script>document.title='taken'</script> & \"quoted\" <img src=x onerror=document.title='taken'> %{x}"
SCORES = Table(
    name="scores",
    title="Scores",
    caption="Made up, <b>plainly</b>.",
    columns=(Column("line"), Column("score", 1), Column("interval")),
    rows=(("b", 1200.0, "[1,100, 1,300]"), ("a", None, "-"), ("c", -3.0, "[-4, 2]"), ("d", 90.0, "[80, 100]")),
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None and not os.environ.get("CI"):
        pytest.skip("no Chromium here: needs Debian's chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two environments, a variant, a failure, a seed that is missing, and names that are no HTML."""
    outputs = tmp_path_factory.mktemp("sweep") / "outputs"
    for seed in range(3):
        made_run(outputs, "droq", "hopper", seed, evaluations=12, config=configuration("droq", "hopper"))
    for seed in range(2):
        made_run(outputs, "sac", "hopper", seed, evaluations=8, slope=50, config=configuration("sac", "hopper"))
    made_run(
        outputs, "redq", "hopper", 0, evaluations=0, total=12_000, end=failed(EVIL), config=_named("redq", "hopper")
    )
    made_run(outputs, "droq", "odd", 0, evaluations=3, config=_named("droq", "odd \"<b>%{x}'"))
    changed = {"algo.dropout_rate": {"recipe": 0.0001, "run": 0.1}}
    made_run(
        *(outputs, "droq", "hopper", 0),
        **{"evaluations": 12, "config": _named("droq", "hopper"), "differences": changed, "folder": "hopper-00000001"},
    )
    return _written(outputs)


def _named(algo: str, env: str) -> dict[str, Any]:
    config = copy.deepcopy(configuration("droq", "hopper"))
    config["algo"]["name"], config["env"]["name"] = algo, env
    return config


def _written(*outputs: Path, **options: Any) -> Path:
    """The page of all runs below ``outputs``, compared where they are several, with a table, beside it a figure."""
    sweep = load(outputs, compared=len(outputs) > 1)
    path = outputs[0].parent / "report" / "index.html"
    (path.parent / "figures").mkdir(parents=True)
    (path.parent / "figures" / "return.svg").write_text("<svg/>")
    write_page(sweep, replace(build(sweep), tables={"scores": SCORES}), path, **options)
    return path


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a file, at any size and colour scheme; at the end, nothing was asked of a network, and no error told."""
    contexts, told = [], []

    def open_page(path: Path, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        told.append(_listen(page, path))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [each for each in told if each] == []


@pytest.fixture(scope="module")
def shared(browser: Browser, report: Path) -> Iterator[tuple[Page, list[str]]]:
    """The report, opened once, as opening takes long; and what it told or asked for that it should not have."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    told = _listen(page, report)
    page.goto(report.as_uri())
    yield page, told
    context.close()


@pytest.fixture
def page(shared: tuple[Page, list[str]]) -> Iterator[Page]:
    """The report as when it was opened."""
    page, told = shared
    yield page
    page.evaluate(
        "document.getElementById('controls').reset(); document.querySelector('[data-all=true]').click();"
        "document.getElementById('run-filter').value = ''; document.activeElement.blur(); scrollTo(0, 0);"
        "document.getElementById('run-filter').dispatchEvent(new Event('input'))"
    )
    page.mouse.move(0, 0)
    assert told == []


def _listen(page: Page, path: Path) -> list[str]:
    """Where everything lands that a page tells its console, and that it asks for beside itself."""
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: told.append(request.url) if request.url != path.as_uri() else None)
    return told


def _chart(page: Page, title: str = "hopper, style redq") -> Locator:
    return page.locator(".panel", has=page.get_by_role("heading", name=title, exact=True)).locator(".chart")


def _traces(chart: Locator) -> list[dict[str, Any]]:
    """What is drawn: kind, name, x and y of each trace."""
    return chart.evaluate("c => c.data.map(t => ({kind: t.meta.kind, name: t.name, x: [...t.x], y: [...t.y]}))")


def _lines(chart: Locator, kind: str = "line") -> dict[str, dict[str, Any]]:
    return {trace["name"]: trace for trace in _traces(chart) if trace["kind"] == kind}


def _hover(chart: Locator, x: float, y: float) -> None:
    """Put the mouse on a point of the chart, told in its own coordinates."""
    at = chart.evaluate(
        "(c, at) => ['xaxis', 'yaxis'].map((name, i) => c._fullLayout[name]._offset + c._fullLayout[name].d2p(at[i]))",
        [x, y],
    )
    chart.hover(position={"x": at[0], "y": at[1]})


def _titles(chart: Locator) -> list[str]:
    return [chart.locator(f".g-{axis}title").text_content() or "" for axis in "xy"]


def test_curves_are_means_with_intervals_and_published_ones_behind(page: Page) -> None:
    chart = _chart(page)
    lines = _lines(chart)
    assert list(lines) == ["droq", "droq (dropout_rate=0.1)", "sac"]
    assert lines["droq"]["x"] == [1000.0 * at for at in range(1, 13)]
    assert lines["droq"]["y"] == [100.0 * at + 1 for at in range(1, 13)]  # mean of the seeds 0, 1 and 2
    bands = [trace for trace in _traces(chart) if trace["kind"] == "band"]
    assert len(bands) == 2  # the variant has one seed, so no interval
    assert _traces(chart)[0]["name"] == "droq, published"  # behind; that of SAC begins where ours ends
    assert _lines(chart, "published")["droq, published"]["x"] == [5000, 10000]
    assert chart.locator(".scatterlayer .trace").count() == 6
    assert "mean of the seeds" in page.locator("#notes").inner_text()
    page.get_by_label("Published").select_option("whole")
    assert list(_lines(chart, "published")) == ["droq, published", "sac, published"]
    assert len(_lines(chart, "published")["droq, published"]["x"]) > 10
    page.get_by_label("Published").select_option("off")
    assert _lines(chart, "published") == {}


def test_algorithms_are_switched_by_mouse_and_keyboard(page: Page) -> None:
    chart = _chart(page)
    button = page.get_by_role("button", name="sac")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert list(_lines(chart)) == ["droq", "droq (dropout_rate=0.1)"]
    assert "sac, published" not in _lines(chart, "published")
    button.focus()
    page.keyboard.press("Space")
    assert button.get_attribute("aria-pressed") == "true"
    assert "sac" in _lines(chart)
    page.get_by_role("button", name="none").press("Enter")
    assert _traces(chart) == []
    expect(chart).to_contain_text("all are switched off")
    page.get_by_role("button", name="all").click()
    assert len(_lines(chart)) == 3


def test_metric_and_horizontal_axis(page: Page) -> None:
    chart = _chart(page)
    assert _titles(chart) == ["Environment steps", "Return"]
    page.get_by_label("Metric").select_option(label="Mean of Q-bias")
    assert _titles(chart)[1] == "Mean of Q-bias"
    assert _lines(chart)["droq"]["y"] == [-float(at) for at in range(1, 13)]
    page.get_by_label("Metric").select_option(label="Critic updates per second")
    assert _lines(chart)["sac"]["y"] == [200.0] * 8
    page.get_by_label("Horizontal axis").select_option("updates")
    assert _titles(chart)[0] == "Critic updates"
    assert _lines(chart)["sac"]["x"] == [20_000.0 * at for at in range(1, 9)]
    page.get_by_label("Metric").select_option("return_iqm")
    page.get_by_label("Horizontal axis").select_option("wall")
    assert _titles(chart) == ["Wall time (minutes)", "Return (IQM)"]
    assert _lines(chart)["droq"]["x"] == pytest.approx([at / 3 for at in range(1, 13)])  # 10, 20 and 30 s each
    assert _lines(chart, "published") == {}
    assert "not shown" in page.locator("#notes").inner_text()


def test_time_never_runs_backwards_where_a_slow_seed_ends(opened: Callable[..., Page], tmp_path: Path) -> None:
    made_run(tmp_path / "outputs", "droq", "hopper", 0, evaluations=4)  # 10 s for 1,000 steps
    made_run(tmp_path / "outputs", "droq", "hopper", 8, evaluations=2)  # 90 s
    page = opened(_written(tmp_path / "outputs"))
    page.get_by_label("Horizontal axis").select_option("wall")
    assert _titles(_chart(page))[0] == "Wall time (minutes)"
    assert [60 * x for x in _lines(_chart(page))["droq"]["x"]] == pytest.approx([50, 100, 110, 120])


def test_single_seeds(page: Page) -> None:
    page.get_by_label("single seeds").check()
    drawn = _lines(_chart(page), "seeds")["droq"]
    assert drawn["x"][12] is None  # a gap between the seeds
    assert [drawn["y"][seed * 13 + 11] for seed in range(3)] == [1200, 1201, 1202]


def test_hovering_tells_values_and_number_of_seeds(page: Page) -> None:
    chart = _chart(page)
    _hover(chart, 4000, 400)
    hover = chart.locator(".hoverlayer")
    expect(hover).to_contain_text("4,000")
    expect(hover).to_contain_text("droq : 401 [400, 402], n = 3")
    expect(hover).to_contain_text("sac : 200.5 [200, 201], n = 2")


def test_charts_by_keyboard(page: Page) -> None:
    chart = _chart(page)
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
    odd = "odd \"<b>%{x}', style redq"
    assert _lines(_chart(page, odd))["droq"]["y"] == [100, 200, 300]
    page.get_by_label("single seeds").check()
    chart = _chart(page, odd)
    _hover(chart, 2000, 200)
    expect(chart.locator(".hoverlayer")).to_contain_text("droq seed 0")
    assert page.locator("#figures a").get_attribute("href") == "figures/return.svg"


def test_colours_follow_the_system_or_the_choice_which_is_remembered(opened: Callable[..., Page], report: Path) -> None:
    page = opened(report, color_scheme="dark")
    dark = _background(page)
    line = _chart(page).evaluate("c => c.data[0].line.color")
    page.get_by_label("Colours").select_option("light")
    assert dark == "rgb(21, 23, 27)"
    assert _background(page) == "rgb(255, 255, 255)"
    assert _chart(page).evaluate("c => c.layout.paper_bgcolor") == "rgb(255, 255, 255)"
    assert _chart(page).evaluate("c => c.data[0].line.color") != line
    page.reload()
    assert _background(page) == "rgb(255, 255, 255)"
    assert page.get_by_label("Colours").input_value() == "light"
    page.get_by_label("Colours").select_option("auto")
    assert _background(page) == dark
    page.emulate_media(color_scheme="light")
    assert _background(page) == "rgb(255, 255, 255)"


def _background(page: Page) -> str:
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
    assert _background(page) == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    expect(page.get_by_label("Metric")).to_be_hidden()
    expect(page.get_by_label("Filter")).to_be_hidden()
    expect(page.get_by_role("button", name="sac")).to_be_visible()  # it is the legend
    assert _chart(page).evaluate("c => [c.layout.width, c.layout.paper_bgcolor]") == [330, "rgb(255, 255, 255)"]
    assert page.evaluate(
        "[...document.querySelectorAll('.scroll')].every(s => getComputedStyle(s).overflowY === 'visible')"
    )
    page.emulate_media(media="screen")
    assert _background(page) == "rgb(21, 23, 27)"


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


def test_without_any_evaluation(opened: Callable[..., Page], tmp_path: Path) -> None:
    for seed in range(2):
        made_run(tmp_path / "outputs", "sac", "ant", seed, evaluations=0, total=9000, end=failed("no such thing"))
    page = opened(_written(tmp_path / "outputs"))
    expect(page.get_by_role("region", name="Learning curves")).to_contain_text("No run has an evaluation yet")
    expect(page.get_by_role("region", name="What is missing")).to_contain_text("Ended early: 2 of 2 runs")
    assert page.locator(".chart").count() == 0


def test_much_is_thinned_and_that_is_told(opened: Callable[..., Page], tmp_path: Path) -> None:
    for seed in range(2):
        made_run(tmp_path / "outputs", "droq", "hopper", seed, evaluations=10 - seed)
    page = opened(_written(tmp_path / "outputs", rows=7))
    assert "one in 3 rows" in page.locator("#notes").inner_text()
    assert _lines(_chart(page))["droq"]["x"] == [3000, 6000, 9000, 10000]
    page.get_by_label("single seeds").check()
    assert _lines(_chart(page), "seeds")["droq"]["x"] == [3000, 6000, 9000, 10000, None, 3000, 6000, 9000, None]


def test_directories_compared(opened: Callable[..., Page], tmp_path: Path) -> None:
    for name, slope, evaluations in (("old", 10, 6), ("new", 20, 4)):
        for seed in range(2):
            made_run(tmp_path / name, "droq", "hopper", seed, evaluations=evaluations, slope=slope)
    (tmp_path / "new" / "runs" / "redq" / "droq" / "hopper" / "seed_1" / "eval.csv").write_text("step,return_mean\n1,")
    page = opened(_written(tmp_path / "old", tmp_path / "new"))
    chart = _chart(page)
    lines = _lines(chart)
    assert {name: line["y"][-1] for name, line in lines.items()} == {"droq (new)": 80, "droq (old)": 60.5}
    assert list(_lines(chart, "published")) == ["droq, published"]
    page.get_by_role("button", name="droq (new)").click()
    assert list(_lines(chart, "published")) == ["droq, published"]
    page.get_by_role("button", name="droq (old)").click()
    assert _traces(chart) == []
    expect(page.get_by_role("region", name="What is missing")).to_contain_text(
        "new: runs/redq/droq/hopper/seed_1: eval.csv"
    )
