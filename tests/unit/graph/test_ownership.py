"""An object has one owner: nodes that change what they were handed answer as they do behind a wire."""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph_units import node
from infergraph.assembly import components
from infergraph.graph.executor import Graph, GraphOptions
from infergraph.graph.meta import MetaMode
from infergraph.graph.spec import Logger, Node
from infergraph.message import (
    Around,
    Context,
    Feedback,
    FeedbackContent,
    Message,
    Method,
    PredictiveUnit,
    Request,
)
from infergraph.observe.shared_metrics import PrivateMetrics
from infergraph.settings import Execution, Settings
from infergraph.wire import json_codec, proto_codec
from infergraph.wire.json_codec import JsonFeedback, JsonMessage
from infergraph.wire.json_text import JsonOptions
from infergraph.wire.proto_codec import ProtoFeedback, ProtoMessage
from infergraph.wire.v2 import hop, messages
from infergraph.wire.v2 import json as v2_json
from infergraph.wire.v2.messages import InferMessage
from infergraph.wire.v2.records import BINARY_OUTPUT, InferRequest, Spelling

_LITERAL = JsonOptions(nan="literal")  # type: ignore[arg-type]
TENSOR_RESULTS = ("new", "input", "view", "kept", "kept view", "list", "dict", "text", "arrays", "kept arrays", "bytes")
RESULTS = ("new", "input", "view", "kept", "kept view", "list", "kept list", "dict", "kept dict", "objects", "text")
Wrap = Callable[[PredictiveUnit], PredictiveUnit]


class JsonHop(Around):
    """A unit behind JSON: what it is asked and what it answers are bytes in between."""

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        asked: Request
        if isinstance(request, Feedback):
            asked = JsonFeedback(json_codec.encode_feedback(request))
        elif isinstance(request, Message):
            asked = JsonMessage(json_codec.encode(request, _LITERAL))
        else:
            asked = json_codec.decode_messages(json_codec.encode_messages(request, _LITERAL))
        answer = await self.unit.answer(method, asked, context)
        return JsonMessage(json_codec.encode(answer, _LITERAL))


class ProtoHop(Around):
    """A unit behind protobuf."""

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        asked: Request
        if isinstance(request, Feedback):
            asked = ProtoFeedback(proto_codec.encode_feedback(request))
        elif isinstance(request, Message):
            asked = ProtoMessage(proto_codec.encode(request))
        else:
            asked = proto_codec.decode_messages(proto_codec.encode_messages(request))
        return ProtoMessage(proto_codec.encode(await self.unit.answer(method, asked, context)))


class TensorHop(Around):
    """A unit behind the open inference protocol with raw tensors; a router is asked as it is."""

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        if method is Method.ROUTE or isinstance(request, Feedback):
            return await self.unit.answer(method, request, context)
        first = request if isinstance(request, Message) else request[0]
        asked: Request = _received(request) if isinstance(request, Message) else _children(request)
        answer = await self.unit.answer(method, asked, context)
        given = InferRequest(inputs=(), parameters={BINARY_OUTPUT: True})
        response = messages.response_of(answer, given, name="m", version="", declared="", is_hop=True)
        head, blobs, length = v2_json.encode(response, given, is_hop=True)
        spelling = Spelling(header_length=None if length is None else str(length), form=response.form)
        return hop.rest_answer(b"".join((head, *blobs)), spelling, first)


def _received(message: Message) -> InferMessage:
    tensors = messages.tensors_of(message)
    asked = hop.request_of(message, tensors, hop.input_name(message) or "input-0" if tensors.is_unnamed else "", "")
    sent = hop.encode_rest(asked, tensors.form, is_binary=True, asks_binary=True)
    length = sent.spelling.header_length
    return InferMessage(sent.raw, lambda body: v2_json.decode(body, length), spelling=sent.spelling)


def _children(answers: Sequence[Message]) -> list[Message]:
    return hop.rest_children(hop.encode_list(answers), hop.forms_of(answers), "")


class Failing(Exception):
    """Says on purpose that the component cannot answer."""

    status_code = 503


