"""The client's contract: one suite over a component and a graph, over REST and gRPC, with await and without."""

from __future__ import annotations

import asyncio
import inspect
import json
import pickle
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from contract.client_servers import CERTIFICATE, MESSAGE, recording_grpc, reply, scripted, server_tls
from infergraph.client import AsyncClient, AsyncTasks, Client, Connection
from infergraph.errors import (
    BadMetric,
    DeadlinePassed,
    Fault,
    MethodMissing,
    NotReady,
    Overloaded,
    PayloadError,
    RemoteError,
    SettingsError,
    UploadTooLarge,
    remote_error_of,
)
from infergraph.message import Encoding
from infergraph.wire import proto_codec
from infergraph.wire.json_codec import JsonMessage
from served import Served, served

FOLDER = Path(__file__).parent
GRAPH = {
    "apiVersion": "machinelearning.seldon.io/v1",
    "kind": "SeldonDeployment",
    "metadata": {"name": "d"},
    "spec": {"predictors": [{"name": "p", "graph": {"name": "café", "type": "MODEL", "component": "units.py:Worker"}}]},
}


def urls(there: Served) -> dict[str, str]:
    return {"rest": f"http://127.0.0.1:{there.http_port}", "grpc": f"grpc://127.0.0.1:{there.grpc_port}"}


@pytest.fixture(scope="module")
def component() -> Iterator[dict[str, str]]:
    with served("units.py:Worker", folder=FOLDER) as there:
        yield urls(there)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("graph")
    (folder / "units.py").write_bytes((FOLDER / "units.py").read_bytes())
    (folder / "deployment.json").write_text(json.dumps(GRAPH))
    with served("deployment.json", folder=folder) as there:
        yield urls(there)


@pytest.fixture(params=["component over rest", "component over grpc", "graph over rest", "graph over grpc"])
def url(request: pytest.FixtureRequest) -> str:
    what, _, way = request.param.partition(" over ")
    return str(request.getfixturevalue(what)[way])


@pytest.fixture(params=["rest", "grpc"])
def component_url(request: pytest.FixtureRequest, component: dict[str, str]) -> str:
    return component[request.param]


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.array([[1.0, 2.5]]), [[2.0, 5.0]]),
        (np.array([[1, 2]], dtype=np.int32), [[2, 4]]),
        (np.array([True, False]), [2, 0]),
        ([[1.0, 2.0], [3.0, 4.0]], [[2.0, 4.0], [6.0, 8.0]]),
        ((1.5, 2.5), [3.0, 5.0]),
        (np.zeros((2, 3, 4)), np.zeros((2, 3, 4)).tolist()),
    ],
)
def test_arrays(client: Client, given: Any, expected: Any) -> None:
    """An array, or rows, are answered with an array of the same shape."""
    answer = client.predict(given)
    assert isinstance(answer, np.ndarray)
    assert answer.tolist() == expected


@pytest.mark.parametrize(
    "given", ["text ü 中 \x00", "", b"\x00\xff", {"a": [1, None, "x"]}, [{"data": "row"}, {"n": 2}]]
)
def test_other_values(client: Client, given: Any) -> None:
    """Text, bytes and JSON values come back as what they are."""
    answer = client.predict(given)
    assert answer == given
    assert type(answer) is type(given)


def test_frames(client: Client) -> None:
    """A data frame's columns go out as names; the answer is a data frame with the answer's own, if asked."""
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    answer = client.predict(frame, frame=True)
    assert list(answer.columns) == ["one", "two"]
    assert answer.to_numpy().tolist() == [[2.0, 6.0], [4.0, 8.0]]
    assert isinstance(client.predict(frame), np.ndarray)


def test_frames_of_other_answers(component: dict[str, str]) -> None:
    """Names that do not fit the columns are left out; a list of objects is a data frame, a text is none."""
    with Client(component["rest"]) as client:
        assert list(client.predict(np.ones((2, 3)), frame=True).columns) == [0, 1, 2]
        assert client.predict(np.ones(2), frame=True).shape == (2, 1)
        assert client.predict([{"a": 1}, {"a": 2}], frame=True)["a"].tolist() == [1, 2]
        with pytest.raises(RemoteError, match="cannot become a data frame"):
            client.predict("text", frame=True)


