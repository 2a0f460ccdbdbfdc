"""One contract for every predictive unit: a component, the same component over REST and gRPC, a graph of it, and
units around it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from graph_units import node
from infergraph import assembly
from infergraph.errors import DeadlinePassed, Fault
from infergraph.graph.executor import Graph, GraphOptions
from infergraph.graph.meta import MetaMode
from infergraph.graph.remote.remote import EitherUnit, GrpcUnit, RestUnit
from infergraph.graph.resilience import Around, Retried, Timed
from infergraph.graph.split import Share, Split
from infergraph.message import (
    Context,
    Encoding,
    Feedback,
    FeedbackContent,
    Message,
    Method,
    PredictiveUnit,
    Request,
    Transport,
)
from infergraph.net.retry import is_refused
from infergraph.observe.shared_metrics import SharedMetrics
from infergraph.settings import Settings
from infergraph.unit_source import source_of
from infergraph.wire import proto_codec
from infergraph.wire.json_codec import JsonMessage
from infergraph.wire.proto_codec import ProtoMessage
from served import served

FOLDER = Path(__file__).parent
ALL = frozenset(Method)
OF_A_GRAPH = frozenset({Method.PREDICT, Method.SEND_FEEDBACK})
Make: Any = Callable[[ExitStack, Path, str], PredictiveUnit]


class Kind(NamedTuple):
    """An implementation: how to make one around a class of `units.py`, and the methods it has."""

    make: Make
    methods: frozenset[Method] = ALL
    is_remote: bool = False


def component(stack: ExitStack, folder: Path, kind: str, **given: Any) -> PredictiveUnit:
    shared_metrics = SharedMetrics(folder, "0")
    stack.callback(shared_metrics.close)
    source = source_of(f"{FOLDER / 'units.py'}:{kind}")
    return assembly.build(source, Settings(data_dir=str(folder), **given), shared_metrics)


def batched(stack: ExitStack, folder: Path, kind: str) -> PredictiveUnit:
    return component(stack, folder, kind, batch_rows_limit=16, batch_wait_s=0.001)


def _served(stack: ExitStack, folder: Path, kind: str) -> Any:
    return stack.enter_context(served(f"units.py:{kind}", folder=FOLDER, data_dir=str(folder)))


def rest(stack: ExitStack, folder: Path, kind: str) -> PredictiveUnit:
    return RestUnit("u", "127.0.0.1", _served(stack, folder, kind).http_port)


def over_grpc(stack: ExitStack, folder: Path, kind: str) -> PredictiveUnit:
    return GrpcUnit("u", "127.0.0.1", _served(stack, folder, kind).grpc_port)


def either(stack: ExitStack, folder: Path, kind: str) -> PredictiveUnit:
    there = _served(stack, folder, kind)
    return EitherUnit(RestUnit("u", "127.0.0.1", there.http_port), GrpcUnit("u", "127.0.0.1", there.grpc_port))


def graph_in(mode: MetaMode, make: Make) -> Make:
    def graph(stack: ExitStack, folder: Path, kind: str) -> PredictiveUnit:
        return Graph(node("u"), {"u": make(stack, folder, kind)}, GraphOptions(meta=mode))

    return graph


def around(stack: ExitStack, folder: Path, kind: str) -> PredictiveUnit:
    return Retried(Timed(Around(component(stack, folder, kind)), 30.0), 1, 0.0, rng=random.Random(1))


def split(stack: ExitStack, folder: Path, kind: str) -> PredictiveUnit:
    return Split("d", [Share(component(stack, folder, kind))], random.Random(1))


KINDS = {
    "component": Kind(component),
    "component that joins requests": Kind(batched),
    "rest": Kind(rest, is_remote=True),
    "grpc": Kind(over_grpc, is_remote=True),
    "either": Kind(either, is_remote=True),
    "graph of a component": Kind(graph_in(MetaMode.MERGE, component), OF_A_GRAPH),
    "graph of a rest node": Kind(graph_in(MetaMode.PASS, rest), OF_A_GRAPH, is_remote=True),
    "graph of a grpc node, merging": Kind(graph_in(MetaMode.MERGE, over_grpc), OF_A_GRAPH, is_remote=True),
    "units around": Kind(around),
    "split of one": Kind(split),
}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@contextmanager
def unit_of(kind: Kind, folder: Path, of: str = "Worker") -> Iterator[PredictiveUnit]:
    with ExitStack() as stack:
        yield kind.make(stack, folder, of)


def ask(kind: Kind, folder: Path, *asked: tuple[Method, Request], of: str = "Worker", **context: Any) -> list[Any]:
    """The answers of a fresh unit to several requests in turn; a fault stands in its place."""

    async def run(unit: PredictiveUnit) -> list[Any]:
        await unit.start()
        try:
            answers: list[Any] = []
            for method, request in asked:
                try:
                    answers.append(await unit.answer(method, request, Context(**context)))
                except Fault as fault:
                    answers.append(fault)
            return answers
        finally:
            await unit.stop()

    with unit_of(kind, folder, of) as unit:
        return asyncio.run(run(unit))


def tensor(*rows: list[float]) -> Message:
    return Message.of(np.array(rows), Encoding.TENSOR)


def listed(message: Message) -> Any:
    payload = message.payload
    return payload.tolist() if isinstance(payload, np.ndarray) else payload


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (tensor([1.0, 2.5]), [[2.0, 5.0]]),
        (Message.of(np.array([[1, 2], [3, 4]]), Encoding.NDARRAY), [[2, 4], [6, 8]]),
        (Message.of("héllo 你好", Encoding.STR), "héllo 你好"),
        (Message.of(b"\x00\xff\n", Encoding.BIN), b"\x00\xff\n"),
        (Message.of({"a": [1, None, {"b": "c"}]}, Encoding.JSON), {"a": [1, None, {"b": "c"}]}),
    ],
    ids=["tensor", "ndarray", "str", "bin", "json"],
)
def test_predict(kind: Kind, tmp_path: Path, message: Message, expected: Any) -> None:
    """Every payload comes back as the component made it, in the encoding of the request."""
    (answer,) = ask(kind, tmp_path, (Method.PREDICT, message))
    assert listed(answer) == expected
    assert answer.encoding is message.encoding


@pytest.mark.parametrize("form", ["json", "proto"])
def test_messages_off_the_wire(kind: Kind, tmp_path: Path, form: str) -> None:
    """A message may come in either wire form, whatever the unit speaks itself."""
    wire = {
        "json": JsonMessage(b'{"data":{"names":["a","b"],"ndarray":[[1.5,2]]}}'),
        "proto": ProtoMessage(proto_codec.encode(tensor([1.5, 2.0]))),
    }
    (answer,) = ask(kind, tmp_path, (Method.PREDICT, wire[form]))
    assert listed(answer) == [[3.0, 4.0]]
    assert list(answer.names) == ["one", "two"]


def test_all_methods(kind: Kind, tmp_path: Path) -> None:
    """Each method reaches the component's method of that name, with its own kind of request."""
    asked: dict[Method, tuple[Request, Any]] = {
        Method.TRANSFORM_INPUT: (tensor([1.0]), [[2.0]]),
        Method.TRANSFORM_OUTPUT: (tensor([1.0]), [[0.0]]),
        Method.ROUTE: (tensor([1.0]), [[1.0]]),
        Method.AGGREGATE: ([tensor([1.0, 2.0]), tensor([3.0, 4.0])], [[4.0, 6.0]]),
        Method.SEND_FEEDBACK: (Feedback(FeedbackContent(tensor([1.0]), None, 0.5, None)), [0.5]),
    }
    expected = {method: pair for method, pair in asked.items() if method in kind.methods}
    answers = ask(kind, tmp_path, *((method, request) for method, (request, _) in expected.items()))
    for (method, (_, result)), answer in zip(expected.items(), answers, strict=True):
        assert not isinstance(answer, Fault), (method, answer)
        assert listed(answer) == result, method


