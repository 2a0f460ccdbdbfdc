"""The synchronous client: runs the asynchronous one on an event loop in a background thread.

client.predict(X) ─▶ AsyncClient.predict(X) on the loop ─▶ the calling thread waits for its result
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from infergraph.client.asynchronous import AsyncClient
from infergraph.client.connection import Connection, Protocol
from infergraph.client.tasks import AsyncTasks
from infergraph.local import LoopThread
from infergraph.message import Transport

P = ParamSpec("P")
T = TypeVar("T")
Inner = TypeVar("Inner")


class _Loop:
    """An event loop in a background thread, started by the first call."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: LoopThread | None = None
        self._beginning = threading.Lock()
        self._process = os.getpid()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """The result of `call`; an exception in the waiting thread, such as KeyboardInterrupt, cancels it."""
        future = asyncio.run_coroutine_threadsafe(call, self._begun().loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def finish(self, call: Coroutine[Any, Any, T]) -> None:
        """Run `call`, unless the loop has ended: then everything is finished."""
        if self._thread is None:
            call.close()
        else:
            self.run(call)

    def _begun(self) -> LoopThread:
        if self._process != os.getpid():  # forked: the parent's thread is missing, and the lock may be held
            self._process, self._thread, self._beginning = os.getpid(), None, threading.Lock()
        with self._beginning:
            if self._thread is None:
                self._thread = LoopThread(self._name)
                weakref.finalize(self, self._thread.end)
            return self._thread

    def end(self, last: Coroutine[Any, Any, None]) -> None:
        """Run `last`, then end the thread. No effect without a thread."""
        with self._beginning:
            thread, self._thread = self._thread, None
        if thread is None:
            last.close()
            return
        try:
            asyncio.run_coroutine_threadsafe(last, thread.loop).result()
        finally:
            thread.end()


class _Waited(Generic[Inner]):
    """An asynchronous object, and the loop that runs its methods."""

    def __init__(self, inner: Inner, loop: _Loop) -> None:
        self._inner = inner
        self._loop = loop


def _waited(
    method: Callable[Concatenate[Inner, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[_Waited[Inner], P], T]:
    """The method as a blocking call."""

    @functools.wraps(method)
    def call(self: _Waited[Inner], /, *args: P.args, **named: P.kwargs) -> T:
        return self._loop.run(method(self._inner, *args, **named))

    return call


def _iterated(
    method: Callable[Concatenate[Inner, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate[_Waited[Inner], P], Iterator[T]]:
    """The method's asynchronous generator as a plain iterator."""

    @functools.wraps(method)
    def call(self: _Waited[Inner], /, *args: P.args, **named: P.kwargs) -> Iterator[T]:
        return _items(method(self._inner, *args, **named), self._loop)

    return call


def _items(given: AsyncGenerator[T, None], loop: _Loop) -> Iterator[T]:
    try:
        while True:
            several = loop.run(_some(given))
            if not several:
                return
            yield from several
    finally:
        loop.finish(given.aclose())


def _spread(
    method: Callable[Concatenate[Inner, P], AsyncGenerator[T, None]],
    blocks: Callable[Concatenate[Inner, P], AsyncGenerator[list[T], None]],
) -> Callable[Concatenate[_Waited[Inner], P], Iterator[T]]:
    """The method's asynchronous generator as a plain iterator, fetching many items at once by `blocks`."""

    @functools.wraps(method)
    def call(self: _Waited[Inner], /, *args: P.args, **named: P.kwargs) -> Iterator[T]:
        for several in _items(blocks(self._inner, *args, **named), self._loop):
            yield from several

    return call


async def _some(given: AsyncGenerator[T, None]) -> list[T]:
    """The next item of an iterator, or none at its end."""
    async for item in given:
        return [item]
    return []


class Tasks(_Waited[AsyncTasks]):
    """The tasks of a server; `Client.tasks`. See `AsyncTasks`: the methods are the same, and block."""

    submit = _waited(AsyncTasks.submit)
    show = _waited(AsyncTasks.show)
    watch = _iterated(AsyncTasks.watch)
    wait = _waited(AsyncTasks.wait)
    results = _spread(AsyncTasks.results, AsyncTasks.result_blocks)
    result_blocks = _iterated(AsyncTasks.result_blocks)
    errors = _iterated(AsyncTasks.errors)
    download = _waited(AsyncTasks.download)
    list = _iterated(AsyncTasks.list)
    cancel = _waited(AsyncTasks.cancel)
    retry = _waited(AsyncTasks.retry)
    delete = _waited(AsyncTasks.delete)
    prune = _waited(AsyncTasks.prune)
    engine = _waited(AsyncTasks.engine)


class Client(_Waited[AsyncClient]):
    """Client of a component, a graph, or a deployment behind an ingress; see `AsyncClient` for the arguments.

    Promises: thread-safe; usable while an event loop is running, as in a notebook. A copy in another process (by
        pickle, or for REST by fork) has its own connections.
    """

    def __init__(
        self,
        url: str,
        *,
        transport: Transport | str | None = None,
        protocol: str = Protocol.SELDON,
        model: str = "",
        version: str = "",
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 2,
        connection: Connection | None = None,
    ) -> None:
        inner = AsyncClient(
            url,
            transport=transport,
            protocol=protocol,
            model=model,
            version=version,
            headers=headers,
            key=key,
            timeout_s=timeout_s,
            retries=retries,
            connection=connection,
        )
        super().__init__(inner, _Loop(f"infergraph client {inner.server}"))
        self.server = inner.server
        self.tasks = Tasks(inner.tasks, self._loop)

    predict = _waited(AsyncClient.predict)
    stream = _iterated(AsyncClient.stream)
    ask_stream = _iterated(AsyncClient.ask_stream)
    transform_input = _waited(AsyncClient.transform_input)
    transform_output = _waited(AsyncClient.transform_output)
    route = _waited(AsyncClient.route)
    aggregate = _waited(AsyncClient.aggregate)
    ask = _waited(AsyncClient.ask)
    ask_all = _waited(AsyncClient.ask_all)
    feedback = _waited(AsyncClient.feedback)
    metadata = _waited(AsyncClient.metadata)
    health = _waited(AsyncClient.health)
    ready = _waited(AsyncClient.ready)
    wait_ready = _waited(AsyncClient.wait_ready)

    def close(self) -> None:
        """Close the connections and end the thread. Idempotent; a later call starts again."""
        self._loop.end(self._inner.close())

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), **self._inner.given), ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({str(self.server)!r})"
