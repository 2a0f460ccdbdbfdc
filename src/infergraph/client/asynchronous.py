"""The asynchronous client; the synchronous one wraps it.

data ─message_of─▶ Message ─▶ RestWire | GrpcWire ─▶ Message ─value_of─▶ array, text, bytes, JSON value
                              or V2's, in the open inference protocol
"""

from __future__ import annotations

import asyncio
import functools
import math
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, Self, TypeVar, Unpack

from infergraph.client import v2
from infergraph.client.calls import CallOptions, Headers, Sending, attempted, header_lines
from infergraph.client.connection import Connection, Protocol, Server
from infergraph.client.grpc import GrpcWire
from infergraph.client.python_values import branch_of, frame_of, value_for, value_of
from infergraph.client.rest import RestWire
from infergraph.client.tasks import AsyncTasks
from infergraph.client.v2 import Model, V2GrpcWire, V2RestWire
from infergraph.errors import ComponentError, NotReady, PayloadError, SettingsError, remote_error_of
from infergraph.local import message_of
from infergraph.message import ONCE_ONLY, Feedback, FeedbackContent, Message, Method, Request, Transport
from infergraph.settings import KEY_VARIABLE
from infergraph.streams import Begun, begin, resumed

T = TypeVar("T")

_ALWAYS = 1 << 30
_LOOK_S = 1.0