def test_methods_that_are_missing(kind: Kind, tmp_path: Path) -> None:
    """A unit without a method says so, and is not taken to have failed."""
    missing = [method for method in (Method.ROUTE, Method.AGGREGATE, *Method) if method not in kind.methods]
    if not missing:
        missing, of = [Method.ROUTE], "Slow"
    else:
        of = "Worker"
    (fault,) = ask(kind, tmp_path, (missing[0], tensor([1.0])), of=of)
    assert isinstance(fault, Fault)
    assert is_refused(fault)


def test_meta(kind: Kind, tmp_path: Path) -> None:
    """Tags and id of the request travel on, and the component's own tags are with them."""
    message = Message.of(np.array([[1.0]]), Encoding.TENSOR, meta={"puid": "p-7", "tags": {"a": "b"}})
    (answer,) = ask(kind, tmp_path, (Method.PREDICT, message))
    assert answer.meta["puid"] == "p-7"
    assert answer.meta["tags"] == {"a": "b", "by": "worker"}


def test_failures(kind: Kind, tmp_path: Path) -> None:
    """User code that raises is a fault that says what it said and counts as a failure; the unit lives on."""
    fault, answer = ask(
        kind, tmp_path, (Method.PREDICT, Message.of("fail", Encoding.STR)), (Method.PREDICT, tensor([1.0]))
    )
    assert isinstance(fault, Fault)
    assert not is_refused(fault)
    told = str(fault) + (getattr(fault, "body", None) or b"").decode() if kind.is_remote else str(fault)
    assert "told to fail" in told
    assert listed(answer) == [[2.0]]


