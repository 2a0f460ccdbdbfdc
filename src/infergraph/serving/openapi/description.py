"""The OpenAPI 3.1 document, generated from the routes themselves.

Paths of the edge + schemas + the unit's metadata + task routes ─▶ OpenAPI document
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from infergraph import __version__
from infergraph.message import Method
from infergraph.protocol.paths import METADATA, OLD_EXTERNAL, OLD_INTERNAL
from infergraph.serving.http.app import Endpoint, Paths
from infergraph.serving.openapi.inference import Inference
from infergraph.serving.openapi.openai import OPENAI_SCHEMAS, openai_paths
from infergraph.serving.openapi.schemas import SCHEMAS, TASK_SCHEMAS, Described, Schema, as_json, ref
from infergraph.serving.openapi.tasks import task_paths
from infergraph.wire.npy_codec import NPY_TYPE
from infergraph.wire.v2.metadata import metadata_of

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_TEXT = "text/plain"
_ARRAY: Schema = {NPY_TYPE: {"schema": {"type": "string", "contentMediaType": NPY_TYPE}}}
_INPUTS = ("predict", "transform_input", "transform_output", "route")
_SUMMARIES = {
    "predict": "Get a prediction",
    "transform_input": "Transform an input",
    "transform_output": "Transform an output",
    "route": "Choose the child to call: n, -1 for all, -2 for none",
    "aggregate": "Combine several messages into one",
    "send_feedback": "Send a reward for an answer",
    "live": "Whether the process is running",
    "ready": "Whether the unit can answer",
    "ping": "Answers pong",
    "health": "The component's health status",
    "metadata": "The unit's metadata",
    "status": "Whether the unit can answer",
    "metrics": "Prometheus metrics of all workers",
}
_ASKING = {method.value for method in Method}
_REFUSALS = {
    "400": "The request cannot be read; `info` names the field",
    "413": "The message is over the limit",
    "415": "The body is neither JSON nor a form",
    "500": "The component raised, or its answer cannot be sent",
    "503": "Not ready, or too many concurrent requests; retry after Retry-After seconds",
    "504": "The request timed out",
}
_TAGS = [
    {"name": "Ask", "description": "The methods of the unit."},
    {"name": "Look", "description": "Health, metadata, metrics."},
    {"name": "Control", "description": "Loading and unloading the model."},
    {"name": "Tasks", "description": "Durable processing of JSONL files."},
    {"name": "Tasks (gBuilder)", "description": "The contract of gBuilder's custom endpoints."},
    {"name": "Tasks (OpenAI)", "description": "OpenAI's Files and Batches API: tasks whose rows are requests."},
]


_SECURITY: Schema = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key, or a token of the issuer."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key."},
    "basic": {"type": "http", "scheme": "basic", "description": "A key as user or password."},
}


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What is served.

    Args:
        name: of the unit.
        paths: the path table of the edge.
        base_path: of all paths; empty for none.
        needs_key: whether requests need a key or a token.
        is_graph: whether it is a graph, served by the orchestrator's external API.
        protocol: seldon, tensorflow or v2.
        model: its name in the open inference protocol.
        has_tasks: whether the task endpoint is also served.
    """

    name: str
    paths: Paths
    base_path: str = ""
    needs_key: bool = False
    is_graph: bool = False
    protocol: str = "seldon"
    model: str = ""
    has_tasks: bool = False


