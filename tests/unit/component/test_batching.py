"""Predictions joined into one call: what is joined, what comes back, and what a failure costs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infergraph.assembly import components
from infergraph.errors import ComponentError, PayloadError
from infergraph.message import Context, Encoding, Message, Method, PredictiveUnit, Transport
from infergraph.observe.shared_metrics import PrivateMetrics
from infergraph.settings import Execution, Settings
from infergraph.wire import json_codec, proto_codec
from infergraph.wire.json_codec import JsonMessage
from infergraph.wire.proto_codec import ProtoMessage


class Gated:
    """Doubles its rows; the first call waits until it is let go. Remembers what each call was given."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.entered = threading.Event()
        self.calls: list[tuple[Any, Any, Any]] = []

    def predict(self, X: Any, names: Any, meta: Any = None) -> Any:
        self.calls.append((np.array(X), names, meta))
        self.entered.set()
        assert self.go.wait(30)
        return self.result(X)

    def result(self, X: Any) -> Any:
        return X * 2

    def tags(self) -> dict[str, Any]:
        return {"calls": len(self.calls)}


class Picky(Gated):
    """Raises where a row is negative."""

    def result(self, X: Any) -> Any:
        if (X < 0).any():
            raise ValueError("a negative row")
        return X * 2


class Total(Gated):
    """One row whatever it is asked: the sum."""

    def result(self, X: Any) -> Any:
        return X.sum(axis=0, keepdims=True)


class Labels(Gated):
    """A list of texts and numbers for each row."""

    def result(self, X: Any) -> Any:
        return [["row", float(row[0])] for row in X]


@asynccontextmanager
async def batched(user: Any, **given: Any) -> AsyncIterator[PredictiveUnit]:
    chosen = Settings(**{"batch_rows_limit": 8, "execution": Execution.THREAD} | given)
    unit = components.wrap(lambda: user, chosen, PrivateMetrics(), name="model", environment={})
    await unit.start()
    try:
        yield unit
    finally:
        await unit.stop()


def tensor(*rows: list[float], **members: Any) -> JsonMessage:
    values = [value for row in rows for value in row]
    document = {"data": {"tensor": {"shape": [len(rows), len(rows[0])], "values": values}, **members}}
    return JsonMessage.of_document(document)


def ndarray(*rows: list[Any], meta: Any = None, names: Any = ()) -> JsonMessage:
    document: dict[str, Any] = {"data": {"names": list(names), "ndarray": list(rows)}}
    if meta is not None:
        document["meta"] = meta
    return JsonMessage.of_document(document)


def ask(unit: PredictiveUnit, message: Message, method: Method = Method.PREDICT) -> asyncio.Task[Message]:
    return asyncio.ensure_future(unit.answer(method, message, Context(Transport.REST)))


async def behind_one(user: Any, unit: PredictiveUnit, *messages: Message) -> list[Any]:
    """Answers (or what was raised) to `messages` that came in while the unit worked on something else."""
    first = ask(unit, ndarray([0.0, 0.0]))
    await asyncio.to_thread(user.entered.wait, 30)
    others = [ask(unit, message) for message in messages]
    for _ in range(3):
        await asyncio.sleep(0)
    user.go.set()
    await first
    return await asyncio.gather(*others, return_exceptions=True)


def rows_of(user: Any) -> list[int]:
    return [len(given) for given, _, _ in user.calls]


def test_what_comes_in_meanwhile_is_one_call() -> None:
    """Requests that wait for a busy component are one call, and each gets its own rows."""

    async def run() -> None:
        user = Gated()
        async with batched(user) as unit:
            answers = await behind_one(
                user, unit, ndarray([1.0, 2.0]), ndarray([3.0, 4.0], [5.0, 6.0]), ndarray([7.0, 8.0])
            )
        assert rows_of(user) == [1, 4]
        assert [np.asarray(answer.payload).tolist() for answer in answers] == [
            [[2.0, 4.0]],
            [[6.0, 8.0], [10.0, 12.0]],
            [[14.0, 16.0]],
        ]
        assert {answer.encoding for answer in answers} == {Encoding.NDARRAY}
        assert [answer.names for answer in answers] == [("t:0", "t:1")] * 3

    asyncio.run(run())


