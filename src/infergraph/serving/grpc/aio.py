"""The grpcio engine: generic handlers over raw bytes on `grpc.aio`, health and reflection with it.

It also serves as the native engine's fallback, on a Unix socket, for reflection and for calls that are streams.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from infergraph.auth.tls import ServerTls
from infergraph.protocol.status import GrpcStatus
from infergraph.serving.grpc.app import GrpcApp, GrpcCall, Metadata
from infergraph.wire import prediction

_UNWRITTEN_BYTES = 64 * 1024
_STATUS = {code.value[0]: code for code in grpc.StatusCode}


class AioServer:
    """Serves a `GrpcApp` with grpc.aio.

    Args:
        tls: the certificate to serve by; None for plain connections.
    """

    def __init__(
        self,
        app: GrpcApp,
        address: str,
        *,
        is_serving: Callable[[], bool],
        message_limit_bytes: int,
        streams_alone: bool = False,
        tls: ServerTls | None = None,
    ) -> None:
        options = [
            ("grpc.max_receive_message_length", min(message_limit_bytes + _REFUSED_BYTES, _INT32_MAX)),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 1),
        ]
        self._server = grpc.aio.server(options=options)
        self._waiting = _Waiting()
        methods = _Methods(app, () if streams_alone else app.methods, self._waiting)
        self._server.add_generic_rpc_handlers((methods,))
        health_pb2_grpc.add_HealthServicer_to_server(_Health(is_serving), self._server)
        names = [*prediction.SERVICES, "grpc.health.v1.Health", reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, self._server, pool=_Pools())
        if tls is None:
            self.port: int = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, _credentials(tls))

    async def start(self) -> None:
        """Start serving."""
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Accept no new calls, wait up to `grace_s` for those in flight, and close."""
        self._waiting.end()
        await self._server.stop(grace_s)


def _credentials(tls: ServerTls) -> Any:
    """Credentials that each handshake asks whether the files have changed."""

    def read() -> Any:
        pem = tls.pem()
        return grpc.ssl_server_certificate_configuration([(pem.key, pem.chain)], pem.roots)

    seen = tls.version()

    def changed() -> Any:
        nonlocal seen
        if tls.version() == seen:
            return None
        seen = tls.version()
        return read()

    return grpc.dynamic_ssl_server_credentials(read(), changed, require_client_authentication=tls.needs_certificate)


_REFUSED_BYTES = 64 << 20
"""What is over the limit by less is refused by the app, which names the setting, what is over it by more by grpcio."""
_INT32_MAX = 2**31 - 1


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc] # grpcio ships no types
    """Methods and streams of the app as generic handlers over raw bytes."""

    def __init__(self, app: GrpcApp, methods: Iterable[str], waiting: _Waiting) -> None:
        self._handlers = {
            **{path: grpc.unary_unary_rpc_method_handler(_calling(app, path)) for path in methods},
            **{path: grpc.stream_stream_rpc_method_handler(_streaming(app, path, waiting)) for path in app.streams},
        }

    def service(self, call: Any) -> Any:
        return self._handlers.get(call.method)


class _Reply:
    """The result of one call, for the coroutine that grpcio awaits."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.initial: Metadata = ()
        self.failed: tuple[int, str, Metadata] | None = None

    def respond(self, payload: bytes, initial: Metadata) -> None:
        """Store the answer."""
        self.initial = initial
        if not self.answered.done():
            self.answered.set_result(payload)

    def fail(self, code: int, text: str, trailing: Metadata) -> None:
        """Store the status."""
        self.failed = code, text, trailing
        if not self.answered.done():
            self.answered.set_result(b"")


def _calling(app: GrpcApp, path: str) -> Any:
    async def handle(payload: bytes, context: Any) -> bytes:
        reply = _Reply()
        metadata, remaining_s = context.invocation_metadata() or (), context.time_remaining()
        call = app.call(path, payload, metadata, remaining_s, reply, _subject(context))
        app.calls.start(call)
        answered = await _result(app, call, reply, context)
        if reply.initial:
            await context.send_initial_metadata(reply.initial)
        return answered

    return handle


def _subject(context: Any) -> str:
    """The name in the client's verified certificate; empty for none."""
    told = context.auth_context()
    names = told.get("x509_common_name") or told.get("x509_subject_alternative_name") or [b""]
    return str(names[0], "utf-8", "replace")


