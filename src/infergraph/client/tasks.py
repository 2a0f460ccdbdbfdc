"""The tasks of a server: submit JSONL, watch it being worked on, read the answers as they come.

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
from infergraph.errors import Fault, RemoteError, TaskFault, UnknownTask
from infergraph.net.http_client import Reply
from infergraph.net.http_stream import Event
from infergraph.protocol.paths import TASK_ENGINE, TASKS

T = TypeVar("T")

_PAGE_LIMIT = 500
_ALWAYS = 1 << 30


class Caller(Protocol):
    """The client whose tasks these are."""

    retries: int
    timeout_s: float

    def rest(self) -> RestWire:
        """The REST connections of the running loop."""

    def attempt(
        self, once: Callable[[Sending], Awaitable[T]], call: CallOptions, *, is_repeatable: bool = True
    ) -> Awaitable[T]:
        """The result of an attempt, made again as patience allows."""


class AsyncTasks:
    """The tasks of one server; `AsyncClient.tasks`.

    A task is named by its id or by what `submit` gave. Every method raises the fault that the server tells of
    (UnknownTask, TaskState, …), RemoteError if it cannot be reached, and DeadlinePassed.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def submit(
        self, source: Source, *, on_sent: Callable[[int], None] | None = None, **said: Unpack[SubmitOptions]
    ) -> Task:
        """Submit rows; returns as soon as the server has them safe.

        Args:
            source: a path, a file open for bytes, or rows: dicts, or lines of JSON. Never held in memory whole.
            on_sent: told of each block how many bytes of the form are sent by then.
        Raises: PayloadError for a source that cannot be read; Overloaded, StorageFull, UploadTooLarge, TaskConflict.
        Promises: a file is sent again after a lost connection, and is one task however often it is sent.
        """
        fields = {"task_id": said.get("id") or uuid.uuid4().hex}
        for name in ("priority", "rows", "webhook"):
            if said.get(name) is not None:
                fields[name] = str(said.get(name))
        upload = Upload(source, fields, encoding=said.get("encoding") or "")
        once = functools.partial(self._send, upload, on_sent)
        # The time of an upload has no limit, its silences have.
        call = CallOptions(timeout_s=0.0)
        return await self._caller.attempt(once, call, is_repeatable=upload.is_repeatable)

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
        """A task as it is now."""
        return _task(await self._fetch("GET", _path(task), call))

    async def watch(self, task: str | Task) -> AsyncGenerator[Task, None]:
        """The task whenever it has changed, from now until it has ended.

        Raises: UnknownTask if it is stopped or deleted meanwhile.
        Promises: a lost connection is taken up again, and a server that restarts is waited for as long as the
            client's `timeout_s`; the last one has ended.
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
        """Events of the stream as long as it holds; refusals are raised, losses are its end."""
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
        """The task once it has ended, finished or failed. Raises: UnknownTask if it is stopped meanwhile."""
        async with aclosing(self.watch(task)) as seen:
            async for last in seen:
                if last.has_ended:
                    return last
        raise TaskFault(f"another task has taken the place of {_id(task)!r}")

    async def results(self, task: str | Task, *, partial: bool = False) -> AsyncGenerator[Any, None]:
        """The answers, a row for each row of the task, in order; a failed row is {"error": …, "input": …}.

        Args:
            partial: those there are so far; without it a task that is not finished raises TaskState.
        """
        async with aclosing(self.result_blocks(task, partial=partial)) as blocks:
            async for rows in blocks:
                for row in rows:
                    yield row

    async def result_blocks(self, task: str | Task, *, partial: bool = False) -> AsyncGenerator[list[Any], None]:
        """The answers as `results` gives them, those that came together in one list."""
        async with aclosing(self._download(task, "results", partial=partial).rows()) as blocks:
            async for rows in blocks:
                yield rows

    async def errors(self, task: str | Task) -> AsyncGenerator[Any, None]:
        """The failed rows alone, in order: {"error": {"line": n, "reason": …}, "input": the line}."""
        async with aclosing(self._download(task, "errors").rows()) as blocks:
            async for rows in blocks:
                for row in rows:
                    yield row

    async def download(
        self, task: str | Task, target: str | os.PathLike[str] | BinaryIO, *, partial: bool = False
    ) -> int:
        """Write the answers to a file; how many bytes they are.

        Args:
            target: a path, or a file open for bytes.
            partial: see `results`.
        Promises: a path has the whole file or is left as it was; a lost connection is taken up again; the checksum
            is compared.
        """
        return await self._download(task, "results", partial=partial).save(target)

    def _download(self, task: str | Task, name: str, *, partial: bool = False) -> Download:
        wire = self._caller.rest()
        path = f"{_path(task)}/{name}{'?partial=true' if partial else ''}"
        silence_s = self._caller.timeout_s or None
        return Download(
            lambda head: wire.stream("GET", path, head, silence_s), f"GET {wire.server}{path}", self._caller.retries
        )

    async def list(
        self, *, state: str | Iterable[str] = (), prefix: str = "", limit: int | None = None
    ) -> AsyncGenerator[Task, None]:
        """Tasks, newest first, page by page as they are asked for.

        Args:
            state: only those in this state, or in one of these.
            prefix: only those whose id begins so.
            limit: at most so many.
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
        """Stop a waiting or running task; when this returns its work is dead. Raises: TaskState if it has ended."""
        await self._fetch("POST", f"{_path(task)}/cancel", call, once=True)

    async def retry(self, task: str | Task, **call: Unpack[CallOptions]) -> Task:
        """Work the failed rows of an ended task again."""
        return _task(await self._fetch("POST", f"{_path(task)}/retry", call, once=True))

    async def delete(self, task: str | Task, **call: Unpack[CallOptions]) -> None:
        """Forget a task in whatever state; a running one is stopped first."""
        await self._fetch("DELETE", _path(task), call, once=True)

    async def prune(self, *, older_than_s: float, **call: Unpack[CallOptions]) -> int:
        """Forget tasks that ended longer ago than this; how many."""
        reply = await self._fetch("DELETE", f"{TASKS}?older_than_s={older_than_s}", call)
        return int(_document(reply)["pruned"])

    async def engine(self, **call: Unpack[CallOptions]) -> dict[str, Any]:
        """How the server's task engine does: availability, counts, workers, disk."""
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
    """Whether a connection was lost, or lies silent, rather than that something was answered."""
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
        raise RemoteError("the server's answer is no JSON object", status=reply.status, body=reply.body)
    return document


def _task(reply: Reply) -> Task:
    return Task.of(_document(reply))
