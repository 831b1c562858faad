"""A browser for all tests here, and a page of a small sweep with everything that can be in one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_sweep import EVIL, configuration, failed, made_run, named, write_search, written
from playwright.sync_api import Browser, Page, sync_playwright

# Chromium asks its makers for updates otherwise, and root has no sandbox.
ARGUMENTS = ("no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync")
QUIET = ("disable-background-networking", "disable-component-update")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None and not os.environ.get("CI"):
        pytest.skip("no Chromium here: needs Debian's chromium")
    with sync_playwright() as playwright:
        arguments = [f"--{name}" for name in (*ARGUMENTS, *QUIET)]
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two environments, a variant, a failure, a seed that is missing, and names that are no HTML."""
    outputs = tmp_path_factory.mktemp("sweep") / "outputs"
    for seed in range(3):
        made_run(outputs, "droq", "hopper", seed, evaluations=12, config=configuration("droq", "hopper"))
    for seed in range(2):
        made_run(outputs, "sac", "hopper", seed, evaluations=8, slope=50, config=configuration("sac", "hopper"))
    redq = named("redq", "hopper")
    made_run(outputs, "redq", "hopper", 0, evaluations=0, total=12_000, end=failed(EVIL), config=redq)
    made_run(outputs, "droq", "odd", 0, evaluations=3, config=named("droq", "odd \"<b>%{x}'"))
    changed = {"algo.dropout_rate": {"recipe": 0.0001, "run": 0.1}}
    made_run(outputs, "droq", "hopper", 0, evaluations=12, differences=changed, folder="hopper-00000001")
    write_search(outputs)
    return written(outputs)


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


@pytest.fixture(scope="session")
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