def test_whole_answers(client: Client) -> None:
    """`ask` gives names and meta beside the payload; the request's names, id and tags go with it."""
    answer = client.ask([[1.0]], names=["f"], meta={"puid": "given", "tags": {"mine": 1}})
    assert answer.encoding is Encoding.NDARRAY
    assert answer.meta is not None
    assert answer.meta["puid"] == "given"
    assert answer.meta["tags"] == {"mine": 1, "by": "worker"} or answer.meta["tags"] == {"by": "worker"}


def test_messages_as_they_are(component: dict[str, str]) -> None:
    """A message that is given goes out as it is, integers beyond 64 bits and unknown members included."""
    raw = b'{"jsonData":{"n":123456789012345678901234567890},"mine":[1.0]}'
    with scripted(reply(200)) as (server, port), Client(f"http://127.0.0.1:{port}") as client:
        client.predict(JsonMessage(raw))
        assert server.asked[0].body == raw


def test_feedback(client: Client) -> None:
    """A reward reaches the component with the answer that it is for."""
    before = float(np.ravel(client.feedback(0.0, request=[[1.0]]).payload)[0])
    answer = client.ask([[1.0, 2.0]])
    after = client.feedback(0.25, request=[[1.0, 2.0]], response=answer, truth=[[3.0]]).payload
    assert float(np.ravel(after)[0]) == before + 0.25


def test_the_other_methods(component_url: str) -> None:
    """Transformers, routers and combiners are asked by their own methods."""
    with Client(component_url) as client:
        assert client.transform_input([[1.0]]).tolist() == [[2.0]]
        assert client.transform_output([[1.0]]).tolist() == [[0.0]]
        assert client.route([[3, 1]]) == 3
        assert type(client.route([[-1]])) is int
        assert client.aggregate([[[1.0, 2.0]], np.array([[3.0, 4.0]])]).tolist() == [[4.0, 6.0]]
        assert list(client.ask_all([[[1.0]], [[2.0]]]).names) == ["one", "two"]


def test_methods_that_a_graph_has_not(graph: dict[str, str]) -> None:
    """A graph that is asked for what only a node can do is a fault that says so."""
    with Client(graph["rest"]) as client, pytest.raises(MethodMissing, match="transform-input"):
        client.transform_input([[1.0]])


def test_metadata(client: Client, graph: dict[str, str]) -> None:
    """Metadata is that of the component, or of the graph with its nodes, of which one can be asked for."""
    metadata = client.metadata()
    if str(client.server) in graph.values():
        assert metadata["models"]["café"]["name"] == "worker"
        metadata = client.metadata("café")
    assert metadata["name"] == "worker"
    assert metadata["versions"] == ["v1"]


def test_health(client: Client) -> None:
    """A server that serves is healthy and ready."""
    assert client.health() in ("healthy", "ready")
    assert client.ready() is True


def test_headers_reach_the_server(url: str) -> None:
    """Headers of the client and of the call are sent; the id among them comes back in the answer's meta."""
    with Client(url, headers={"X-Mine": "1"}) as client:
        answer = client.ask([[1.0]], headers={"Seldon-Puid": "from-header"})
        assert answer.payload.tolist() == [[2.0]]


def test_a_component_that_raises(client: Client, graph: dict[str, str]) -> None:
    """What a component raised reaches the caller with its reason and its name, or that of its node in a graph."""
    with pytest.raises(RemoteError, match="told to fail") as raised:
        client.predict("fail")
    assert raised.value.reason == "MICROSERVICE_INTERNAL_ERROR"
    assert raised.value.node == ("café" if str(client.server) in graph.values() else "Worker")
    assert raised.value.status == 500 or raised.value.grpc_code == 13


