"""A real browser for the tests of the console: Debian's Chromium, driven by Playwright.

Where there is no Chromium the tests that need it are skipped and say so; in CI (CI=true) they fail instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ARTEFACTS = Path(__file__).parent.parent / "ci-artifacts" / "console"
WIDTHS = (1280, 360)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_MS = 20_000

CONTRAST = """() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].map((part, place) => (place === 3 ? part / 255 : part));
  };
  const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
  const light = (colour) => colour.slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) layers.push(rgba(getComputedStyle(each).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    if (!text || ["SCRIPT", "TITLE", "OPTION"].includes(element.tagName) || !element.getClientRects().length) continue;
    if (element.closest(".sr, [disabled], .skip, .idle")) continue;
    const style = getComputedStyle(element);
    const colour = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
    if (element.namespaceURI.endsWith("svg") && style.fill === "none") continue;
    const back = element.ownerSVGElement ? behind(element.ownerSVGElement.parentElement) : behind(element);
    const [one, two] = [light(over(rgba(colour), back)), light(back)].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) poor.push(`${ratio.toFixed(2)} ${text.slice(0, 40)}`);
  }
  return poor;
}"""
"""The texts on the page whose contrast is lower than WCAG 2.2 AA (1.4.3) wants."""

STRUCTURE = """() => {
  const wrong = [];
  const visible = (each) => each.getClientRects().length > 0;
  if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
  if (document.querySelectorAll("main").length !== 1) wrong.push("not one main");
  let level = 1;
  for (const each of [...document.querySelectorAll("h1, h2, h3, h4")].filter(visible)) {
    const own = Number(each.tagName[1]);
    if (own > level + 1) wrong.push(`heading ${each.textContent} skips a level`);
    level = own;
  }
  const ids = [...document.querySelectorAll("[id]")].map((each) => each.id);
  for (const id of new Set(ids.filter((each, at) => ids.indexOf(each) !== at))) wrong.push(`id ${id} twice`);
  for (const name of ["aria-labelledby", "aria-describedby", "aria-controls", "for"])
    for (const each of document.querySelectorAll(`[${name}]`))
      for (const id of each.getAttribute(name).split(" "))
        if (!document.getElementById(id)) wrong.push(`${name}=${id} leads nowhere`);
  for (const each of [...document.querySelectorAll("input, select, textarea")].filter(visible)) {
    const named = each.labels?.length || each.getAttribute("aria-label") || each.getAttribute("aria-labelledby");
    if (!named && each.type !== "hidden") wrong.push(`field without a name: ${each.outerHTML.slice(0, 80)}`);
  }
  const pictures = 'svg:not([aria-hidden="true"]), meter, progress';
  for (const each of [...document.querySelectorAll(`button, a, summary, ${pictures}`)].filter(visible)) {
    const text = each.matches(pictures) ? "" : each.textContent.trim();
    const named = text || each.getAttribute("aria-label") || each.labels?.length;
    if (!named) wrong.push(`no name: ${each.outerHTML.slice(0, 80)}`);
  }
  for (const each of document.querySelectorAll("table:not(.grid table, .values table)"))
    if (!each.caption) wrong.push("table without caption");
  return wrong;
}"""
"""What is wrong with names, headings, landmarks and references."""


def executable() -> str:
    """The browser's path; skips the test where there is none, fails it in CI."""
    found = os.environ.get("INFERGRAPH_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found:
        return found
    words = "no Chromium: the browser tests need it (Debian: apt-get install chromium)"
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(words)
    pytest.skip(words)


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser."""
    path = executable()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page that notes what a page must not do: errors, requests to elsewhere, scripts that the policy stopped.

    `forgiven` are parts of messages that a test expects.
    """

    def __init__(self, context: Any, base: str, width: int) -> None:
        self.page = context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.base = base
        self.width = width
        self.forgiven: list[str] = []
        self.wrong: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error in a script: {error}"))
        self.page.on("request", self._on_request)

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"{message.type}: {message.text}")

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith((self.base.partition("/console")[0], "data:", "blob:")):
            self.wrong.append(f"a request to elsewhere: {request.url}")

    def open(self, path: str) -> Any:
        """Go to a page of the console."""
        self.page.goto(self.base + path)
        return self.page

    def keep(self, name: str) -> None:
        """Keep a picture of the page for people to look at, and check that nothing sticks out at the side."""
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=ARTEFACTS / f"{name}-{self.width}.png", full_page=True)
        wide = self.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= self.width, f"{name} is {wide} pixels wide"

    def check_access(self) -> None:
        """What people with a screen reader or weak eyes need: names, order, contrast."""
        found = [*self.page.evaluate(STRUCTURE), *self.page.evaluate(CONTRAST)]
        assert not found, found

    def check_quiet(self) -> None:
        """Nothing went wrong that was not forgiven."""
        found = [each for each in self.wrong if not any(part in each for part in self.forgiven)]
        assert not found, found
