"""The native task API: listing, events, cancel, retry and prune, which gBuilder's contract does not have.

/api/v1.0/tasks                  GET list · POST submit · DELETE prune
/api/v1.0/tasks/<id>             GET · DELETE (in any state)
/api/v1.0/tasks/<id>/results     GET; ?partial=true for the results so far
/api/v1.0/tasks/<id>/errors      GET
/api/v1.0/tasks/<id>/events      GET, server-sent events
/api/v1.0/tasks/<id>/cancel      POST
/api/v1.0/tasks/<id>/retry       POST, the failed lines only
/api/v1.0/task-engine            GET
"""

from __future__ import annotations

import math
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from infergraph.errors import Fault, PayloadError
from infergraph.protocol.callers import Caller
from infergraph.protocol.paths import TASK_ENGINE, TASKS
from infergraph.serving.tasks.paths import TaskPaths
from infergraph.serving.tasks.results import results_response
from infergraph.serving.tasks.upload import FileSink, body_of, place, pump, receive_form, spend_rows, submission, whole
from infergraph.settings import Settings, read_bool
from infergraph.tasks.service import TaskService
from infergraph.tasks.store import Listing
from infergraph.tasks.task import State, Task
from infergraph.wire.file_kind import LINES

_PAGE_LIMIT = 1000
_REFERENCE_LIMIT_BYTES = 64 * 1024
_ACTS = {
    ("", "POST"): "task made",
    ("", "DELETE"): "tasks pruned",
    ("*", "DELETE"): "task deleted",
    ("cancel", "POST"): "task stopped",
    ("retry", "POST"): "task retried",
}
_REPEAT_S = 15.0


def api_routes(service: TaskService, settings: Settings) -> list[BaseRoute]:
    """The native API over a task service."""

    def edge(caller: Caller | None) -> _Api:
        return _Api(service.seen_by(caller), settings)

    table = {
        ("", "GET"): _Api.list,
        ("", "POST"): _Api.submit,
        ("", "DELETE"): _Api.prune,
        ("*", "GET"): _Api.show,
        ("*", "DELETE"): _Api.delete,
        ("results", "GET"): _Api.results,
        ("errors", "GET"): _Api.errors,
        ("events", "GET"): _Api.events,
        ("cancel", "POST"): _Api.cancel,
        ("retry", "POST"): _Api.retry,
    }
    return [
        TaskPaths(TASKS, edge, table, _ACTS),
        TaskPaths(TASK_ENGINE, edge, {("", "GET"): _Api.engine}),
    ]


