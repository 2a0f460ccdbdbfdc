"""How the console's pages are rendered: the reader's language and colours, and what every page shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from infergraph import __version__
from infergraph.serving.console.console import ConsoleParts
from infergraph.serving.console.templates import Pages
from infergraph.serving.console.texts import LANGUAGES, Texts, preferred

LANGUAGE_COOKIE = "infergraph_language"
THEME_COOKIE = "infergraph_theme"
THEMES = frozenset({"light", "dark", "auto"})


class Renderer:
    """Renders pages, and parts of them, for one request."""

    def __init__(self, parts: ConsoleParts) -> None:
        self._parts = parts
        self._pages = Pages()

    def texts(self, request: Request) -> Texts:
        """The words in the reader's language: the one switched to, else what the browser asks for."""
        chosen = request.cookies.get(LANGUAGE_COOKIE, "")
        return Texts(chosen if chosen in LANGUAGES else preferred(request.headers.get("accept-language", "")))

    def page(
        self, request: Request, name: str, values: Mapping[str, Any], *, template: str = "", status: int = 200
    ) -> Response:
        """A whole page; `name` is its tab's."""
        theme = request.cookies.get(THEME_COOKIE, "auto")
        path = request.url.path.rpartition("/")[2]
        shared = {
            "page": name,
            "scene": self._parts.scene,
            "mode": self._parts.settings.console.value,
            "theme": theme if theme in THEMES else "auto",
            "version": __version__,
            "metrics_href": ".." + self._parts.settings.metrics_path,
            "back": path + (f"?{request.url.query}" if request.url.query else ""),
        }
        html = self._pages.render(template or f"{name}.html", self.texts(request), {**shared, **values})
        return HTMLResponse(html, status)

    def part(self, request: Request, template: str, values: Mapping[str, Any], *, status: int = 200) -> Response:
        """A part of a page, to be put in the place of the one that is there."""
        shared = {"scene": self._parts.scene, "mode": self._parts.settings.console.value}
        return HTMLResponse(self._pages.render(template, self.texts(request), {**shared, **values}), status)