def test_requests_that_cannot_be_read(kind: Kind, tmp_path: Path) -> None:
    """A request that is no message is the caller's mistake, not the unit's failure."""
    (fault,) = ask(kind, tmp_path, (Method.PREDICT, JsonMessage(b'{"data":{"tensor":{"shape":[2],"values":[1]}}}')))
    assert isinstance(fault, Fault)
    assert is_refused(fault)


@pytest.mark.parametrize("transport", list(Transport))
def test_context_of_any_edge(kind: Kind, tmp_path: Path, transport: Transport) -> None:
    """Headers and ids of any edge do not hinder the call, not even those that belong to another protocol."""
    headers = (
        (b"content-type", b"application/grpc"), (b"content-length", b"99999"), (b"te", b"trailers"),
        (b"connection", b"close"), (b"grpc-timeout", b"1S"), (b"x-bin", b"\r\n\x00\xff"), (b"x-text", "é".encode()),
        (b"transfer-encoding", b"chunked"), (b"host", b"elsewhere"), (b"user-agent", b"me/1"),
    )  # fmt: skip
    (answer,) = ask(kind, tmp_path, (Method.PREDICT, tensor([1.0])), transport=transport, headers=headers, puid="p")
    assert not isinstance(answer, Fault), answer
    assert listed(answer) == [[2.0]]


def test_many_at_once(kind: Kind, tmp_path: Path) -> None:
    """Requests in work at once each get their own answer."""

    async def run(unit: PredictiveUnit) -> list[Any]:
        await unit.start()
        try:
            asked = [unit.answer(Method.PREDICT, tensor([float(n)]), Context()) for n in range(40)]
            return [listed(answer) for answer in await asyncio.gather(*asked)]
        finally:
            await unit.stop()

    with unit_of(kind, tmp_path, "Slow") as unit:
        assert asyncio.run(run(unit)) == [[[float(n)]] for n in range(40)]


def test_cancellation(kind: Kind, tmp_path: Path) -> None:
    """A cancelled request ends at once with a cancellation, and the unit can be stopped."""

    async def run(unit: PredictiveUnit) -> None:
        await unit.start()
        asking = asyncio.ensure_future(unit.answer(Method.PREDICT, tensor([1.0]), Context()))
        await asyncio.wait([asking], timeout=0.05)
        assert not asking.done()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await unit.stop()

    with unit_of(kind, tmp_path, "Hanging") as unit:
        asyncio.run(asyncio.wait_for(run(unit), 20))


def test_readiness_health_and_metadata(kind: Kind, tmp_path: Path) -> None:
    """A started unit is ready and healthy, tells its metadata, and can be stopped twice."""

    async def run(unit: PredictiveUnit) -> Any:
        await unit.start()
        try:
            assert await unit.ready()
            assert (await unit.health(Context())).payload == "healthy"
            return await unit.metadata()
        finally:
            await unit.stop()
            await unit.stop()

    with unit_of(kind, tmp_path) as unit:
        metadata = dict(asyncio.run(run(unit)))
    metadata = metadata["models"]["u"] if "models" in metadata else metadata
    assert (metadata["name"], metadata["versions"], metadata["platform"]) == ("worker", ["v1"], "test")


@pytest.mark.parametrize("remote", [name for name, kind in KINDS.items() if kind.is_remote])
def test_deadline_of_remote_units(tmp_path: Path, remote: str) -> None:
    """A remote unit answers by the request's deadline or says that it passed."""

    async def run(unit: PredictiveUnit) -> None:
        await unit.start()
        try:
            deadline = asyncio.get_running_loop().time() + 0.05
            with pytest.raises(DeadlinePassed):
                await unit.answer(Method.PREDICT, tensor([1.0]), Context(deadline=deadline))
        finally:
            await unit.stop()

    with unit_of(KINDS[remote], tmp_path, "Hanging") as unit:
        asyncio.run(asyncio.wait_for(run(unit), 20))


def test_unreachable_nodes() -> None:
    """A node that nobody serves is not ready, and a call to it is a fault that names its address."""

    async def run() -> None:
        for unit in (RestUnit("u", "127.0.0.1", 1), GrpcUnit("u", "127.0.0.1", 1)):
            assert not await unit.ready()
            with pytest.raises(Fault, match=r"127\.0\.0\.1:1") as caught:
                await unit.answer(Method.PREDICT, tensor([1.0]), Context())
            assert caught.value.node == "u"
            await unit.stop()

    asyncio.run(run())
