"""The rows of a request, counted for a caller that has a quota of them.

    edge ─▶ count_rows() ─▶ Rows ◀── RowsCounted ─▶ unit

Nothing is counted unless requested.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

from infergraph.errors import PayloadError
from infergraph.message import Answers, Around, Context, Encoding, Message, Method, Request
from infergraph.runner import Runner
from infergraph.wire.v2 import joining


class Rows:
    """The rows of one request so far."""

    def __init__(self) -> None:
        self.count = 0


_rows: ContextVar[Rows | None] = ContextVar("infergraph_rows", default=None)


def count_rows() -> Rows:
    """Start to count the rows of the current request; where they will be."""
    rows = Rows()
    _rows.set(rows)
    return rows


class RowsCounted(Around):
    """A unit around a unit that counts the rows that it has answered."""

    def runner(self, method: Method) -> Runner | None:
        """The unit's."""
        return self.unit.runner(method)

    def answer(self, method: Method, request: Request, context: Context) -> Coroutine[Any, Any, Message]:
        """The unit's answer."""
        rows = _rows.get()
        if rows is None:
            return self.unit.answer(method, request, context)
        return self._counted(rows, method, request, context)

    async def _counted(self, rows: Rows, method: Method, request: Request, context: Context) -> Message:
        answer = await self.unit.answer(method, request, context)
        rows.count += _rows_of(request)
        return answer

    def stream(self, method: Method, request: Request, context: Context) -> Answers:
        """The unit's answers, each of which counts."""
        rows = _rows.get()
        if rows is None:
            return self.unit.stream(method, request, context)
        return self._counted_stream(rows, method, request, context)

    async def _counted_stream(self, rows: Rows, method: Method, request: Request, context: Context) -> Answers:
        async with aclosing(self.unit.stream(method, request, context)) as answers:
            async for answer in answers:
                rows.count += _rows_of(request)
                yield answer


def _rows_of(request: Request) -> int:
    """A table has its rows, each of several messages its own; a record, a text, bytes and feedback are one row."""
    if isinstance(request, Sequence):
        return sum(map(_rows_of, request))
    if not isinstance(request, Message):
        return 1
    try:
        payload, encoding, *_ = request.content
    except PayloadError:  # passed on unread
        return 1
    if encoding is Encoding.TENSORS:
        return max(1, joining.rows_in(payload))
    return len(payload) if isinstance(payload, list) or getattr(payload, "ndim", 0) > 1 else 1
