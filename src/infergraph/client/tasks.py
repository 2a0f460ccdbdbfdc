"""The task client: submit JSONL, follow its progress, and stream its results.

rows ─Upload─▶ POST /api/v1.0/tasks ─▶ Task ─▶ …/events ─▶ Task, Task, … ─▶ …/results ─▶ rows
"""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, BinaryIO, Protocol, TypeVar, Unpack
from urllib.parse import quote, urlencode

import orjson

from infergraph.client import faults
from infergraph.client.calls import CallOptions, Sending, attempted
from infergraph.client.download import Download
from infergraph.client.rest import RestWire
from infergraph.client.task import SubmitOptions, Task
from infergraph.client.upload import Source, Upload
from infergraph.errors import Fault, PayloadError, RemoteError, TaskFault, UnknownTask
from infergraph.net.http_client import Reply
from infergraph.net.http_stream import Event
from infergraph.protocol.paths import TASK_ENGINE, TASKS

T = TypeVar("T")

_PAGE_LIMIT = 500
_ALWAYS = 1 << 30


class Caller(Protocol):
    """What the task client needs of its client."""

    retries: int
    timeout_s: float

    def rest(self) -> RestWire:
        """The REST connections of the running event loop."""

    def attempt(
        self, once: Callable[[Sending], Awaitable[T]], call: CallOptions, *, is_repeatable: bool = True
    ) -> Awaitable[T]:
        """The result of `attempt`, with retries."""


