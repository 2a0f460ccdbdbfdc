"""Calls of raw bytes over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from infergraph.net.address import Address
from infergraph.net.grpc_client import GrpcClient

LIMIT_BYTES = 1 << 20


class _AnswersUnread(grpc.GenericRpcHandler):
    """Ends each call of streams with one answer, and never asks for the request."""

    def service(self, details: Any) -> Any:
        return grpc.stream_stream_rpc_method_handler(lambda requests, context: iter([b"answer"]))


@pytest.fixture
def address() -> Iterator[Address]:
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[_AnswersUnread()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield Address("127.0.0.1", port)
    server.stop(None).wait()


def test_a_server_that_answers_before_it_has_read_the_request_is_heard(address: Address) -> None:
    """The request is sent whole at once, so the end of the call cannot overtake a write of it."""

    async def run() -> list[list[bytes]]:
        client = GrpcClient(address, message_limit_bytes=LIMIT_BYTES)

        async def answers() -> list[bytes]:
            return [answer async for answer in client.stream("/any/Stream", b"request")]

        try:
            return [got for _ in range(40) for got in await asyncio.gather(*(answers() for _ in range(20)))]
        finally:
            await client.close()

    assert asyncio.run(run()) == [[b"answer"]] * 800
