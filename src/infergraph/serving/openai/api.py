"""OpenAI's Files and Batches API.

/v1/files                GET list · POST upload (a form with `purpose` and `file`)
/v1/files/<id>           GET · DELETE
/v1/files/<id>/content   GET
/v1/batches              GET list · POST create
/v1/batches/<id>         GET
/v1/batches/<id>/cancel  POST

Source: OpenAI's API reference, "Files" and "Batch".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from infergraph.errors import Fault, PayloadError, UploadTooLarge
from infergraph.protocol.callers import Caller
from infergraph.protocol.paths import OPENAI_BATCHES, OPENAI_FILES
from infergraph.serving.openai import errors, objects
from infergraph.serving.tasks.paths import TaskPaths
from infergraph.serving.tasks.results import results_response
from infergraph.serving.tasks.upload import (
    FileSink,
    TaskForm,
    body_of,
    drain,
    idempotency_key,
    place,
    priority,
    pump,
    spend_rows,
    traceparent,
    whole,
)
from infergraph.tasks import openai
from infergraph.tasks.openai import Batch, BatchStatus
from infergraph.tasks.openai_service import Listing, OpenAIService
from infergraph.tasks.service import TaskService
from infergraph.wire import request_lines

_BODY_LIMIT_BYTES = 1 << 20
_BATCHES_LIMIT = 100
_BATCHES_USUAL = 20
_FILES_LIMIT = 10_000
_METADATA_LIMIT = 16
_METADATA_NAME_LIMIT = 64
_METADATA_VALUE_LIMIT = 512
_KEEP_S = (3600, 30 * 86400)
_WINDOW = re.compile(r"([1-9]\d{0,6})([smhd])")
_WINDOW_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_WINDOW_LIMIT_S = 30 * 86400
_ACTS = {
    OPENAI_FILES: {("", "POST"): "file made", ("*", "DELETE"): "file deleted"},
    OPENAI_BATCHES: {("", "POST"): "batch made", ("cancel", "POST"): "batch cancelled"},
}


class Expiry(msgspec.Struct, frozen=True):
    """After how many seconds a file expires, by an anchor, which can only be its creation."""

    anchor: str
    seconds: int


class NewBatch(msgspec.Struct, frozen=True):
    """The body of a request for a batch; priority and webhook are ours: see the task API."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None
    output_expires_after: Expiry | None = None
    priority: int = 0
    webhook: str = ""
    webhook_events: str = ""


def routes(service: TaskService, is_served: Callable[[str, Caller | None], bool]) -> list[BaseRoute]:
    """The API over a task service.

    Args:
        is_served: whether a caller's rows are answered at a path.
    """

    def edge(caller: Caller | None) -> _Edge:
        return _Edge(OpenAIService(service.seen_by(caller)), lambda path: is_served(path, caller))

    files = {
        ("", "GET"): _Edge.list_files,
        ("", "POST"): _Edge.upload,
        ("*", "GET"): _Edge.file,
        ("*", "DELETE"): _Edge.delete_file,
        ("content", "GET"): _Edge.content,
    }
    batches = {
        ("", "GET"): _Edge.list_batches,
        ("", "POST"): _Edge.create,
        ("*", "GET"): _Edge.batch,
        ("cancel", "POST"): _Edge.cancel,
    }
    tables = {OPENAI_FILES: files, OPENAI_BATCHES: batches}
    return [TaskPaths(prefix, edge, table, _ACTS[prefix], errors) for prefix, table in tables.items()]


def is_ours(path: str) -> bool:
    """Whether a path is one of this API."""
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in _ACTS)


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


