"""One call of a client: its options, the headers and time limit of each attempt, and retries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypedDict, TypeVar

from infergraph.errors import PayloadError
from infergraph.message import Meta
from infergraph.net.backoff import Backoff
from infergraph.net.retry import Retry

T = TypeVar("T")

Headers = tuple[tuple[str, str], ...]

_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 10.0
SECRETS = frozenset({"authorization", "cookie", "x-api-key"})
"""Headers whose values no error message shows."""
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


class CallOptions(TypedDict, total=False):
    """Options of a single call."""

    names: Sequence[str]
    """Column names of the data; a data frame brings its own."""
    meta: Meta
    """The protocol's meta, such as {"puid": …, "tags": {…}}."""
    headers: Mapping[str, str]
    """Additional headers (gRPC: metadata)."""
    parameters: Mapping[str, str | int | float | bool]
    """Parameters of a request of the open inference protocol."""
    outputs: Sequence[str]
    """The outputs that a request of the open inference protocol asks for; all by default."""
    timeout_s: float
    """Time limit of the call, including retries, instead of the client's; 0 for no limit."""


class Sending(NamedTuple):
    """The headers and time limit of one attempt.

    Args:
        timeout_s: the remaining time; None for no limit.
        limit_s: the time limit of the whole call.
    """

    headers: Headers
    timeout_s: float | None
    limit_s: float | None = None

    @property
    def limit_text(self) -> str:
        """The time limit for an error message; empty if there is none."""
        limit_s = self.limit_s if self.limit_s is not None else self.timeout_s
        return "" if limit_s is None else f" within {limit_s:.3g} s"


def header_lines(given: Iterable[tuple[str, str]]) -> Headers:
    """Validated headers, in lower case.

    Raises: PayloadError for an invalid header.
    """
    headers = tuple((name.lower(), value) for name, value in given)
    for name, value in headers:
        if not name or not _TOKEN.issuperset(name) or any(char in value for char in "\r\n\0"):
            shown = "its value has a line break" if name in SECRETS else repr(value)
            raise PayloadError(f"the header {name!r} cannot be sent: {shown}")
    return headers


async def attempted(
    once: Callable[[float | None], Awaitable[T]],
    *,
    retries: int,
    timeout_s: float | None,
    longest_wait_s: float = _LONGEST_WAIT_S,
) -> T:
    """The result of the first attempt that succeeds; each is passed the remaining time.

    Args:
        retries: further attempts after a fault that may be temporary.
        timeout_s: time limit of all attempts together; None for no limit.
        longest_wait_s: maximum back-off.
    Raises: the fault of the last attempt.
    """
    loop = asyncio.get_running_loop()
    deadline = None if timeout_s is None else loop.time() + timeout_s
    retry = Retry(retries=retries, backoff=Backoff(first_s=_FIRST_WAIT_S, limit_s=longest_wait_s))
    return await retry.call(lambda: once(None if deadline is None else deadline - loop.time()), deadline=deadline)
