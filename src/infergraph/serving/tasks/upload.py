"""Streaming uploads: the body is parsed, counted, checked and transcoded to disk block by block.

body ─▶ multipart parser ─▶ fields
                        └─▶ file part ─▶ Transcoder ─▶ Incoming
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress

from starlette.requests import Request

from infergraph.errors import Fault, PayloadError, UploadTooLarge
from infergraph.settings import ImmediateMeans, RowMode, Settings, read_bool
from infergraph.tasks.files import Incoming
from infergraph.tasks.service import Submission, TaskService
from infergraph.tasks.task import Task
from infergraph.wire import charsets, file_kind
from infergraph.wire.file_kind import LINES
from infergraph.wire.multipart import MultipartReader, Part, is_multipart
from infergraph.wire.transcoding import Transcoder

FILE_FIELDS = ("task_file", "file")
_FIELD_LIMIT_BYTES = 64 * 1024
_FIELDS_LIMIT = 32
_DRAIN_LIMIT_BYTES = 32 << 20
_PRIORITY_LIMIT = 1000
_WHOLE_LIMIT = (1 << 63) - 1  # the range of the store's integers
_KEY_CHARACTERS_LIMIT = 255
_TRACEPARENT = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_LOOK_EVERY_BYTES = 16 << 20
_SYNC_EVERY_BYTES = 64 << 20
_STORE_BYTES = 1 << 20


class FileSink:
    """Buffers the blocks of the file part, to be written by a thread a few megabytes at a time.

    Args:
        field: its name, for errors.
    Raises (from `feed`): UploadTooLarge as soon as the limit is exceeded.
    """

    def __init__(self, incoming: Incoming, limit_bytes: int, field: str = "task_file") -> None:
        self.raw_bytes = 0
        self._field = field
        self._incoming = incoming
        self._limit_bytes = limit_bytes
        self._transcoder: Transcoder | None = None
        self._blocks: list[bytes] = []
        self._blocks_bytes = 0

    def begin(self, content_type: str, file_name: str = "") -> None:
        """Set what is said of the file. Raises: PayloadError if the charset is not supported."""
        self._incoming.codec = charsets.declared(content_type, self._field)
        self._incoming.kind = file_kind.said_of(content_type, file_name)

    def feed(self, block: bytes) -> None:
        """Add the next block, as received."""
        self.raw_bytes += len(block)
        if self._limit_bytes and self.raw_bytes > self._limit_bytes:
            raise UploadTooLarge(
                f"{self._field}: over the limit of {self._limit_bytes} bytes (setting task_upload_limit_bytes)"
            )
        self._blocks.append(block)
        self._blocks_bytes += len(block)

    @property
    def is_full(self) -> bool:
        """Whether enough is buffered to be written."""
        return self._blocks_bytes >= _STORE_BYTES

    def take(self) -> list[bytes]:
        """The buffered blocks, removed from the buffer; the caller has to `store` them."""
        blocks, self._blocks, self._blocks_bytes = self._blocks, [], 0
        return blocks

    def store(self, blocks: list[bytes], *, is_last: bool = False) -> None:
        """Write the blocks from `take`, in order. Blocking. Raises: StorageFull."""
        raw = b"".join(blocks)  # joined: each call below releases the GIL, and has to wait for it afterwards
        self._incoming.digest(raw)
        if self._transcoder is None:
            self._transcoder = self._transcoder_for(raw)
        self._incoming.write(self._transcoder.feed(raw, is_last=is_last))
        self._incoming.charset = self._transcoder.charset

    def _transcoder_for(self, head: bytes) -> Transcoder:
        """Text is stored in UTF-8; what is compressed is decoded when it is unpacked."""
        if file_kind.shown_by(head, LINES).is_lines:
            codec, self._incoming.codec = self._incoming.codec, None
            return Transcoder(codec)
        return Transcoder()


class TaskForm:
    """A multipart form with a file, parsed as it arrives; its fields may precede or follow the file.

    Args:
        required: the field that it must have.
        files: the names that its file may have, the usual one first.
    """

    def __init__(
        self, content_type: str, sink: FileSink, required: str = "task_id", files: Sequence[str] = FILE_FIELDS
    ) -> None:
        if not is_multipart(content_type):
            raise PayloadError(f"a form of the type multipart/form-data is expected, with {required} and {files[0]}")
        self.fields: dict[str, str] = {}
        self.has_file = False
        self.filename = ""
        self._required = required
        self._files = files
        self._sink = sink
        self._reader = MultipartReader(content_type)
        self._part: Part | None = None
        self._value = bytearray()

    def feed(self, block: bytes) -> None:
        """Add the next block of the body. Raises: PayloadError, and what the sink raises."""
        self._take(self._reader.feed(block))

    def finish(self) -> None:
        """End of the body. Raises: PayloadError naming what is missing."""
        self._take(self._reader.finish())
        self._end_field()
        if not self.fields.get(self._required):
            raise PayloadError(f"{self._required}: the field is missing or empty")
        if self.has_file and self.is_reference:
            raise PayloadError("input_uri: the form has a file too")
        if not self.has_file and not self.is_reference:
            raise PayloadError(f"{self._files[0]}: the field is missing")

    @property
    def is_reference(self) -> bool:
        """Whether the form has the address of a file."""
        return bool(self.fields.get("input_uri"))

    def _take(self, events: Iterator[Part | bytes]) -> None:
        for event in events:
            if isinstance(event, Part):
                self._end_field()
                self._begin(event)
            elif self._part is None:
                self._sink.feed(event)
            else:
                self._value += event
                if len(self._value) > _FIELD_LIMIT_BYTES:
                    raise PayloadError(f"{self._part.name}: the field is longer than {_FIELD_LIMIT_BYTES} bytes")

    def _begin(self, part: Part) -> None:
        """Start of a field, or of the file, of which there is one."""
        if part.name not in self._files:
            if len(self.fields) >= _FIELDS_LIMIT:
                raise PayloadError(f"the form has more than {_FIELDS_LIMIT} fields")
            self._part = part
            return
        if self.has_file:
            raise PayloadError(f"{part.name}: the form has more than one file")
        if part.transfer_encoding:
            raise PayloadError(f"the form uses the transfer encoding {part.transfer_encoding!r}; send the bytes")
        self.has_file, self.filename = True, part.filename or ""
        self._sink.begin(part.content_type, self.filename)

    def _end_field(self) -> None:
        """Store the value of the previous field."""
        part, self._part = self._part, None
        if part is None:
            return
        value = part.decoded(bytes(self._value))
        self._value.clear()
        self.fields[part.name] = charsets.text_of(value, charsets.label_of(part.content_type), part.name)


async def pump(
    blocks: AsyncIterator[bytes], form: TaskForm | FileSink, sink: FileSink, incoming: Incoming, service: TaskService
) -> None:
    """Feed a body into its form or file: constant memory, disk writes in a thread.

    Raises: what the form and the sink raise; StorageFull when the free disk space falls below the reserve.
    """
    looked = synced = 0
    storing: asyncio.Task[None] | None = None
    syncing: asyncio.Task[None] | None = None
    try:
        async for block in blocks:
            form.feed(block)
            if sink.is_full:
                if storing is not None:
                    await storing
                storing = asyncio.create_task(service.run(sink.store, sink.take()))
            if sink.raw_bytes - looked >= _LOOK_EVERY_BYTES:
                looked = sink.raw_bytes
                await service.check_disk()
            if sink.raw_bytes - synced >= _SYNC_EVERY_BYTES:
                synced = sink.raw_bytes
                if syncing is not None:
                    await syncing
                syncing = asyncio.create_task(service.run(incoming.sync))
        if storing is not None:
            await storing
        await service.run(sink.store, sink.take(), is_last=True)
    finally:
        for running in (storing, syncing):  # no write may follow the discarding of the file
            if running is not None:
                with suppress(Exception):  # errors are raised above, or by the seal, which syncs again
                    await running
    if isinstance(form, TaskForm):
        form.finish()


def is_immediate(form: Mapping[str, str], settings: Settings) -> bool:
    """Whether to respond to the POST as soon as the task is accepted. Raises: PayloadError."""
    try:
        given = read_bool(form.get("immediate", ""))
    except ValueError as error:
        raise PayloadError(f"immediate: {error}") from error
    return given is (settings.task_immediate_means is ImmediateMeans.ASYNC)


async def receive_form(service: TaskService, request: Request) -> tuple[Task, bool | None]:
    """Receive a form with a task's file, and accept the task.

    Returns: the task, and whether to respond at once; None if the form does not say.
    Raises: PayloadError naming the field, and what `TaskService.accept` raises.
    """
    incoming = await place(service, request)
    try:
        sink = FileSink(incoming, service.settings.task_upload_limit_bytes)
        form = TaskForm(request.headers.get("content-type", ""), sink)
        async with aclosing(body_of(request)) as body:
            try:
                await pump(_admitted(body, form, request, service), form, sink, incoming, service)
            except Fault:
                await drain(body)
                raise
        immediate = is_immediate(form.fields, service.settings) if form.fields.get("immediate") else None
        wanted = submission(form.fields, request)
        if form.is_reference:
            task = await service.accept_reference(wanted)
        else:
            task = await service.accept(wanted, incoming)
        spend_rows(request, task.total)
        return task, immediate
    finally:
        await service.run(incoming.discard)


def spend_rows(request: Request, count: int) -> None:
    """Count rows that are to be answered, for a caller with a quota of them."""
    spend: Callable[[int], None] | None = request.scope.get("spend_rows")
    if spend is not None:
        spend(count)


async def _admitted(
    body: AsyncIterator[bytes], form: TaskForm, request: Request, service: TaskService
) -> AsyncIterator[bytes]:
    """The blocks of a form's body; checks the queue limit when its file begins. Raises: Overloaded."""
    is_admitted = False
    async for block in body:
        yield block
        if form.has_file and not is_admitted:
            await service.check_room(form.fields.get("task_id", ""), request.headers.get("idempotency-key"))
            is_admitted = True


