"""The example request: a first request to try, derived from the unit's metadata.

metadata.inputs ─▶ message ┊ the unit's methods ─▶ path ─▶ shown at start-up, sent by `infergraph doctor`
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
from infergraph.protocol.paths import EXTERNAL, INTERNAL, Protocol, method_path
from infergraph.serving.console.forms import example_of
from infergraph.serving.openapi import inference
from infergraph.serving.openapi.schemas import Described
from infergraph.wire.v2.metadata import metadata_of

NUMBERS: dict[str, Any] = {"data": {"ndarray": [[1.0, 2.0]]}}
_METADATA_TIMEOUT_S = 1.0
_TRIED = (Method.PREDICT, Method.TRANSFORM_INPUT, Method.ROUTE, Method.AGGREGATE, Method.TRANSFORM_OUTPUT)


def inputs_of(metadata: Mapping[str, Any] | None) -> Described:
    """The inputs of a component or a graph."""
    known = metadata or {}
    return Described(known.get("inputs") or known.get("graphinputs"))


def message_for(metadata: Mapping[str, Any] | None) -> Any:
    """An example message for a unit; None if its metadata is not detailed enough."""
    inputs = inputs_of(metadata)
    if not inputs.items or inputs.items[0].get("messagetype") != "jsonData":
        return inputs.example()
    schema = inputs.items[0].get("schema")
    return {"jsonData": example_of(schema)} if isinstance(schema, Mapping) and schema else None


async def announced(unit: PredictiveUnit, *, is_graph: bool) -> str:
    """The example request as JSON [path, body], for the supervisor's banner; empty if there is none, or no terminal.

    Args:
        unit: what is served.
    """
    if not os.isatty(2):
        return ""
    metadata: Mapping[str, Any] = {}
    with contextlib.suppress(Exception):  # a remote node may be unreachable: that is reported elsewhere
        async with asyncio.timeout(_METADATA_TIMEOUT_S):
            metadata = await unit.metadata()
    facts = unit.facts
    if facts.protocol == Protocol.TENSORFLOW.value:
        return ""
    if facts.protocol == Protocol.V2.value:
        request = tensors_request(facts.deployment or unit.name, metadata)
    else:
        request = graph_request(metadata) if is_graph else component_request(facts.user_object, metadata)
    return msgspec.json.encode(request).decode()


def tensors_request(model: str, metadata: Mapping[str, Any]) -> tuple[str, Any]:
    """Path and body of a first request to a graph whose file names the open inference protocol."""
    return method_path(Protocol.V2, Method.PREDICT, model), inference.example_of(metadata_of(model, metadata))


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