def test_data_that_cannot_be_sent(client: Client) -> None:
    """Data that the protocol cannot express is refused before anything is sent, and the text says what it is."""
    for data, text in ((object(), "the data holds a object"), ({"a": {1, 2}}, "the data holds a set at jsonData.a")):
        with pytest.raises(PayloadError, match=text):
            client.predict(data)


def test_a_message_that_cannot_be_read(component: dict[str, str]) -> None:
    """What the server cannot read is a PayloadError, whose cause has all that was answered."""
    with Client(component["rest"]) as client:
        with pytest.raises(PayloadError, match="none of tensor") as raised:
            client.predict(JsonMessage(b'{"data":{"oddly":1}}'))
        error = remote_error_of(raised.value)
        assert error is not None
        assert error.status == 400
        assert json.loads(error.body or b"")["status"]["reason"] == "MICROSERVICE_BAD_DATA"


def test_bad_metrics_are_the_servers_fault() -> None:
    """A fault of the component keeps its kind and what was answered, whole or as a stream, over REST and gRPC."""
    with served("client_units.py:Unmeasured", folder=FOLDER) as there:
        for url in urls(there).values():
            with Client(url) as client, pytest.raises(BadMetric) as raised:
                client.predict([[1.0]])
            assert (error := remote_error_of(raised.value)) is not None
            assert error.status == 500 or error.grpc_code == 13
        with Client(urls(there)["rest"]) as client, pytest.raises(BadMetric) as raised:
            list(client.stream([[1.0]]))
        assert remote_error_of(raised.value) is not None


def test_answers_that_are_no_messages() -> None:
    """A component that answers any JSON value is understood; a message with a payload that is none is a fault."""
    with served("client_units.py:Raw", folder=FOLDER, grpc=False) as there, Client(urls(there)["rest"]) as client:
        assert client.predict("x") == {"anything": [1, 2, {"a": None}]}
    broken = b'{"data":{"tensor":{"shape":[2],"values":[1]}}}'
    with (
        scripted(reply(200, broken), reply(200, b"<html>"), reply(200, b'{"data":{"ndarray":[]}}')) as (_, port),
        Client(f"http://127.0.0.1:{port}") as client,
    ):
        for _ in range(2):
            with pytest.raises(RemoteError, match="cannot be read"):
                client.predict("x")
        with pytest.raises(RemoteError, match="no branch"):
            client.route("x")


def test_a_time_limit(tmp_path: Path) -> None:
    """A call that takes longer than its time is DeadlinePassed, by the client's limit or the call's own."""
    with served("units.py:Hanging", folder=FOLDER) as there:
        for url in urls(there).values():
            with Client(url, timeout_s=0.1) as client, pytest.raises(DeadlinePassed, match=r"within 0\.1"):
                client.predict([[1.0]])
            with Client(url) as client, pytest.raises(DeadlinePassed, match=r"within 0\.1"):
                client.predict([[1.0]], timeout_s=0.1)


def test_a_servers_own_limit_is_told_in_its_words(tmp_path: Path) -> None:
    """A limit of the server that is shorter than the call's reaches the caller as the server tells it."""
    with served("units.py:Hanging", folder=FOLDER, request_timeout_s=0.1) as there:
        for url in urls(there).values():
            with Client(url) as client, pytest.raises(DeadlinePassed, match=r"request_timeout_s"):
                client.predict([[1.0]])


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_there(scheme: str) -> None:
    """An address where nobody listens is a RemoteError that names it; it is not ready."""
    with Client(f"{scheme}://127.0.0.1:1", retries=1) as client:
        with pytest.raises(RemoteError, match=r"127\.0\.0\.1:1") as raised:
            client.predict([[1.0]])
        assert raised.value.status is None
        assert client.ready() is False


