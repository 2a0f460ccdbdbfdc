"""The replicas of the Serve deployments: each runs an ordinary server, which ends with it.

RayGroup ─▶ Replica ─▶ the server of a group, told to `addresses` ┊ of the front, to which the ingress passes on
Serve's shutdown ▶ no longer listed ▶ a moment later SIGTERM: requests are finished ▶ the end
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, ClassVar

import msgspec
from msgspec.structs import replace
from starlette.requests import Request

from infergraph.errors import RemoteError
from infergraph.net.address import Address
from infergraph.net.grpc_client import GrpcClient
from infergraph.net.http_client import Call, HttpClient, HttpOptions
from infergraph.process.ray.plan import Listening, Order
from infergraph.process.ray.replica import Replica
from infergraph.process.ray.scaling import IN_FLIGHT, in_flight
from infergraph.protocol.paths import LIVE, READY
from infergraph.protocol.status import GrpcStatus
from infergraph.ray.addresses import Known
from infergraph.ray.grpc_services import GrpcAnswer, GrpcCall, status_of
from infergraph.ray.passing import Passed
from infergraph.settings import Settings, load, of_group

_LOOK_EVERY_S = 1.0
_ASK_LIMIT_S = 5.0
_NOTICE_S = 7.0
"""How long a replica serves on once it is no longer listed: callers read their lists every 5 s."""
_NOT_PASSED = ("application", "multiplexed_model_id", "request_id", "user-agent")
log = logging.getLogger("ray.serve")


class _Served:
    """A server in a Serve replica, and the addresses of the groups that it calls."""

    def __init__(self, order: Order, settings: Settings, table: Any) -> None:
        self.order = order
        self.settings = settings
        self.table = table
        self.replica = Replica()
        self.known = Known()
        self.client: HttpClient | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> Listening:
        """Start the server, once the groups that it calls are there. Raises: CannotStart."""
        await self.look()
        while not all(self._hosts().values()):
            await asyncio.sleep(_LOOK_EVERY_S)
            await self.look()
        plan = replace(self.order.group.plan, settings=msgspec.to_builtins(self.settings))
        order = replace(self.order, group=replace(self.order.group, plan=plan), hosts=self._hosts())
        started = await self.replica.start(msgspec.msgpack.encode(order))
        found = msgspec.msgpack.decode(started, type=Listening)
        self.client = HttpClient(Address(found.host, found.http_port), HttpOptions(connect_timeout_s=_ASK_LIMIT_S))
        return found

    async def look(self) -> None:
        """Follow the table."""
        before = self._hosts()
        self.known.learn(await self.table.listed.remote())
        if self._hosts() != before:
            await self.replica.follow(msgspec.msgpack.encode(self._hosts()))

    def _hosts(self) -> dict[str, str]:
        return {key: self.known.text(key) for key in self.order.group.calls}

    async def ask(self, path: str) -> bytes:
        """The answer of the server at a path. Raises: RuntimeError for none, and for what says that it cannot."""
        if self.client is None:
            raise RuntimeError("the server has not started")
        try:
            reply = await self.client.exchange(Call("GET", path, b"", None), _ASK_LIMIT_S)
        except (RemoteError, TimeoutError) as fault:
            raise RuntimeError(f"{path}: {fault}") from fault
        if reply.status >= 500:  # a refusal, as for want of a key, is an answer
            raise RuntimeError(f"{path} answers {reply.status}")
        return reply.body

    def keep(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do a step again and again, until `leave` or `stop`."""
        self._keeping = asyncio.create_task(_again(step))

    def leave(self) -> None:
        """Tell nobody and follow nothing any more."""
        if self._keeping is not None:
            self._keeping.cancel()

    async def stop(self) -> None:
        """End the server, which finishes its requests first."""
        self.leave()
        await self.replica.stop()


