"""Components with predict_stream, well-behaved and hostile; X is the number of items, or what the class says."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from itertools import count

import numpy as np
from seldon_core.user_model import SeldonResponse

from infergraph.request import current_request
from stream_record import CLOSED, GO


def number(X):
    return int(np.ravel(np.asarray(X, dtype=object))[0])


class Refused(Exception):
    status_code = 422


class Counts:
    """X in; as a stream 0 … X-1."""

    def predict(self, X, names=None, meta=None):
        return X

    def predict_stream(self, X, names=None, meta=None):
        for k in range(number(X)):
            yield np.array([[k]], dtype=np.int64)


class AsyncCounts(Counts):
    async def predict_stream(self, X, names=None, meta=None):
        for k in range(number(X)):
            await asyncio.sleep(0)
            yield np.array([[k]], dtype=np.int64)


class Breaks(Counts):
    """X items, then an exception with a status."""

    def predict_stream(self, X, names=None, meta=None):
        yield from super().predict_stream(X)
        raise Refused("the stream broke")


class AsyncBreaks(Counts):
    async def predict_stream(self, X, names=None, meta=None):
        for k in range(number(X)):
            yield np.array([[k]], dtype=np.int64)
        raise Refused("the stream broke")


class Endless(Counts):
    """Never ends, and says when it was closed."""

    def predict_stream(self, X, names=None, meta=None):
        given = 0
        try:
            for k in count():
                given += 1
                yield np.array([[k]], dtype=np.int64)
        finally:
            CLOSED.put((threading.current_thread().name, given))


class AsyncEndless(Counts):
    """The same; it never waits for anything."""

    async def predict_stream(self, X, names=None, meta=None):
        given = 0
        try:
            for k in count():
                given += 1
                yield np.array([[k]], dtype=np.int64)
        finally:
            CLOSED.put((threading.current_thread().name, given))


class Large(Endless):
    """Items of a megabyte, without an end."""

    def predict_stream(self, X, names=None, meta=None):
        given = 0
        try:
            while True:
                given += 1
                yield np.zeros((1, 1 << 17))
        finally:
            CLOSED.put((threading.current_thread().name, given))


class Waits(Counts):
    """An item, and a second one once the test says so."""

    def predict_stream(self, X, names=None, meta=None):
        yield np.array([[0]], dtype=np.int64)
        GO.wait(30)
        yield np.array([[1]], dtype=np.int64)


class AsyncSilent(Counts):
    """Gives no item."""

    async def predict_stream(self, X, names=None, meta=None):
        try:
            await asyncio.Event().wait()
            yield None
        finally:
            CLOSED.put((threading.current_thread().name, 0))


class Stubborn(Counts):
    """Goes on when it is closed, once."""

    def predict_stream(self, X, names=None, meta=None):
        try:
            while True:
                yield np.array([[0]])
        except GeneratorExit:
            CLOSED.put((threading.current_thread().name, 0))
            yield np.array([[1]])


class AsyncStubborn(Counts):
    """Goes on when it is cancelled."""

    async def predict_stream(self, X, names=None, meta=None):
        try:
            while True:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.001)
                yield np.array([[0]])
        finally:
            CLOSED.put((threading.current_thread().name, 0))


class Broken:
    """An item that is one, and one that is none: X says which."""

    def predict_stream(self, X, names=None, meta=None):
        yield np.array([[0]], dtype=np.int64)
        yield (None, [[1, 2], [3]], np.array([1j]), object())[number(X)]


class Results:
    """Items of every kind."""

    def predict_stream(self, X, names=None, meta=None):
        yield "text"
        yield {"a": [1, 2], "b": ["x"]}
        yield [[1.5]]
        yield SeldonResponse(np.array([[7]], dtype=np.int64), tags={"place": 4})

    def tags(self):
        return {"always": True}


class Only:
    """Nothing but a stream: of X items."""

    def predict_stream(self, X):
        for k in range(number(X)):
            yield np.array([[k]], dtype=np.int64)


class AsyncOnly:
    async def predict_stream(self, X):
        for k in range(number(X)):
            yield np.array([[k]], dtype=np.int64)


class NoGenerator(Counts):
    def predict_stream(self, X, names=None, meta=None):
        return [1, 2]


class Mutates:
    """Gives the same objects again, changed."""

    def predict_stream(self, X, names=None, meta=None):
        values = np.zeros((1, 1), dtype=np.int64)
        listed = [["a"]]
        for k in range(3):
            values[0, 0] = k
            yield values
            listed[0][0] = str(k)
            yield listed


class Asks(Counts):
    """The header `x-name` of the request, and the thread, at every item."""

    def predict_stream(self, X, names=None, meta=None):
        for _ in range(3):
            yield [current_request().headers["x-name"], threading.current_thread().name]

    def predict(self, X, names=None, meta=None):
        return [current_request().headers["x-name"], threading.current_thread().name]


class Inline(Endless):
    execution = "inline"


class Words:
    """A text; as a stream its words, each as often as the parameter says."""

    def predict(self, X, names=None, meta=None):
        return str(np.ravel(X)[0])

    def predict_stream(self, X, names=None, meta=None):
        for word in str(np.ravel(X)[0]).split():
            for _ in range(meta.get("parameters", {}).get("times", 1)):
                yield word


class Shown:
    """Adds a hundred to what stands below it."""

    def transform_output(self, X, names=None, meta=None):
        return np.asarray(X) + 100


class Second:
    def route(self, X, names=None, meta=None):
        return 1