@pytest.mark.parametrize("way", ["rest", "grpc"])
def test_a_server_that_still_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Without retries a server that loads is NotReady; with them the call waits and is answered."""
    gate = tmp_path / "gate"
    monkeypatch.setenv("CLIENT_TEST_GATE", str(gate))
    with served("client_units.py:Loading", folder=FOLDER, wait=False) as there:
        url = urls(there)[way]
        with Client(url, retries=0) as client:
            assert client.ready() is False
            with pytest.raises(NotReady):
                client.predict([[1.0]])
            if way == "grpc":
                with pytest.raises(NotReady):
                    client.health()
        with Client(url, retries=1000) as client, ThreadPoolExecutor(2) as pool:
            with pytest.raises(NotReady, match=r"after 0\.1 s"):
                client.wait_ready(timeout_s=0.1)
            waiting = pool.submit(client.predict, [[1.0]])
            becoming = pool.submit(client.wait_ready)
            gate.write_text("open")
            assert waiting.result(timeout=30).tolist() == [[1.0]]
            becoming.result(timeout=30)
            assert client.ready() is True


def test_a_full_server() -> None:
    """A server that has too much to do is Overloaded, over REST and gRPC."""
    with served("units.py:Hanging", folder=FOLDER, concurrency_limit=1) as there:

        async def run(url: str) -> None:
            async with AsyncClient(url, retries=0) as client:
                calls = [asyncio.create_task(client.predict("x")) for _ in range(2)]
                done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                assert [type(call.exception()) for call in done] == [Overloaded]
                for call in waiting:
                    call.cancel()
                await asyncio.wait(waiting)

        for url in urls(there).values():
            asyncio.run(run(url))


# ── what goes over the wire ─────────────────────────────────────────────────────────────────────────────────────────


def test_connections_are_used_again() -> None:
    """Call after call goes over one connection; many at once open more, at most the kept ones stay."""
    with scripted(reply(200)) as (server, port), Client(f"http://127.0.0.1:{port}") as client:
        for _ in range(10):
            client.predict([[1]])
        assert server.connections == 1


def test_calls_that_are_lost_are_made_again() -> None:
    """A prediction whose connection breaks, or that a gateway refuses, is asked again and answered."""
    with scripted(b"", reply(503, b"", retry_after="0"), reply(200)) as (server, port):
        with Client(f"http://127.0.0.1:{port}") as client:
            assert client.predict([[1]]).tolist() == [[1]]
        assert len(server.asked) == 3


@pytest.mark.parametrize("ask", [lambda client: client.feedback(1.0), lambda client: client.route([[1]])])
def test_what_may_count_twice_is_never_asked_again(ask: Callable[[Client], Any]) -> None:
    """A reward or a route that is lost is a fault after one attempt."""
    with scripted(b"", reply(200)) as (server, port):
        with Client(f"http://127.0.0.1:{port}", retries=5) as client, pytest.raises(RemoteError):
            ask(client)
        assert len(server.asked) == 1


def test_an_ingress_path() -> None:
    """Behind an ingress every call has the deployment's path before its own."""
    with scripted(reply(200)) as (server, port):
        with Client(f"http://127.0.0.1:{port}/seldon/ns/dep", headers={"Authorization": "Bearer t"}) as client:
            client.predict([[1]], headers={"X-Call": "ü"})
            client.feedback(1.0)
            client.metadata()
        lines = [asked.line.rpartition(" ")[0] for asked in server.asked]
        assert lines == [
            "POST /seldon/ns/dep/api/v1.0/predictions",
            "POST /seldon/ns/dep/api/v1.0/feedback",
            "GET /seldon/ns/dep/api/v1.0/metadata",
        ]
        assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer t"}
        assert server.asked[0].headers["x-call"] == "ü"
        assert "x-call" not in server.asked[1].headers


def test_an_ingress_over_grpc() -> None:
    """Behind an ingress every gRPC call names the deployment in its metadata."""
    answer = proto_codec.encode(JsonMessage(MESSAGE))
    with recording_grpc(answer) as (asked, port):
        with Client(f"grpc://127.0.0.1:{port}/seldon/ns/dep", headers={"Authorization": "Bearer t"}) as client:
            assert client.predict([[1]]).tolist() == [[1.0]]
        path, metadata = asked[0]
        assert path == "/seldon.protos.Seldon/Predict"
        expected = {"seldon": "dep", "namespace": "ns", "authorization": "Bearer t"}
        assert {name: metadata[name] for name in expected} == expected


