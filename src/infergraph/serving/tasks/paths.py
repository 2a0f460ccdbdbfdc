"""Routing by task id: routes that match the raw path, before percent-decoding.

An encoded slash is part of an id, not a separator; so is every other encoded character.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

from starlette.datastructures import URLPath
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from infergraph.errors import Fault, Overloaded, UnknownTask
from infergraph.observe import logs
from infergraph.protocol.callers import Caller
from infergraph.protocol.status import http_status
from infergraph.serving.http import error_responses

_log = logging.getLogger(__name__)

_RETRY_AFTER_S = 5

Edge = TypeVar("Edge")


class ErrorForm(Protocol):
    """The form of error responses; `serving.http.error_responses` is that of the internal API."""

    def of_fault(self, fault: Fault, /) -> error_responses.Answer:
        """The response for a fault."""

    def of_bug(self, puid: str, /) -> error_responses.Answer:
        """The response for an unexpected error."""

    def refusal(self, status: int, text: str, reason: str, /, *more: tuple[bytes, bytes]) -> error_responses.Answer:
        """The response of the HTTP layer itself."""


class TaskPaths(BaseRoute, Generic[Edge]):
    """A collection of tasks at `prefix`: the collection itself, its members, and what belongs to a member.

    Args:
        edge: what answers a caller's requests; None for a caller where nobody is asked.
        acts: those that change something, for the audit log.
        table: methods of that by resource ("" the collection, "*" a member, else the name after a member's id) and
            HTTP method. They get the request and the id.
        errors: the form of its error responses.
    """

    def __init__(
        self,
        prefix: str,
        edge: Callable[[Caller | None], Edge],
        table: Mapping[tuple[str, str], Callable[[Edge, Request, str], Awaitable[Response]]],
        acts: Mapping[tuple[str, str], str] = MappingProxyType({}),
        errors: ErrorForm = error_responses,
    ) -> None:
        self._errors = errors
        self._acts = acts if logs.audit_on() else {}
        self._prefix = prefix
        self._edge = edge
        self._for_all = edge(None)
        self._table = table
        self._names = {name for name, _ in table if name not in ("", "*")}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Everything at or below the prefix, whatever characters an id has."""
        if scope["type"] != "http":
            return Match.NONE, {}
        path = raw_path(scope)
        if path != self._prefix and not path.startswith(self._prefix + "/"):
            return Match.NONE, {}
        return Match.FULL, {"endpoint": self._answer}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; every fault becomes its error response here."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Fault as fault:
            response = self._faulty(fault)
        except ClientDisconnect:
            return
        except Exception:  # noqa: BLE001 - catch-all: the client always gets a response
            _log.exception("a request to %s failed", scope["path"])
            response = _response(self._errors.of_bug(""))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        name, id = self._addressed(raw_path(request.scope).removeprefix(self._prefix))
        method = "GET" if request.method == "HEAD" else request.method
        handler = self._table.get((name, method))
        if handler is not None:
            caller: Caller | None = request.scope.get("caller")
            answering = handler(self._for_all if caller is None else self._edge(caller), request, id)
            act = self._acts.get((name, method))
            return await (answering if act is None else _audited(act, answering, request, id))
        allowed = ", ".join(sorted(method for at, method in self._table if at == name))
        text = f"405 Method Not Allowed: this path takes {allowed}, not {request.method}"
        return _response(self._errors.refusal(405, text, error_responses.INTERNAL, (b"allow", allowed.encode())))

    def _faulty(self, fault: Fault) -> Response:
        response = _response(self._errors.of_fault(fault))
        if isinstance(fault, Overloaded):
            response.headers["retry-after"] = str(_RETRY_AFTER_S)
        return response

    def _addressed(self, rest: str) -> tuple[str, str]:
        """The resource in the table, and the id."""
        if rest in ("", "/"):
            return "", ""
        parts = rest[1:].split("/")
        name = parts.pop() if len(parts) > 1 and parts[-1] in self._names else "*"
        raw = unquote_to_bytes("/".join(parts))
        try:
            return name, raw.decode()
        except UnicodeDecodeError as error:
            raise UnknownTask(f"there is no task {quote_from_bytes(raw)!r}: the id is not UTF-8") from error

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Never matches: these routes have no names."""
        raise NoMatchFound(name, path_params)


async def _audited(act: str, answering: Awaitable[Response], request: Request, id: str) -> Response:
    """The answer, with an audit line about it."""
    result = "499"
    try:
        response = await answering
        result = str(response.status_code)
        return response
    except Fault as fault:
        result = str(http_status(fault))
        raise
    finally:
        caller: Caller | None = request.scope.get("caller")
        name, address = "" if caller is None else caller.name, request.client.host if request.client else ""
        logs.audit(act, caller=name, address=address, result=result, task=id or getattr(request.state, "task", ""))


def raw_path(scope: Scope) -> str:
    """The raw, percent-encoded path, without the prefix that the application is mounted under."""
    raw = scope.get("raw_path")
    path: str = raw.partition(b"?")[0].decode("latin-1") if raw else quote(scope["path"])
    return path.removeprefix(quote(scope.get("root_path", "")))


def _response(answer: error_responses.Answer) -> Response:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
    return Response(answer.body, answer.status, headers)
