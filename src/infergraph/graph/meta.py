"""What a graph knows about a request, joined into the `meta` of its answer.

    incoming meta ──carry──▶ answer of a node ──…──▶ answer of the root ──finish──▶ answer with routing and path

A component copies the meta it was given into its answer, other units need not; `carry` restores what got lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from infergraph.errors import PayloadError
from infergraph.message import Message, Meta
from infergraph.settings import FALSE, GraphMeta

_UNITED = ("tags", "requestPath")


class MetaMode(Enum):
    """What the graph does with the `meta` of messages.

    PASS leaves them alone; INJECT writes `meta.routing` after every node where there is a meta, as the reference
    does when told to; MERGE joins routing, path, tags, metrics and puid into the final answer.
    """

    PASS = "pass"
    INJECT = "inject"
    MERGE = "merge"


def meta_mode(injection: str, *, is_ours: bool, wanted: GraphMeta = GraphMeta.AUTO) -> MetaMode:
    """The mode for a graph.

    Args:
        injection: the value of SELDON_ENABLE_ROUTING_INJECTION; any text but a word for no turns it on.
        is_ours: whether a node of it runs in this process; what is made of remote nodes alone passes through.
        wanted: the setting `graph_meta`, which decides where there is no injection.
    """
    if injection.strip().lower() not in FALSE:
        return MetaMode.INJECT
    if wanted is not GraphMeta.AUTO:
        return MetaMode(wanted.value)
    return MetaMode.MERGE if is_ours else MetaMode.PASS


class Flight:
    """What one request gathers on its way through the graph. Shared by all branches of the request.

    Args:
        routing: node name to the child chosen there.
        path: node name to what answered there.
        asides: the meta of answers that do not travel on: those of routers.
    """

    __slots__ = ("asides", "path", "routing")

    def __init__(self) -> None:
        self.routing: dict[str, int] = {}
        self.path: dict[str, str] = {}
        self.asides: list[Meta] = []


def meta_of(message: Message) -> Meta | None:
    """The meta of a message; None where it has none or is no message of the protocol."""
    try:
        meta = message.meta
    except PayloadError:
        return None
    return meta if isinstance(meta, dict) else None


def join(metas: Sequence[Mapping[str, Any] | None]) -> Meta:
    """Several metas in one: tags and path united (later ones win), metrics in a row, the first puid; no routing.

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
    """The answer with what it lost of the meta it was asked with; itself where nothing is lost."""
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


def finish(answer: Message, flight: Flight, puid: str) -> Message:
    """The root's answer with the routing, the path, the meta of the routers, and the id of the request."""
    own = meta_of(answer)
    if own is None and not _can_hold(answer):
        return answer
    own = own or {}
    meta = {**own, **join([*flight.asides, own]), **_set(own, "puid")} if flight.asides else dict(own)
    if flight.routing:
        meta["routing"] = {**_dict(meta.get("routing")), **flight.routing}
    if flight.path:
        meta["requestPath"] = {**flight.path, **_dict(meta.get("requestPath"))}
    if puid and not meta.get("puid"):
        meta["puid"] = puid
    return answer.with_meta(meta)


def inject(message: Message, flight: Flight) -> Message:
    """The message with the routing so far in its meta; itself where it has no meta, or is no message.

    Source: the orchestrator specification, section 12; integers keep their digits here.
    """
    meta = meta_of(message)
    return message if meta is None else message.with_meta({**meta, "routing": dict(flight.routing)})


def _set(meta: Meta, key: str) -> Meta:
    """That member of a meta, if it is there and says something."""
    return {key: meta[key]} if meta.get(key) else {}


def _holds(own: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    # On the hot path: most metas have one member or none. Members of another type than the protocol's get lost.
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
    # A unit that passes metrics on puts its own behind them, so a common beginning is not counted twice.
    return own if own[: len(given)] == given else [*given, *own]


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _can_hold(message: Message) -> bool:
    """Whether a message without readable meta is one of the protocol, so that meta may be written into it."""
    try:
        return message.content.meta is None
    except PayloadError:
        return False
