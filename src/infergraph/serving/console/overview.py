"""The overview page: what is served, its health and live figures."""

from __future__ import annotations

import asyncio
import platform
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeAlias

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response

from infergraph import __version__, settings
from infergraph.errors import Fault, NotReady
from infergraph.message import Context
from infergraph.serving.console import charts
from infergraph.serving.console.console import ConsoleParts
from infergraph.serving.console.graph_layout import Card, Health, Picture, draw
from infergraph.serving.console.rendering import Renderer
from infergraph.serving.console.texts import Texts
from infergraph.topology import TopologyNode, Where

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

HEALTH_KEEP_S = 5.0
HEALTH_TIMEOUT_S = 2.0
_WHY_LIMIT = 200
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


class SettingRow(NamedTuple):
    """A setting for display."""

    name: str
    value: str
    default: str
    help: str
    is_changed: bool


class OverviewPages:
    """The overview and its live part."""

    def __init__(self, parts: ConsoleParts, renderer: Renderer) -> None:
        self._parts = parts
        self._renderer = renderer
        self._checking = asyncio.Lock()
        self._health: dict[str, tuple[Health, str]] = {}
        self._checked_at = -HEALTH_KEEP_S

    def handlers(self) -> dict[str, Handler]:
        """By name."""
        return {"overview": self.overview, "live": self.live}

    async def overview(self, request: Request) -> Response:
        """The page."""
        try:
            given = dict(await self._parts.unit.metadata())
            metadata = orjson.dumps(given, option=orjson.OPT_INDENT_2).decode()
        except Fault:
            metadata = None
        values = {
            **await self._live(self._renderer.texts(request)),
            "metadata": metadata,
            "runtime": self._runtime(request),
            "settings": _setting_rows(self._parts.settings, self._renderer.texts(request)),
        }
        return self._renderer.page(request, "overview", values)

    async def live(self, request: Request) -> Response:
        """The live part."""
        return self._renderer.part(request, "_live.html", await self._live(self._renderer.texts(request)))

    async def _live(self, t: Texts) -> dict[str, Any]:
        view, is_ready = await asyncio.gather(asyncio.to_thread(self._parts.watch.look), self._parts.is_ready())
        health = await self._node_health()
        picture = draw(self._parts.topology, view, health)
        narrow = draw(self._parts.topology, view, health, is_narrow=True)
        faulty = [card.node.name for card in picture.cards if card.health is Health.FAULTY]
        loaded = max(view.now.loaded.values(), default=0.0)
        return {
            "is_ready": is_ready,
            "faulty": faulty,
            "state_text": t("ready") if is_ready else t("not ready"),
            "all": view.of_requests(),
            "in_flight": view.now.in_flight,
            "loaded": round(loaded),
            "workers": self._parts.settings.workers,
            "pictures": {"wide": picture, "narrow": narrow},
            "rows": _rows(picture),
            "traffic": [(*kind, view.of_requests(*kind)) for kind in view.kinds()],
            "throughput": charts.throughput(view),
            "latency": charts.latency(view),
        }

    async def _node_health(self) -> dict[str, tuple[Health, str]]:
        """The health of every node, cached for a few seconds."""
        async with self._checking:
            if time.monotonic() - self._checked_at >= HEALTH_KEEP_S:
                nodes = [node for node in self._parts.topology.root.walk() if node.where in (Where.HERE, Where.REMOTE)]
                found = await asyncio.gather(*(self._ask(node) for node in nodes))
                self._health = {node.name: health for node, health in zip(nodes, found, strict=True)}
                self._checked_at = time.monotonic()
        return self._health

    async def _ask(self, node: TopologyNode) -> tuple[Health, str]:
        context = Context()
        unit = self._parts.unit
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                await (unit.status(node.name, context) if self._parts.topology.is_graph else unit.health(context))
        except TimeoutError:
            return Health.FAULTY, f"no answer within {HEALTH_TIMEOUT_S:g} s"
        except NotReady as fault:
            return Health.UNKNOWN, fault.text[:_WHY_LIMIT]
        except Fault as fault:
            return Health.FAULTY, fault.text[:_WHY_LIMIT]
        return Health.OK, ""

    def _runtime(self, request: Request) -> list[tuple[str, str]]:
        given = self._parts.settings
        rows = [
            ("infergraph", __version__),
            ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
            ("System", f"{platform.system()} {platform.release()} ({platform.machine()})"),
            ("REST", str(request.base_url).rstrip("/")),
        ]
        if self._parts.grpc_port is not None:
            rows.append(("gRPC", f"{request.url.hostname}:{self._parts.grpc_port}"))
        return [*rows, ("Metrics", given.metrics_path), ("Data folder", str(self._parts.data_dir))]


def _rows(picture: Picture) -> list[tuple[Card, float | None]]:
    """The cards, each with the share of the edge that leads to it."""
    shares = {edge.child: edge.share for edge in picture.edges}
    return [(card, shares.get(id(card.node))) for card in picture.cards]


def _setting_rows(given: settings.Settings, t: Texts) -> list[SettingRow]:
    rows = []
    for row in settings.describe():
        value = msgspec.to_builtins(getattr(given, row.name))
        help = t.setting(row.name, row.help)
        rows.append(SettingRow(row.name, _shown(row, value), _shown(row, row.default), help, value != row.default))
    return rows


def _shown(row: settings.Described, value: Any) -> str:
    """A value for display; of constructor parameters, which may contain passwords, only the names."""
    if row.is_secret and value:
        return settings.HIDDEN
    if isinstance(value, bool):
        return "on" if value else "off"
    if row.name == "parameters":
        try:
            names = [str(each["name"]) for each in orjson.loads(value)]
        except (orjson.JSONDecodeError, TypeError, KeyError):
            return "…"
        return ", ".join(f"{name} = …" for name in names) or "–"
    text = _CREDENTIALS.sub("", str(value))
    return f"{text} {row.unit}".strip() or "–"
