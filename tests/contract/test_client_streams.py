"""The client's streams: both protocols, REST and gRPC, with and without `await`, and on the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from click.testing import CliRunner

from contract.client_servers import scripted
from infergraph.cli.call import call
from infergraph.client import AsyncClient, Client
from infergraph.errors import DeadlinePassed, Fault, MethodMissing, PayloadError, RemoteError, UnknownModel
from infergraph.wire.v2.proto import ModelInferResponse
from served import Served, Servers
from stream_record import CLOSED

HERE = Path(__file__).parent / "microservice"
WAIT_S = 30
WAYS = [("http", "seldon"), ("http", "v2"), ("grpc", "v2")]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Servers("streaming_components.py", folder=HERE) as servers:
        yield servers


def url_of(there: Served, scheme: str) -> str:
    return f"{scheme}://127.0.0.1:{there.http_port if scheme == 'http' else there.grpc_port}"


@pytest.mark.parametrize(("scheme", "protocol"), WAYS)
def test_every_answer_arrives_as_predict_would_give_it(servers: Servers, scheme: str, protocol: str) -> None:
    """Arrays come as arrays, in order; none at all is an empty stream; messages have the whole answer."""
    with Client(url_of(servers("Counts"), scheme), protocol=protocol) as client:
        got = list(client.stream(np.array([[3]])))
        assert [value.tolist() for value in got] == [[[0]], [[1]], [[2]]]
        assert all(isinstance(value, np.ndarray) for value in got)
        assert list(client.stream([[0]])) == []
        assert len(list(client.ask_stream([[2]]))) == 2


@pytest.mark.parametrize(("scheme", "protocol"), WAYS)
def test_answers_come_one_by_one_with_await(servers: Servers, scheme: str, protocol: str) -> None:
    """An endless stream gives its first answers, and leaving it closes the generator on the server."""
    while not CLOSED.empty():
        CLOSED.get()

    async def run() -> list[Any]:
        async with AsyncClient(url_of(servers("Endless"), scheme), protocol=protocol) as client:
            got = []
            stream = client.stream([[0]])
            async for value in stream:
                got.append(int(value[0][0]))
                if len(got) == 3:
                    break
            await stream.aclose()
            return got

    assert asyncio.run(run()) == [0, 1, 2]
    assert CLOSED.get(timeout=WAIT_S)


@pytest.mark.parametrize(("scheme", "protocol"), WAYS)
@pytest.mark.parametrize("count", [0, 2])
def test_an_error_is_raised_after_the_answers_before_it(
    servers: Servers, scheme: str, protocol: str, count: int
) -> None:
    """The fault has the server's text, whenever it comes."""
    with Client(url_of(servers("Breaks"), scheme), protocol=protocol) as client:
        stream = client.stream([[count]])
        assert [int(next(stream)[0][0]) for _ in range(count)] == list(range(count))
        with pytest.raises(Fault) as caught:
            next(stream)
    assert caught.value.text == "the stream broke"


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_an_unknown_model_is_told(servers: Servers, scheme: str) -> None:
    """The fault is the one of predict."""
    with Client(url_of(servers("Counts"), scheme), protocol="v2", model="other") as client, pytest.raises(UnknownModel):
        list(client.stream([[1]]))


def test_seldons_protocol_has_no_streams_over_grpc(servers: Servers) -> None:
    """The text says what has."""
    with Client(url_of(servers("Counts"), "grpc")) as client, pytest.raises(MethodMissing, match="protocol='v2'"):
        list(client.stream([[1]]))


@pytest.mark.parametrize(("scheme", "protocol"), WAYS)
def test_a_silence_over_the_time_limit_ends_it(servers: Servers, scheme: str, protocol: str) -> None:
    """The limit is that of the next answer."""
    client = Client(url_of(servers("AsyncSilent"), scheme), protocol=protocol, timeout_s=0.3, retries=0)
    with client, pytest.raises(DeadlinePassed):
        list(client.stream([[1]]))


def test_a_server_without_streams_gives_its_one_answer() -> None:
    """What is no event stream is the only answer; a stream that is cut off is an error after its answers."""
    body = b'{"data": {"ndarray": [[7]]}}'
    whole = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with scripted(whole) as (_, port), Client(f"http://127.0.0.1:{port}") as client:
        assert [value.tolist() for value in client.stream([[1]])] == [[[7]]]
    cut = (
        b"HTTP/1.1 200 OK\r\nconnection: close\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    cut += b"%x\r\ndata: %b\n\n\r\n" % (len(body) + 8, body)
    with scripted(cut) as (_, port), Client(f"http://127.0.0.1:{port}") as client:
        stream = client.stream([[1]])
        assert next(stream).tolist() == [[7]]
        with pytest.raises(RemoteError, match="closed early"):
            next(stream)


def test_bare_answers_over_grpc_are_read() -> None:
    """MLServer's stream has no message around its answers."""
    answers = []
    for number in range(2):
        answer = ModelInferResponse(model_name="m", model_version="v1", id="x")
        tensor = answer.outputs.add(name="o", datatype="INT64", shape=[1])
        tensor.contents.int64_contents.append(number)
        answers.append(answer.SerializeToString())

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            return grpc.stream_stream_rpc_method_handler(lambda requests, context: iter(answers))

    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with Client(f"grpc://127.0.0.1:{port}", protocol="v2", model="m") as client:
            assert [value.tolist() for value in client.stream({"a": np.zeros(1)})] == [[0], [1]]
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize(("scheme", "protocol"), WAYS)
def test_the_command_prints_each_answer_on_a_line(servers: Servers, scheme: str, protocol: str) -> None:
    """`call --stream` prints values, or with --json whole answers; other methods have no stream."""
    url = url_of(servers("Counts"), scheme)
    shown = CliRunner().invoke(call, [url, "[[2]]", "--stream", "--protocol", protocol])
    assert (shown.exit_code, shown.output) == (0, "[[0]]\n[[1]]\n")
    whole = CliRunner().invoke(call, [url, "[[2]]", "--stream", "--json", "--protocol", protocol])
    assert len([json.loads(line) for line in whole.output.splitlines()]) == 2
    refused = CliRunner().invoke(call, [url, "[[2]]", "--stream", "-m", "route", "--protocol", protocol])
    assert refused.exit_code == 2


def test_data_that_cannot_be_sent_is_the_callers(servers: Servers) -> None:
    """An object without a form in the protocol is refused before anything is sent."""
    with Client(url_of(servers("Counts"), "http"), protocol="v2") as client, pytest.raises(PayloadError):
        list(client.stream(object()))
