"""The web console at /console, rendered on the server.

    GET /                    to the overview
    GET /console/            what is served, live       GET /console/live            the part that changes
    GET /console/try         send a request
    GET /console/tasks       tasks, a page of them      GET /console/task-list
    GET /console/task?id=…   one task                   GET /console/task-live?id=…
    GET /console/tasks/ID    redirects to that page
    GET /console/feedback    rewards                    GET /console/arms            the arms of routers
    POST /console/preferences                           language and colours, kept in cookies
    GET, POST /console/sign-in, POST /console/sign-out  where callers are asked for keys

The console itself changes nothing: the pages' scripts call the public API like any other client. Links are relative,
so that the console works behind any path prefix of an ingress.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from infergraph.message import Method, PredictiveUnit
from infergraph.serving.authentication import Authenticator
from infergraph.serving.console.live_figures import Watch
from infergraph.serving.http.cross_origin import HEADERS, may_look
from infergraph.settings import ConsoleMode, Settings
from infergraph.tasks.service import TaskService
from infergraph.topology import Topology

_log = logging.getLogger(__name__)

_PAGES = "infergraph.serving.console.shell"
_FORBIDDEN = "Only the console's own pages may request this; other sites may only link to the console.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleParts:
    """The data sources of the console.

    Args:
        unit: what is served; source of metadata and node health.
        settings: all settings.
        topology: the structure of what is served.
        watch: samples the shared metrics.
        methods: of a single component, once it is loaded; none for a graph.
        model: its name in the open inference protocol.
        data_dir: folder of the routers' counts.
        is_ready: whether /ready answers 200.
        tasks: None if tasks are not served.
        authenticator: tells callers; None where everybody may look.
        grpc_port: None if gRPC is not served.
    """

    unit: PredictiveUnit
    settings: Settings
    topology: Topology
    watch: Watch
    methods: Callable[[], frozenset[Method]]
    model: str
    data_dir: Path
    is_ready: Callable[[], Awaitable[bool]]
    tasks: TaskService | None = None
    authenticator: Authenticator | None = None
    grpc_port: int | None = None


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


def routes(parts: ConsoleParts) -> list[BaseRoute]:
    """The console's routes; none if it is off.

    Templates are loaded with the first requested page, so that servers start faster.
    """
    if parts.settings.console is ConsoleMode.OFF:
        return []
    console = _Lazy(parts)
    # Only with a base path, the URL being a secret then: browsers send forms of such pages as if from nowhere.
    referrer = "no-referrer" if parts.settings.base_path else "same-origin"
    restricted = functools.partial(_restricted, headers={**HEADERS, "referrer-policy": referrer})
    found: list[BaseRoute] = [
        Route("/", restricted(_to_console), methods=["GET"]),
        Route("/console", restricted(_to_folder), methods=["GET"]),
        Route("/console/tasks/{id:path}", restricted(_to_task), methods=["GET"]),
        Route("/console/task/{id:path}", restricted(_to_task), methods=["GET"]),
        Route("/console/static/{name}", restricted(console.asked("static")), methods=["GET"]),
        Route("/console/preferences", restricted(console.asked("preferences")), methods=["POST"]),
    ]
    if parts.authenticator is not None and parts.authenticator.sessions is not None:
        sign_in, sign_out = restricted(console.asked("sign_in")), restricted(console.asked("sign_out"))
        found.append(Route("/console/sign-in", sign_in, methods=["GET", "POST"]))
        found.append(Route("/console/sign-out", sign_out, methods=["POST"]))
    names = ("live", "try", "tasks", "task-list", "task", "task-live", "feedback", "arms")
    for name in ("", *names):
        handler = console.asked(name.replace("-", "_") or "overview")
        found.append(Route(f"/console/{name}", restricted(handler), methods=["GET"]))
    return found


class _Lazy:
    """The pages, imported when the first of them is requested."""

    def __init__(self, parts: ConsoleParts) -> None:
        self._parts = parts
        self._making: asyncio.Task[Any] | None = None

    def asked(self, name: str) -> Handler:
        """The handler of this name."""

        async def handle(request: Request) -> Response:
            if self._making is None:
                self._making = asyncio.create_task(asyncio.to_thread(self._make))
            console = await asyncio.shield(self._making)
            response: Response = await console.answer(name, request)
            return response

        return handle

    def _make(self) -> Any:
        return importlib.import_module(_PAGES).Console(self._parts)


async def _to_console(request: Request) -> Response:
    return RedirectResponse("console/", 307)  # not permanent: with console=off there is nothing here


async def _to_folder(request: Request) -> Response:
    return RedirectResponse("console/", 308)


async def _to_task(request: Request) -> Response:
    id: str = request.path_params["id"]
    up = "../" * (id.count("/") + 1)
    return RedirectResponse(f"{up}task?{urlencode({'id': id})}", 307)


def _restricted(handler: Handler, headers: Mapping[str, str]) -> Handler:
    """The handler, restricted to requests of our own pages and to links, with the security headers added."""

    async def handle(request: Request) -> Response:
        if may_look(request.headers):
            response = await handler(request)
        else:
            response = Response(_FORBIDDEN, 403, media_type="text/plain")
        for name, value in headers.items():
            response.headers[name] = value
        response.headers.setdefault("cache-control", "no-store")
        return response

    return handle
