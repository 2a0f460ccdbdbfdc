"""Call a unit from Python: with `await`, or with a plain call from a script or a notebook.

graph(X) ──▶ the unit's own event loop, in a thread ──▶ payload
await graph.predict(X) ──▶ the same loop, or this one where the unit was started here
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import numpy as np

from infergraph.message import Context, Encoding, Feedback, FeedbackContent, Message, Meta, Method

T = TypeVar("T")


def message_of(data: Any, *, names: Sequence[str] = (), meta: Meta | None = None) -> Message:
    """Any Python value as a message.

    Args:
        data: an array or a list of rows, a data frame (its columns are the names), a dict or a list of dicts, text,
            bytes, or a message, which is returned unchanged.
        names: column names.
        meta: the protocol's meta.
    """
    if isinstance(data, Message):
        return data
    if isinstance(data, str):
        return Message.of(data, Encoding.STR, meta=meta)
    if isinstance(data, bytes | bytearray | memoryview):
        return Message.of(bytes(data), Encoding.BIN, meta=meta)
    if not names and hasattr(data, "columns"):
        names = [str(column) for column in data.columns]
    if isinstance(data, np.ndarray | np.generic) or hasattr(data, "__array__"):
        array = np.asarray(data)
        encoding = Encoding.TENSOR if array.dtype.kind in "biuf" else Encoding.NDARRAY
        return Message.of(array, encoding, names=names, meta=meta)
    if isinstance(data, list | tuple) and not any(isinstance(row, dict) for row in data):
        return Message.of(_array(data), Encoding.NDARRAY, names=names, meta=meta)
    return Message.of(data, Encoding.JSON, meta=meta)


def _array(rows: Sequence[Any]) -> np.ndarray[Any, Any]:
    try:
        return np.array(rows)
    except ValueError:  # rows of different lengths
        array = np.empty(len(rows), dtype=object)
        array[:] = rows
        return array


class LocalCalls:
    """Mixin for units that can be called from Python.

    Promises: usable from any thread, and while an event loop runs in this one. A unit that has not been started is
    started at the first call, in its own thread, and stopped by `close`.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: LoopThread | None = None
        self._starting = threading.Lock()

    async def predict(self: Any, data: Any, *, names: Sequence[str] = (), meta: Meta | None = None) -> Any:
        """The payload of the answer to `data` (see `message_of`)."""
        return (await self.ask(data, names=names, meta=meta)).payload

    async def ask(self: Any, data: Any, *, names: Sequence[str] = (), meta: Meta | None = None) -> Message:
        """The complete answer to `data`, with names and meta, which `feedback` needs to find the routers that chose."""
        message = message_of(data, names=names, meta=meta)
        answer: Message = await self._at_home(self.answer, Method.PREDICT, message, Context())
        answer.share()
        return answer

    async def feedback(
        self: Any, reward: float, *, request: Any = None, response: Any = None, truth: Any = None
    ) -> Message:
        """Reward an answer.

        Args:
            reward: how good it was; routers here learn from 0 to 1.
            request, response, truth: the request, the result of `ask`, the correct answer; each optional.
        """
        parts = [None if part is None else message_of(part) for part in (request, response, truth)]
        given = Feedback(FeedbackContent(parts[0], parts[1], reward, parts[2]))
        answer: Message = await self._at_home(self.answer, Method.SEND_FEEDBACK, given, Context())
        return answer

    def __call__(self: Any, data: Any, *, names: Sequence[str] = (), meta: Meta | None = None) -> Any:
        """`predict` as a plain call, for scripts and notebooks."""
        return self.run(self.predict(data, names=names, meta=meta))

    def run(self: Any, call: Coroutine[Any, Any, T]) -> T:
        """Wait for the result of one of the calls above.

        Raises: RuntimeError on the event loop that the unit was started on, which would wait for itself.
        """
        try:
            loop = self._home()
        except BaseException:
            call.close()
            raise
        if _running() is loop:
            call.close()
            raise RuntimeError("this unit runs on the running event loop: await it instead of calling it")
        future = asyncio.run_coroutine_threadsafe(call, loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self: Any) -> None:
        """Stop the unit, if a call started it. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            asyncio.run_coroutine_threadsafe(self.stop(), thread.loop).result()
            thread.end()

    async def __aenter__(self: Any) -> Any:
        await self.start()
        return self

    async def __aexit__(self: Any, *_: object) -> None:
        await self.stop()

    def __enter__(self: Any) -> Any:
        self._home()
        return self

    def __exit__(self: Any, *_: object) -> None:
        self.close()

    def _lives(self, here: bool) -> None:
        """Set the running loop as this unit's loop, or clear it; called by start and stop."""
        self._loop = asyncio.get_running_loop() if here else None

    def _home(self: Any) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None or self._loop.is_closed():
                thread = LoopThread(self.name)
                weakref.finalize(self, thread.end)
                try:
                    asyncio.run_coroutine_threadsafe(self.start(), thread.loop).result()
                except BaseException:
                    thread.end()
                    raise
                self._thread = thread
            loop: asyncio.AbstractEventLoop = self._loop
            return loop

    async def _at_home(self: Any, function: Any, *arguments: Any) -> Any:
        loop = self._loop
        if loop is None:
            loop = await asyncio.to_thread(self._home)
        if asyncio.get_running_loop() is loop:
            return await function(*arguments)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(function(*arguments), loop))


class LoopThread:
    """An event loop in its own thread, until `end` is called."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"infergraph {name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def end(self) -> None:
        """Stop the loop and wait for the thread. Idempotent."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            if threading.current_thread() is not self._thread:
                self._thread.join()


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
