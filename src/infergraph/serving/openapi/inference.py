"""The operations of the open inference protocol in the OpenAPI document, and those of KServe's first protocol.

metadata ─▶ schema of the inputs by name and datatype, example request ┊ Paths.find ─▶ what is served and described
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from infergraph.protocol.paths import V2_GRAPH_INFER
from infergraph.serving.http.app import Paths
from infergraph.serving.openapi.schemas import Schema, as_json, object_of, ref
from infergraph.wire.v2.metadata import ModelMetadata, TensorMetadata
from infergraph.wire.v2.tensors import Datatype

_JSON = "application/json"
_OCTETS = "application/octet-stream"
_TEXT: Schema = {"type": "string"}
_BOOLEAN: Schema = {"type": "boolean"}
_NAMES: Schema = {"type": "array", "items": _TEXT}
_DATATYPE: Schema = {"enum": [kind.value for kind in Datatype]}
_SHAPE: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 64}
_COUNTED: Schema = object_of("count", "ns", count={"type": "integer"}, ns={"type": "integer"})
_REFUSALS = {
    "400": "The request cannot be read; the text names the member or the tensor",
    "403": "The setting model_control is off",
    "404": "There is no such model or version, or it was unloaded",
    "413": "The message is over the limit",
    "415": "The content encoding is neither gzip nor deflate",
    "500": "The component raised, or its answer has no form in the protocol",
    "503": "Not ready, or too many concurrent requests; retry after Retry-After seconds",
    "504": "The request timed out",
}
_FAILURES = ("404", "500", "503")
_GENERATE: Schema = {"type": "object", "description": "Values by the names of inputs and parameters."}
_EVENTS: Schema = {
    "description": "Server-sent events: `data:` and an answer each; after an error `data:` and the error, then the end",
    "content": {"text/event-stream": {"schema": _TEXT}},
}

SCHEMAS: dict[str, Schema] = {
    "V2Parameters": {
        "description": "Texts, numbers and booleans by name.",
        "type": ["object", "null"],
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    },
    "V2Tensor": {
        "description": "A tensor: its elements in row-major order, flat or nested, or raw bytes behind the JSON.",
        **object_of(
            "name",
            "shape",
            "datatype",
            name=_TEXT,
            shape=_SHAPE,
            datatype=_DATATYPE,
            data={"type": "array"},
            parameters=ref("V2Parameters"),
        ),
    },
    "V2RequestedOutput": object_of("name", name=_TEXT, parameters=ref("V2Parameters")),
    "V2Response": {
        "description": "The answer to an inference.",
        **object_of(
            "model_name",
            "outputs",
            model_name=_TEXT,
            model_version=_TEXT,
            id=_TEXT,
            parameters=ref("V2Parameters"),
            outputs={"type": "array", "items": ref("V2Tensor")},
        ),
    },
    "V2Error": {"description": "An error response.", **object_of("error", error=_TEXT)},
    "V2TensorMetadata": object_of(
        "name",
        "datatype",
        "shape",
        name=_TEXT,
        datatype=_DATATYPE,
        shape={"type": "array", "items": {"type": "integer", "minimum": -1}, "description": "-1 is a free axis."},
        parameters={"type": "object"},
    ),
    "V2ModelMetadata": {
        "description": "What the model declares.",
        **object_of(
            "name",
            "versions",
            "platform",
            "inputs",
            "outputs",
            name=_TEXT,
            versions=_NAMES,
            platform=_TEXT,
            inputs={"type": "array", "items": ref("V2TensorMetadata")},
            outputs={"type": "array", "items": ref("V2TensorMetadata")},
        ),
    },
    "V2Statistics": object_of(
        "model_stats",
        model_stats={
            "type": "array",
            "items": object_of(
                "name",
                "version",
                "inference_stats",
                name=_TEXT,
                version=_TEXT,
                inference_stats={"type": "object", "additionalProperties": _COUNTED},
            ),
        },
    ),
    "V2Index": {
        "type": "array",
        "items": object_of(
            "name",
            "state",
            "reason",
            name=_TEXT,
            version=_TEXT,
            state={"enum": ["UNKNOWN", "READY", "UNAVAILABLE", "LOADING", "UNLOADING"]},
            reason=_TEXT,
        ),
    },
}
"""The requests and responses of the protocol."""


class Inference:
    """Describes the protocol's paths of one model.

    Args:
        paths: what is served; a path that is not there is not described.
        model: its metadata; only its name where they are not known.
    """

    def __init__(self, paths: Paths, model: ModelMetadata) -> None:
        self._paths = paths
        self._model = model
        self._name = quote(model.name, safe="")

    def paths(self) -> dict[str, Any]:
        """The operations by path and verb."""
        return {path: verbs for path, verbs in self._candidates() if self._is_served(path)}

    def schemas(self) -> dict[str, Schema]:
        """The schemas of the protocol, the request's with the tensors that the model declares."""
        declared = self._model.inputs
        item = {"anyOf": [_input_schema(each) for each in declared]} if declared else ref("V2Tensor")
        request = object_of(
            "inputs",
            id={"type": ["string", "null"], "description": "Given back in the answer."},
            parameters=ref("V2Parameters"),
            inputs={"type": "array", "minItems": 1, "items": item},
            outputs={"type": ["array", "null"], "items": ref("V2RequestedOutput")},
        )
        return SCHEMAS | {"V2Request": {"description": "Tensors for an inference, of different names.", **request}}

    def _is_served(self, path: str) -> bool:
        endpoint = self._paths.exact.get(path) or self._paths.find(path)[0]
        return endpoint is not None and endpoint.dialect is not None

    def _candidates(self) -> Iterator[tuple[str, Schema]]:
        yield from _SERVER.items()
        version = self._model.version
        for place in ("", *([f"/versions/{quote(version, safe='')}"] if version else [])):
            yield from self._of_model(f"/v2/models/{self._name}{place}")
        if V2_GRAPH_INFER in self._paths.exact:  # else it would be the metadata of a model of that name
            yield V2_GRAPH_INFER, {"post": self._infer()}
        message, answer = as_json("The child", ref("SeldonMessage")), as_json("The answer", ref("V2Response"))
        answers: Schema = {"type": "array", "minItems": 1, "items": ref("V2Response")}
        routes = _asking("Choose the child to call, for a graph", ref("V2Request"), message)
        yield f"/v2/models/{self._name}/route", {"post": routes}
        combines = _asking("Combine the answers of several models, for a graph", answers, answer)
        yield f"/v2/models/{self._name}/aggregate", {"post": combines}
        for action in ("load", "unload"):
            yield f"/v2/repository/models/{self._name}/{action}", _control(action)
        yield f"/v1/models/{self._name}", {"get": _get("Whether the model can answer", _ready(_TEXT), *_FAILURES)}
        yield f"/v1/models/{self._name}:predict", {"post": _predict()}

    def _of_model(self, path: str) -> Iterator[tuple[str, Schema]]:
        metadata = as_json("The metadata", ref("V2ModelMetadata"))
        yield path, {"get": _get("The model's metadata", metadata, *_FAILURES)}
        yield f"{path}/ready", {"get": _get("Whether the model can answer", _ready(_TEXT), *_FAILURES)}
        yield f"{path}/infer", {"post": self._infer()}
        yield f"{path}/infer_stream", {"post": _asking("Infer, with answers as they come", ref("V2Request"), _EVENTS)}
        generated = as_json("The answer: outputs and parameters by name", {"type": "object"})
        generate = _asking("Generate: values by name, without the form of tensors", _GENERATE, generated)
        generate["requestBody"]["content"][_JSON]["example"] = self._values()
        yield f"{path}/generate", {"post": generate}
        yield f"{path}/generate_stream", {"post": _asking("Generate, with answers as they come", _GENERATE, _EVENTS)}
        statistics = as_json("The statistics", ref("V2Statistics"))
        yield f"{path}/stats", {"get": _get("The model's statistics", statistics, *_FAILURES)}
        configuration = as_json("The configuration", {"type": "object"})
        yield f"{path}/config", {"get": _get("The model's configuration", configuration, *_FAILURES)}

    def _values(self) -> Schema:
        """An example in the generate form: the elements of each declared input by its name."""
        return {each.name: each.example()["data"] for each in self._model.inputs} or {"text_input": "text"}

    def _infer(self) -> Schema:
        content: Schema = {
            _JSON: {"schema": ref("V2Request"), "example": example_of(self._model)},
            _OCTETS: {"schema": {"type": "string", "contentMediaType": _OCTETS}},
        }
        answered = as_json("The answer", ref("V2Response"))
        answered["content"][_OCTETS] = {"schema": {"type": "string", "contentMediaType": _OCTETS}}
        header = {
            "name": "Inference-Header-Content-Length",
            "in": "header",
            "description": "The size of the JSON, where raw bytes of tensors follow it.",
            "schema": {"type": "integer", "minimum": 0},
        }
        operation = _asking("Infer: tensors to tensors", {}, answered)
        return {**operation, "parameters": [header], "requestBody": {"required": True, "content": content}}


