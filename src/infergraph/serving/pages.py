"""Everything that is not a hot path: one Starlette application with the protocol's error bodies."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from infergraph.errors import Fault
from infergraph.serving import answers
from infergraph.serving.answers import Answer
from infergraph.serving.http import Receive, Scope, Send
from infergraph.settings import Settings

_log = logging.getLogger(__name__)


def application(routes: Sequence[BaseRoute], settings: Settings) -> Starlette:
    """The application that serves `routes`, with 404 and 405 and faults in the protocol's envelope."""
    origins = [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]
    headers = [header.strip() for header in settings.cors_headers.split(",") if header.strip()]
    cors = Middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=headers or ["*"])
    app = Starlette(
        routes=list(routes),
        middleware=[cors],
        exception_handlers={HTTPException: _refused, Fault: _faulted, Exception: _broken},
    )
    app.router.redirect_slashes = False
    return app


def response(answer: Answer) -> Response:
    """An answer as Starlette sends it."""
    headers = {name.decode(): value.decode("latin-1") for name, value in answer.headers}
    return Response(answer.body, answer.status, headers)


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """An application with nothing in it."""
    text = f"404 Not Found: nothing is served at {scope['path']}"
    await response(answers.refusal(404, text, answers.INTERNAL))(scope, receive, send)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = f"{error.status_code} {error.detail}: {request.method} {request.url.path}"
    more = tuple((name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items())
    return response(answers.refusal(error.status_code, text, answers.INTERNAL, *more))


async def _faulted(request: Request, error: Exception) -> Response:
    assert isinstance(error, Fault)
    return response(answers.of_fault(error))


async def _broken(request: Request, error: Exception) -> Response:
    _log.error("a request to %s failed", request.url.path, exc_info=error)
    return response(answers.of_bug(error, request.headers.get("seldon-puid", "")))
