"""Dynamic batching: a unit around a component that joins concurrent requests into one call.

    requests ─▶ queue ─▶ compatible ones, their rows joined ─▶ one call ─▶ the answer, split by request

Requests wait only while the component is busy (or for `wait_s`, if set): an idle component is called at once, and under
load a batch is whatever has arrived in the meantime. There is no batch size to tune.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
import numpy as np
import orjson

from infergraph.errors import Fault
from infergraph.message import Around, Content, Context, Encoding, Message, Method, PredictiveUnit, Request, SoleMessage
from infergraph.wire.arrays import is_square
from infergraph.wire.private_copies import own_json, own_names
from infergraph.wire.v2 import joining
from infergraph.wire.v2.metadata import metadata_of
from infergraph.wire.wire_message import is_larger

_log = logging.getLogger(__name__)

_LARGE_BYTES = 64 * 1024


class BatchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of dynamic batching.

    Args:
        rows_limit: maximum rows of a batch; a larger request is not joined with others.
        wait_s: how long the first request of a batch waits for others while the component is idle.
        lanes: concurrent calls of the component.
    """

    rows_limit: int
    wait_s: float = 0.0
    lanes: int = 1


class _Waiting(NamedTuple):
    message: Message
    context: Context
    kind: Hashable
    rows: int
    since: float
    answer: asyncio.Future[Message]


class Batching(Around):
    """A unit around `unit` that calls it once for the rows of several predictions.

    Only `predict` with arrays of two axes or more, or with named tensors, is joined, and only requests that the
    component cannot tell apart: the same protocol, row shape, element type, names and meta (except for ids). If an
    answer does not have a row for each row of the request, batching is turned off for good; if a joined call fails,
    each request is repeated alone, so that only the one that causes the error fails.

    Args:
        observe: called with the number of rows of each joined call.
    """

    def __init__(self, unit: PredictiveUnit, options: BatchOptions, observe: Callable[[float], None]) -> None:
        super().__init__(unit)
        self._options = options
        self._observe = observe
        self._waiting: deque[_Waiting] = deque()
        self._running = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._unjoined: set[bool] = set()  # by whether requests are in tensors: each protocol spells answers its way
        self._row_first: set[bool] = set()
        self._as_json: frozenset[str] = frozenset()

    async def start(self) -> None:
        """Start the unit, and learn which of its inputs are JSON."""
        await super().start()
        with suppress(Fault):
            told = await self.unit.metadata()
            self._as_json = metadata_of(self.name, told, self.facts.v2_metadata).json_inputs

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The unit's answer, or this request's part of a joined one."""
        if method is not Method.PREDICT or not isinstance(request, Message) or not self._joins(request):
            return await self.unit.answer(method, request, context)
        kind = None if is_larger(request, _LARGE_BYTES) else _kind(request, self._as_json)
        if kind is None or (rows := _rows_in(request.content)) > self._options.rows_limit:
            return await self.unit.answer(method, request, context)
        if not self._options.wait_s and not self._waiting and self._running < self._options.lanes:
            return await self._alone(request, rows, context)
        loop = asyncio.get_running_loop()
        entry = _Waiting(request, context, kind, rows, loop.time(), loop.create_future())
        self._waiting.append(entry)
        self._go_on()
        return await entry.answer

    async def _alone(self, request: Message, rows: int, context: Context) -> Message:
        self._running += 1
        try:
            answer = await self.unit.answer(Method.PREDICT, request, context)
            self._learn(answer, rows)
            return answer
        finally:
            self._running -= 1
            self._go_on()

    def _go_on(self) -> None:
        """Start calls for queued requests while lanes are free."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._running < self._options.lanes and self._waiting:
            early = self._early_by()
            if early > 0:
                self._timer = asyncio.get_running_loop().call_later(early, self._go_on)
                return
            batch = self._take()
            if batch:
                self._running += 1
                task = asyncio.get_running_loop().create_task(self._work(batch))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _early_by(self) -> float:
        """How long the first queued request may still wait for others, in seconds."""
        if not self._options.wait_s or sum(entry.rows for entry in self._waiting) >= self._options.rows_limit:
            return 0.0
        return self._waiting[0].since + self._options.wait_s - asyncio.get_running_loop().time()

    def _take(self) -> list[_Waiting]:
        """The first queued request and those that can join it; empty if all have been cancelled."""
        batch: list[_Waiting] = []
        others: deque[_Waiting] = deque()
        rows = 0
        for entry in self._waiting:
            if entry.answer.done():  # its client has disconnected
                continue
            if batch and (entry.kind != batch[0].kind or rows + entry.rows > self._options.rows_limit):
                others.append(entry)
                continue
            batch.append(entry)
            rows += entry.rows
        self._waiting = others
        return batch

    async def _work(self, batch: Sequence[_Waiting]) -> None:
        try:
            if len(batch) == 1 or not self._joins(batch[0].message) or not await self._answer_joined(batch):
                for entry in batch:
                    await self._answer_one(entry)
        except BaseException as error:
            for entry in batch:
                if not entry.answer.done():
                    entry.answer.set_exception(RuntimeError(f"a batch of {self.name} was given up: {error!r}"))
            raise
        finally:
            self._running -= 1
            self._go_on()

    async def _answer_one(self, entry: _Waiting) -> None:
        if entry.answer.done():
            return
        try:
            answer = await self.unit.answer(Method.PREDICT, entry.message, entry.context)
        except Exception as error:  # noqa: BLE001 - passed on to the caller
            if not entry.answer.done():
                entry.answer.set_exception(error)
        else:
            self._learn(answer, entry.rows)
            if not entry.answer.done():
                entry.answer.set_result(answer)

    def _joins(self, request: Message) -> bool:
        """Whether requests of its protocol are joined."""
        return request.holds_tensors not in self._unjoined

    def _learn(self, answer: Message, rows: int) -> None:
        """Learn from the answer to a single request whether answers have a row axis."""
        if answer.holds_tensors not in self._row_first:
            with suppress(Fault):
                if _has_rows(answer.content, rows):
                    self._shows_rows(answer.content)

    def _shows_rows(self, content: Content) -> bool:
        """Whether this or an earlier answer has shown that the first axis is the row, and not a class or target."""
        is_named = content.encoding is Encoding.TENSORS
        is_ambiguous = joining.is_ambiguous if is_named else is_square
        if is_named not in self._row_first and not is_ambiguous(content.payload):
            self._row_first.add(is_named)
        return is_named in self._row_first

    async def _answer_joined(self, batch: Sequence[_Waiting]) -> bool:
        """Answer all with one call; False if each has to be called alone."""
        message = SoleMessage(_joined([entry.message.content for entry in batch]))
        rows = sum(entry.rows for entry in batch)
        self._observe(float(rows))
        try:
            content = (await self.unit.answer(Method.PREDICT, message, Context(batch[0].context.transport))).content
        except Fault:
            return False
        if not _has_rows(content, rows):
            _log.warning(
                "%s does not answer a row for each row; its requests are joined no more (setting batch_rows_limit)",
                self.name,
            )
            self._unjoined.add(batch[0].message.holds_tensors)
            return False
        if not self._shows_rows(content):
            return False
        at = 0
        for entry in batch:
            if not entry.answer.done():
                entry.answer.set_result(_part(content, entry, slice(at, at + entry.rows)))
            at += entry.rows
        return True