def test_tls() -> None:
    """https and grpcs speak TLS by the rules given, and refuse a certificate that nobody vouches for."""
    trusting = Connection(tls=ssl.create_default_context(cadata=CERTIFICATE), tls_roots=CERTIFICATE.encode())
    with scripted(reply(200), tls=server_tls()) as (server, port):
        with Client(f"https://127.0.0.1:{port}", connection=trusting) as client:
            assert client.predict([[1]]).tolist() == [[1]]
        with Client(f"https://127.0.0.1:{port}", retries=0) as client, pytest.raises(RemoteError, match=r"(?i)certif"):
            client.predict([[1]])
        assert len(server.asked) == 1
    with recording_grpc(proto_codec.encode(JsonMessage(MESSAGE)), tls=True) as (_, port):
        with Client(f"grpcs://localhost:{port}", connection=trusting) as client:
            assert client.predict([[1]]).tolist() == [[1.0]]
        with Client(f"grpcs://localhost:{port}", retries=0) as client, pytest.raises(RemoteError):
            client.predict([[1]])


def test_messages_over_the_limit(component_url: str) -> None:
    """A message over the limit is refused on its way out and on its way in, and the limit is named."""
    with Client(component_url, connection=Connection(message_limit_bytes=10_000)) as client:
        with pytest.raises((PayloadError, UploadTooLarge), match="message_limit_bytes"):
            client.predict("x" * 20_000)
        assert client.predict("x" * 5000) == "x" * 5000
    with (
        scripted(reply(200, b'{"strData":"%s"}' % (b"x" * 20_000))) as (_, port),
        Client(f"http://127.0.0.1:{port}", connection=Connection(message_limit_bytes=10_000), retries=0) as client,
        pytest.raises(RemoteError, match="message_limit_bytes"),
    ):
        client.predict("x")


def test_other_servers_paths() -> None:
    """A server without /ready is asked for its health instead."""
    with scripted(reply(404), reply(200), reply(404), reply(500)) as (server, port):
        with Client(f"http://127.0.0.1:{port}") as client:
            assert client.ready() is True
            assert client.ready() is False
        assert [asked.line.split()[1] for asked in server.asked] == ["/ready", "/api/v1.0/health/status"] * 2


# ── with await and without ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("plain", "awaited"), [(Client, AsyncClient), (type(Client("h:1").tasks), AsyncTasks)], ids=["client", "tasks"]
)
def test_both_clients_have_the_same_methods(plain: type, awaited: type) -> None:
    """Each public method of the asynchronous client is there without await, with its arguments and documentation."""
    internal = {"attempt", "rest"}
    for name, method in inspect.getmembers(awaited, inspect.isfunction):
        if name.startswith("_") or name in internal:
            continue
        twin = getattr(plain, name)
        assert not inspect.iscoroutinefunction(twin)
        assert inspect.signature(twin) == inspect.signature(method) or name == "close"
        assert twin.__doc__


def test_the_same_with_await(url: str) -> None:
    """The asynchronous client answers as the plain one does, many calls side by side."""

    async def run() -> list[Any]:
        async with AsyncClient(url) as client:
            answers = await asyncio.gather(*(client.predict([[float(number)]]) for number in range(20)))
            assert await client.ready()
            return [answer.tolist() for answer in answers]

    assert asyncio.run(run()) == [[[2.0 * number]] for number in range(20)]


def test_one_loop_after_the_other(component: dict[str, str]) -> None:
    """An asynchronous client that was closed opens again in another loop."""
    client = AsyncClient(component["rest"])

    async def run() -> Any:
        async with client:
            return (await client.predict([[1.0]])).tolist()

    assert asyncio.run(run()) == asyncio.run(run()) == [[2.0]]