class AsyncClient:
    """Client of a component, a graph, or a deployment behind an ingress.

    Args:
        url: `http://host:port`, `grpc://host:port`, https or grpcs, perhaps with the path of a deployment behind an
            ingress: `http://gateway/seldon/<namespace>/<deployment>`.
        transport: "rest" or "grpc", if the URL's scheme does not determine it.
        protocol: "seldon", or "v2" for the open inference protocol, which any server of it is asked in.
        model, version: of the model, in that protocol; by default the server's only one.
        headers: sent with every call (gRPC: as metadata).
        key: of a server that asks for one; by default that of the environment variable INFERGRAPH_KEY, unless the
            headers or the URL have credentials.
        timeout_s: time limit of a call, including its retries; 0 for no limit. For a task's files it is the longest
            time without progress.
        retries: further attempts if one fails without an answer, or is refused because the server is not ready or
            overloaded. Feedback and routes are never retried.
        connection: limits and TLS.
    Raises: SettingsError for an invalid URL.
    Promises: opens no connection before the first call; connections are reused; may be used in several event loops,
        one after the other.
    """

    def __init__(
        self,
        url: str,
        *,
        transport: Transport | str | None = None,
        protocol: str = Protocol.SELDON,
        model: str = "",
        version: str = "",
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 2,
        connection: Connection | None = None,
    ) -> None:
        self.server = Server.of(url, transport)
        self.protocol = Protocol.of(protocol)
        self._model = Model(model, version)
        if self.protocol is Protocol.V2:
            self.server, self._model = v2.addressed(self.server, self._model)
        elif model or version:
            raise SettingsError("a model is named in the open inference protocol alone: protocol='v2'")
        self.given: dict[str, Any] = {
            "url": url,
            "transport": transport,
            "protocol": protocol,
            "model": model,
            "version": version,
            "headers": headers,
            "key": key,
            "timeout_s": timeout_s,
            "retries": retries,
            "connection": connection,
        }
        self.tasks = AsyncTasks(self)
        self.connection = connection or Connection()
        self._headers = header_lines((headers or {}).items())
        self._key = key
        self.timeout_s = timeout_s
        self.retries = retries
        self._wire: RestWire | GrpcWire | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def predict(self, data: Any, *, frame: bool = False, **call: Unpack[CallOptions]) -> Any:
        """The prediction for `data`: an array, text, bytes, or a JSON value, as the model answers.

        Args:
            data: an array or a list of rows, a data frame (its columns are the names), a dict or a list of dicts,
                text, bytes, or a message.
            frame: return the answer as a data frame.
        Raises: the fault that the server reports; RemoteError if it cannot be reached; DeadlinePassed.
        """
        answer = await self.ask(data, **call)
        return frame_of(answer) if frame else value_for(data, answer)

    async def stream(self, data: Any, **call: Unpack[CallOptions]) -> AsyncGenerator[Any, None]:
        """The answers to `data`, as they come: what the model's `predict_stream` gives, else its one answer.

        Args: see `predict`; `timeout_s` is the longest wait for an answer.
        Raises: see `predict`; perhaps after some answers. Nothing is repeated once there is one.
        """
        async with aclosing(self.ask_stream(data, **call)) as answers:
            async for answer in answers:
                yield value_for(data, answer)

    async def ask_stream(self, data: Any, **call: Unpack[CallOptions]) -> AsyncGenerator[Message, None]:
        """The complete messages of the answers, as they come. See `stream`."""
        request = self._message(data, call)

        async def once(sending: Sending) -> Begun[Message]:
            return await begin(self._here().answers(request, sending))

        with _blaming_data():
            begun = await self.attempt(once, call)
        async with aclosing(resumed(begun)) as answers:
            async for answer in answers:
                yield answer

    async def transform_input(self, data: Any, **call: Unpack[CallOptions]) -> Any:
        """The transformed input. Args and Raises: see `predict`."""
        return value_of(await self.ask(data, Method.TRANSFORM_INPUT, **call))

    async def transform_output(self, data: Any, **call: Unpack[CallOptions]) -> Any:
        """The transformed output. Args and Raises: see `predict`."""
        return value_of(await self.ask(data, Method.TRANSFORM_OUTPUT, **call))

    async def route(self, data: Any, **call: Unpack[CallOptions]) -> int:
        """The child chosen by a router: its index, -1 for all, -2 for none. Args and Raises: see `predict`."""
        return branch_of(await self.ask(data, Method.ROUTE, **call))

    async def aggregate(self, several: Iterable[Any], **call: Unpack[CallOptions]) -> Any:
        """A combiner's answer to several messages.

        Args:
            several: each like the data of `predict`.
        Raises: see `predict`.
        """
        return value_of(await self.ask_all(several, **call))

    async def ask(self, data: Any, method: Method = Method.PREDICT, **call: Unpack[CallOptions]) -> Message:
        """The complete message of the answer, with names and meta, as `feedback` accepts it. See `predict`."""
        return await self._ask(method, self._message(data, call), call)

    def _message(self, data: Any, call: CallOptions) -> Message:
        if self.protocol is Protocol.V2:
            return v2.message_of(data, call)
        return message_of(data, names=call.get("names") or (), meta=call.get("meta"))

    async def ask_all(self, several: Iterable[Any], **call: Unpack[CallOptions]) -> Message:
        """The complete message of a combiner's answer, with names and meta. See `aggregate`."""
        names, meta = call.get("names") or (), call.get("meta")
        messages = [message_of(data, names=names, meta=meta) for data in several]
        return await self._ask(Method.AGGREGATE, messages, call)

    async def feedback(
        self,
        reward: float,
        *,
        request: Any = None,
        response: Any = None,
        truth: Any = None,
        **call: Unpack[CallOptions],
    ) -> Message:
        """Send feedback for an answer; it reaches the routers and models that produced it.

        Args:
            reward: how good it was.
            request, response, truth: the request, the result of `ask`, and the correct answer; each optional.
        Raises: see `predict`; PayloadError for a reward that is not a finite number.
        """
        if not math.isfinite(reward):
            raise PayloadError(f"the reward must be a finite number, not {reward}")
        asked, answered, right = (None if part is None else message_of(part) for part in (request, response, truth))
        return await self._ask(Method.SEND_FEEDBACK, Feedback(FeedbackContent(asked, answered, reward, right)), call)

    async def metadata(self, node: str = "", **call: Unpack[CallOptions]) -> Mapping[str, Any]:
        """The metadata of what is served.

        Args:
            node: the name of a graph's node, for its own metadata.
        Raises: see `predict`.
        """
        return await self.attempt(lambda sending: self._here().metadata(node, sending), call)

    async def health(self, **call: Unpack[CallOptions]) -> Any:
        """The component's health status. Raises: NotReady, or the component's fault if it is unhealthy."""
        return value_of(await self.attempt(lambda sending: self._here().health(sending), call))

    async def ready(self, **call: Unpack[CallOptions]) -> bool:
        """Whether the server is ready; False if it cannot be reached. Never retried."""
        return await self.attempt(lambda sending: self._here().ready(sending), call, is_repeatable=False)

    async def wait_ready(self, *, timeout_s: float = 60.0) -> None:
        """Wait until the server is ready. Raises: NotReady after `timeout_s`."""

        async def look(left_s: float | None) -> None:
            if not await self.ready(timeout_s=min(left_s or _LOOK_S, _LOOK_S)):
                raise NotReady(f"{self.server} is not ready after {timeout_s:g} s")

        await attempted(look, retries=_ALWAYS, timeout_s=timeout_s, longest_wait_s=_LOOK_S)

    async def close(self) -> None:
        """Close all connections. Idempotent; a later call opens new ones."""
        wire, self._wire = self._wire, None
        if wire is not None and self._loop is asyncio.get_running_loop():
            await wire.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), **self.given), ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.server)!r})"

    async def attempt(
        self, once: Callable[[Sending], Awaitable[T]], call: CallOptions, *, is_repeatable: bool = True
    ) -> T:
        """The result of `attempt`, with retries within the time limit of the call."""
        headers: Headers = header_lines((call.get("headers") or {}).items())
        given_s = call.get("timeout_s")
        timeout_s = (self.timeout_s if given_s is None else given_s) or None
        return await attempted(
            lambda left_s: once(Sending(headers, left_s, timeout_s)),
            retries=self.retries if is_repeatable else 0,
            timeout_s=timeout_s,
        )

    async def _ask(self, method: Method, request: Request, call: CallOptions) -> Message:
        once = functools.partial(self._here().ask, method, request)
        with _blaming_data():
            return await self.attempt(once, call, is_repeatable=method not in ONCE_ONLY)

    def _here(self) -> RestWire | GrpcWire:
        """The connections of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._wire is None or self._loop is not loop:
            given = self.server, self.connection, self._sent_always()
            is_rest = self.server.transport is Transport.REST
            if self.protocol is Protocol.V2:
                self._wire = (V2RestWire if is_rest else V2GrpcWire)(*given, self._model)
            else:
                self._wire = (RestWire if is_rest else GrpcWire)(*given)
            self._loop = loop
        return self._wire

    def _sent_always(self) -> Headers:
        """The headers of every call, the key among them; beside an `Authorization` it is sent as X-API-Key."""
        names = {name for name, _ in (*self.server.headers, *self._headers)}
        key = self._key
        if key is None and not names & {"authorization", "x-api-key"}:
            key = os.environ.get(KEY_VARIABLE)
        if not key:
            return self._headers
        named = ("x-api-key", key) if "authorization" in names else ("authorization", f"Bearer {key}")
        return header_lines((*self._headers, named))

    def rest(self) -> RestWire:
        """The REST connections of the running event loop. Raises: SettingsError for a gRPC address."""
        wire = self._here()
        if not isinstance(wire, RestWire):
            raise SettingsError(f"tasks are served over HTTP: use an http:// address instead of {self.server}")
        return wire


@contextmanager
def _blaming_data() -> Iterator[None]:
    """A fault of the codec, which reports values that it cannot write so, is the caller's data; the server's stays."""
    try:
        yield
    except ComponentError as fault:
        if remote_error_of(fault) is not None:
            raise
        raise PayloadError(str(fault).replace("the answer", "the data", 1)) from fault
