"""Renders templates to HTML, in the reader's language and colours, and formats numbers."""

from __future__ import annotations

import bisect
import itertools
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import jinja2
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from infergraph import __version__
from infergraph.serving.console.console import ConsoleParts
from infergraph.serving.console.texts import LANGUAGES, Texts, preferred
from infergraph.serving.http.secrets import COOKIE

LANGUAGE_COOKIE = "infergraph_language"
THEME_COOKIE = "infergraph_theme"
THEMES = frozenset({"light", "dark", "auto"})
_NOTHING = "–"
_KINDS = {
    "MODEL": "model",
    "SIMPLE_MODEL": "model",
    "ROUTER": "router",
    "SPLIT": "router",
    "SIMPLE_ROUTER": "router",
    "RANDOM_ABTEST": "router",
    "COMBINER": "combiner",
    "AVERAGE_COMBINER": "combiner",
    "TRANSFORMER": "transformer",
    "OUTPUT_TRANSFORMER": "transformer",
    "CHAIN": "chain",
}
_STATES = {"waiting": "warn", "running": "busy", "finished": "ok", "failed": "bad", "stopping": "warn"}
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


class Pages:
    """Renders the templates of this package. All values are escaped."""

    def __init__(self) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("infergraph.serving.console"),
            autoescape=True,
            auto_reload=False,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "number": number,
            "rate": rate,
            "seconds": seconds,
            "span": span,
            "percent": percent,
            "bytes": size,
            "moment": moment,
            "clip": clip,
            "fit": fit,
            "ticks": ticks,
            "kindclass": kind_class,
            "stateclass": lambda state: _STATES.get(state, ""),
        }
        icons: Any = self._environment.get_template("_icons.html").module
        self._environment.globals["icon"] = icons.icon

    def render(self, template: str, t: Texts, values: Mapping[str, Any]) -> str:
        """Render a page, or a part of one, in the language of `t`."""
        return self._environment.get_template(template).render({**values, "t": t})


class Renderer:
    """Renders pages, and parts of them, for one request."""

    def __init__(self, parts: ConsoleParts) -> None:
        self._parts = parts
        self._pages = Pages()

    def texts(self, request: Request) -> Texts:
        """The texts in the reader's language: the chosen one, else the browser's preference."""
        chosen = request.cookies.get(LANGUAGE_COOKIE, "")
        return Texts(chosen if chosen in LANGUAGES else preferred(request.headers.get("accept-language", "")))

    def page(
        self, request: Request, name: str, values: Mapping[str, Any], *, template: str = "", status: int = 200
    ) -> Response:
        """Render a complete page; `name` is the name of its tab."""
        theme = request.cookies.get(THEME_COOKIE, "auto")
        path = request.url.path.rpartition("/")[2]
        shared = {
            "page": name,
            "topology": self._parts.topology,
            "mode": self._parts.settings.console.value,
            "theme": theme if theme in THEMES else "auto",
            "version": __version__,
            "is_signed_in": COOKIE in request.cookies,
            "metrics_href": ".." + self._parts.settings.metrics_path,
            "back": path + (f"?{request.url.query}" if request.url.query else ""),
        }
        html = self._pages.render(template or f"{name}.html", self.texts(request), {**shared, **values})
        return HTMLResponse(html, status)

    def part(self, request: Request, template: str, values: Mapping[str, Any], *, status: int = 200) -> Response:
        """Render a part of a page, which replaces the current one."""
        shared = {"topology": self._parts.topology, "mode": self._parts.settings.console.value}
        return HTMLResponse(self._pages.render(template, self.texts(request), {**shared, **values}), status)


def kind_class(kind: str) -> str:
    """The style of a kind of node."""
    return "k-" + _KINDS.get(kind, "other")


def number(value: float | None) -> str:
    """A count as 1 234 567, with thin spaces, which every language understands."""
    if value is None:
        return _NOTHING
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def rate(value: float | None) -> str:
    """A rate per second, with three significant digits."""
    if value is None:
        return _NOTHING
    if value >= 100 or value == 0:
        return number(value)
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def seconds(value: float | None) -> str:
    """A latency in µs, ms or s."""
    if value is None:
        return _NOTHING
    for scale, unit in ((1e-3, "µs"), (1.0, "ms")):
        if value < scale:
            shown = value / scale * 1000
            return f"{shown:.0f} {unit}" if shown >= 10 else f"{shown:.1f} {unit}"
    return f"{value:.1f} s" if value >= 10 else f"{value:.2f} s"


def span(value: float | None) -> str:
    """A duration in seconds, minutes, hours or days."""
    if value is None:
        return _NOTHING
    if value < 60:
        return f"{value:.0f} s" if value >= 10 or value == 0 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def percent(part: float | None) -> str:
    """A fraction as percentage."""
    if part is None:
        return _NOTHING
    return f"{part * 100:.1f} %" if 0 < part < 0.1 or 0.99 < part < 1 else f"{part * 100:.0f} %"


def size(value: int) -> str:
    """Bytes."""
    shown, place = float(value), 0
    while shown >= 1000 and place < len(_UNITS) - 1:
        shown, place = shown / 1000, place + 1
    return f"{shown:.0f} {_UNITS[place]}" if place == 0 or shown >= 100 else f"{shown:.1f} {_UNITS[place]}"


def moment(iso: str | None) -> str:
    """A time in UTC; scripts convert it to the reader's time zone."""
    return _NOTHING if iso is None else datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M UTC")


def clip(text: str, limit: int) -> str:
    """`text`, shortened to `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def fit(text: str, cells: int) -> str:
    """`text`, shortened to this many cells; Chinese, Japanese and Korean characters take two."""
    wide = [2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text]
    if sum(wide) <= cells:
        return text
    taken = list(itertools.accumulate(wide))
    return text[: bisect.bisect_right(taken, cells - 1)] + "…"


def ticks(text: str) -> Markup:
    """`text`, escaped, with parts in backticks as code."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts)
    )