def document(task: Task, *, position: int | None = None, paused: str = "") -> dict[str, Any]:
    """A task as a JSON document: times as RFC 3339 in UTC, sizes in bytes, durations in seconds."""
    left = task.total - task.done
    is_moving = task.state is State.RUNNING and task.rate > 0
    return {
        "id": task.id,
        "seq": task.seq,
        "state": task.state.value,
        "priority": task.priority,
        "rows": task.rows,
        "done": task.done,
        "failed": task.failed,
        "total": task.total,
        "progress": round(task.done / task.total, 6) if task.total else 0.0,
        "rate": round(task.rate, 3) if task.state is State.RUNNING else None,
        "eta_s": round(left / task.rate, 1) if is_moving else None,
        "queue_position": None if position is None else position + 1,
        "paused": paused if task.state is State.RUNNING and paused else None,
        "attempts": task.attempts,
        "retries": task.retries,
        "kills": task.kills,
        "round": task.round,
        "worked_s": round(task.worked_s, 3),
        "error": task.error or None,
        "input_format": task.input_format or LINES.name,
        "output_format": task.output_format or LINES.name,
        "input_uri": task.input_uri or None,
        "output_uri": task.output_uri or None,
        "input_bytes": task.input_bytes,
        "input_sha256": task.input_sha256,
        "output_bytes": task.out_off,
        "output_sha256": task.output_sha256 or None,
        "created": _time(task.created),
        "started": _time(task.started),
        "finished": _time(task.finished),
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


class _Api:
    """The handlers of the native API, for one caller."""

    def __init__(self, service: TaskService, settings: Settings) -> None:
        self._service = service
        self._settings = settings

    async def _document(self, task: Task) -> dict[str, Any]:
        paused = await self._service.paused() if task.state is State.RUNNING else ""
        return document(task, position=await self._service.position(task), paused=paused)

    async def list(self, request: Request, id: str) -> Response:
        """A page of tasks, newest first: `state`, `prefix`, `limit`, and `before` from the page before."""
        query = request.query_params
        names = [name for part in query.getlist("state") for name in part.split(",") if name]
        unknown = [name for name in names if name not in {state.value for state in State}]
        if unknown:
            raise PayloadError(f"state: {unknown[0]!r} is not a task state")
        limit = whole(query.get("limit"), "limit", 100)
        before = query.get("before")
        wanted = Listing(
            states=tuple(State(name) for name in names),
            prefix=query.get("prefix", ""),
            before=whole(before, "before", 0) if before is not None else None,
            limit=max(1, min(limit, _PAGE_LIMIT)),
        )
        tasks = await self._service.listing(wanted)
        counts, paused = await self._service.counts(), await self._service.paused()
        return _json(
            {
                "tasks": [document(task, paused=paused) for task in tasks],
                "next": tasks[-1].seq if len(tasks) == wanted.limit else None,
                "counts": {state.value: count for state, count in counts.items()},
            }
        )

    async def submit(self, request: Request, id: str) -> Response:
        """Submit a task; 201 with the task.

        A form as at /tasks; or the file itself as the body with `?id=…`; or its address, as `?input_uri=…` or in JSON.
        """
        if request.headers.get("content-type", "").startswith("multipart/"):
            task, said = await receive_form(self._service, request)
            immediate = said is not False
        else:
            immediate = _flag(request, "immediate", default=True)
            fields = await _reference_of(request)
            task = await (self._receive_lines(request) if fields is None else self._accept_reference(fields, request))
        if not immediate:
            task = await self._service.ended(task, request.is_disconnected) or task
        return _json(await self._document(task), 201)

    async def _accept_reference(self, fields: dict[str, str], request: Request) -> Task:
        return await self._service.accept_reference(submission(_with_id(fields), request))

    async def _receive_lines(self, request: Request) -> Task:
        wanted = submission(_with_id(dict(request.query_params)), request)
        self._service.check(wanted)
        incoming = await place(self._service, request, wanted)
        try:
            sink = FileSink(incoming, self._settings.task_upload_limit_bytes)
            sink.begin(request.headers.get("content-type", ""))
            async with aclosing(body_of(request)) as body:
                await pump(body, sink, sink, incoming, self._service)
            task = await self._service.accept(wanted, incoming)
            spend_rows(request, task.total)
            return task
        finally:
            await self._service.run(incoming.discard)

    async def prune(self, request: Request, id: str) -> Response:
        """Delete tasks that ended more than `older_than_s` ago (0 for all that ended)."""
        given = request.query_params.get("older_than_s")
        if given is None:
            raise PayloadError("older_than_s: the parameter is missing")
        try:
            seconds = float(given)
        except ValueError as error:
            raise PayloadError(f"older_than_s: {given!r} is not a number") from error
        if not 0 <= seconds < math.inf:
            raise PayloadError(f"older_than_s: {given!r} is not a time of 0 or more seconds")
        return _json({"pruned": await self._service.prune(older_than_s=seconds)})

    async def show(self, request: Request, id: str) -> Response:
        """A task."""
        return _json(await self._document(await self._service.task(id)))

    async def delete(self, request: Request, id: str) -> Response:
        """Delete a task in any state; a running one is stopped first."""
        await self._service.delete(id)
        return _json({"deleted": id})

    async def cancel(self, request: Request, id: str) -> Response:
        """Stop a waiting or running task; its work has ended when this is answered."""
        await self._service.stop(id)
        return _json({"stopped": id})

    async def retry(self, request: Request, id: str) -> Response:
        """Process the failed lines of an ended task again."""
        return _json(await self._document(await self._service.retry(id)))

    async def results(self, request: Request, id: str) -> Response:
        """The results; with `partial=true` those available so far, as JSON lines; with `format=jsonl` as JSON lines."""
        partial = _flag(request, "partial", default=False)
        as_lines = bool(given := request.query_params.get("format", ""))
        if given not in ("", LINES.name):
            raise PayloadError(f"format: {given!r:.60} is not jsonl; without it the task's own format is sent")
        hint = "; use ?partial=true for partial results"
        file = await self._service.results(id, partial=partial, as_lines=as_lines, hint=hint)
        return results_response(file, id)

    async def errors(self, request: Request, id: str) -> Response:
        """The error lines only, in order."""
        return results_response(await self._service.errors(id), f"{id}.errors")

    async def events(self, request: Request, id: str) -> Response:
        """A stream of server-sent events: `progress` with the task, then one `end`."""
        await self._service.task(id)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._stream(id), media_type="text/event-stream", headers=headers)

    async def _stream(self, id: str) -> AsyncIterator[bytes]:
        try:
            async with aclosing(self._service.events(id, repeat_s=_REPEAT_S)) as events:
                async for task in events:
                    yield b"event: progress\ndata: " + orjson.dumps(await self._document(task)) + b"\n\n"
        except Fault as fault:
            yield b"event: fault\ndata: " + orjson.dumps({"reason": fault.reason, "info": fault.text}) + b"\n\n"
            return
        current = await self._service.find(id)
        ending = orjson.dumps(await self._document(current)) if current is not None else b"null"
        yield b"event: end\ndata: " + ending + b"\n\n"

    async def engine(self, request: Request, id: str) -> Response:
        """The status of the task engine: availability, counts, workers, disk."""
        engine = await self._service.engine()
        return _json(
            {
                "status": int(engine.availability),
                "reason": engine.reason or None,
                "counts": {state.value: count for state, count in engine.counts.items()},
                "drivers": engine.drivers,
                "driver": msgspec.to_builtins(engine.heartbeat) if engine.heartbeat is not None else None,
                "silent_s": engine.silent_s,
                "used_bytes": engine.used_bytes,
                "free_bytes": engine.free_bytes,
            }
        )


def _with_id(fields: dict[str, str]) -> dict[str, str]:
    """The fields of a submission by their names in a form."""
    return fields | {"task_id": fields.get("id") or uuid.uuid4().hex}


async def _reference_of(request: Request) -> dict[str, str] | None:
    """The fields of a submission whose file is at an address: parameters, or a JSON object as the body; None otherwise.

    Raises: PayloadError.
    """
    fields = dict(request.query_params)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) <= _REFERENCE_LIMIT_BYTES:
            fields |= _fields_of(await request.body())
    return fields if "input_uri" in fields else None


def _fields_of(body: bytes) -> dict[str, str]:
    """The fields in a JSON object with an `input_uri`; none in anything else, which are lines. Raises: PayloadError."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(document, dict) or "input_uri" not in document:
        return {}
    for name, value in document.items():
        if not isinstance(value, str | int):
            raise PayloadError(f"{name}: a text is expected")
    return {name: str(value) for name, value in document.items() if value != ""}


def _flag(request: Request, name: str, *, default: bool) -> bool:
    given = request.query_params.get(name)
    try:
        return default if given is None else read_bool(given)
    except ValueError as error:
        raise PayloadError(f"{name}: {error}") from error
