"""HTTP routing: prediction paths by one dictionary look-up, everything else by one ASGI application.

path ─▶ Paths ─▶ Endpoint ─▶ Exchange (exchange.py)
          └────▶ other: Starlette (tasks, console, OpenAPI)
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import msgspec

from infergraph.errors import Fault
from infergraph.runner import Runner
from infergraph.serving.admission import Admission
from infergraph.serving.authentication import Authenticator
from infergraph.serving.call import Accounting, Calls
from infergraph.serving.http.error_responses import Answer, Headers
from infergraph.wire.bodies_memory import BodiesMemory

if TYPE_CHECKING:
    from infergraph.serving.http.exchange import Exchange

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Handler: TypeAlias = "Callable[[Exchange], Coroutine[Any, Any, Answer]]"


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and options of the HTTP server, filled from the settings.

    Args:
        memory: accounts for bodies that are still arriving.
        receive_timeout_s: how long a client may take to send the next part of a request, or to read an answer; 0 for
            no limit.
        keepalive_s: how long a connection may be idle between two requests.
    """

    message_limit_bytes: int
    concurrency_limit: int
    memory: BodiesMemory | None = None
    request_timeout_s: float = 0.0
    receive_timeout_s: float = 0.0
    keepalive_s: float = 75.0
    compress_min_bytes: int = 1024
    compress_max_bytes: int = 1024 * 1024


def _may_wait() -> Runner | None:
    return None


class Dialect(Protocol):
    """What differs between the HTTP interfaces of a component, of a graph, and of the open inference protocol."""

    def identify(self, exchange: Exchange) -> str:
        """The id of a request; empty for none."""

    def decorate(self, headers: Headers, endpoint: Endpoint, exchange: Exchange) -> None:
        """Add the headers common to all answers."""

    def of_fault(self, fault: Fault) -> Answer:
        """The error response for a fault."""

    def of_bug(self, puid: str) -> Answer:
        """The error response for an unexpected error."""

    def refuse_method(self, endpoint: Endpoint, exchange: Exchange) -> Answer:
        """The answer to a method that the path does not accept, including OPTIONS."""

    def not_found(self, path: str, hint: str) -> Answer:
        """The answer for an unknown path."""


class Endpoint(NamedTuple):
    """A route: the HTTP methods it accepts (None for all), its handler, its label in the metrics.

    Gated endpoints are subject to the concurrency limit and the request timeout; probes are not gated. `runner` gives
    what runs the handler; None if it may wait, and so needs a task. `dialect` is that of the path's protocol, if it is
    another than the application's. `padding` gives, by the headers, how many bytes should precede a body
    in memory that the handler may write to; None for a body as it came. `protocol` is its label in the metrics.
    `stream` answers requests that accept server-sent events, if there are any.
    """

    methods: frozenset[str] | None
    handler: Handler
    name: str
    gated: bool = True
    runner: Callable[[], Runner | None] = _may_wait
    dialect: Dialect | None = None
    protocol: str = "seldon"
    padding: Callable[[Mapping[bytes, bytes]], int | None] | None = None
    stream: Handler | None = None


class Paths(NamedTuple):
    """The routes: exact paths by one look-up, then patterns in order."""

    exact: Mapping[str, Endpoint]
    patterns: Sequence[tuple[re.Pattern[str], Endpoint]] = ()

    def joined(self, more: Paths) -> Paths:
        """These routes, and those of `more` at other paths."""
        return Paths({**more.exact, **self.exact}, [*self.patterns, *more.patterns])

    def find(self, path: str) -> tuple[Endpoint | None, Mapping[str, str]]:
        """The endpoint whose pattern matches a path, and the path parameters."""
        for pattern, endpoint in self.patterns:
            found = pattern.fullmatch(path)
            if found is not None:
                return endpoint, found.groupdict()
        return None, {}


class HttpApp:
    """The application of one port.

    Args:
        other: the ASGI application for all other paths.
        refuse: rejects a request by its headers, before the unit is called; None to accept all.
        authenticator: tells callers; None where everybody may do everything.
        base_path: everything is served under it, and nothing elsewhere; empty for none.
    """

    def __init__(
        self,
        paths: Paths,
        dialect: Dialect,
        other: App,
        options: HttpOptions,
        accounting: Accounting,
        refuse: Callable[[Headers], Answer | None] | None = None,
        authenticator: Authenticator | None = None,
        base_path: str = "",
    ) -> None:
        self.paths = paths
        self.dialect = dialect
        self.other = other
        self.options = options
        self.admission = Admission(concurrency_limit=options.concurrency_limit)
        self.memory = options.memory or BodiesMemory()
        self.calls = Calls(self.admission, accounting)
        self.is_draining = False
        self.refuse = refuse
        self.authenticator = authenticator
        self.base_path = base_path.encode()