class _Edge:
    """The handlers, for one caller.

    Args:
        is_served: whether its rows are answered at a path.
    """

    def __init__(self, service: OpenAIService, is_served: Callable[[str], bool]) -> None:
        self._service = service
        self._is_served = is_served

    # ── files ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def upload(self, request: Request, id: str) -> Response:
        """Keep a file, the input of batches."""
        tasks = self._service.tasks
        incoming = await place(tasks, request)
        try:
            sink = FileSink(incoming, tasks.settings.task_upload_limit_bytes, "file")
            form = TaskForm(request.headers.get("content-type", ""), sink, "purpose", ("file",))
            async with aclosing(body_of(request)) as body:
                try:
                    await pump(body, form, sink, incoming, tasks)
                except Fault:
                    await drain(body)
                    raise
            if form.fields["purpose"] != "batch":
                raise PayloadError(f"purpose: {form.fields['purpose']!r:.60} is not taken, only 'batch'")
            entry = await self._service.store_file(incoming, form.filename, self._keep_s(form))
            request.state.task = entry.record.id  # for the audit line
            return _json(objects.document(entry))
        finally:
            await tasks.run(incoming.discard)

    def _keep_s(self, form: TaskForm) -> float:
        """After how many seconds a file expires: as its form says, or like an ended task."""
        fields = form.fields
        anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
        if anchor is None and seconds is None:
            return self._service.settings.task_keep_s
        return _checked(Expiry(anchor or "", whole(seconds, "expires_after[seconds]", 0)), "expires_after")

    async def file(self, request: Request, id: str) -> Response:
        """A file."""
        return _json(objects.document(await self._service.file(id)))

    async def delete_file(self, request: Request, id: str) -> Response:
        """Delete a file."""
        await self._service.delete_file(id)
        return _json({"id": id, "object": "file", "deleted": True})

    async def content(self, request: Request, id: str) -> Response:
        """The content of a file."""
        return results_response(await self._service.content(id), id)

    async def list_files(self, request: Request, id: str) -> Response:
        """A page of files: `purpose`, `order`, `limit`, and `after` from the page before."""
        query = request.query_params
        purpose, order = query.get("purpose"), query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise PayloadError(f"order: {order!r:.60} is neither asc nor desc")
        kinds = openai.FILE_KINDS if purpose is None else (f"file.{purpose}",)
        limit = _limit(request, _FILES_LIMIT, _FILES_LIMIT)
        return await self._page(request, Listing(kinds=kinds, limit=limit, is_ascending=order == "asc"))

    async def _page(self, request: Request, wanted: Listing) -> Response:
        wanted = msgspec.structs.replace(wanted, after=request.query_params.get("after", ""))
        entries, has_more = await self._service.listing(wanted)
        return _json(objects.page(entries, has_more=has_more))

    # ── batches ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def create(self, request: Request, id: str) -> Response:
        """Create a batch; its input is validated afterwards."""
        batch = msgspec.structs.replace(self._batch_of(await _body(request)), traceparent=traceparent(request))
        entry, rows = await self._service.create_batch(batch, idempotency_key(request))
        request.state.task = entry.record.id  # for the audit line
        spend_rows(request, rows)
        return _json(objects.document(entry))

    def _batch_of(self, new: NewBatch) -> Batch:
        """The batch that a body asks for. Raises: PayloadError naming the member."""
        endpoint = request_lines.path_of(new.endpoint, self._service.settings.base_path)
        if not self._is_served(endpoint):
            raise PayloadError(
                f"endpoint: no row is answered at {new.endpoint!r:.200}; /docs lists the paths to POST to"
            )
        keep_s = 0 if new.output_expires_after is None else _checked(new.output_expires_after, "output_expires_after")
        return Batch(
            status=BatchStatus.VALIDATING,
            input_file=new.input_file_id,
            endpoint=new.endpoint,
            completion_window=new.completion_window,
            expires=_window_s(new.completion_window),
            metadata=_metadata(new.metadata),
            priority=priority(new.priority),
            webhook=new.webhook,
            webhook_events=new.webhook_events,
            output_keep_s=keep_s,
        )

    async def batch(self, request: Request, id: str) -> Response:
        """A batch."""
        return _json(objects.document(await self._service.batch(id)))

    async def cancel(self, request: Request, id: str) -> Response:
        """Have a batch cancelled."""
        return _json(objects.document(await self._service.cancel_batch(id)))

    async def list_batches(self, request: Request, id: str) -> Response:
        """A page of batches, newest first: `limit`, and `after` from the page before."""
        limit = _limit(request, _BATCHES_USUAL, _BATCHES_LIMIT)
        return await self._page(request, Listing(kinds=(openai.BATCH,), limit=limit))


async def _body(request: Request) -> NewBatch:
    body = bytearray()
    async for block in body_of(request):
        body += block
        if len(body) > _BODY_LIMIT_BYTES:
            raise UploadTooLarge(f"the body is over {_BODY_LIMIT_BYTES} bytes")
    try:
        return msgspec.json.decode(body, type=NewBatch)
    except msgspec.ValidationError as error:
        member = request_lines.member_in(str(error))
        raise PayloadError(f"{member}: {error}" if member else str(error)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise PayloadError(f"the body is not JSON: {error}") from error


def _limit(request: Request, usual: int, most: int) -> int:
    limit = whole(request.query_params.get("limit"), "limit", usual)
    if not 1 <= limit <= most:
        raise PayloadError(f"limit: {limit} is not between 1 and {most}")
    return limit


def _window_s(text: str) -> float:
    found = _WINDOW.fullmatch(text)
    seconds = 0 if found is None else int(found[1]) * _WINDOW_UNITS_S[found[2]]
    if not 0 < seconds <= _WINDOW_LIMIT_S:
        raise PayloadError(f"completion_window: {text!r:.60} is no time of at most 30d, such as 24h, 90m or 30s")
    return float(seconds)


def _checked(expiry: Expiry, name: str) -> int:
    """After how many seconds a file expires. Raises: PayloadError."""
    if expiry.anchor != "created_at":
        raise PayloadError(f"{name}[anchor]: {expiry.anchor!r:.60} is not 'created_at'")
    if not _KEEP_S[0] <= expiry.seconds <= _KEEP_S[1]:
        raise PayloadError(f"{name}[seconds]: {expiry.seconds} is not between {_KEEP_S[0]} and {_KEEP_S[1]}")
    return expiry.seconds


def _metadata(given: dict[str, str] | None) -> dict[str, str] | None:
    if given is None:
        return None
    if len(given) > _METADATA_LIMIT:
        raise PayloadError(f"metadata: {len(given)} members, at most {_METADATA_LIMIT} are taken")
    for name, value in given.items():
        if len(name) > _METADATA_NAME_LIMIT or len(value) > _METADATA_VALUE_LIMIT:
            raise PayloadError(
                f"metadata: {name!r:.64} is over {_METADATA_NAME_LIMIT} characters, or its value over "
                f"{_METADATA_VALUE_LIMIT}"
            )
    return given
