"""The first request to try: what a unit can be asked with, as far as its metadata tells.

metadata.inputs ─▶ message ┊ the unit's methods ─▶ path ─▶ shown when serving begins, sent by `infergraph doctor`
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from typing import Any

import msgspec

from infergraph.component import hooks
from infergraph.message import Method, PredictiveUnit
from infergraph.protocol.paths import EXTERNAL, INTERNAL
from infergraph.serving.console.forms import example_of
from infergraph.serving.openapi.schemas import Described

CHINESE = {"data": "鲁迅出生于浙江绍兴。", "entity_pair": [["鲁迅", "绍兴"]], "entity_type_pair": [["人物", "地点"]]}
ENGLISH = {
    "data": "Ada Lovelace was born in London.",
    "entity_pair": [["Ada Lovelace", "London"]],
    "entity_type_pair": [["PERSON", "GPE"]],
}
NUMBERS: dict[str, Any] = {"data": {"ndarray": [[1.0, 2.0]]}}
_METADATA_TIMEOUT_S = 1.0
_TRIED = (Method.PREDICT, Method.TRANSFORM_INPUT, Method.ROUTE, Method.AGGREGATE, Method.TRANSFORM_OUTPUT)


def inputs_of(metadata: Mapping[str, Any] | None) -> Described:
    """The inputs of a component or a graph."""
    known = metadata or {}
    return Described(known.get("inputs") or known.get("graphinputs"))


def message_for(metadata: Mapping[str, Any] | None) -> Any:
    """A message that a unit can be asked with; None where its metadata does not tell enough.

    Records of knowledge units get a sentence in the language of the unit's labels.
    """
    inputs = inputs_of(metadata)
    if not inputs.items or inputs.items[0].get("messagetype") != "jsonData":
        return inputs.example()
    schema = inputs.items[0].get("schema")
    if not isinstance(schema, Mapping) or not schema:
        return None
    return {"jsonData": _record(schema, CHINESE if _is_chinese(metadata or {}) else ENGLISH)}


def _record(schema: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
    example = example_of(schema)
    if not isinstance(example, dict):
        return example
    return {key: known.get(key, value) for key, value in example.items()}


def _is_chinese(metadata: Mapping[str, Any]) -> bool:
    """Whether the labels of a unit (of any node, for a graph) are written in Chinese, as are most of its texts."""
    nodes = metadata.get("models")
    told = [metadata, *(nodes.values() if isinstance(nodes, Mapping) else ())]
    labels = [str(custom.get("labels", "")) for each in told if isinstance(custom := _custom(each), Mapping)]
    text = "".join(labels)
    return not text.isascii() or not text


def _custom(metadata: Any) -> Any:
    return metadata.get("custom") if isinstance(metadata, Mapping) else None


async def announced(unit: PredictiveUnit, built: PredictiveUnit, *, is_graph: bool) -> str:
    """A request to try, as JSON [path, body], for the supervisor's banner; empty where none is known, or nobody reads.

    Args:
        unit: what is asked for its metadata.
        built: the component or graph within.
    """
    if not os.isatty(2):
        return ""
    metadata: Mapping[str, Any] = {}
    with contextlib.suppress(Exception):  # a remote node may be away: that is told elsewhere
        async with asyncio.timeout(_METADATA_TIMEOUT_S):
            metadata = await unit.metadata()
    if is_graph and getattr(built, "protocol", "seldon") != "seldon":
        return ""
    user_object = getattr(built, "user_object", None)
    request = graph_request(metadata) if is_graph else component_request(user_object, metadata)
    return msgspec.json.encode(request).decode()


def component_request(user_object: object, metadata: Mapping[str, Any] | None) -> tuple[str, Any]:
    """Path and body of a first request to a component: the first of its methods, and a message that fits."""
    message = message_for(metadata) or NUMBERS
    for method in _TRIED:
        if hooks.own(user_object, method.value) or hooks.own(user_object, f"{method.value}_raw"):
            return INTERNAL[method], {"seldonMessages": [message, message]} if method is Method.AGGREGATE else message
    return INTERNAL[Method.PREDICT], message


def graph_request(metadata: Mapping[str, Any] | None) -> tuple[str, Any]:
    """Path and body of a first request to a graph that speaks the Seldon protocol."""
    return EXTERNAL[Method.PREDICT], message_for(metadata) or NUMBERS