class _StreamReply(_Reply):
    """The results of one request of a stream, until they are written.

    Only the call's own handler writes them: a write cannot be taken back, and the sender may be cancelled in one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ready: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._changed, self._has_room = asyncio.Event(), asyncio.Event()
        self._has_room.set()
        self.answered.add_done_callback(lambda _: self._changed.set())

    async def send(self, payload: bytes) -> None:
        """Hand over one message; waits while others are not written yet."""
        await self._has_room.wait()
        self._ready.append(payload)
        self._waiting_bytes += len(payload)
        if self._waiting_bytes >= _UNWRITTEN_BYTES:
            self._has_room.clear()
        self._changed.set()

    async def following(self) -> bytes | None:
        """The next message to write; None once the request is answered."""
        while not self._ready:
            if self.answered.done():
                return None
            self._changed.clear()
            await self._changed.wait()
        payload = self._ready.popleft()
        self._waiting_bytes -= len(payload)
        self._has_room.set()
        return payload


class _Waiting:
    """The streams that wait for their client's next request; a server that stops ends them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_over = False

    async def next_request(self, requests: AsyncIterator[bytes], context: Any) -> bytes | None:
        """The next request; None at the end. Once the server stops, the call ends with a status."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self._is_over:
                return await anext(requests, None)
        except asyncio.CancelledError:
            if not self._is_over:
                raise
        finally:
            self._tasks.discard(task)
        await context.abort(_STATUS[GrpcStatus.UNAVAILABLE], "the server is stopping")
        return None

    def end(self) -> None:
        """End them, and those to come."""
        self._is_over = True
        for task in list(self._tasks):
            task.cancel()


def _streaming(app: GrpcApp, path: str, waiting: _Waiting) -> Any:
    async def handle(requests: AsyncIterator[bytes], context: Any) -> None:
        metadata, subject = context.invocation_metadata() or (), _subject(context)
        incoming = aiter(requests)
        # One at a time: the next request waits in the transport.
        while (payload := await waiting.next_request(incoming, context)) is not None:
            reply = _StreamReply()
            call = app.streamed_call(path, payload, metadata, context.time_remaining(), reply, subject)
            app.calls.start(call)
            try:
                while (message := await reply.following()) is not None:
                    await context.write(message)
            except BaseException:
                app.calls.abandon(call)
                raise
            if last := await _result(app, call, reply, context):
                await context.write(last)

    return handle


async def _result(app: GrpcApp, call: GrpcCall, reply: _Reply, context: Any) -> bytes:
    """The answer to a call; one with a status ends it. The call is abandoned if the client has gone."""
    try:
        answered = await reply.answered
    except asyncio.CancelledError:
        app.calls.abandon(call)
        raise
    if reply.failed is not None:
        code, text, trailing = reply.failed
        context.set_trailing_metadata(trailing)
        await context.abort(_STATUS[code], text)
    return answered


class _Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc] # grpcio ships no types
    """grpc.health.v1 over one flag, the same for every service name."""

    def __init__(self, is_serving: Callable[[], bool]) -> None:
        self._is_serving = is_serving

    def _now(self) -> Any:
        kinds = health_pb2.HealthCheckResponse
        return kinds(status=kinds.SERVING if self._is_serving() else kinds.NOT_SERVING)

    async def Check(self, request: Any, context: Any) -> Any:
        return self._now()

    async def Watch(self, request: Any, context: Any) -> Any:
        yield self._now()


class _Pools:
    """The descriptors for reflection: our private pool first, then the default one."""

    def __init__(self) -> None:
        self._pools = (prediction.POOL, descriptor_pool.Default())

    def __getattr__(self, name: str) -> Any:
        def find(*arguments: Any) -> Any:
            for pool in self._pools:
                try:
                    return getattr(pool, name)(*arguments)
                except KeyError:
                    continue
            raise KeyError(arguments)

        return find