def test_a_joined_answer_reads_as_one_asked_alone() -> None:
    """Whatever the spelling, the bytes of an answer do not tell whether its request was joined."""

    async def run(user: Any, limit: int, *messages: Message) -> list[bytes]:
        user.tags = dict  # how many calls it took is another matter
        async with batched(user, batch_rows_limit=limit) as unit:
            answers = await behind_one(user, unit, *messages)
        assert len(user.calls) == (1 + len(messages) if limit == 0 else 2)
        proto = isinstance(messages[0], ProtoMessage)
        return [(proto_codec.encode if proto else json_codec.encode)(answer) for answer in answers]

    def both(user: type, *messages: Message) -> None:
        assert asyncio.run(run(user(), 8, *messages)) == asyncio.run(run(user(), 0, *messages))

    def over_grpc(message: Message) -> ProtoMessage:
        return ProtoMessage(proto_codec.encode(message))

    puids = [{"puid": "a", "tags": {"t": [1]}}, {"puid": "b", "tags": {"t": [1]}}]
    for user in (Gated, Labels):
        both(user, ndarray([1, 2]), ndarray([3, 4]))
        both(
            user, ndarray([1.5, 2], meta=puids[0], names=["x", "y"]), ndarray([3.5, 4], meta=puids[1], names=["x", "y"])
        )
        both(user, tensor([1.0, 2.0], [2.0, 3.0]), tensor([3.0, 4.0]))
        both(user, over_grpc(tensor([1.0, 2.0])), over_grpc(tensor([3.0, 4.0])))
        both(user, over_grpc(ndarray([1.0, 2.0])), over_grpc(ndarray([3.0, 4.0])))


def test_only_like_is_joined_with_like() -> None:
    """Another width, element type, spelling, names or tags: another call; no request changes another's answer."""
    unlike: list[Message] = [
        ndarray([1.0, 2.0]),
        ndarray([1.0, 2.0, 3.0]),
        ndarray([1, 2]),
        ndarray([1.0, 2.0], names=["x", "y"]),
        ndarray([1.0, 2.0], meta={"tags": {"a": 1}}),
        tensor([1.0, 2.0]),
        ndarray(["a", "b"]),
        JsonMessage.of_document({"data": {"ndarray": [1.0, 2.0]}}),
        JsonMessage.of_document({"jsonData": [[1.0, 2.0]]}),
    ]

    async def run() -> None:
        user = Gated()
        async with batched(user) as unit:
            await behind_one(user, unit, *unlike, ndarray([9.0, 9.0]))
        assert len(user.calls) == 1 + len(unlike)
        assert sorted(rows_of(user))[-1] == 2
        tagged = [meta for _, _, meta in user.calls if meta and meta.get("tags")]
        assert tagged == [{"tags": {"a": 1}}]

    asyncio.run(run())


def test_no_call_has_more_rows_than_the_limit() -> None:
    """A joined call never exceeds the limit; a request that alone has more goes alone; all are answered."""

    async def run() -> None:
        user = Gated()
        many = [ndarray(*([[float(n), 0.0]] * 3)) for n in range(5)]
        async with batched(user) as unit:
            answers = await behind_one(user, unit, *many, ndarray(*([[1.0, 1.0]] * 20)))
        assert [np.asarray(answer.payload)[0, 0] for answer in answers[:5]] == [0.0, 2.0, 4.0, 6.0, 8.0]
        assert len(np.asarray(answers[5].payload)) == 20
        assert sorted(rows_of(user)) == [1, 3, 6, 6, 20]

    asyncio.run(run())


def test_only_the_guilty_request_fails() -> None:
    """A joined call that raises is made again for each request alone; the others are answered."""

    async def run() -> None:
        user = Picky()
        async with batched(user) as unit:
            answers = await behind_one(user, unit, ndarray([1.0, 1.0]), ndarray([-1.0, 1.0]), ndarray([2.0, 2.0]))
        assert isinstance(answers[1], ComponentError)
        assert answers[1].text == "a negative row"
        assert [np.asarray(answers[at].payload).tolist() for at in (0, 2)] == [[[2.0, 2.0]], [[4.0, 4.0]]]

    asyncio.run(run())