def document(
    served: Served, metadata: Mapping[str, Any] | None, v2_metadata: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """The OpenAPI document.

    Args:
        metadata: the unit's, if known, for its schemas and examples.
        v2_metadata: see `UnitFacts`.
    """
    known = metadata or {}
    inputs = Described(known.get("graphinputs" if served.is_graph else "inputs"))
    outputs = Described(known.get("graphoutputs" if served.is_graph else "outputs"))
    models = known.get("models")
    writer = _Writer(served, inputs, outputs, sorted(models) if isinstance(models, Mapping) else [])
    schemas = SCHEMAS | {"Input": inputs.schema("Request"), "Output": outputs.schema("SeldonMessage")}
    info: Schema = {"title": str(known.get("name") or served.name), "version": __version__}
    info["description"] = _about(served, known, inputs, outputs)
    inference = Inference(served.paths, metadata_of(served.model, known, v2_metadata))
    paths = writer.paths() | inference.paths()
    schemas |= inference.schemas()
    if served.has_tasks:
        paths |= task_paths() | openai_paths()
        schemas |= TASK_SCHEMAS | OPENAI_SCHEMAS
    found: Schema = {
        "openapi": "3.1.0",
        "info": info,
        "servers": [{"url": f"{served.base_path}/"}],
        "paths": _identified(paths),
    }
    used = {
        tag for operations in paths.values() for _, operation in _operations(operations) for tag in operation["tags"]
    }
    if served.needs_key:
        found["security"] = [{name: []} for name in _SECURITY]
        _add_refusals(found["paths"])
    secured = {"securitySchemes": _SECURITY} if served.needs_key else {}
    return found | {
        "tags": [tag for tag in _TAGS if tag["name"] in used],
        "components": {"schemas": schemas, **secured},
    }


def _about(served: Served, metadata: Mapping[str, Any], inputs: Described, outputs: Described) -> str:
    lines = [f"{'The inference graph' if served.is_graph else 'The component'} `{served.name}`, served by infergraph."]
    versions = [str(version) for version in metadata.get("versions") or () if version]
    told = [f"version {', '.join(versions)}"] if versions else []
    told += [f"platform {metadata['platform']}"] if metadata.get("platform") else []
    if told:
        line = ", ".join(told)
        lines.append(f"{line[0].upper()}{line[1:]}.")
    models = metadata.get("models")
    if isinstance(models, Mapping) and models:
        lines.append(f"Nodes: {', '.join(map(str, models))}.")
    if inputs.text:
        lines.append(f"Takes {inputs.text}.")
    if outputs.text:
        lines.append(f"Gives {outputs.text}.")
    lines.append("A component may choose the status of its errors.")
    return "\n\n".join(lines)


class _Writer:
    """Writes the operations of one edge."""

    def __init__(self, served: Served, inputs: Described, outputs: Described, nodes: list[str]) -> None:
        self._served = served
        self._inputs = inputs
        self._outputs = outputs
        self._nodes = nodes

    def paths(self) -> dict[str, Any]:
        """All paths of the edge, in order."""
        paths = {
            path: self._exact(path, endpoint)
            for path, endpoint in self._served.paths.exact.items()
            if not endpoint.dialect  # the open inference protocol describes its own
        }
        for pattern, endpoint in self._served.paths.patterns:
            if endpoint.dialect:
                continue
            for path in templates(pattern):
                paths[path] = {"parameters": [self._model()], **self._templated(endpoint)}
        return paths

    def _exact(self, path: str, endpoint: Endpoint) -> Schema:
        name = endpoint.name
        if name in _ASKING:
            call = self._call(name, endpoint)
            return {verb: {**operation, **_older(path)} for verb, operation in call.items()}
        if name == "metadata":
            return {"get": self._get(name, {"200": self._metadata(path)}, "500", "503")}
        if name == "health":
            return {
                "get": self._get(name, {"200": as_json("The component's health status", ref("SeldonMessage"))}, "500")
            }
        if name == "ping":
            return {"get": self._get(name, {"200": _text_answer("pong", "text/html")})}
        if name == "metrics":
            return {"get": self._get(name, {"200": _text_answer("The metrics", _TEXT)})}
        if name == "live":
            return {"get": self._get(name, {"200": {"description": "It runs"}})}
        return {"get": self._get(name, {"200": {"description": "It can"}, "503": {"description": "Not ready; retry"}})}

    def _model(self) -> Schema:
        name: Schema = {"enum": self._nodes} if self._nodes else {"type": "string", "pattern": "^[^/:]+$"}
        return {"name": "model", "in": "path", "required": True, "description": "The name of a node.", "schema": name}

    def _templated(self, endpoint: Endpoint) -> Schema:
        if endpoint.name in _ASKING:
            return self._call(endpoint.name, endpoint)
        if endpoint.name == "metadata":
            answered = as_json("The node's metadata", ref("Metadata") if self._speaks_seldon else {})
        else:
            answered = as_json("The node's health status", {})
        return {"get": self._get(f"node {endpoint.name}", {"200": answered}, "500", "503")}

    @property
    def _speaks_seldon(self) -> bool:
        return self._served.protocol != "tensorflow"

    def _call(self, name: str, endpoint: Endpoint) -> Schema:
        body, example = self._body(name)
        post = self._operation("Ask", _SUMMARIES[name], self._answers(name))
        content: Schema = {_JSON: {"schema": body} | ({"example": example} if example is not None else {})}
        if self._speaks_seldon and not self._served.is_graph:
            field = {"type": "object", "required": ["json"], "properties": {"json": body}}
            content[_FORM] = {"schema": field, "encoding": {"json": {"contentType": _JSON}}}
        if self._speaks_seldon and name in _INPUTS:
            content |= _ARRAY
        post["requestBody"] = {"required": True, "content": content}
        if endpoint.methods is None or "GET" not in endpoint.methods:
            return {"post": post}
        query = {"name": "json", "in": "query", "required": True, "content": {_JSON: {"schema": body}}}
        get = self._operation("Ask", _SUMMARIES[name] + " (a message as the query `json`)", self._answers(name))
        return {"post": post, "get": {**get, "parameters": [query]}}

    def _body(self, name: str) -> tuple[Schema, Any]:
        if not self._speaks_seldon:
            return {"type": "object"}, None
        if name == "aggregate":
            message = self._inputs.example() or _EXAMPLE
            return ref("SeldonMessageList"), [message, message]
        message = self._inputs.example() or _EXAMPLE
        if name == "send_feedback":
            return ref("Feedback"), {"request": message, "response": {"meta": {"routing": {}}}, "reward": 1.0}
        is_input = name in ("predict", "transform_input", "route")
        return ref("Input" if is_input else "Request"), message

    def _answers(self, name: str) -> Schema:
        if not self._speaks_seldon:
            return {"200": as_json("The answer", {}), **_refused(*_REFUSALS)}
        given: Schema = as_json("The answer", ref("Output" if name == "predict" else "SeldonMessage"))
        example = self._outputs.example()
        if name == "predict" and example is not None:
            given["content"][_JSON]["example"] = example
        given["content"] |= _ARRAY
        return {"200": given, **_refused(*_REFUSALS)}

    def _metadata(self, path: str) -> Schema:
        of_graph = self._served.is_graph and path != METADATA  # for another graph that has this one as a node
        return as_json("The metadata", ref("GraphMetadata" if of_graph else "Metadata"))

    def _get(self, name: str, answers: Schema, *refused: str) -> Schema:
        summary = (
            _SUMMARIES.get(name)
            or {
                "node metadata": "A node's metadata",
                "node status": "A node's health status",
            }[name]
        )
        return self._operation("Look", summary, {**answers, **_refused(*refused)})

    def _operation(self, tag: str, summary: str, responses: Schema) -> Schema:
        return {"tags": [tag], "summary": summary, "responses": responses}


_EXAMPLE: Schema = {"data": {"ndarray": [[1.0, 2.0]]}}


def _older(path: str) -> Schema:
    """Mark a path that exists only for old clients."""
    return {"deprecated": True} if path in OLD_INTERNAL or path in OLD_EXTERNAL else {}


def templates(pattern: re.Pattern[str]) -> list[str]:
    """The path templates for a pattern of the edge."""
    text = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", pattern.pattern).replace("/?", "")
    found = re.search(r"\(\?:([^)]*)\)", text)
    if found is None:
        return [text]
    return [text.replace(found[0], choice).replace("[.]", ".") for choice in found[1].split("|")]


def _identified(paths: dict[str, Any]) -> dict[str, Any]:
    """The paths, each operation with a unique id."""
    taken: set[str] = set()
    for path, operations in paths.items():
        for verb, operation in _operations(operations):
            name = verb + re.sub(r"[^A-Za-z0-9]+", "_", path).rstrip("_")
            while name in taken:
                name += "_"
            taken.add(name)
            operation["operationId"] = name
    return paths


_KEY_REFUSALS = {
    "401": "No key, or not one that is known",
    "403": "The key has another scope",
    "429": "Over a quota of the key; retry after Retry-After seconds",
}


def _add_refusals(paths: Mapping[str, Schema]) -> None:
    """What a caller without the right key is answered, in the form of the operation's other errors."""
    for operations in paths.values():
        for _, operation in _operations(operations):
            responses = operation["responses"]
            error: Schema = next((each for code, each in responses.items() if code >= "400" and "content" in each), {})
            for code, description in _KEY_REFUSALS.items():
                responses.setdefault(code, {**error, "description": description})


def _operations(operations: Schema) -> Iterator[tuple[str, Schema]]:
    for verb, operation in operations.items():
        if verb != "parameters":
            yield verb, operation


def _text_answer(description: str, kind: str) -> Schema:
    return {"description": description, "content": {kind: {"schema": {"type": "string"}}}}


def _refused(*codes: str) -> Schema:
    return {code: as_json(_REFUSALS[code], ref("Error")) for code in codes}