class Scribbler:
    """Answers what it makes of its input, changes all of that input in place, and all that it has answered before.

    Args:
        result: how it answers.
        waits: how often it lets others run before and after it changes what it was handed.
        fails: raises, after it has changed what it was handed; once for each input if that `passes`.
    """

    def __init__(self, result: str, waits: int = 0, fails: bool = False, passes: bool = False) -> None:
        self.result = result
        self.waits = waits
        self.fails = fails
        self.passes = passes
        self.seen: list[Any] = []
        self.kept: list[Any] = []
        self.names = ["a"]

    async def predict(self, X: Any, names: Any, meta: Any = None) -> Any:
        return await self._work(X, names, meta)

    transform_input = transform_output = predict

    async def aggregate(self, Xs: Any, names: Any) -> Any:
        told = [(_number(X), X.tolist() if isinstance(X, np.ndarray) else copy.deepcopy(X)) for X in Xs]
        self.seen.append(plain([told, names]))
        await self._pause()
        for X in Xs:
            scribble(X)
        Xs.clear()
        for each in names:
            each.append("aggregated")
        return await self._result(sum(number for number, _ in told))

    async def route(self, X: Any, names: Any) -> int:
        number = _number(X)
        scribble(X)
        names.append("routed")
        return int(number) % 2

    async def send_feedback(self, X: Any, names: Any, reward: float, truth: Any, routing: Any = None) -> Any:
        self.seen.append(plain([X, names, reward, truth]))
        await self._pause()
        scribble(X)
        scribble(truth)
        names.append("rewarded")

    def class_names(self) -> Any:
        return self.names

    def tags(self) -> Any:
        return {"count": [1]} if not self.kept else {"count": [1], "kept": self.kept[:1]}

    async def _work(self, X: Any, names: Any, meta: Any) -> Any:
        at = len(self.seen)
        self.seen.append(plain([X, names, meta or {}]))
        number = _number(X)
        await self._pause()
        given = X if self.result in ("input", "view") and isinstance(X, np.ndarray) and X.dtype != object else None
        scribble(X)
        names.append("asked")
        if meta is not None:
            meta.setdefault("tags", {})["scribbled"] = number
            meta["tags"].setdefault("nested", []).append(number)
        await self._pause()
        if self.fails and not (self.passes and self.seen.count(self.seen[at]) > 1):
            raise Failing("told to fail")
        if given is not None:
            return given if self.result == "input" or given.ndim < 1 else given[..., :1]
        return await self._result(number)

    async def _result(self, number: float) -> Any:
        for before in self.kept:
            scribble(before)
        made = _made(self.result, number)
        if "kept" in self.result:
            self.kept.append(made)
            if self.result == "kept view":
                return made[:, :1]
        return made

    async def _pause(self) -> None:
        for _ in range(self.waits):
            await asyncio.sleep(0)


def _made(result: str, number: float) -> Any:
    match result:
        case "list" | "kept list":
            return [[number, 1.5], [2.0, 3.5]]
        case "dict" | "kept dict":
            return {"number": number, "nested": {"list": [number, {"deep": "x"}]}}
        case "objects":
            return np.array([[{"n": number}, None], ["x", 1.5]], dtype=object)
        case "text":
            return f"n{number}"
        case "arrays" | "kept arrays":
            return {"a": np.array([number, 1.5]), "b": np.array([["x", f"n{number}"]])}
        case "bytes":
            return [b"\xff", f"n{number}".encode()]
    return np.array([[number, 1.0], [2.0, -1.0]])


def _number(X: Any) -> float:
    """A number that depends on all of a payload, small and whole."""
    return float(sum(map(ord, json.dumps(plain(X), sort_keys=True))) % 97)


def scribble(value: Any) -> None:
    """Change all of a value in place."""
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            for item in value.flat:
                scribble(item)
            value[...] = "scribbled"
        elif value.dtype.kind in "iuf":
            value += 13
            value[...] = value[..., ::-1] if value.ndim else value
        elif value.size:
            value[...] = value.flat[-1]
    elif isinstance(value, dict):
        for item in value.values():
            scribble(item)
        value.clear()
        value["scribbled"] = True
    elif isinstance(value, list):
        for item in value:
            scribble(item)
        value.append("scribbled")