def example_of(model: ModelMetadata) -> Schema:
    """An example request with a tensor for each declared input."""
    declared = model.inputs or [TensorMetadata("input-0", Datatype.FP32.value, [1, 2])]
    return {"inputs": [each.example() for each in declared]}


def _input_schema(declared: TensorMetadata) -> Schema:
    shape = declared.shape
    sizes: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    if shape:
        sizes |= {"minItems": len(shape), "maxItems": len(shape), "description": f"{shape}; -1 is a free axis."}
    properties: dict[str, Schema] = {
        "name": {"const": declared.name},
        "shape": sizes,
        "datatype": {"const": declared.datatype},
        "data": {"type": "array"},
        "parameters": ref("V2Parameters"),
    }
    return object_of("name", "shape", "datatype", **properties)


def _control(action: str) -> Schema:
    does = "Load the model, or load it anew" if action == "load" else "Unload the model"
    members = {"name": _TEXT, action: _BOOLEAN}
    answered = as_json("Done in all workers", object_of("name", action, **members))
    operation = _operation(
        "Control", f"{does} (setting model_control)", {"200": answered, **_refused("400", "403", "404", "503")}
    )
    body = object_of(parameters=ref("V2Parameters"))
    return {"post": {**operation, "requestBody": {"required": False, "content": {_JSON: {"schema": body}}}}}