async def _again(step: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await step()
        except Exception as error:  # noqa: BLE001 - Serve raises many types while the table is started anew
            log.warning("the addresses of groups cannot be asked for: %s", error)
        await asyncio.sleep(_LOOK_EVERY_S)


class _ServeReplica:
    """What the replicas of both kinds have in common: their end."""

    _is_serving = False

    def __del__(self) -> Awaitable[None] | None:
        """What Serve calls, and waits for, before the end of a replica; the interpreter calls it once more."""
        was_serving, self._is_serving = self._is_serving, False
        return self._leave() if was_serving else None

    async def _leave(self) -> None:
        raise NotImplementedError


class GroupReplica(_ServeReplica):
    """A replica of a group.

    Args:
        order: what is served, but for its settings, which are read here, and for addresses.
        given: settings by name.
        key: of the group in the table of addresses.
        table: handle of the table.
    """

    async def __init__(self, order: bytes, given: dict[str, Any], key: str, table: Any) -> None:  # type: ignore[misc]
        told = msgspec.msgpack.decode(order, type=Order)
        self._served = _Served(told, of_group(load(os.environ, given).settings), table)
        self._key = key
        listening = await self._served.start()
        self._address = listening.address(by_grpc=told.group.by_grpc)
        self._is_serving = True
        self._served.keep(self._tell)

    async def _tell(self) -> None:
        if self._served.replica.is_running:
            await self._served.table.tell.remote(self._key, self._address)
        await self._served.look()

    async def wake(self) -> None:
        """Answer once there is a replica: a call of it has Serve start the first, where the least number is 0."""

    async def check_health(self) -> None:
        """Serve's question whether this replica shall stay. Raises: RuntimeError if not."""
        await self._served.ask(READY)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What Serve scales by."""
        metrics = await self._served.ask(self._served.settings.metrics_path)
        return {IN_FLIGHT: max(in_flight(metrics) - 1, 0.0)}  # without the one that asks

    async def _leave(self) -> None:
        self._served.leave()
        with suppress(Exception):  # the table may have ended before
            async with asyncio.timeout(_ASK_LIMIT_S):
                await self._served.table.drop.remote(self._key, self._address)
        await asyncio.sleep(_NOTICE_S)
        await self._served.stop()


class FrontReplica(_ServeReplica):
    """A replica of the ingress: the front's server, and what passes requests on to it.

    Args:
        order: as of a group.
        given: settings by name.
        table: handle of the table of addresses.
        groups: handles of the groups, which Serve deploys since they are arguments; each is woken.
    """

    _UNSET: ClassVar[dict[str, str]] = dict.fromkeys(("tls_cert", "tls_key", "tls_client_ca", "base_path"), "")
    """What is Serve's: how its proxies are called."""

    async def __init__(self, order: bytes, given: dict[str, Any], table: Any, *groups: Any) -> None:  # type: ignore[misc]
        settings = replace(load(os.environ, given).settings, grpc=True, **self._UNSET)
        self._served = _Served(msgspec.msgpack.decode(order, type=Order), settings, table)
        for group in groups:
            group.wake.remote()
        listening = await self._served.start()
        self._http = Address(listening.host, listening.http_port)
        grpc = Address(listening.host, listening.grpc_port)
        self._grpc = GrpcClient(grpc, message_limit_bytes=settings.message_limit_bytes)
        self._is_serving = True
        self._served.keep(self._served.look)

    async def __call__(self, request: Request) -> Passed:
        """The answer to a request over HTTP."""
        return Passed(request, self._http)

    async def _passed(self, call: GrpcCall, grpc_context: Any) -> GrpcAnswer:
        """The answer to a call over gRPC."""
        metadata = tuple((name, value) for name, value in grpc_context.invocation_metadata() if name not in _NOT_PASSED)
        try:
            return GrpcAnswer(await self._grpc.call(call.path, call.message, metadata=metadata))
        except RemoteError as fault:
            grpc_context.set_code(status_of(GrpcStatus.UNAVAILABLE if fault.grpc_code is None else fault.grpc_code))
            grpc_context.set_details(str(fault))
            raise

    Predict = SendFeedback = TransformInput = TransformOutput = Route = Aggregate = _passed
    Metadata = ModelMetadata = GraphMetadata = _passed

    async def check_health(self) -> None:
        """Serve's question whether this replica shall stay, which a group that is away does not decide.

        Raises: RuntimeError if not.
        """
        await self._served.ask(LIVE)

    async def _leave(self) -> None:
        await self._grpc.close()
        await self._served.stop()
