"""A node with several addresses: replicas of ours behind a graph, over REST and gRPC, in both protocols."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from certificates import Authority
from infergraph.errors import DeadlinePassed, GraphError, RemoteError
from infergraph.graph.remote import remote
from infergraph.graph.remote.grpc import GrpcOptions, GrpcUnit
from infergraph.graph.remote.rest import RestOptions, RestUnit
from infergraph.graph.remote.v2_grpc import V2GrpcUnit
from infergraph.graph.remote.v2_rest import V2RestUnit
from infergraph.graph.spec import Endpoint, Node
from infergraph.message import (
    Context,
    Encoding,
    Feedback,
    FeedbackContent,
    Message,
    Method,
    PredictiveUnit,
    Transport,
)
from infergraph.net.backoff import Backoff
from infergraph.net.discovery import Counts, Discovery
from infergraph.net.grpc_client import GrpcTls
from infergraph.net.http_client import HttpOptions
from infergraph.wire import prediction
from infergraph.wire.json_codec import JsonMessage
from served import Served, served
from tcp_proxy import CutProxy

STREAMS = Path(__file__).parent / "microservice"
REPLICA = """
import os, time

class Replica:
    execution = "thread"
    number = {number}
    delay_s = float(os.environ.get("DELAY_S", "0"))

    def predict(self, X, names=None, meta=None):
        time.sleep(self.delay_s)
        return [[self.number]]
