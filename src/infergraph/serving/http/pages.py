"""The Starlette application behind the prediction paths, with the protocol's error bodies."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from difflib import get_close_matches
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from infergraph.errors import Fault
from infergraph.observe import logs
from infergraph.protocol.callers import Caller
from infergraph.protocol.headers import PUID, PUID_KEY
from infergraph.serving.authentication import Authenticator
from infergraph.serving.http import error_responses
from infergraph.serving.http.app import App, Dialect, Receive, Scope, Send
from infergraph.serving.http.cross_origin import ForeignWrites
from infergraph.serving.http.error_responses import Answer
from infergraph.serving.http.known_callers import KnownCallers
from infergraph.settings import Settings

_log = logging.getLogger(__name__)


def application(
    routes: Sequence[BaseRoute],
    settings: Settings,
    dialect_of: Callable[[str], Dialect],
    paths: Iterable[str] = (),
    authenticator: Authenticator | None = None,
    fault_at: Callable[[str], Callable[[Fault], Answer]] = lambda path: error_responses.of_fault,
) -> Starlette:
    """The application that serves `routes`; faults get the protocol's envelope, 404 the dialect's body.

    Args:
        dialect_of: the dialect of a path.
        paths: other paths of the server, for the suggestion in a 404.
        authenticator: tells callers; None where everybody may do everything.
        fault_at: what a stranger is answered, by the path.
    """
    origins = [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]
    headers = [header.strip() for header in settings.cors_headers.split(",") if header.strip()]
    cors = Middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=headers or ["*"])
    middleware = [cors, Middleware(ForeignWrites, origins=settings.cors_origins)]
    if authenticator is not None:
        middleware.append(Middleware(KnownCallers, authenticator=authenticator, fault_at=fault_at))
    app = Starlette(
        routes=list(routes),
        middleware=middleware,
        exception_handlers={HTTPException: _refused, Fault: _faulted, Exception: _broken},
    )
    app.router.redirect_slashes = False
    app.router.default = nothing(dialect_of, [*paths, *(route.path for route in routes if isinstance(route, Route))])
    return app


def with_access_lines(app: App) -> App:
    """ASGI middleware that writes the access log, in the same form as for predictions."""

    async def accessed(scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        status = 499  # the client disconnected before the response started

        async def noted(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, noted)
        finally:
            client = scope.get("client")
            puid = dict(scope["headers"]).get(PUID, b"").decode("latin-1")
            seconds, path = time.perf_counter() - began, quote(scope["path"])
            caller: Caller | None = scope.get("caller")
            logs.access(
                "rest",
                scope["method"],
                path,
                str(status),
                seconds,
                client=client[0] if client else "",
                puid=puid,
                caller="" if caller is None else caller.name,
            )

    return accessed


def without_outside(app: App) -> App:
    """ASGI middleware that answers 404 to what is not below the base path, without a hint at what is."""

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        await (app if scope["path"] else _OUTSIDE)(scope, receive, send)

    return inside


_OUTSIDE = Response("404 Not Found\n", 404, media_type="text/plain")


def response(answer: Answer) -> Response:
    """An answer as a Starlette response."""
    headers = {name.decode(): value.decode("latin-1") for name, value in answer.headers}
    return Response(answer.body, answer.status, headers)


def nothing(dialect_of: Callable[[str], Dialect], served: Iterable[str]) -> App:
    """An ASGI application that answers 404 to everything.

    Args:
        dialect_of: the dialect of a path.
        served: the paths of the server, those for predictions first.
    """
    known = [path for path in served if "{" not in path]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        await response(dialect_of(path).not_found(path, hint(path, known)))(scope, receive, send)

    return app


def hint(path: str, served: Sequence[str]) -> str:
    """The suggestion in a 404: the path that was probably meant, or where to look."""
    meant = max((each for each in served if len(each) > 1 and path.endswith(each)), key=len, default="")
    if meant:
        return f"this server answers at {meant}"
    if near := get_close_matches(path, served, n=1, cutoff=0.8):
        return f"did you mean {near[0]}?"
    return f"this server answers at {served[0]}" + (", and at all that /docs lists" if "/docs" in served else "")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = f"{error.status_code} {error.detail}: {request.method} {request.url.path}"
    more = tuple((name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items())
    return response(error_responses.refusal(error.status_code, text, error_responses.INTERNAL, *more))


async def _faulted(request: Request, error: Exception) -> Response:
    assert isinstance(error, Fault)
    return response(error_responses.of_fault(error))


async def _broken(request: Request, error: Exception) -> Response:
    _log.error("a request to %s failed", request.url.path, exc_info=error)
    return response(error_responses.of_bug(request.headers.get(PUID_KEY, "")))
