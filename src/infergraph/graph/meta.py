"""The `meta` of messages in a graph: routing, path, tags and metrics, merged into the final answer.

    incoming meta ──carry──▶ answer of a node ──…──▶ answer of the root ──finish──▶ answer with routing and path

A component copies the meta of its request into its answer, other units need not; `carry` restores what was lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from infergraph.errors import PayloadError
from infergraph.message import Message, Meta, Request
from infergraph.settings import FALSE, GraphMeta
from infergraph.wire.v2.messages import in_tensors

_UNITED = ("tags", "requestPath")


class MetaMode(Enum):
    """What the graph does with the `meta` of messages.

    PASS leaves them unchanged; INJECT writes `meta.routing` after every node if there is a meta, as the reference
    does when configured to; MERGE merges routing, path, tags, metrics and puid into the final answer.
    """

    PASS = "pass"
    INJECT = "inject"
    MERGE = "merge"


def meta_mode(injection: str, *, is_ours: bool, wanted: GraphMeta = GraphMeta.AUTO) -> MetaMode:
    """The mode for a graph.

    Args:
        injection: the value of SELDON_ENABLE_ROUTING_INJECTION; any text but a negative word turns it on.
        is_ours: whether a node of it runs in this process; a graph of remote nodes only passes meta through.
        wanted: the setting `graph_meta`, which applies unless injection is on.
    """
    if injection.strip().lower() not in FALSE:
        return MetaMode.INJECT
    if wanted is not GraphMeta.AUTO:
        return MetaMode(wanted.value)
    return MetaMode.MERGE if is_ours else MetaMode.PASS


class RequestState:
    """The routing, path and metas that one request collects in the graph. Shared by all its branches.

    Args:
        routing: node name to the child chosen there.
        path: node name to the image or label of its component.
        asides: the meta of answers that are not passed on: those of routers.
    """

    __slots__ = ("asides", "path", "routing")

    def __init__(self) -> None:
        self.routing: dict[str, int] = {}
        self.path: dict[str, str] = {}
        self.asides: list[Meta] = []


def meta_of(message: Message) -> Meta | None:
    """The meta of a message; None if it has none or is not a message of the protocol."""
    try:
        meta = message.meta
    except PayloadError:
        return None
    return meta if isinstance(meta, dict) else None


def join(metas: Sequence[Mapping[str, Any] | None]) -> Meta:
    """Merge metas: tags and path (later ones take precedence), metrics concatenated, the first puid; no routing.

    Source: the microservice specification, section 7, the rule for combiners.
    """
    joined: Meta = {}
    for meta in metas:
        for key in _UNITED:
            if meta and isinstance(meta.get(key), dict) and meta[key]:
                joined[key] = {**joined.get(key, {}), **meta[key]}
        if meta and isinstance(meta.get("metrics"), list) and meta["metrics"]:
            joined["metrics"] = [*joined.get("metrics", ()), *meta["metrics"]]
        if meta and meta.get("puid") and "puid" not in joined:
            joined["puid"] = meta["puid"]
    return joined


def carry(given: Mapping[str, Any] | None, answer: Message) -> Message:
    """The answer with those parts of the request's meta that it lost; itself if nothing was lost."""
    if not given:
        return answer
    own = meta_of(answer)
    if own is not None and _holds(own, given):
        return answer
    if own is None and not _can_hold(answer):
        return answer
    own = own or {}
    merged = {**own, **join([given, {**own, "metrics": None}]), **_set(own, "puid")}
    metrics = _all_metrics(_list(given.get("metrics")), _list(own.get("metrics")))
    if metrics:
        merged["metrics"] = metrics
    return answer.with_meta(merged)


def answered(given: Meta, answer: Message, request: Request) -> Message:
    """A node's answer as it is passed on: with what it lost of the meta given, and in tensors if the request is."""
    return carry(given, in_tensors(answer, request))


def finish(answer: Message, state: RequestState, puid: str) -> Message:
    """The root's answer with the routing, the path, the meta of the routers, and the id of the request."""
    own = meta_of(answer)
    if own is None and not _can_hold(answer):
        return answer
    own = own or {}
    meta = {**own, **join([*state.asides, own]), **_set(own, "puid")} if state.asides else dict(own)
    if state.routing:
        meta["routing"] = {**_dict(meta.get("routing")), **state.routing}
    if state.path:
        meta["requestPath"] = {**state.path, **_dict(meta.get("requestPath"))}
    if puid and not meta.get("puid"):
        meta["puid"] = puid
    return answer.with_meta(meta)


def inject(message: Message, state: RequestState) -> Message:
    """The message with the routing so far in its meta; itself if it has no meta, or is not a message.

    Source: the orchestrator specification, section 12; integers keep their digits here.
    """
    meta = meta_of(message)
    return message if meta is None else message.with_meta({**meta, "routing": dict(state.routing)})


def _set(meta: Meta, key: str) -> Meta:
    """A member of a meta, if it is present and not empty."""
    return {key: meta[key]} if meta.get(key) else {}


def _holds(own: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    # On the hot path: most metas have one member or none. Members of a wrong type are dropped.
    for key, wanted in given.items():
        if not wanted:
            continue
        had = own.get(key)
        if key == "puid":
            if not had:
                return False
        elif key == "metrics":
            if isinstance(wanted, list) and _list(had)[: len(wanted)] != wanted:
                return False
        elif key in _UNITED and isinstance(wanted, dict) and not wanted.keys() <= _dict(had).keys():
            return False
    return True


def _all_metrics(given: list[Any], own: list[Any]) -> list[Any]:
    # A unit that passes metrics on appends its own, so a common prefix is not counted twice.
    return own if own[: len(given)] == given else [*given, *own]


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _can_hold(message: Message) -> bool:
    """Whether a message without readable meta is one of the protocol, so that meta can be added to it."""
    try:
        return message.content.meta is None
    except PayloadError:
        return False