async def place(service: TaskService, request: Request, known: Submission | None = None) -> Incoming:
    """Create the incoming file for this request.

    Args:
        known: the submission, if known before its file arrives.
    Raises: Overloaded, StorageFull.
    """
    try:
        await service.check_disk(_length(request))
        if known is not None:
            await service.check_room(known.id, known.idempotency_key)
        return await service.receive()
    except Fault:
        async with aclosing(body_of(request)) as body:
            await drain(body)
        raise


def _length(request: Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0


async def body_of(request: Request) -> AsyncGenerator[bytes, None]:
    """The blocks of a body, as they arrive."""
    async for block in request.stream():
        if block:
            yield block


async def drain(body: AsyncIterator[bytes]) -> None:
    """Read and discard more of the body: many clients read the response only after they have sent the request."""
    left = _DRAIN_LIMIT_BYTES
    async for block in body:
        left -= len(block)
        if left < 0:
            return


def submission(fields: Mapping[str, str], request: Request) -> Submission:
    """The submission from a form's fields. Raises: PayloadError naming the field."""
    rows = fields.get("rows", "")
    if rows and rows not in {mode.value for mode in RowMode}:
        raise PayloadError(f"rows: {rows!r} is not one of {', '.join(mode.value for mode in RowMode)}")
    given, wanted = fields.get("format", ""), fields.get("output_format", "")
    request.state.task = fields["task_id"]  # for the audit line
    return Submission(
        id=fields["task_id"],
        rows=rows,
        priority=priority(whole(fields.get("priority"), "priority", 0)),
        webhook=fields.get("webhook", ""),
        webhook_events=fields.get("webhook_events", ""),
        traceparent=traceparent(request),
        idempotency_key=idempotency_key(request),
        input_kind=file_kind.of_word(given, "format") if given else None,
        output_kind=file_kind.answer_kind(wanted, "output_format") if wanted else None,
        input_uri=fields.get("input_uri", ""),
        output_uri=fields.get("output_uri", ""),
    )


def whole(text: str | None, name: str, default: int) -> int:
    """The whole number of a field. Raises: PayloadError."""
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError as error:
        raise PayloadError(f"{name}: {text!r} is not a whole number") from error
    if abs(number) > _WHOLE_LIMIT:
        raise PayloadError(f"{name}: {text!r} is too large")
    return number


def priority(number: int) -> int:
    """A priority within its limits. Raises: PayloadError."""
    if abs(number) > _PRIORITY_LIMIT:
        raise PayloadError(f"priority: {number} is not between -{_PRIORITY_LIMIT} and {_PRIORITY_LIMIT}")
    return number


def traceparent(request: Request) -> str:
    """The trace context of a request; empty for none, and for one that cannot be read."""
    given = request.headers.get("traceparent", "")
    return given if _TRACEPARENT.fullmatch(given) else ""


def idempotency_key(request: Request) -> str | None:
    """The idempotency key of a request; None for none. Raises: PayloadError."""
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= _KEY_CHARACTERS_LIMIT:
        raise PayloadError(f"Idempotency-Key: must have 1 to {_KEY_CHARACTERS_LIMIT} characters")
    return key
