"""The documents of what is served: `/openapi.json`, generated from the edge's own table, and the page `/docs`.

rest.PATHS + schemas + the unit's metadata ─▶ OpenAPI 3.1 ─▶ a page that needs no internet
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from infergraph import __version__
from infergraph.errors import Fault
from infergraph.message import Method, PredictiveUnit
from infergraph.serving.rest import PATHS

_JSON = "application/json"
_REF = "#/components/schemas/"
_SUMMARIES = {
    Method.PREDICT: "Ask for a prediction",
    Method.TRANSFORM_INPUT: "Transform an input",
    Method.TRANSFORM_OUTPUT: "Transform an output",
    Method.ROUTE: "Ask which child to call: n, -1 for all, -2 for none",
    Method.AGGREGATE: "Combine several messages into one",
    Method.SEND_FEEDBACK: "Reward an answer",
}
_BODIES = {Method.AGGREGATE: "SeldonMessageList", Method.SEND_FEEDBACK: "Feedback"}
_REFUSALS = {
    "400": "The request cannot be read; `info` names the field",
    "413": "The message is over the limit",
    "415": "The body is no JSON, form or multipart",
    "500": "The component raised, or its answer cannot be sent",
    "503": "Not ready, or too many requests in work; try again",
    "504": "No answer in time",
}
_PROBES = {
    "/live": "Whether the process runs",
    "/ready": "Whether the unit can answer",
    "/health/ping": "pong",
    "/health/status": "The component's own account of its health",
    "/metadata": "The model's metadata",
    "/metrics": "Prometheus metrics of all workers",
}

_ARRAY = {"type": "array", "items": {}}
SCHEMAS: dict[str, Any] = {
    "SeldonMessage": {
        "type": "object",
        "description": "One payload (data, jsonData, strData or binData) and its meta.",
        "properties": {
            "data": {"$ref": _REF + "DefaultData"},
            "jsonData": {"description": "any JSON value"},
            "strData": {"type": "string"},
            "binData": {"type": "string", "contentEncoding": "base64"},
            "meta": {"$ref": _REF + "Meta"},
            "status": {"$ref": _REF + "Status"},
        },
    },
    "DefaultData": {
        "type": "object",
        "properties": {
            "names": {"type": ["array", "null"], "items": {"type": "string"}},
            "tensor": {"$ref": _REF + "Tensor"},
            "ndarray": {"description": "nested lists"},
            "tftensor": {"type": "object"},
        },
    },
    "Tensor": {
        "type": "object",
        "required": ["shape", "values"],
        "properties": {"shape": {"type": "array", "items": {"type": "integer"}}, "values": _ARRAY},
    },
    "Meta": {
        "type": "object",
        "properties": {
            "puid": {"description": "id of the request"},
            "tags": {"type": "object"},
            "routing": {"type": "object", "additionalProperties": {"type": "integer"}},
            "requestPath": {"type": "object", "additionalProperties": {"type": "string"}},
            "metrics": {"type": "array", "items": {"type": "object"}},
        },
    },
    "SeldonMessageList": {
        "anyOf": [
            {"type": "array", "items": {"$ref": _REF + "SeldonMessage"}},
            {
                "type": "object",
                "required": ["seldonMessages"],
                "properties": {"seldonMessages": {"type": "array", "items": {"$ref": _REF + "SeldonMessage"}}},
            },
        ]
    },
    "Feedback": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "request": {"$ref": _REF + "SeldonMessage"},
            "response": {"$ref": _REF + "SeldonMessage"},
            "reward": {"type": "number"},
            "truth": {"$ref": _REF + "SeldonMessage"},
        },
    },
    "Status": {
        "type": "object",
        "properties": {
            "code": {},
            "info": {"type": "string"},
            "reason": {"type": "string"},
            "status": {},
        },
    },
    "Error": {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"$ref": _REF + "Status"}},
    },
}
"""The protocol's messages as JSON schemas."""


def openapi(name: str, metadata: Mapping[str, Any] | None, metrics_path: str) -> dict[str, Any]:
    """The OpenAPI document of a unit.

    Args:
        metadata: the unit's, if it is known: its schema and examples go into the description.
    """
    paths: dict[str, Any] = {path: _asking(path, method, verbs) for path, (method, verbs) in PATHS.items()}
    for path, summary in _PROBES.items():
        paths[metrics_path if path == "/metrics" else path] = {"get": _probe(path, summary)}
    info: dict[str, Any] = {"title": name, "version": __version__}
    if metadata:
        info["description"] = f"Serves `{metadata.get('name') or name}` on infergraph."
        info["x-metadata"] = dict(metadata)
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": SCHEMAS}}


def _asking(path: str, method: Method, verbs: frozenset[str]) -> dict[str, Any]:
    body = _BODIES.get(method, "SeldonMessage")
    post = {
        "summary": _SUMMARIES[method],
        "operationId": "post" + path.replace("/", "_").replace(".", "_").replace("-", "_"),
        "requestBody": {"required": True, "content": {_JSON: {"schema": {"$ref": _REF + body}}}},
        "responses": _responses("SeldonMessage"),
    }
    if "GET" not in verbs:
        return {"post": post}
    query = {"name": "json", "in": "query", "required": True, "schema": {"type": "string"}}
    get = {
        "summary": _SUMMARIES[method],
        "operationId": str(post["operationId"]).replace("post", "get", 1),
        "parameters": [query],
        "responses": _responses("SeldonMessage"),
    }
    return {"get": get, "post": post}


def _responses(schema: str) -> dict[str, Any]:
    answered = {"description": "The answer", "content": {_JSON: {"schema": {"$ref": _REF + schema}}}}
    refused = {
        code: {"description": text, "content": {_JSON: {"schema": {"$ref": _REF + "Error"}}}}
        for code, text in _REFUSALS.items()
    }
    return {"200": answered, **refused}


def _probe(path: str, summary: str) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": summary}}
    if path in ("/ready", "/health/status", "/metadata"):
        for code in ("500", "503"):
            responses[code] = {"description": "No", "content": {_JSON: {"schema": {"$ref": _REF + "Error"}}}}
    return {"summary": summary, "operationId": "get" + path.replace("/", "_"), "responses": responses}


def routes(unit: PredictiveUnit, metrics_path: str, *, is_graph: bool = False) -> list[BaseRoute]:
    """`/openapi.json`, `/docs`, and for a component the old name `/seldon.json`."""
    page = resources.files("infergraph.console").joinpath("docs.html").read_text("utf-8")

    async def document(request: Request) -> Response:
        try:
            metadata = await unit.metadata()
        except Fault:  # not loaded yet, or metadata that is not valid: the document does without
            metadata = None
        return JSONResponse(openapi(unit.name, metadata, metrics_path))

    async def show(request: Request) -> Response:
        return HTMLResponse(page)

    found: list[BaseRoute] = [
        Route("/openapi.json", document, methods=["GET"]),
        Route("/docs", show, methods=["GET"]),
    ]
    return found if is_graph else [*found, Route("/seldon.json", document, methods=["GET"])]