def test_in_a_notebook(client: Client) -> None:
    """Where an event loop runs already, the plain client answers all the same."""

    async def cell() -> Any:
        return client.predict([[1.0]]).tolist()

    assert asyncio.run(cell()) == [[2.0]]


def test_many_threads(client: Client) -> None:
    """One plain client serves many threads at once, each its own answer."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: client.predict([[number]]).tolist(), range(100)))
    assert answers == [[[2 * number]] for number in range(100)]


def test_a_copy_by_pickle_is_a_client_of_its_own(url: str) -> None:
    """A pickled client, used already or not, asks the same server with the same settings."""
    with Client(url, timeout_s=7, headers={"x-a": "b"}) as client:
        client.predict([[1.0]])
        with pickle.loads(pickle.dumps(client)) as copy:
            assert copy.predict([[1.0]]).tolist() == [[2.0]]
            assert (repr(copy), copy._inner.given) == (repr(client), client._inner.given)


FORKING = """
import os, signal, sys
from infergraph.client import Client
client = Client(sys.argv[1])
assert client.predict([[1.0]]).tolist() == [[2.0]]
child = os.fork()
if not child:
    signal.alarm(20)
    os._exit(0 if client.predict([[2.0]]).tolist() == [[4.0]] else 1)
assert os.waitpid(child, 0)[1] == 0
assert client.predict([[3.0]]).tolist() == [[6.0]]
"""


def test_a_fork_of_a_process_that_has_asked_may_ask(component: dict[str, str]) -> None:
    """Where a process forks after its first call, its child asks as well, and the parent goes on."""
    subprocess.run([sys.executable, "-c", FORKING, component["rest"]], check=True, timeout=60)


@pytest.mark.parametrize("reward", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_is_not_sent(client: Client, reward: float) -> None:
    """JSON would make it null, and a server nothing, so it is refused here."""
    with pytest.raises(PayloadError, match="finite"):
        client.feedback(reward)


def test_headers_that_grpc_cannot_carry(component: dict[str, str]) -> None:
    """A header beyond ASCII is a fault that names it over gRPC, with the call or with the client."""
    with Client(component["grpc"]) as client, pytest.raises(PayloadError, match="'x-a'"):
        client.predict([[1.0]], headers={"x-a": "中"})
    with Client(component["grpc"], headers={"x-b": "中"}) as client, pytest.raises(PayloadError, match="'x-b'"):
        client.predict([[1.0]])


def test_the_end_of_a_client(component: dict[str, str]) -> None:
    """Closing ends the client's thread; closing twice is nothing, and a later call begins again."""
    before = threading.active_count()
    client = Client(component["rest"])
    client.close()
    assert client.predict([[1.0]]).tolist() == [[2.0]]
    assert threading.active_count() == before + 1
    client.close()
    client.close()
    assert threading.active_count() == before
    assert client.predict([[1.0]]).tolist() == [[2.0]]
    client.close()


def test_nothing_happens_in_a_constructor() -> None:
    """A client of a server that is not there is made without a thread or a connection; a wrong address is told."""
    before = threading.active_count()
    client = Client("http://127.0.0.1:1")
    assert "127.0.0.1:1" in repr(client)
    assert threading.active_count() == before
    with pytest.raises(SettingsError):
        Client("nonsense://")


def test_all_faults_are_faults() -> None:
    """Whatever a server answers, the client raises nothing but faults."""
    answers = [
        reply(200, b"\xff\xfe"),
        reply(200, b""),
        reply(200, b"null"),
        reply(302, b"", location="nowhere://x"),
        reply(500, b"\x00" * 100, "application/json"),
        reply(418, b"teapot", "text/plain; charset=odd"),
        b"nonsense\r\n\r\nconnection: close",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nab",
        reply(200, b"abc", content_encoding="br"),
    ]
    for answer in answers:
        with scripted(answer) as (_, port), Client(f"http://127.0.0.1:{port}", retries=0) as client:
            with pytest.raises(Fault):
                client.predict([[1]])
            with pytest.raises(Fault):
                client.metadata()