def _kind(request: Message, as_json: frozenset[str]) -> Hashable:
    """The key that requests must share to be joined; None for requests that are never joined."""
    try:
        content = request.content
    except Fault:
        return None  # the component reports what is wrong with it
    if content.encoding is Encoding.TENSORS:
        return joining.kind_of(content, as_json)
    payload = content.payload
    if not isinstance(payload, np.ndarray) or payload.ndim < 2 or not len(payload) or payload.dtype.kind not in "biuf":
        return None
    meta = _without_puid(content.meta) if content.meta else None
    try:
        told = orjson.dumps([content.names, meta], option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return None
    return request.lists_are_arrays, content.encoding, payload.shape[1:], payload.dtype, told


def _rows_in(content: Content) -> int:
    return joining.rows_in(content.payload) if content.encoding is Encoding.TENSORS else len(content.payload)


def _joined(contents: Sequence[Content]) -> Content:
    """One request with the rows of all of them."""
    first = contents[0]
    if first.encoding is Encoding.TENSORS:
        content = joining.joined(contents)
        return content._replace(meta=own_json(content.meta))
    rows = np.concatenate([content.payload for content in contents])
    meta = None if first.meta is None else _without_puid(first.meta)
    return Content(rows, first.encoding, own_names(first.names), own_json(meta))


def _without_puid(meta: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in meta.items() if key != "puid"}


def _has_rows(content: Content, rows: int) -> bool:
    payload = content.payload
    if content.encoding is Encoding.TENSORS:
        return joining.has_rows(payload, rows)
    if not content.encoding.is_array or not isinstance(payload, np.ndarray | list):
        return False
    return not (isinstance(payload, np.ndarray) and payload.ndim == 0) and len(payload) == rows


def _part(content: Content, entry: _Waiting, rows: slice) -> Message:
    """One request's rows of a joined answer, with its own puid and meta."""
    is_named = content.encoding is Encoding.TENSORS
    payload = joining.part(content.payload, rows) if is_named else content.payload[rows]
    asked = entry.message.content.meta
    meta: dict[str, Any] = {"puid": asked["puid"]} if asked and asked.get("puid") else {}
    meta |= joining.ids_in(asked) if is_named else {}
    for key, value in (content.meta or {}).items():
        meta[key] = value.copy() if isinstance(value, dict | list) else value
    if entry.message.lists_are_arrays and isinstance(payload, list):
        array = np.array(payload)  # over gRPC a list becomes the array that NumPy makes of it
        payload = payload if array.dtype.kind == "O" else array
    return Message.of(payload, content.encoding, names=content.names, meta=meta)