class AsyncTasks:
    """The tasks of a server; `AsyncClient.tasks`.

    A task is identified by its id or by the result of `submit`. Every method raises the fault that the server reports
    (UnknownTask, TaskState, …), RemoteError if it cannot be reached, and DeadlinePassed.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def submit(
        self, source: Source, *, on_sent: Callable[[int], None] | None = None, **said: Unpack[SubmitOptions]
    ) -> Task:
        """Submit rows; returns as soon as the server has stored them durably.

        Args:
            source: a path, a binary file, or rows: dicts, or lines of JSON. It is streamed, never held in memory. Or an
                address, such as s3://bucket/rows.jsonl, from which the server fetches the file.
            on_sent: called after each block with the number of bytes of the form sent so far.
        Raises: PayloadError for an unreadable source; Overloaded, StorageFull, UploadTooLarge, TaskConflict.
        Promises: a file is sent again after a lost connection, which never creates a second task.
        """
        fields = {"task_id": said.get("id") or uuid.uuid4().hex}
        for name in ("priority", "rows", "webhook", "webhook_events", "format", "output_format", "output_uri"):
            if said.get(name) is not None:
                fields[name] = str(said.get(name))
        if isinstance(source, str) and "://" in source:
            if said.get("encoding"):
                raise PayloadError("encoding: a file at an address is read as UTF-8, UTF-16 or UTF-32")
            return await self._refer(fields | {"input_uri": source})
        upload = Upload(source, fields, encoding=said.get("encoding") or "")
        once = functools.partial(self._send, upload, on_sent)
        # An upload has no time limit; a connection without progress has.
        call = CallOptions(timeout_s=0.0)
        return await self._caller.attempt(once, call, is_repeatable=upload.is_repeatable)

    async def _refer(self, fields: dict[str, str]) -> Task:
        """Submit the address of a file. Repeating it is harmless, since it has an id."""
        said = fields | {"id": fields["task_id"]}
        return _task(await self._fetch("POST", f"{TASKS}?{urlencode(said)}", {}))

    async def _send(self, upload: Upload, on_sent: Callable[[int], None] | None, sending: Sending) -> Task:
        wire = self._caller.rest()
        body = upload.blocks() if on_sent is None else _counted(upload.blocks(), on_sent)
        head = f"content-type: {upload.content_type}\r\n"
        silence_s = self._caller.timeout_s or None
        async with wire.stream("POST", TASKS, head.encode(), silence_s, body, upload.length) as reply:
            whole = await reply.whole()
        if not 200 <= whole.status < 300:
            raise faults.of_reply(whole, f"POST {wire.server}{TASKS}")
        return _task(whole)

    async def show(self, task: str | Task, **call: Unpack[CallOptions]) -> Task:
        """The current state of a task."""
        return _task(await self._fetch("GET", _path(task), call))

    async def watch(self, task: str | Task) -> AsyncGenerator[Task, None]:
        """The task after each change, until it has ended.

        Raises: UnknownTask if it is stopped or deleted meanwhile.
        Promises: reconnects after a lost connection, and waits for a restarting server for the client's `timeout_s`;
            the last item has ended.
        """
        while True:
            async with aclosing(self._events(task)) as events:
                async for event in events:
                    seen = await self._seen(event, task)
                    yield seen
                    if event.name == "end":
                        return
            once = functools.partial(self._shown, task)
            yield (seen := await attempted(once, retries=_ALWAYS, timeout_s=self._caller.timeout_s or None))
            if seen.has_ended:
                return

    async def _events(self, task: str | Task) -> AsyncGenerator[Event, None]:
        """The events of one stream; it ends if the connection is lost. Raises: the fault of a refusal."""
        wire, path = self._caller.rest(), f"{_path(task)}/events"
        try:
            async with wire.stream(
                "GET", path, b"accept: text/event-stream\r\n", self._caller.timeout_s or None
            ) as reply:
                if reply.status != 200:
                    raise faults.of_reply(await reply.whole(), f"GET {wire.server}{path}")
                async with aclosing(reply.events()) as events:
                    async for event in events:
                        yield event
        except Fault as fault:
            if not _is_loss(fault):
                raise

    async def _seen(self, event: Event, task: str | Task) -> Task:
        document = orjson.loads(event.data)
        if event.name == "fault":
            raise TaskFault(str(document.get("info")), reason=document.get("reason"))
        if document is None:
            raise UnknownTask(f"task {_id(task)!r} was stopped")
        return Task.of(document)

    async def _shown(self, task: str | Task, left_s: float | None) -> Task:
        return _task(await self._caller.rest().fetch("GET", _path(task), Sending((), left_s)))

    async def wait(self, task: str | Task) -> Task:
        """Wait until a task is finished or failed. Raises: UnknownTask if it is stopped meanwhile."""
        async with aclosing(self.watch(task)) as seen:
            async for last in seen:
                if last.has_ended:
                    return last
        raise TaskFault(f"task {_id(task)!r} was replaced by another one")

    async def results(self, task: str | Task, *, partial: bool = False) -> AsyncGenerator[Any, None]:
        """The answers, one for each row of the task, in order; that of a failed row is {"error": …, "input": …}.

        Args:
            partial: accept partial results; otherwise a task that is not finished raises TaskState.
        """
        async with aclosing(self.result_blocks(task, partial=partial)) as blocks:
            async for rows in blocks:
                for row in rows:
                    yield row

    async def result_blocks(self, task: str | Task, *, partial: bool = False) -> AsyncGenerator[list[Any], None]:
        """The same answers as `results`, in one list for each received block."""
        async with aclosing(self._download(task, "results", partial=partial, format="jsonl").rows()) as blocks:
            async for rows in blocks:
                yield rows

    async def errors(self, task: str | Task) -> AsyncGenerator[Any, None]:
        """Only the failed rows, in order: {"error": {"line": n, "reason": …}, "input": the line}."""
        async with aclosing(self._download(task, "errors").rows()) as blocks:
            async for rows in blocks:
                for row in rows:
                    yield row

    async def download(
        self, task: str | Task, target: str | os.PathLike[str] | BinaryIO, *, partial: bool = False
    ) -> int:
        """Write the answers to a file, in the format of the task; returns their size in bytes.

        Args:
            target: a path, or a binary file.
            partial: see `results`.
        Promises: a path is replaced atomically, by the complete file; a lost connection is resumed; the checksum is
            verified.
        """
        return await self._download(task, "results", partial=partial).save(target)

    def _download(self, task: str | Task, name: str, *, partial: bool = False, format: str = "") -> Download:
        wire = self._caller.rest()
        asked = {"partial": "true" if partial else "", "format": format}
        query = urlencode({name: value for name, value in asked.items() if value})
        path = f"{_path(task)}/{name}?{query}".removesuffix("?")
        silence_s = self._caller.timeout_s or None
        return Download(
            lambda head: wire.stream("GET", path, head, silence_s), f"GET {wire.server}{path}", self._caller.retries
        )

    async def list(
        self, *, state: str | Iterable[str] = (), prefix: str = "", limit: int | None = None
    ) -> AsyncGenerator[Task, None]:
        """List tasks, newest first; pages are requested as needed.

        Args:
            state: only tasks in this state, or in one of these.
            prefix: only tasks whose id begins with it.
            limit: maximum number of tasks.
        """
        states = state if isinstance(state, str) else ",".join(state)
        asked = {"state": states, "prefix": prefix}
        before: int | None = None
        left = _ALWAYS if limit is None else limit
        while left > 0:
            page = asked | {"limit": str(min(left, _PAGE_LIMIT))} | ({} if before is None else {"before": str(before)})
            query = urlencode({name: value for name, value in page.items() if value})
            document = _document(await self._fetch("GET", f"{TASKS}?{query}", {}))
            for each in document["tasks"]:
                yield Task.of(each)
            left -= len(document["tasks"])
            before = document.get("next")
            if before is None:
                return

    async def cancel(self, task: str | Task, **call: Unpack[CallOptions]) -> None:
        """Stop a waiting or running task; returns when no work is done on it. Raises: TaskState if it has ended."""
        await self._fetch("POST", f"{_path(task)}/cancel", call, once=True)

    async def retry(self, task: str | Task, **call: Unpack[CallOptions]) -> Task:
        """Process the failed rows of an ended task again."""
        return _task(await self._fetch("POST", f"{_path(task)}/retry", call, once=True))

    async def delete(self, task: str | Task, **call: Unpack[CallOptions]) -> None:
        """Delete a task in any state; a running one is stopped first."""
        await self._fetch("DELETE", _path(task), call, once=True)

    async def prune(self, *, older_than_s: float, **call: Unpack[CallOptions]) -> int:
        """Delete tasks that ended longer ago than this; returns how many."""
        reply = await self._fetch("DELETE", f"{TASKS}?older_than_s={older_than_s}", call)
        return int(_document(reply)["pruned"])

    async def engine(self, **call: Unpack[CallOptions]) -> dict[str, Any]:
        """The status of the server's task engine: availability, counts, workers, disk."""
        return _document(await self._fetch("GET", TASK_ENGINE, call))

    async def _fetch(self, verb: str, path: str, call: CallOptions, *, once: bool = False) -> Reply:
        body = b"" if verb == "POST" else None
        return await self._caller.attempt(
            lambda sending: self._caller.rest().fetch(verb, path, sending, body, once=once),
            call,
            is_repeatable=not once,
        )


async def _counted(blocks: AsyncGenerator[bytes, None], on_sent: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
    sent = 0
    async with aclosing(blocks):
        async for block in blocks:
            yield block
            sent += len(block)
            on_sent(sent)


def _is_loss(fault: Fault) -> bool:
    """Whether the connection was lost or timed out, and not answered with an error."""
    from_server = fault if isinstance(fault, RemoteError) else fault.__cause__
    return not (isinstance(from_server, RemoteError) and from_server.status is not None)


def _id(task: str | Task) -> str:
    return task.id if isinstance(task, Task) else task


def _path(task: str | Task) -> str:
    return f"{TASKS}/{quote(_id(task), safe='')}"


def _document(reply: Reply) -> dict[str, Any]:
    try:
        document = orjson.loads(reply.body)
    except orjson.JSONDecodeError as error:
        raise RemoteError(f"the server's answer is not JSON: {error}", status=reply.status, body=reply.body) from error
    if not isinstance(document, dict):
        raise RemoteError("the server's answer is not a JSON object", status=reply.status, body=reply.body)
    return document


def _task(reply: Reply) -> Task:
    return Task.of(_document(reply))
