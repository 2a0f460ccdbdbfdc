"""Requests of the open inference protocol joined into one call: which are, what comes back, and what failures cost."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infergraph.message import Encoding, Message
from infergraph.wire.v2 import json, messages
from infergraph.wire.v2.messages import InferMessage
from infergraph.wire.v2.records import InferRequest, RequestedOutput
from infergraph.wire.v2.tensors import Datatype, Tensor, of_elements
from unit.component.test_batching import Gated, ask, batched, behind_one, ndarray


def request(*inputs: Tensor, **more: Any) -> InferMessage:
    asked = InferRequest(inputs=inputs, **more)
    return InferMessage(b"", lambda _: asked)


def fp32(*rows: list[float], name: str = "x", **parameters: Any) -> Tensor:
    return Tensor(name, Datatype.FP32, np.array(rows, dtype=np.float32), parameters)


def texts(*elements: bytes, name: str = "t", **parameters: Any) -> Tensor:
    return Tensor(name, Datatype.BYTES, of_elements(elements), parameters)


def ints(*elements: int, name: str = "n") -> Tensor:
    return Tensor(name, Datatype.INT64, np.array(elements))


class Named(Gated):
    """Gives a dict of its inputs back, the rows doubled."""

    v2_input = "dict"

    def predict(self, X: Any, names: Any, meta: Any = None) -> Any:
        self.calls.append((X, names, meta))
        self.entered.set()
        assert self.go.wait(30)
        return self.result(X)

    def result(self, X: Any) -> Any:
        if not isinstance(X, dict):
            return X
        return {name: value * 2 if np.asarray(value).dtype.kind in "if" else value for name, value in X.items()}


def joined_sizes(user: Gated) -> list[int]:
    """The rows of the calls but the first, which keeps the component busy."""
    return [len(next(iter(given.values())) if isinstance(given, dict) else given) for given, _, _ in user.calls[1:]]


async def asked(user: Gated, *given: Message, **how: Any) -> list[Any]:
    async with batched(user, **how) as unit:
        return await behind_one(user, unit, *given)


class Array(Gated):
    """Doubles arrays; the first request, in Seldon's protocol, only keeps it busy."""


def test_equal_requests_are_one_call_and_each_gets_its_rows() -> None:
    """Tensors are joined along the first axis, dtype and names kept, and each answer has its own id."""
    user = Array()
    answers = asyncio.run(asked(user, request(fp32([1, 2]), id="a"), request(fp32([3, 4], [5, 6]), id="b")))
    assert joined_sizes(user) == [3]
    assert user.calls[1][0].dtype == np.float32
    assert [(answer.meta["id"], answer.meta["puid"]) for answer in answers] == [("a", "a"), ("b", "b")]
    found = [messages.tensors_of(answer).tensors[0].array.tolist() for answer in answers]
    assert found == [[[2, 4]], [[6, 8], [10, 12]]]
    assert {answer.encoding for answer in answers} == {Encoding.TENSORS}


def test_several_tensors_of_several_kinds_are_joined() -> None:
    """Numbers, texts and one-axis tensors of equally many rows."""
    user = Named()
    one = request(fp32([1, 2]), texts(b"a"), ints(7))
    two = request(fp32([3, 4], [5, 6]), texts(b"b", "ü".encode()), ints(8, 9))
    first, second = asyncio.run(asked(user, one, two))
    assert joined_sizes(user) == [3]
    found = {tensor.name: tensor.array.tolist() for tensor in messages.tensors_of(second).tensors}
    assert found == {"x": [[6, 8], [10, 12]], "t": ["b", "ü"], "n": [16, 18]}
    assert messages.tensors_of(first).tensors[1].array.tolist() == ["a"]


UNLIKE = {
    "name": request(fp32([1, 2], name="y")),
    "datatype": request(Tensor("x", Datatype.FP64, np.array([[1.0, 2.0]]))),
    "row shape": request(fp32([1, 2, 3])),
    "axes": request(Tensor("x", Datatype.FP32, np.ones((1, 2, 1), dtype=np.float32))),
    "content type": request(fp32([1, 2], content_type="np")),
    "parameters": request(fp32([1, 2]), parameters={"mine": 1}),
    "outputs": request(fp32([1, 2]), outputs=[RequestedOutput("output-0")]),
    "version": request(fp32([1, 2]), model_version="2"),
    "protocol": ndarray([1.0, 2.0]),
    "tensors": request(fp32([1, 2]), ints(1)),
    "rows of its own": request(fp32([1, 2], [1, 2]), ints(1)),
    "no rows": request(Tensor("x", Datatype.FP32, np.ones((0, 2), dtype=np.float32))),
    "no axes": request(Tensor("x", Datatype.FP32, np.float32(1).reshape(()))),
}