def test_a_component_that_does_not_answer_row_by_row(caplog: pytest.LogCaptureFixture) -> None:
    """Where an answer has not a row for each row, each request is asked alone from then on, and the log says so."""

    async def run() -> None:
        user = Total()
        async with batched(user) as unit:
            answers = await behind_one(user, unit, ndarray([1.0, 1.0]), ndarray([2.0, 2.0]))
            assert [np.asarray(answer.payload).tolist() for answer in answers] == [[[1.0, 1.0]], [[2.0, 2.0]]]
            user.go.clear()
            user.entered.clear()
            before = len(user.calls)
            await behind_one(user, unit, ndarray([1.0, 1.0]), ndarray([2.0, 2.0]))
            assert rows_of(user)[before:] == [1, 1, 1]

    asyncio.run(run())
    assert "joined no more" in caplog.text


def test_who_has_gone_is_not_asked_for() -> None:
    """A request whose caller gave up while it waited reaches the component no more."""

    async def run() -> None:
        user = Gated()
        async with batched(user) as unit:
            first = ask(unit, ndarray([0.0, 0.0]))
            await asyncio.to_thread(user.entered.wait, 30)
            gone, stays = ask(unit, ndarray([1.0, 1.0])), ask(unit, ndarray([2.0, 2.0]))
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.wait([gone])
            user.go.set()
            await asyncio.gather(first, stays)
        assert rows_of(user) == [1, 1]

    asyncio.run(run())


def test_an_idle_component_waits_if_told_to() -> None:
    """With `batch_wait_s` requests that come one after the other share a call, which goes early once it is full."""

    async def run() -> None:
        user = Gated()
        user.go.set()
        async with batched(user, batch_wait_s=30.0, batch_rows_limit=4) as unit:
            await asyncio.gather(*(ask(unit, ndarray([float(n), 0.0])) for n in range(4)))
            assert rows_of(user) == [4]
        user.calls.clear()
        async with batched(user, batch_wait_s=0.05, batch_rows_limit=4) as unit:
            await asyncio.gather(*(ask(unit, ndarray([float(n), 0.0])) for n in range(3)))
            assert rows_of(user) == [3]

    asyncio.run(run())


def test_what_cannot_be_read_is_the_components_to_tell() -> None:
    """A message that cannot be decoded is refused as without joining, with the component named."""

    async def run() -> None:
        async with batched(Gated()) as unit:
            with pytest.raises(PayloadError) as raised:
                await ask(unit, JsonMessage(b'{"data":{"tensor":{"shape":[2],"values":[1]}}}'))
            assert raised.value.node == "model"

    asyncio.run(run())


def test_calls_side_by_side() -> None:
    """With several threads several joined calls run at once."""

    class Meeting:
        """Answers once two calls are in it."""

        def __init__(self) -> None:
            self.met = threading.Barrier(2, timeout=30)

        def predict(self, X: Any) -> Any:
            self.met.wait()
            return X

    async def run() -> None:
        async with batched(Meeting(), threads=2) as unit:
            await asyncio.gather(*(ask(unit, ndarray([1.0, 2.0])) for _ in range(2)))

    asyncio.run(run())


@settings(max_examples=60)
@given(
    limit=st.integers(1, 9),
    wait_s=st.sampled_from([0.0, 0.001]),
    lanes=st.integers(1, 3),
    sizes=st.lists(st.tuples(st.integers(0, 6), st.sampled_from([1, 10]), st.booleans()), max_size=30),
)
def test_every_caller_gets_its_own_rows(
    limit: int, wait_s: float, lanes: int, sizes: list[tuple[int, int, bool]]
) -> None:
    """In whatever mixture they come, each caller gets what it would get alone, and no call exceeds the limit."""

    class Doubling:
        def __init__(self) -> None:
            self.rows: list[int] = []

        def predict(self, X: Any) -> Any:
            self.rows.append(len(X))
            return X * 2

    async def run() -> None:
        user = Doubling()
        async with batched(user, batch_rows_limit=limit, batch_wait_s=wait_s, threads=lanes) as unit:
            asked = [
                np.arange(n, n + rows * columns, dtype=float if floats else int).reshape(rows, columns)
                for n, (rows, columns, floats) in enumerate(sizes)
            ]
            answers = await asyncio.gather(*(ask(unit, Message.of(array, Encoding.TENSOR)) for array in asked))
        for array, answer in zip(asked, answers, strict=True):
            assert np.array_equal(answer.payload, array * 2)
            assert answer.payload.dtype == array.dtype or not array.size
        assert sum(user.rows) == sum(len(array) for array in asked)
        assert max(user.rows, default=0) <= max(limit, max((len(array) for array in asked), default=0))

    asyncio.run(run())
