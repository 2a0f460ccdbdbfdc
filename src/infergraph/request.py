"""The current request, for code in a component's hooks.

from infergraph.request import current_request

tenant = current_request().headers.get("X-Tenant", "nobody")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import NamedTuple

from infergraph.message import Context, Transport

CONTEXT: ContextVar[Context | None] = ContextVar("infergraph_request", default=None)
"""The context of the request being answered; set around each call of user code."""


class Headers(Mapping[str, str]):
    """The headers of a REST request or the metadata of a gRPC call.

    Names are case-insensitive; of repeated headers the first value is returned.
    """

    def __init__(self, pairs: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._pairs = pairs

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        if not values:
            raise KeyError(name)
        return values[0]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.decode("latin-1") for name, _ in self._pairs))

    def __len__(self) -> int:
        return len({name for name, _ in self._pairs})

    def all(self, name: str) -> list[str]:
        """All values of `name`, in order."""
        wanted = name.lower().encode("latin-1", "replace")
        return [value.decode("latin-1") for key, value in self._pairs if key == wanted]


class CurrentRequest(NamedTuple):
    """Transport, path, query, id and headers of a request.

    Args:
        transport: REST, GRPC, or LOCAL for a line of a task, a call from Python, and where there is no request.
        path: `/predict`, `/seldon.protos.Model/Predict`; empty where the transport is LOCAL.
        query: its query string.
        puid: its id; empty if it has none.
    """

    transport: Transport
    headers: Headers
    path: str
    query: str
    puid: str


def current_request() -> CurrentRequest:
    """The request being answered; an empty one in `load()`, in plain tests and in threads that you start."""
    context = CONTEXT.get() or Context()
    query = context.query.decode("latin-1")
    return CurrentRequest(context.transport, Headers(context.headers), context.path, query, context.puid)
