"""OpenAI's Files and Batches API in OpenAPI."""

from __future__ import annotations

from typing import Any

from infergraph.protocol.paths import OPENAI_BATCHES, OPENAI_FILES
from infergraph.serving.openapi.schemas import IDEMPOTENCY_KEY, Schema, as_json, object_of, query, ref

TAG = "Tasks (OpenAI)"
_JSON = "application/json"
_WHOLE: Schema = {"type": "integer"}
_TEXT: Schema = {"type": "string"}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_MAYBE_WHOLE: Schema = {"type": ["integer", "null"]}
_TIMES = (
    "in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at"
)  # fmt: skip
_METADATA: Schema = {
    "type": ["object", "null"],
    "maxProperties": 16,
    "propertyNames": {"maxLength": 64},
    "additionalProperties": {"type": "string", "maxLength": 512},
}
_EXPIRY: Schema = {
    "anchor": {"const": "created_at"},
    "seconds": {"type": "integer", "minimum": 3600, "maximum": 2592000},
}
_WORDS = {
    "400": "A member or parameter cannot be read; `param` names it",
    "404": "There is no such object",
    "409": "Not possible in the batch's status, or with another batch of that key",
    "413": "The file or the body is over the limit",
    "500": "The store cannot be used",
    "503": "The queue is full; retry after Retry-After seconds",
    "507": "The disk is full",
}

OPENAI_SCHEMAS: dict[str, Schema] = {
    "OpenAIError": {"description": "What is wrong."} | object_of(
        "error",
        error=object_of(
            "message", "type", "param", "code", message=_TEXT, type=_TEXT, param=_MAYBE_TEXT, code=_MAYBE_TEXT
        ),
    ),
    "FileForm": {"description": "A JSONL file of requests."} | object_of(
        "purpose", "file",
        purpose={"enum": ["batch"]},
        file={"type": "string", "contentMediaType": "application/octet-stream"},
    ),
    "File": {"description": "A file: times in Unix seconds."} | object_of(
        "id", "object", "bytes", "created_at", "filename", "purpose", "status",
        id=_TEXT,
        object={"const": "file"},
        bytes=_WHOLE,
        created_at=_WHOLE,
        expires_at=_MAYBE_WHOLE,
        filename=_TEXT,
        purpose={"enum": ["batch", "batch_output"]},
        status={"const": "processed"},
    ),
    "NewBatch": {"description": "A batch of the requests in a file, all of them to `endpoint`."} | object_of(
        "input_file_id", "endpoint", "completion_window",
        input_file_id=_TEXT,
        endpoint={"type": "string", "description": "A path that is asked by POST, such as /predict."},
        completion_window={"type": "string", "pattern": "^[1-9][0-9]{0,6}[smhd]$", "description": "At most 30d."},
        metadata=_METADATA,
        output_expires_after={
            "description": "When the output files expire.",
            "anyOf": [{"type": "null"}, object_of("anchor", "seconds", **_EXPIRY)],
        },
        priority={"type": "integer", "minimum": -1000, "maximum": 1000, "description": "Higher ones first."},
        webhook={"type": "string", "description": "A URL that receives a POST when the batch ends."},
        webhook_events={"type": "string", "description": "Which events it receives, separated by commas."},
    ),
    "Batch": {"description": "A batch: times in Unix seconds."} | object_of(
        "id", "object", "endpoint", "input_file_id", "status", "request_counts",
        id=_TEXT,
        object={"const": "batch"},
        endpoint=_TEXT,
        errors={"type": ["object", "null"]},
        input_file_id=_TEXT,
        completion_window=_TEXT,
        status={
            "enum": [
                "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
            ]
        },
        output_file_id=_MAYBE_TEXT,
        error_file_id=_MAYBE_TEXT,
        created_at=_WHOLE,
        expires_at=_WHOLE,
        **dict.fromkeys(_TIMES, _MAYBE_WHOLE),
        request_counts=object_of("total", "completed", "failed", total=_WHOLE, completed=_WHOLE, failed=_WHOLE),
        metadata=_METADATA,
    ),
    **{
        page: {"description": "A page of a list."} | object_of(
            "object", "data", "has_more",
            object={"const": "list"},
            data={"type": "array", "items": ref(item)},
            first_id=_MAYBE_TEXT,
            last_id=_MAYBE_TEXT,
            has_more={"type": "boolean"},
        )
        for page, item in (("FilePage", "File"), ("BatchPage", "Batch"))
    },
    "FileDeleted": {"description": "The file is gone."} | object_of(
        "id", "object", "deleted", id=_TEXT, object={"const": "file"}, deleted={"const": True}
    ),
}  # fmt: skip
"""The requests and responses of the API."""


def openai_paths() -> dict[str, Any]:
    """The paths of the API."""
    file, batch = f"{OPENAI_FILES}/{{id}}", f"{OPENAI_BATCHES}/{{id}}"
    form = {"required": True, "content": {"multipart/form-data": {"schema": ref("FileForm")}}}
    body = {"required": True, "content": {_JSON: {"schema": ref("NewBatch")}}}
    return {
        OPENAI_FILES: {
            "get": _operation("A page of files", "FilePage", "400", parameters=[
                *_page(10_000), query("purpose", _TEXT), query("order", {"enum": ["asc", "desc"]}),
            ]),
            "post": _operation("Upload a file", "File", "400", "413", "503", "507", requestBody=form),
        },
        file: {
            "parameters": [_ID],
            "get": _operation("A file", "File", "404"),
            "delete": _operation("Delete a file", "FileDeleted", "404"),
        },
        f"{file}/content": {
            "parameters": [_ID],
            "get": _operation("The content of a file", "", "404") | {"responses": _content() | _refused("404", "500")},
        },
        OPENAI_BATCHES: {
            "get": _operation("A page of batches, newest first", "BatchPage", "400", parameters=_page(100)),
            "post": _operation(
                "Create a batch; it is validated, then worked on", "Batch", "400", "409", "413", "503", "507",
                requestBody=body, parameters=[IDEMPOTENCY_KEY],
            ),
        },
        batch: {"parameters": [_ID], "get": _operation("A batch", "Batch", "404")},
        f"{batch}/cancel": {
            "parameters": [_ID],
            "post": _operation("Cancel a batch; what it has answered is kept", "Batch", "404", "409"),
        },
    }  # fmt: skip


_ID: Schema = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _operation(summary: str, schema: str, *refused: str, **more: Any) -> Schema:
    answered = {"200": as_json("The answer", ref(schema))}
    return {"tags": [TAG], "summary": summary, "responses": answered | _refused(*refused, "500"), **more}


def _refused(*codes: str) -> Schema:
    return {code: as_json(_WORDS[code], ref("OpenAIError")) for code in codes}


def _content() -> Schema:
    lines = {"application/x-ndjson": {"schema": {"type": "string", "description": "One JSON value per line."}}}
    return {
        "200": {"description": "The file", "content": lines},
        "206": {"description": "The requested range", "content": lines},
        "416": {"description": "`Range` lies beyond the end of the file"},
    }


def _page(limit: int) -> list[Schema]:
    return [
        query("after", _TEXT, "The `last_id` of the page before."),
        query("limit", {"type": "integer", "minimum": 1, "maximum": limit}),
    ]
