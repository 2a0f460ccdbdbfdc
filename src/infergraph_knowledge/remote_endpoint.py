"""Somebody else's gBuilder endpoint as a node of a graph: submit a task, wait, go on with its answers.

records ──JSONL──▶ POST /tasks ──▶ GET /tasks/<id> until finished ──▶ GET /tasks/<id>/results ──▶ records
"""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, suppress
from http import HTTPStatus
from typing import Any, NamedTuple

from infergraph.errors import DeadlinePassed, PayloadError, RemoteError, SettingsError
from infergraph.net.address import Location
from infergraph.net.backoff import Backoff
from infergraph.net.form import Form
from infergraph.net.http_client import Call, HttpClient, HttpOptions
from infergraph.protocol.gbuilder import TASKS, TaskStatus, results_path, task_path
from infergraph_knowledge.authoring import About, RecordComponent, Rows

REASON_LIMIT_CHARACTERS = 200
POLL_FIRST_S = 0.05
STOP_TIMEOUT_S = 5.0
_OPTIONS = HttpOptions(reply_limit_bytes=1 << 30)


class _Answer(NamedTuple):
    """What the endpoint answered to `request`."""

    request: str
    status: int
    body: bytes

    @property
    def shown(self) -> str:
        return self.body.decode(errors="replace")[:REASON_LIMIT_CHARACTERS].strip()


class RemoteEndpoint(RecordComponent):
    """MODEL: answers each record with what a task of the endpoint at `url` answered it.

    Args:
        url: the endpoint's address, as it is registered with gBuilder.
        timeout_s: longest time for one request, queueing there included.
        poll_s: longest pause between two looks at the task.
        file_field: the name of the upload's part; some endpoints want `file`.
    """

    task = "remote task"
    about = About(platform="gBuilder task endpoint", limits="one task for each request: send many records at once")

    def __init__(self, url: str, timeout_s: float = 600.0, poll_s: float = 2.0, file_field: str = "task_file") -> None:
        try:
            self._location = Location.of(url)
        except ValueError as error:
            raise SettingsError(f"url must be an http address, not {url!r}") from error
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._polling = Backoff(first_s=POLL_FIRST_S, limit_s=poll_s, jitter=0.0)
        self._file_field = file_field

    async def predict(self, X: object, names: object = None, meta: object = None) -> Any:
        """Answer a record, or a list of records.

        Raises: PayloadError naming a record that the endpoint could not answer; RemoteError if it is unreachable,
            failed the task, or answered with other than one line for each record; DeadlinePassed after `timeout_s`.
        Promises: a task that is not waited for any longer is stopped there.
        """
        rows = Rows.of(X)
        if not rows.items:
            return rows.answer([])
        lines = await self._run([_line(row, rows.number(place)) for place, row in enumerate(rows.items)])
        if len(lines) != len(rows.items):
            raise self._fault(f"answered {len(lines)} lines to {len(rows.items)} records")
        return rows.answer([self._read(line, rows.number(place)) for place, line in enumerate(lines)])

    async def _run(self, lines: Sequence[bytes]) -> list[bytes]:
        """The result lines of one task over `lines`."""
        task_id = f"infergraph-{uuid.uuid4()}"
        try:
            with closing(HttpClient(self._location.address, _OPTIONS)) as client:
                async with self._stopped_if_left(client, task_id), asyncio.timeout(self._timeout_s):
                    await self._submit(client, task_id, b"\n".join(lines) + b"\n")
                    await self._wait(client, task_id)
                    body = self._checked(await self._ask(client, "GET", results_path(task_id)))
        except TimeoutError as error:
            raise DeadlinePassed(f"{self._url} did not finish the task in {self._timeout_s:g} s") from error
        return [line for line in body.split(b"\n") if line.strip()]

    @asynccontextmanager
    async def _stopped_if_left(self, client: HttpClient, task_id: str) -> AsyncIterator[None]:
        """Stop the task there if we leave before its end. Whatever goes wrong then is not worth a second fault."""
        try:
            yield
        except (TimeoutError, asyncio.CancelledError):
            with suppress(RemoteError, TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await self._ask(client, "DELETE", task_path(task_id))
            raise

    async def _submit(self, client: HttpClient, task_id: str, body: bytes) -> None:
        """Submit the task; an endpoint that is full is asked again until the time is over."""
        form = Form.of({"task_id": task_id, "immediate": "true"}, file_field=self._file_field)
        headers = f"content-type: {form.content_type}\r\n".encode()
        whole = form.head + body + form.tail
        for attempt in itertools.count(1):
            answer = await self._ask(client, "POST", TASKS, headers, whole)
            if answer.status != HTTPStatus.SERVICE_UNAVAILABLE:
                self._checked(answer)
                return
            await asyncio.sleep(self._polling.wait_s(attempt))

    async def _wait(self, client: HttpClient, task_id: str) -> None:
        for attempt in itertools.count(1):
            status = self._status(self._checked(await self._ask(client, "GET", task_path(task_id))))
            if status is TaskStatus.FINISHED:
                return
            if status is TaskStatus.FAILED:
                # Endpoints of this project say why where the results would be.
                reason = await self._ask(client, "GET", results_path(task_id))
                raise self._fault(f"failed the task: {reason.shown or 'it gave no reason'}")
            if status is TaskStatus.UNKNOWN:
                raise self._fault("does not know the task any more")
            await asyncio.sleep(self._polling.wait_s(attempt))

    async def _ask(
        self, client: HttpClient, method: str, path: str, headers: bytes = b"", body: bytes | None = None
    ) -> _Answer:
        call = Call(method, self._location.path.partition("?")[0].rstrip("/") + path, headers, body, body is None)
        try:
            reply = await client.exchange(call)
        except RemoteError as fault:
            # Without a status, which means that the same question may be answered a little later.
            raise RemoteError(f"the endpoint {self._url} cannot be reached: {fault.text}") from fault
        return _Answer(f"{method} {path}", reply.status, reply.body)

    def _checked(self, answer: _Answer) -> bytes:
        """The body of an answer that is none of an error."""
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise self._fault(f"answered {answer.status} to {answer.request}: {answer.shown}")
        return answer.body

    def _status(self, body: bytes) -> TaskStatus:
        try:
            return TaskStatus(json.loads(body)["status"])
        except (ValueError, KeyError, TypeError) as error:
            raise self._fault(f"answered {body[:80]!r} where a task's status was asked for") from error

    def _read(self, line: bytes, number: int | None) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise self._fault(f"answered a line that is not JSON: {line[:80]!r}") from error
        if not isinstance(row, dict):
            raise self._fault(f"answered a line that is not an object: {line[:80]!r}")
        if isinstance(row.get("error"), Mapping) and "input" in row:
            where = "" if number is None else f"record {number}: "
            raise PayloadError(f"{where}{self._url} could not answer it: {row['error'].get('reason')}")
        return row

    def _fault(self, text: str) -> RemoteError:
        # The status of an answer there is about the task, not about the request here: for us the endpoint is broken.
        return RemoteError(f"the endpoint {self._url} {text}", status=HTTPStatus.INTERNAL_SERVER_ERROR)


def _line(row: object, number: int | None) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        where = "the record" if number is None else f"record {number}"
        raise PayloadError(f"{where} cannot be written as JSON: {error}") from error
