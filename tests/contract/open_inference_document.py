"""The facts of the standard's own OpenAPI document: its paths, and the members of its requests and answers.

Source: the open inference protocol, REST specification. Model and version are those of the component that is driven.
"""

from __future__ import annotations

from typing import Any

MODEL, VERSION = "Typed", "v1"
DATATYPES = ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64",
             "BYTES"]  # fmt: skip

_TEXT = {"type": "string"}
_PARAMETERS = {
    "type": "object",
    "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]},
}
_DATA = {"type": "array", "items": {"anyOf": [{"type": "number"}, {"type": "string"}, {"type": "boolean"}]}}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


def _tensor(sizes: dict[str, Any]) -> dict[str, Any]:
    return _object(
        ["name", "shape", "datatype", "data"],
        name=_TEXT,
        shape={"type": "array", "items": sizes},
        datatype={"type": "string", "enum": DATATYPES},
        parameters=_PARAMETERS,
        data=_DATA,
    )


_METADATA_TENSOR = _object(
    ["name", "datatype", "shape"],
    name=_TEXT,
    datatype=_TEXT,
    shape={"type": "array", "items": {"type": "integer"}},
)
SCHEMAS = {
    "metadata_server_response": _object(
        ["name", "version", "extensions"], name=_TEXT, version=_TEXT, extensions={"type": "array", "items": _TEXT}
    ),
    "metadata_model_response": _object(
        ["name", "platform", "inputs", "outputs"],
        name=_TEXT,
        versions={"type": "array", "items": _TEXT},
        platform=_TEXT,
        inputs={"type": "array", "items": _METADATA_TENSOR},
        outputs={"type": "array", "items": _METADATA_TENSOR},
    ),
    "inference_request": _object(
        ["inputs"],
        id=_TEXT,
        parameters=_PARAMETERS,
        inputs={"type": "array", "items": _tensor({"type": "integer", "minimum": 0, "maximum": 4})},
        outputs={"type": "array", "items": _object(["name"], name=_TEXT, parameters=_PARAMETERS)},
    ),
    "inference_response": _object(
        ["model_name", "outputs"],
        model_name=_TEXT,
        model_version=_TEXT,
        id=_TEXT,
        parameters=_PARAMETERS,
        outputs={"type": "array", "items": _tensor({"type": "integer"})},
    ),
    "error_response": _object(["error"], error=_TEXT),
}


def _json(schema: str) -> dict[str, Any]:
    return {
        "description": schema,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _get(answer: dict[str, Any], *refusals: str) -> dict[str, Any]:
    return {"get": {"responses": {"200": answer, **{code: _json("error_response") for code in refusals}}}}


def _infer() -> dict[str, Any]:
    body = {"required": True, "content": _json("inference_request")["content"]}
    answers = {"200": _json("inference_response"), **{code: _json("error_response") for code in ("400", "404", "500")}}
    return {"post": {"requestBody": body, "responses": answers}}


def _paths() -> dict[str, Any]:
    plain = {"description": "it can"}
    paths = {"/v2": _get(_json("metadata_server_response"))}
    paths |= {f"/v2/health/{probe}": _get(plain) for probe in ("live", "ready")}
    for model in (f"/v2/models/{MODEL}", f"/v2/models/{MODEL}/versions/{VERSION}"):
        paths[f"{model}/ready"] = _get(plain)
        paths[model] = _get(_json("metadata_model_response"), "404")
        paths[f"{model}/infer"] = _infer()
    return paths


DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Open Inference Protocol REST API", "version": "1.0.0"},
    "paths": _paths(),
    "components": {"schemas": SCHEMAS},
}
