"""Meta through a graph: what MERGE joins, what INJECT writes, what PASS leaves alone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph_units import Saying, node
from infergraph.graph.executor import Graph, GraphOptions
from infergraph.graph.meta import MetaMode, RequestState, carry, finish, inject, join, meta_mode, meta_of
from infergraph.graph.spec import Node
from infergraph.message import Context, Encoding, Message, Meta, Method, PredictiveUnit
from infergraph.settings import GraphMeta
from infergraph.wire import json_codec, proto_codec
from infergraph.wire.json_codec import JsonMessage
from infergraph.wire.proto_codec import ProtoMessage


def counter(key: str) -> dict[str, Any]:
    return {"key": key, "type": "COUNTER", "value": 1.0}


def ask(root: Node, *units: PredictiveUnit, mode: MetaMode = MetaMode.MERGE, meta: Meta | None = None) -> Message:
    graph = Graph(root, {unit.name: unit for unit in units}, GraphOptions(meta=mode))
    return asyncio.run(graph.answer(Method.PREDICT, Message.of("x", Encoding.STR, meta=meta), Context(puid="p-1")))


class Wrapping(Saying):
    """Keeps the meta it was asked with and adds its own, as the protocol's wrapper does."""

    async def answer(self, method: Method, request: Any, context: Context) -> Message:
        answer = await super().answer(method, request, context)
        asked = [request] if isinstance(request, Message) else request
        return answer.with_meta(join([*(message.meta for message in asked), self.meta]))


def test_routing_of_every_router() -> None:
    """The answer says which child each router on the way chose, so that feedback finds it; -1 and -2 too."""
    root = node("r", "ROUTER", node("a"), node("s", "ROUTER", node("b"), node("t", "ROUTER", node("c"))))
    units = [Saying("r", route=1), Saying("s", route=-1), Saying("t", route=-2), *(Saying(name) for name in "abc")]
    assert ask(root, *units).meta == {"routing": {"r": 1, "s": -1, "t": -2}, "puid": "p-1"}


def test_nothing_is_lost_or_doubled_on_a_chain() -> None:
    """Tags and metrics of all nodes reach the answer once each, whether a node passes meta on or not."""
    for first in (Saying, Wrapping):
        for second in (Saying, Wrapping):
            a = first("a", meta={"tags": {"t": "a", "a": 1}, "metrics": [counter("a")]})
            b = second("b", meta={"tags": {"t": "b"}, "metrics": [counter("b")]})
            meta = {"tags": {"in": 0}, "metrics": [counter("in")], "puid": "mine"}
            answer = ask(node("a", "MODEL", node("b")), a, b, meta=meta)
            assert answer.meta == {
                "tags": {"in": 0, "t": "b", "a": 1},
                "metrics": [counter("in"), counter("a"), counter("b")],
                "puid": "mine",
            }


def test_equal_metrics_of_two_nodes_both_count() -> None:
    """Two nodes that give the same counter give it twice."""
    units = [Wrapping(name, meta={"metrics": [counter("n")]}) for name in "ab"]
    assert ask(node("a", "MODEL", node("b")), *units).meta == {"metrics": [counter("n")] * 2, "puid": "p-1"}


@pytest.mark.parametrize("kind", [Saying, Wrapping])
def test_combiner(kind: type[Saying]) -> None:
    """A combiner's answer has the tags and path of all children, later ones winning, and all their metrics."""
    children = [
        Saying(name, meta={"tags": {name: 1, "t": name}, "metrics": [counter(name)], "requestPath": {name: "i"}})
        for name in "ab"
    ]
    answer = ask(node("c", "COMBINER", node("a"), node("b")), kind("c", meta={}), *children)
    assert answer.meta == {
        "tags": {"a": 1, "t": "b", "b": 1},
        "metrics": [counter("a"), counter("b")],
        "requestPath": {"a": "i", "b": "i"},
        "puid": "p-1",
    }


def test_meta_of_routers_is_kept() -> None:
    """What a router adds to meta reaches the answer, below what the answering nodes say."""
    router = Saying("r", route=0, meta={"tags": {"t": "r", "r": 1}, "metrics": [counter("r")]})
    model = Saying("a", meta={"tags": {"t": "a"}, "metrics": [counter("a")]})
    answer = ask(node("r", "ROUTER", node("a")), router, model)
    assert answer.meta is not None
    assert answer.meta["tags"] == {"t": "a", "r": 1}
    assert answer.meta["metrics"] == [counter("r"), counter("a")]


def test_path_names_what_answered() -> None:
    """The path has what answers at each node that was asked, and no other; a node's own word wins."""
    root = node("r", "ROUTER", node("a", component="m:A"), node("b", component="m:B"), component="m:R")
    units = [Saying("r", route=1), Saying("a"), Saying("b", meta={"requestPath": {"b": "img:1"}})]
    assert (ask(root, *units).meta or {})["requestPath"] == {"r": "m:R", "b": "img:1"}


def test_pass_leaves_meta_alone() -> None:
    """Without merging the answer is the very message of the last node."""
    answer = ask(node("a"), Saying("a", meta={"tags": {"a": 1}}), mode=MetaMode.PASS, meta={"tags": {"in": 1}})
    assert answer.meta == {"tags": {"a": 1}}


