"""A real browser, in which pages are opened as a user opens them: from the disk, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.needs import need

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_TIMEOUT_MS = 120_000  # a machine under load
_HARMLESS = "GL Driver Message"  # of WebGL without a GPU


def find_browser() -> str:
    """Return the program of a browser of this machine; skip where there is none, which in CI is a failure."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        need(["chromium"], "a browser")
        raise AssertionError("needed, and not there")
    return found


@contextmanager
def started_browser(program: str) -> Iterator[Browser]:
    """Yield a browser without windows, which is ended."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_FLAGS), timeout=_TIMEOUT_MS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Opened:
    """A page, and what went wrong with it.

    Args:
        page: of Playwright.
        complaints: errors, warnings, and requests for anything but the page itself.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)

    def text(self, selector: str) -> str:
        """Return what can be read in the first element of `selector`."""
        found = self.page.locator(selector).first
        return found.text_content() or "" if "title" in selector else found.inner_text()  # SVG has no inner text

    def points(self) -> list[str]:
        """Return the names of the points in the table, from the top, shape (n,)."""
        return self.page.locator("#table tbody tr td:first-child").all_inner_texts()

    def hovers(self, chart: str, trace: int = 0, point: int = 0) -> str:
        """Return what a chart tells of a point under the pointer."""
        self.page.locator(f"#{chart}").scroll_into_view_if_needed()
        self.page.wait_for_selector(f"#{chart} .main-svg")
        target = f"{{curveNumber: {trace}, pointNumber: {point}}}"
        self.page.evaluate(f"Plotly.Fx.hover(document.getElementById('{chart}'), [{target}])")
        return self.page.locator(f"#{chart} .hovertext").first.text_content() or ""


def open_page(browser: Browser, path: Path, **options: Any) -> Opened:
    """Return the page at `path` when it is ready, in a profile of its own."""
    context = browser.new_context(**options)
    opened = Opened(context.new_page())
    page, complaints = opened.page, opened.complaints
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("request", lambda request: complaints.append(f"asks for {request.url}"))
    page.set_default_timeout(_TIMEOUT_MS)
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    complaints[:] = [words for words in complaints if words != f"asks for {path.as_uri()}" and _HARMLESS not in words]
    return opened


def complaints_of(opened: Opened) -> list[str]:
    """Return what went wrong by now."""
    return [words for words in opened.complaints if _HARMLESS not in words and "asks for blob:" not in words]
