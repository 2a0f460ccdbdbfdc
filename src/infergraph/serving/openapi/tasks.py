"""The task endpoint in OpenAPI: gBuilder's five routes and the native API."""

from __future__ import annotations

from typing import Any

from infergraph.protocol import gbuilder
from infergraph.protocol.paths import TASK_ENGINE, TASKS
from infergraph.serving.openapi.schemas import IDEMPOTENCY_KEY, Schema, as_json, object_of, query, ref

_LINES = "application/x-ndjson"
_ANSWER_TYPES = ("text/csv", "application/vnd.apache.parquet", "application/gzip", "application/zstd")
_GBUILDER, _NATIVE = "Tasks (gBuilder)", "Tasks"
_ID: Schema = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The task id, percent-encoded.",
    "schema": {"type": "string", "minLength": 1},
}
_FORM = {"required": True, "content": {"multipart/form-data": {"schema": ref("TaskForm")}}}
_WORDS = {
    "400": "A field or parameter cannot be read; `info` names it",
    "404": "There is no such task",
    "409": "Not possible in the task's current state",
    "413": "The file is over the limit",
    "500": "The task failed, or the store cannot be used",
    "503": "The queue is full; retry after Retry-After seconds",
    "507": "The disk is full",
}
_UPLOAD = ("400", "409", "413", "500", "503", "507")


def task_paths() -> dict[str, Any]:
    """The paths of the task endpoint."""
    return {**_gbuilder_paths(), **_native_paths()}


def _gbuilder_paths() -> dict[str, Any]:
    status = _answer("TaskStatus")
    look = _operation(_GBUILDER, "Whether a task would be accepted: 1 yes, 2 full, 3 in error", status)
    return {
        gbuilder.STATUS: {"get": look},
        gbuilder.TASKS: {
            "post": _operation(
                _GBUILDER, "Submit a task; responds when it is accepted, or has ended (`immediate`)", status, *_UPLOAD,
                form=True,
            ),
        },
        gbuilder.TASKS + "/{id}": {
            "parameters": [_ID],
            "get": _operation(
                _GBUILDER, "0 running, 1 waiting, 2 finished, 3 failed, -1 no such task", status, "404"
            ),
            "delete": _operation(
                _GBUILDER, "Stop a task; responds when its work has ended", status, "400", "404", "409"
            ),
        },
        gbuilder.TASKS + "/{id}/results": {
            "parameters": [_ID],
            "get": _operation(_GBUILDER, "The answers of a finished task", _file(*_ANSWER_TYPES), "404", "409"),
        },
    }  # fmt: skip


def _native_paths() -> dict[str, Any]:
    task, prefix = _answer("Task"), TASKS
    one = f"{prefix}/{{id}}"
    return {
        prefix: {
            "get": {
                **_operation(_NATIVE, "A page of tasks, newest first", _answer("TaskPage"), "400"),
                "parameters": [
                    query("state", {"enum": ["waiting", "running", "finished", "failed", "stopping"]}),
                    query("prefix", {"type": "string"}, "Only tasks whose id begins with it."),
                    query("before", {"type": "integer"}, "The `next` of the previous page."),
                    query("limit", {"type": "integer"}, "Page size, 1 to 1000; 100 by default."),
                ],
            },
            "post": _operation(_NATIVE, "Submit a task", _answer("Task", "201"), *_UPLOAD, form=True),
            "delete": {
                **_operation(_NATIVE, "Delete tasks that ended long ago", _small("pruned", "integer"), "400"),
                "parameters": [
                    query("older_than_s", {"type": "number", "minimum": 0}, "0 for all ended tasks.", required=True)
                ],
            },
        },
        one: {
            "parameters": [_ID],
            "get": _operation(_NATIVE, "A task", task, "404"),
            "delete": _operation(
                _NATIVE, "Delete a task in any state; a running one is stopped", _small("deleted", "string"),
                "400", "404", "409",
            ),
        },
        f"{one}/results": {
            "parameters": [_ID],
            "get": {
                **_operation(_NATIVE, "The answers", _file(*_ANSWER_TYPES), "400", "404", "409"),
                "parameters": [
                    query("partial", {"type": "boolean"}, "Accept partial results, which are JSON lines."),
                    query("format", {"enum": ["jsonl"]}, "JSON lines, whatever the task's own format."),
                ],
            },
        },
        f"{one}/errors": {
            "parameters": [_ID],
            "get": _operation(_NATIVE, "The failed lines, with their reasons", _file(), "404"),
        },
        f"{one}/events": {
            "parameters": [_ID],
            "get": _operation(
                _NATIVE,
                "Progress as server-sent events: `progress` after each change, then one `end`",
                {"200": {"description": "A stream of events", "content": {"text/event-stream": {}}}},
                "404",
            ),
        },
        f"{one}/cancel": {
            "parameters": [_ID],
            "post": _operation(
                _NATIVE, "Stop a task; responds when its work has ended", _small("stopped", "string"),
                "400", "404", "409",
            ),
        },
        f"{one}/retry": {
            "parameters": [_ID],
            "post": _operation(_NATIVE, "Process the failed lines of an ended task again", task, "400", "404", "409"),
        },
        TASK_ENGINE: {
            "get": _operation(_NATIVE, "The task engine's status: availability, counts, workers", _answer("TaskEngine"))
        },
    }  # fmt: skip


def _operation(tag: str, summary: str, answered: Schema, *refused: str, form: bool = False) -> Schema:
    codes = {*refused, "500"}
    operation: Schema = {
        "tags": [tag],
        "summary": summary,
        "responses": answered | {code: as_json(_WORDS[code], ref("Error")) for code in sorted(codes)},
    }
    return {**operation, "parameters": [IDEMPOTENCY_KEY], "requestBody": _FORM} if form else operation


def _answer(schema: str, code: str = "200") -> Schema:
    return {code: as_json("The answer", ref(schema))}


def _small(name: str, kind: str) -> Schema:
    return {"200": as_json("The answer", object_of(name, **{name: {"type": kind}}))}


def _file(*others: str) -> Schema:
    """A file as a download, of JSON lines or another content type; a finished one also by range requests."""
    lines = {_LINES: {"schema": {"type": "string", "description": "One JSON value per line."}}}
    lines |= {other: {"schema": {"type": "string", "description": "As `output_format` says."}} for other in others}
    return {
        "200": {"description": "The file", "content": lines},
        "206": {"description": "The requested range of a finished file", "content": lines},
        "416": {"description": "`Range` lies beyond the end of the file"},
    }