def test_client_meta_is_not_changed() -> None:
    """Merging builds new values and never changes what came in."""
    meta = {"tags": {"in": 0}, "metrics": [counter("in")], "requestPath": {"z": "z"}}
    before = json.dumps(meta)
    ask(node("a", component="m:A"), Wrapping("a", meta={"tags": {"a": 1}}), meta=meta)
    assert json.dumps(meta) == before


@pytest.mark.parametrize(
    ("value", "local", "mode"),
    [
        ("", True, MetaMode.MERGE),
        ("", False, MetaMode.PASS),
        ("1", True, MetaMode.INJECT),
        ("x", False, MetaMode.INJECT),
        ("false", False, MetaMode.PASS),
        (" Off ", True, MetaMode.MERGE),
    ],
)
def test_mode(value: str, local: bool, mode: MetaMode) -> None:
    """Injection is on for any text but a word for no; else merging is for graphs with a node in this process."""
    assert meta_mode(value, is_ours=local) is mode


def test_mode_that_is_set() -> None:
    """The setting decides over where the nodes run, and injection over the setting."""
    assert meta_mode("", is_ours=True, wanted=GraphMeta.PASS) is MetaMode.PASS
    assert meta_mode("", is_ours=False, wanted=GraphMeta.MERGE) is MetaMode.MERGE
    assert meta_mode("1", is_ours=True, wanted=GraphMeta.PASS) is MetaMode.INJECT


# ── one message ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("body", [b"[1,2]", b"1", b'"x"', b"hello", b"", b'{"by":"a"}'])
def test_bodies_that_are_no_messages_pass_whole(body: bytes) -> None:
    """An answer that is no message of the protocol has no place for meta, so it leaves as the very same message."""
    message = JsonMessage(body, "text/plain")
    state = RequestState()
    state.routing["r"] = 1
    assert finish(message, state, "p") is message
    assert carry({"tags": {"a": 1}}, message) is message
    assert inject(message, state) is message


def test_other_members_keep_their_spelling() -> None:
    """Only `meta` changes in a JSON answer: integers, unknown members and key order stay."""
    body = b'{"data":{"ndarray":[12345678901234567890,1.0,1]},"zzz":{"b":1,"a":2},"meta":{"tags":{"t":1}}}'
    state = RequestState()
    state.routing["r"] = 1
    injected = inject(JsonMessage(body), state)
    assert json_codec.encode(injected) == body.replace(b'"tags":{"t":1}', b'"tags":{"t":1},"routing":{"r":1}')
    assert isinstance(injected, JsonMessage)
    assert injected.raw is not None


def test_injection_needs_a_meta() -> None:
    """A JSON answer without a `meta` object is left alone."""
    for body in (b'{"data":{"ndarray":[1]}}', b'{"strData":"x","meta":null}', b'{"strData":"x","meta":[1]}'):
        message = JsonMessage(body)
        assert inject(message, RequestState()) is message


def test_protobuf_answers_take_meta() -> None:
    """A protobuf answer gets the routing and keeps its payload."""
    message = ProtoMessage(proto_codec.encode(Message.of("x", Encoding.STR, meta={"tags": {"t": "u"}})))
    state = RequestState()
    state.routing["r"] = -2
    for changed in (inject(message, state), finish(message, state, "")):
        assert isinstance(changed, ProtoMessage)
        assert changed.payload == "x"
        assert changed.meta == {"tags": {"t": "u"}, "routing": {"r": -2}}


metas = st.fixed_dictionaries(
    {},
    optional={
        "tags": st.dictionaries(st.sampled_from("abc"), st.integers(), max_size=2),
        "requestPath": st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"), max_size=2),
        "metrics": st.lists(st.sampled_from([counter("a"), counter("b")]), max_size=2),
        "puid": st.sampled_from(["", "p", "q"]),
    },
)


@settings(deadline=None)
@given(given_meta=metas, own=metas)
def test_carry_is_idempotent_and_loses_nothing(given_meta: Meta, own: Meta) -> None:
    """After one carry nothing of the given meta is missing, the unit's own word wins, and a second changes nothing."""
    answer = carry(given_meta, Message.of("x", Encoding.STR, meta=own))
    meta = meta_of(answer)
    assert meta is not None
    for key in ("tags", "requestPath"):
        assert meta.get(key, {}) == {**given_meta.get(key, {}), **own.get(key, {})}
    assert (meta.get("puid") or "") == (own.get("puid") or given_meta.get("puid") or "")
    assert meta.get("metrics", [])[: len(given_meta.get("metrics", []))] == given_meta.get("metrics", [])
    assert carry(given_meta, answer).meta == meta


junk = st.one_of(st.none(), st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=2))


@settings(deadline=None)
@given(
    client=st.dictionaries(st.sampled_from(["tags", "metrics", "requestPath", "puid", "routing", "z"]), junk),
    own=st.dictionaries(st.sampled_from(["tags", "metrics", "requestPath", "puid", "routing", "z"]), junk),
)
def test_nonsense_in_meta_breaks_nothing(client: Meta, own: Meta) -> None:
    """Whatever a client or a node writes into meta, the request is answered and its routing is told."""
    root = node("r", "ROUTER", node("a", component="m:A"))
    answer = ask(root, Saying("r", meta=own), Saying("a", meta=own), meta=client)
    assert answer.payload == ["a", "predict", "x"]
    assert answer.meta is not None
    assert answer.meta["routing"] == {"r": 0}
    assert answer.meta["requestPath"] == {"a": "m:A"}