def plain(value: Any) -> Any:
    """A value for comparison: numbers are floats, since protobuf has no others; arrays are lists."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return repr(value)


class Recording:
    """A tap that reads what it was shown only in the end."""

    def __init__(self) -> None:
        self.shown: list[Message | Feedback] = []

    def request(self, message: Message, context: Context) -> None:
        self.shown.append(message)

    response = request

    def feedback(self, feedback: Feedback, context: Context) -> None:
        self.shown.append(feedback)

    def told(self) -> list[Any]:
        return sorted(_text(plain(json_codec.document_of(one))) for one in self.shown if isinstance(one, Message))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


# ── random graphs ───────────────────────────────────────────────────────────────────────────────────────────────────


def _trees_of(results: Sequence[str]) -> st.SearchStrategy[Any]:
    unit = st.tuples(st.sampled_from(results), st.integers(0, 2), st.booleans())
    leaf = st.tuples(st.just("MODEL"), unit, st.just(()), st.sampled_from(("", "", "fallback", "logger", "retries")))
    return st.recursive(
        leaf,
        lambda children: st.one_of(
            st.tuples(
                st.sampled_from(("MODEL", "TRANSFORMER", "OUTPUT_TRANSFORMER")),
                unit,
                st.tuples(children),
                st.sampled_from(("", "", "logger", "retries", "shadow")),
            ),
            st.tuples(
                st.just("COMBINER"), unit, st.lists(children, min_size=2, max_size=3), st.sampled_from(("", "logger"))
            ),
            st.tuples(st.just("ROUTER"), unit, st.tuples(children, children), st.sampled_from(("", "logger"))),
            st.tuples(st.just("CHAIN"), unit, st.lists(children, min_size=2, max_size=2), st.just("")),
        ),
        max_leaves=6,
    )


_trees = _trees_of(RESULTS)
_payloads = st.sampled_from(
    [
        {"data": {"names": ["x", "y"], "ndarray": [[1, 2], [3, 4]]}},
        {"data": {"names": [], "ndarray": [[1.5, 2.5]]}, "meta": {"tags": {"nested": [1.0]}, "puid": "p"}},
        {"data": {"tensor": {"shape": [2, 2], "values": [1.0, 2.0, 3.0, 4.5]}}},
        {"data": {"ndarray": [["a", "b"]]}},
        {"data": {"ndarray": [{"a": [1.0]}, {"b": {"c": 2.0}}]}},
        {"jsonData": {"a": [1.0, {"b": 2.0}], "id": 7.0}},
        {"strData": "text"},
    ]
)


class Built:
    """A graph of scribblers, each with something around it."""

    def __init__(self, tree: Any, wrap: Wrap, kind: type[Scribbler] = Scribbler) -> None:
        self.wrap = wrap
        self.kind = kind
        self.users: dict[str, Scribbler] = {}
        self.units: dict[str, PredictiveUnit] = {}
        self.taps: dict[str, Recording] = {}
        self.compared: list[Any] = []
        root = self.node(tree)
        options = GraphOptions(meta=MetaMode.MERGE)
        self.graph = Graph(
            root, self.units, options, taps=self.taps, rng=random.Random(1), on_shadow=self.compared.append
        )

    def node(self, tree: Any, **more: Any) -> Node:
        kind, (result, waits, fails), children, extra = tree
        name = f"n{len(self.users)}"
        has_way_out = extra in ("fallback", "retries")
        self.add(name, self.kind(result, waits, fails and has_way_out, extra == "retries"))
        if extra == "fallback":
            stand_in = self.node(("MODEL", ("new", 0, False), (), ""))
            more["fallback"] = stand_in
        if extra == "logger":
            more["logger"] = Logger(mode="all", url="http://nowhere.example")
            self.taps[name] = Recording()
        if extra == "retries":
            more |= {"retries": 9, "retry_backoff_ms": 0}
        below = [self.node(child) for child in children]
        if extra == "shadow":
            below.append(self.node(("MODEL", ("kept", 1, False), (), ""), shadow=True))
        return node(name, kind, *below, **more)

    def add(self, name: str, user: Scribbler) -> None:
        self.users[name] = user
        chosen = Settings(execution=Execution.INLINE)
        unit = components.wrap(lambda: user, chosen, PrivateMetrics(), name=name, environment={})
        self.units[name] = self.wrap(unit)


def outcome(tree: Any, requests: list[Any], wrap: Wrap, kind: type[Message]) -> Any:
    """All that can be seen of a graph that answers several requests side by side, then takes a feedback."""
    built = Built(tree, wrap)
    whole = [JsonMessage(orjson.dumps(request)) for request in requests]
    asked = [one if kind is JsonMessage else ProtoMessage(proto_codec.encode(one)) for one in whole]

    async def run() -> list[Any]:
        await built.graph.start()
        try:
            answers = await asyncio.gather(*(built.graph.answer(Method.PREDICT, one, Context()) for one in asked))
            documents = [plain(json_codec.document_of(one)) for one in answers]
            feedback = Feedback(FeedbackContent(whole[0], answers[0], 1.0, whole[-1]))
            await built.graph.answer(Method.SEND_FEEDBACK, feedback, Context())
            await built.graph.settle()
            return documents
        finally:
            await built.graph.stop()

    answers = asyncio.run(run())
    seen = {name: sorted(map(_text, user.seen)) for name, user in built.users.items()}
    compared = sorted(map(repr, built.compared))
    return answers, seen, {name: tap.told() for name, tap in built.taps.items()}, compared


@pytest.mark.parametrize(("wrap", "kind"), [(JsonHop, JsonMessage), (ProtoHop, ProtoMessage)])
@settings(max_examples=60)
@given(tree=_trees, requests=st.lists(_payloads, min_size=1, max_size=3))
def test_scribbling_nodes_answer_as_behind_a_wire(
    wrap: Wrap, kind: type[Message], tree: Any, requests: list[Any]
) -> None:
    """Answers, what each node saw, and what taps were shown are those of the same graph with every node remote."""
    assert outcome(tree, requests, lambda unit: unit, kind) == outcome(tree, requests, wrap, kind)


class TensorScribbler(Scribbler):
    """Scribbles over named tensors, and leaves the meta of a request alone; its tags are what a parameter can be."""

    async def predict(self, X: Any, names: Any) -> Any:
        return await self._work(X, names, None)

    transform_input = transform_output = predict

    def tags(self) -> Any:
        return {"count": len(self.seen) > 0, "result": self.result}


def _tensor(name: str, datatype: str, shape: Sequence[int], data: Sequence[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


_tensors = st.sampled_from(
    [
        [_tensor("x", "FP32", [2, 2], [1, 2, 3, 4.5])],
        [_tensor("x", "INT64", [3], [1, -2, 2**53 + 1])],
        [_tensor("t", "BYTES", [2], ["a", "b"])],
        [_tensor("x", "FP64", [1, 2], [1, 2]), _tensor("t", "BYTES", [1], ["a"])],
        [_tensor("x", "BOOL", [2], [True, False])],
    ]
)


def tensor_outcome(tree: Any, requests: list[Any], wrap: Wrap) -> Any:
    """All that can be seen of a graph that answers several requests of the open inference protocol side by side."""
    built = Built(tree, wrap, TensorScribbler)
    bodies = [orjson.dumps({"id": "i", "inputs": inputs}) for inputs in requests]
    asked = [InferMessage(body, v2_json.decode, spelling=Spelling()) for body in bodies]

    async def run() -> list[Any]:
        await built.graph.start()
        try:
            answers = await asyncio.gather(*(built.graph.answer(Method.PREDICT, one, Context()) for one in asked))
            shown = [
                messages.response_of(answer, one.read(), name="m", version="", declared="")
                for answer, one in zip(answers, asked, strict=True)
            ]
            await built.graph.settle()
            return [v2_json.encode(response, InferRequest(inputs=())).head for response in shown]
        finally:
            await built.graph.stop()

    answers = asyncio.run(run())
    seen = {name: sorted(map(_text, user.seen)) for name, user in built.users.items()}
    return answers, seen, {name: tap.told() for name, tap in built.taps.items()}, sorted(map(repr, built.compared))


@settings(max_examples=60)
@given(tree=_trees_of(TENSOR_RESULTS), requests=st.lists(_tensors, min_size=1, max_size=3))
def test_nodes_that_scribble_over_tensors_answer_as_behind_a_wire(tree: Any, requests: list[Any]) -> None:
    """The same holds for named tensors: nobody else's are changed, and a hop changes nothing that is seen."""
    assert tensor_outcome(tree, requests, lambda unit: unit) == tensor_outcome(tree, requests, TensorHop)