@pytest.mark.parametrize("unlike", UNLIKE)
def test_only_like_is_joined_with_like(unlike: str) -> None:
    """Another name, datatype, further axis, content type, parameter, requested output or protocol: another call."""
    user = Array()
    user.result = lambda X: 1  # type: ignore[method-assign]
    asyncio.run(asked(user, request(fp32([3, 4])), UNLIKE[unlike]))
    assert len(user.calls) == 3


@pytest.mark.parametrize("other", [texts(b"\xff"), texts(b"1", content_type="json")])
def test_elements_that_would_be_read_differently_are_not_joined(other: Tensor) -> None:
    """Bytes beside texts would make bytes of the texts; JSON of one element is no list."""
    user = Named()
    asyncio.run(
        asked(user, request(texts(b"1", content_type=other.parameters.get("content_type", "np"))), request(other))
    )
    assert len(user.calls) == 3


def test_inputs_that_metadata_declare_as_json_are_not_joined() -> None:
    """A content type that the component declares counts like one of the request."""
    user = Array()
    declared = {"name": "t", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "json"}}
    user.init_metadata = lambda: {"inputs": [declared]}  # type: ignore[attr-defined]
    user.result = lambda X: 1  # type: ignore[method-assign]
    asyncio.run(asked(user, request(texts(b"{}")), request(texts(b"{}"))))
    assert len(user.calls) == 3


def test_an_answer_without_rows_turns_joining_off() -> None:
    """Each is asked alone then, and answered as ever."""
    user = Array()
    user.result = lambda X: X.sum(axis=0, keepdims=True)  # type: ignore[method-assign]
    answers = asyncio.run(asked(user, request(fp32([1, 2])), request(fp32([3, 4]))))
    assert [messages.tensors_of(answer).tensors[0].array.tolist() for answer in answers] == [[[1, 2]], [[3, 4]]]
    assert joined_sizes(user) == [2, 1, 1]


def test_only_the_request_that_fails_fails() -> None:
    """A joined call that raises is repeated request by request."""

    class Picky(Array):
        def result(self, X: Any) -> Any:
            if (X < 0).any():
                raise ValueError("a negative row")
            return X * 2

    good, bad = asyncio.run(asked(Picky(), request(fp32([1, 2])), request(fp32([-1, 2]))))
    assert messages.tensors_of(good).tensors[0].array.tolist() == [[2, 4]]
    assert "a negative row" in str(bad)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1, max_size=4))
def test_a_joined_answer_is_written_as_one_asked_alone(requests: list[list[int]]) -> None:
    """The bytes of an answer do not tell whether its request was joined."""
    given_rows = [fp32(*([float(value), 1.0, 2.0] for value in values)) for values in requests]

    def written(limit: int) -> list[bytes]:
        user = Array()
        user.tags = dict  # type: ignore[method-assign] # how many calls it took is another matter
        given_requests = [request(tensor, id=str(place)) for place, tensor in enumerate(given_rows)]
        answers = asyncio.run(asked(user, *given_requests, batch_rows_limit=limit))
        return [
            json.encode(
                messages.response_of(answer, message.read(), name="m", version="", declared=""), message.read()
            ).head
            for answer, message in zip(answers, given_requests, strict=True)
        ]

    assert written(64) == written(0)


def test_what_the_other_protocol_shows_does_not_count() -> None:
    """Answers without rows in Seldon's protocol, as a dict is one there, leave the joining of tensors on."""

    class Dict(Array):
        def result(self, X: Any) -> Any:
            return {"twice": X * 2}

    async def run() -> list[int]:
        user = Dict()
        async with batched(user) as unit:
            await behind_one(user, unit, ndarray([1.0, 2.0]), ndarray([3.0, 4.0]))
            user.go.clear()
            user.entered.clear()
            before = len(user.calls)
            busy = ask(unit, request(fp32([0, 0])))
            await asyncio.to_thread(user.entered.wait, 30)
            others = [ask(unit, request(fp32([1, 2]))), ask(unit, request(fp32([3, 4])))]
            await asyncio.sleep(0)
            user.go.set()
            await asyncio.gather(busy, *others)
        return [len(rows) for rows, _, _ in user.calls[before:]]

    assert asyncio.run(run()) == [1, 2]