"""
PREDICT = "/api/v1.0/predictions"
ROW = {"data": {"ndarray": [[1.0]]}}
V2_ROW = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [1.0]}]}
WAYS = [("REST", "seldon"), ("GRPC", "seldon"), ("REST", "v2"), ("GRPC", "v2")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replicas")
    for number in range(3):
        (folder / f"replica_{number}.py").write_text(REPLICA.format(number=number))
    return folder


@pytest.fixture(scope="module")
def replicas(folder: Path) -> Iterator[list[Served]]:
    """Three equal replicas."""
    with ExitStack() as stack:
        yield [stack.enter_context(served(f"replica_{number}.py:Replica", folder=folder)) for number in range(3)]


def hosts(replicas: Sequence[Served], kind: str = "REST") -> list[str]:
    return [f"127.0.0.1:{each.grpc_port if kind == 'GRPC' else each.http_port}" for each in replicas]


@contextmanager
def front(folder: Path, endpoint: Mapping[str, Any], protocol: str = "seldon", **given: Any) -> Iterator[Served]:
    """A graph of one node with this endpoint."""
    graph = {"name": "Replica", "type": "MODEL", "endpoint": endpoint}
    spec = {"protocol": protocol, "predictors": [{"name": "main", "graph": graph}]}
    document = {"apiVersion": "machinelearning.seldon.io/v1", "kind": "SeldonDeployment", "metadata": {"name": "flow"}}
    (folder / "flow.json").write_text(json.dumps({**document, "spec": spec}))
    with served("flow.json", folder=folder, **given) as there:
        yield there


def number_of(there: Served, protocol: str = "seldon") -> int:
    """Which replica answers."""
    if protocol == "v2":
        reply = there.post("/v2/models/infer", V2_ROW)
        assert reply.status == 200, reply.body
        return int(reply.json["outputs"][0]["data"][0])
    reply = there.post(PREDICT, ROW)
    assert reply.status == 200, reply.body
    return int(reply.json["data"]["ndarray"][0][0])


def spread(ask: Callable[[], int], calls: int, at_once: int = 4) -> Counter[int]:
    """How many of the calls each replica answered."""
    counts: Counter[int] = Counter()
    lock = threading.Lock()

    def work() -> None:
        for _ in range(calls // at_once):
            number = ask()
            with lock:
                counts[number] += 1

    threads = [threading.Thread(target=work) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts.total() == calls // at_once * at_once
    return counts


@pytest.mark.parametrize(("kind", "protocol"), WAYS)
def test_the_load_is_spread_evenly(folder: Path, replicas: list[Served], kind: str, protocol: str) -> None:
    """Equal replicas get equal shares, within 20 %, whatever the protocol and the transport."""
    with front(folder, {"service_hosts": hosts(replicas, kind), "type": kind}, protocol) as there:
        shares = spread(lambda: number_of(there, protocol), 120)
    assert set(shares) == {0, 1, 2}
    assert all(abs(share - 40) <= 8 for share in shares.values()), shares


@pytest.mark.parametrize("kind", ["REST", "GRPC"])
def test_one_address_starves_replicas(folder: Path, replicas: list[Served], kind: str) -> None:
    """What balances connections sends kept ones to few replicas; with all addresses, the same calls are spread."""
    ports = [int(host.rpartition(":")[2]) for host in hosts(replicas, kind)]
    with CutProxy(*ports) as balancer:
        endpoint = {"service_host": "127.0.0.1", "service_port": balancer.port, "type": kind}
        with front(folder, endpoint) as there:
            starved = spread(lambda: number_of(there), 60, at_once=1)
    with front(folder, {"service_hosts": hosts(replicas, kind), "type": kind}) as there:
        fed = spread(lambda: number_of(there), 60, at_once=1)
    assert len(starved) == 1
    assert all(abs(fed[number] - 20) <= 4 for number in range(3)), fed


# ── addresses that change ───────────────────────────────────────────────────────────────────────────────────────────


def unit_of(kind: str, host: str, port: int, discovery: Discovery, path: str = "") -> RestUnit | GrpcUnit:
    make = GrpcUnit if kind == "GRPC" else RestUnit
    return make("node", host, port, path=path, discovery=discovery)


async def answer_of(unit: PredictiveUnit) -> int:
    """Which replica answers."""
    answer = await unit.answer(Method.PREDICT, JsonMessage(json.dumps(ROW).encode()), Context(Transport.REST))
    return int(answer.content.payload[0][0])


@pytest.mark.parametrize("kind", ["REST", "GRPC"])
def test_a_file_of_hosts_is_followed(folder: Path, tmp_path: Path, replicas: list[Served], kind: str) -> None:
    """Hosts that are added to the file are called, those taken out are not, and what they work on is answered."""
    file = tmp_path / "hosts.txt"
    first, second, third = hosts(replicas, kind)
    counts: list[Counts] = []
    discovery = Discovery(file=file, lasts_s=0.0, again_s=0.0, on_change=counts.append)

    async def test() -> None:
        file.write_text(f"{first}\n{second}  # two\n")
        unit = unit_of(kind, "", 0, discovery)
        assert {await answer_of(unit) for _ in range(10)} == {0, 1}
        file.write_text(f"{third}\n")
        while counts[-1] != Counts(1, 0, 0):
            await answer_of(unit)
        assert {await answer_of(unit) for _ in range(5)} == {2}
        await unit.stop()

    asyncio.run(asyncio.wait_for(test(), 20))


@pytest.mark.parametrize("kind", ["REST", "GRPC"])
def test_a_name_with_several_addresses(kind: str) -> None:
    """Each IP behind a name is called, under the name as it was written; one that nobody listens at is ejected."""
    asked: list[tuple[str, str]] = []
    ips = [f"127.0.0.{number}" for number in (1, 2, 3)]
    port = free_port()

    async def look_up(host: str, port: int) -> list[str]:
        assert host == "replicas.test"
        return [*ips, "127.0.0.4"]

    async def test() -> None:
        counts: list[Counts] = []
        places = [(ip, port) for ip in ips]
        async with AsyncExitStack() as stack:
            if kind == "REST":
                reply = b'HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{"strData":"y"}'
                note = http_on(places, lambda ip, host, path: asked.append((ip, host + path)), reply)
                await stack.enter_async_context(note)
            else:
                await stack.enter_async_context(grpc_on(places, lambda ip, path: asked.append((ip, path))))
            unit = unit_of(kind, "replicas.test", port, Discovery(look_up=look_up, on_change=counts.append), "/ingress")
            for _ in range(30):
                await unit.answer(Method.PREDICT, Message.of("x", Encoding.STR), Context())
            await unit.stop()
        assert counts[-1] == Counts(3, 1, 0)

    asyncio.run(asyncio.wait_for(test(), 20))
    called = f"replicas.test:{port}/ingress/predict" if kind == "REST" else "/ingress/seldon.protos.Model/Predict"
    assert {where for _, where in asked} == {called}
    assert all(abs(share - 10) <= 4 for share in Counter(ip for ip, _ in asked).values())


def free_port() -> int:
    """A port that is free at any address of this machine."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("way", [RestUnit, V2RestUnit, GrpcUnit, V2GrpcUnit])
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_look_up_takes_no_longer_than_the_request(way: Any, is_stream: bool) -> None:
    """A resolver that does not answer is a passed deadline, as a node that does not answer is."""

    async def look_up(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async def test() -> None:
        unit = way("node", "replicas.test", 9000, discovery=Discovery(look_up=look_up))
        asked = JsonMessage(json.dumps(ROW).encode())
        context = Context(Transport.REST).due(asyncio.get_running_loop().time() + 0.01)
        try:
            if is_stream:
                await anext(unit.stream(Method.PREDICT, asked, context))
            else:
                await unit.answer(Method.PREDICT, asked, context)
        finally:
            await unit.stop()

    with pytest.raises(DeadlinePassed, match="no answer within"):
        asyncio.run(asyncio.wait_for(test(), 20))


Places = Sequence[tuple[str, int]]
"""IPs and ports; port 0 for any."""


@asynccontextmanager
async def http_on(places: Places, note: Callable[[str, str, str], None], reply: bytes) -> AsyncIterator[list[int]]:
    """Servers that give one reply to every request, and note its IP, host and path; their ports."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines[1:-2])
                await reader.readexactly(int(headers["content-length"]))
                note(writer.get_extra_info("sockname")[0], headers["host"], lines[0].split()[1])
                writer.write(reply)
        writer.close()

    servers = [await asyncio.start_server(serve, *place) for place in places]
    yield [server.sockets[0].getsockname()[1] for server in servers]
    for server in servers:
        server.close()


@asynccontextmanager
async def grpc_on(
    places: Places, note: Callable[[str, str], None], *, is_busy: bool = False
) -> AsyncIterator[list[int]]:
    """Servers that answer every call with a message or UNAVAILABLE, and note its IP and path; their ports."""
    ports, servers = [], []
    for ip, port in places:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((Noting(ip, note, is_busy),))
        ports.append(server.add_insecure_port(f"{ip}:{port}"))
        await server.start()
        servers.append(server)
    yield ports
    for server in servers:
        await server.stop(None)


class Noting(grpc.GenericRpcHandler):
    """Answers every call alike."""

    def __init__(self, ip: str, note: Callable[[str, str], None], is_busy: bool) -> None:
        self._ip = ip
        self._note = note
        self._is_busy = is_busy

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            self._note(self._ip, handler_call_details.method)
            if self._is_busy:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
            return prediction.SeldonMessage(strData="y").SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.mark.parametrize("kind", ["REST", "GRPC"])
def test_certificates_are_those_of_the_host(tmp_path: Path, folder: Path, kind: str) -> None:
    """An address is called by TLS under its host's name, which the certificate is for, not under its IP."""
    authority = Authority(tmp_path)
    cert, key = authority.issue("replica", host="replicas.test")

    async def look_up(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async def ask(host: str, port: int) -> int:
        unit: RestUnit | GrpcUnit
        discovery = Discovery(look_up=look_up)
        if kind == "GRPC":
            options = GrpcOptions(is_secure=True, tls=GrpcTls(roots=authority.ca.read_bytes()))
            unit = GrpcUnit("node", host, port, options, discovery=discovery)
        else:
            http = HttpOptions(tls=authority.trusting())
            unit = RestUnit("node", host, port, RestOptions(is_secure=True, http=http), discovery=discovery)
        try:
            return await answer_of(unit)
        finally:
            await unit.stop()

    with served("replica_1.py:Replica", folder=folder, tls_cert=str(cert), tls_key=str(key)) as there:
        port = there.grpc_port if kind == "GRPC" else there.http_port
        assert asyncio.run(ask("replicas.test", port)) == 1
        with pytest.raises(RemoteError):
            asyncio.run(ask("others.test", port))


# ── streams, and what happens once ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def counting() -> Iterator[Served]:
    with served("streaming_components.py:Counts", folder=STREAMS) as there:
        yield there


@pytest.mark.parametrize("way", ["REST", "V2 REST", "V2 gRPC"])
def test_a_stream_begins_at_another_address(counting: Served, way: str) -> None:
    """A stream that cannot begin at one address begins at another; its items come once."""
    port = counting.grpc_port if way == "V2 gRPC" else counting.http_port

    async def test(closed: int) -> None:
        discovery = Discovery(hosts=(f"127.0.0.1:{port}",), pauses=Backoff(first_s=0.0, limit_s=0.0))
        where: Any = {"host": "127.0.0.1", "port": closed, "discovery": discovery}
        unit: PredictiveUnit = RestUnit("Counts", **where)
        if way != "REST":
            unit = V2GrpcUnit("Counts", **where) if way == "V2 gRPC" else V2RestUnit("Counts", **where)
        for _ in range(4):
            stream = unit.stream(Method.PREDICT, JsonMessage(b'{"data":{"ndarray":[3]}}'), Context(Transport.REST))
            assert [int(np.ravel(item.content.payload)[0]) async for item in stream] == [0, 1, 2]
        await unit.stop()

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # not listening: connections are refused
        asyncio.run(asyncio.wait_for(test(held.getsockname()[1]), 20))


@pytest.mark.parametrize("kind", ["REST", "GRPC"])
def test_a_route_that_was_sent_is_not_sent_to_another(kind: str) -> None:
    """Of two addresses that are busy, a prediction is asked of both, a route or a reward of one."""
    asked: list[str] = []
    row = JsonMessage(json.dumps(ROW).encode())
    calls = {
        Method.PREDICT: row,
        Method.ROUTE: row,
        Method.SEND_FEEDBACK: Feedback(FeedbackContent(None, None, 1, None)),
    }

    async def test() -> dict[Method, int]:
        times = {}
        async with busy(kind, asked) as (first, second):
            unit = unit_of(kind, "127.0.0.1", first, Discovery(hosts=(f"127.0.0.1:{second}",)))
            for method, request in calls.items():
                before = len(asked)
                with pytest.raises(RemoteError):
                    await unit.answer(method, request, Context(Transport.REST))
                times[method] = len(asked) - before
            await unit.stop()
        return times

    times = asyncio.run(asyncio.wait_for(test(), 20))
    assert times == {Method.PREDICT: 2, Method.ROUTE: 1, Method.SEND_FEEDBACK: 1}


@asynccontextmanager
async def busy(kind: str, asked: list[str]) -> AsyncIterator[list[int]]:
    """The ports of two servers that answer 503 to every call, and note it."""
    reply = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"
    if kind == "REST":
        async with http_on(
            [("127.0.0.1", 0), ("127.0.0.1", 0)], lambda ip, host, path: asked.append(path), reply
        ) as ports:
            yield ports
    else:
        async with grpc_on(
            [("127.0.0.1", 0), ("127.0.0.1", 0)], lambda ip, path: asked.append(path), is_busy=True
        ) as ports:
            yield ports


# ── what a user sees ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_node_is_ready_while_one_address_is(folder: Path, replicas: list[Served]) -> None:
    """Readiness needs one address of a node, not all; the metrics say how many there are."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        endpoint = {"service_host": "127.0.0.1", "service_port": held.getsockname()[1], "type": "REST"}
        with front(folder, endpoint, wait=False) as there:
            assert there.get("/ready").status == 503
        with front(folder, {**endpoint, "service_hosts": hosts(replicas)}) as there:
            assert there.get("/ready").status == 200
            assert {number_of(there) for _ in range(20)} == {0, 1, 2}
            metrics = there.get("/metrics").body.decode()
    lines = [line for line in metrics.splitlines() if line.startswith("infergraph_node_addresses{")]
    assert sorted(lines) == [
        'infergraph_node_addresses{node="Replica",state="draining"} 0.0',
        'infergraph_node_addresses{node="Replica",state="ejected"} 1.0',
        'infergraph_node_addresses{node="Replica",state="up"} 3.0',
    ]


def test_a_node_of_both_transports_has_its_hosts_for_each(folder: Path, replicas: list[Served]) -> None:
    """Each transport calls the hosts at its own port; a host with a port would be called at it over both: refused."""
    first = replicas[0]
    endpoint = {"service_hosts": ["127.0.0.1"], "httpPort": first.http_port, "grpcPort": first.grpc_port}
    with front(folder, endpoint) as there:
        assert number_of(there) == 0
        row = prediction.SeldonMessage(data=prediction.DefaultData(tensor=prediction.Tensor(shape=[1], values=[1.0])))
        assert list(there.call("Seldon/Predict", row).data.tensor.values) == [0.0]
    node = Node("node", endpoint=Endpoint(service_hosts=("a", "b:2"), http_port=1, grpc_port=3))
    with pytest.raises(GraphError, match=r"two transports: give endpoint\.type"):
        remote.build(node, remote.RemoteOptions())


def test_nodes_may_be_given_as_several_addresses(folder: Path, tmp_path: Path, replicas: list[Served]) -> None:
    """`--node` takes addresses with commas between them, or a file that lists them."""
    (tmp_path / "hosts.txt").write_text("\n".join(hosts(replicas)))
    listed = ",".join(f"http://{host}" for host in hosts(replicas))
    for address in (listed, f"http+file://{tmp_path}/hosts.txt"):
        with front(folder, {}, nodes={"Replica": address}) as there:
            assert {number_of(there) for _ in range(9)} == {0, 1, 2}