def _predict() -> Schema:
    body = object_of("instances", instances={"type": "array"})
    answered = as_json("The answer", object_of("predictions", predictions={}))
    return _asking("Predict: instances to predictions (KServe v1)", body, answered)


def _asking(summary: str, body: Schema, answered: Schema) -> Schema:
    """An operation that asks the model."""
    refused = _refused("400", "404", "413", "415", "500", "503", "504")
    operation = _operation("Ask", summary, {"200": answered, **refused})
    return {**operation, "requestBody": {"required": True, "content": {_JSON: {"schema": body}}}}


def _index() -> Schema:
    body = object_of(ready={"type": ["boolean", "null"], "description": "Only those that can answer."})
    answered = as_json("The models, and the nodes of a graph", ref("V2Index"))
    operation = _operation("Look", "The models and their states", {"200": answered, **_refused("400")})
    return {**operation, "requestBody": {"required": False, "content": {_JSON: {"schema": body}}}}


def _get(summary: str, answered: Schema, *refused: str) -> Schema:
    return _operation("Look", summary, {"200": answered, **_refused(*refused)})


def _operation(tag: str, summary: str, responses: Schema) -> Schema:
    return {"tags": [tag], "summary": summary, "responses": responses}


def _ready(name: Schema) -> Schema:
    return as_json("It can", object_of("name", "ready", name=name, ready=_BOOLEAN))


def _refused(*codes: str) -> Schema:
    return {code: as_json(_REFUSALS[code], ref("V2Error")) for code in codes}


def _server() -> Mapping[str, Schema]:
    name = object_of("name", "version", "extensions", name=_TEXT, version=_TEXT, extensions=_NAMES)
    models = as_json("Their names", object_of("models", models=_NAMES))
    return {
        "/v2": {"get": _get("The server's name, version and extensions", as_json("The metadata", name))},
        "/v2/health/live": {
            "get": _get("Whether the process is running", as_json("It runs", object_of("live", live=_BOOLEAN)))
        },
        "/v2/health/ready": {
            "get": _get("Whether the server can answer", as_json("It can", object_of("ready", ready=_BOOLEAN)), "503")
        },
        "/v2/models": {"get": _get("The models", models)},
        "/v2/models/stats": {
            "get": _get("The statistics of all models", as_json("The statistics", ref("V2Statistics")), "500", "503")
        },
        "/v2/repository/index": {"post": _index()},
        "/v1/models": {"get": _get("The models", models)},
    }


_SERVER = _server()
