"""Components with the rarer habits of real ones: what a comparison with the original, request by request, turned up."""

import asyncio
import json
import multiprocessing
import os
import sqlite3
import threading

import numpy as np
from google.protobuf import json_format
from starlette.exceptions import HTTPException

from infergraph.wire.prediction import SeldonMessage


class Echo:
    """Answers what it was asked; feedback tells what reached it."""

    def predict(self, X, names, meta=None):
        return {"names": names} if names is None else X

    def aggregate(self, Xs, names):
        return Xs[0]

    def send_feedback(self, X, names, reward, truth, routing=None):
        return {"X": X.tolist(), "names": list(names), "truth": truth.tolist(), "routing": routing}


class Tagged(Echo):
    """Adds a tag of its own."""

    def tags(self):
        return {"own": 1}


class BadTags(Echo):
    """Tags that are no mapping."""

    def tags(self):
        return [1]


class NumberedTags(Echo):
    """Tags whose names are numbers."""

    def tags(self):
        return {1: "one"}


class Mixed:
    """Answers lists and arrays of unusual kinds, by the text it is asked with."""

    def predict(self, X, names):
        return {
            "mixed": lambda: [["a", 1, 2.5]],
            "labels": lambda: ["a", 1],
            "holes": lambda: [["a", 1, None]],
            "bools": lambda: [True, 2],
            "masked": lambda: np.ma.array([[1.5, 2.5]], mask=[[0, 1]]),
            "masked-ints": lambda: np.ma.array([1, 2], mask=[1, 0]),
            "unmasked": lambda: np.ma.array([1, 2]),
            "masked-text": lambda: np.ma.array(["a", "b"], mask=[0, 1]),
            "records": lambda: np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
        }[str(np.ravel(X)[0])]()


class NoNames:
    """Class names that are not known yet."""

    class_names = None

    def predict(self, X, names):
        return X


class Declared(Exception):
    """Declares its status."""

    status_code = 418


class Foreign(Exception):
    """An HTTP client's error: its status is that of somebody else's answer, which it holds."""

    def __init__(self, text, status):
        super().__init__(text)
        self.status_code = status
        self.response = object()


class Silent(Exception):
    """An error that fails to say what it is."""

    def __str__(self):
        raise ValueError("no words")


class Raising:
    """Raises by the text it is asked with."""

    def predict(self, X, names):
        kind, _, number = str(X).partition(" ")
        if kind == "as":
            raise {
                "base": BaseException("from below"),
                "keyboard": KeyboardInterrupt("from below"),
                "generator": GeneratorExit("from below"),
                "cancelled": asyncio.CancelledError("from below"),
                "silent": Silent(),
                "long": ValueError("é" * 100_000),
                "surrogate": ValueError("half a \ud800"),
            }[number]
        if kind == "foreign":
            raise Foreign("the vendor refused", 401)
        if kind == "refused":
            raise HTTPException(int(number), "no price")
        error = Declared("short and stout")
        if number:
            error.status_code = number if kind == "worded" else int(number)
        raise error


class RaisingLater(Raising):
    """The same, from a coroutine."""

    async def predict(self, X, names):
        await asyncio.sleep(0)
        return super().predict(X, names)


class Unloadable:
    """Its load() ends in an exception that is no error."""

    def __init__(self, kind):
        self.kind = kind

    def load(self):
        raise {"exit": SystemExit(7), "base": BaseException("odd"), "keyboard": KeyboardInterrupt()}[self.kind]


class RawAggregate:
    """Raw hooks that show what reached them."""

    def aggregate_raw(self, msg):
        return {"given": msg}

    def predict_raw(self, msg):
        return msg["give"]

    def send_feedback_raw(self, feedback):
        return SeldonMessage(strData=f"{feedback.reward:g}")


class RawText:
    """A raw hook whose answer is no message."""

    def predict_raw(self, msg):
        return "text"


class Passed:
    """Shows what passes through."""

    def predict_raw(self, msg):
        return {"type": type(msg).__name__, "given": msg.decode() if isinstance(msg, bytes) else msg}


class PassedOld:
    """The deprecated hook, passed through to."""

    def predict_rest(self, msg):
        return {"type": type(msg).__name__}


class OldFeedback:
    """The deprecated hooks of feedback, which give what they are asked to."""

    def send_feedback_rest(self, text):
        return json.loads(text)["request"]["jsonData"]["give"]

    def send_feedback_grpc(self, feedback):
        return json_format.MessageToDict(feedback.request.jsonData)["give"]


class MetricKinds:
    """Metrics that are no list."""

    def predict(self, X, names):
        from seldon_core.user_model import SeldonResponse

        self.kind = X
        return SeldonResponse([1], metrics=self.made()) if X == "response" else [1]

    def made(self):
        return ({"type": "COUNTER", "key": "made", "value": 1},)

    def metrics(self):
        return {"nothing": None, "tuple": self.made(), "response": []}[self.kind]


class Accompanied:
    """Asks its custom service for its process id."""

    def __init__(self):
        self.asked, self.answered = multiprocessing.Event(), multiprocessing.Event()
        self.pid = multiprocessing.Value("i", 0)

    def predict(self, X, names):
        self.asked.set()
        assert self.answered.wait(30)
        return [self.pid.value]

    def custom_service(self):
        self.asked.wait()
        self.pid.value = os.getpid()
        self.answered.set()
        threading.Event().wait()


class FailingService(Echo):
    """Its custom service raises."""

    def custom_service(self):
        raise ValueError("no service")


class AsyncSides:
    """A plain predict with coroutines beside it."""

    def predict(self, X, names):
        return X

    async def route(self, X, names):
        return 1

    async def tags(self):
        await asyncio.sleep(0)
        return {"side": 1}

    async def metrics(self):
        await asyncio.sleep(0.001)
        return [{"type": "GAUGE", "key": "side", "value": 1}]

    async def class_names(self):
        return ["side"]


class Store:
    """Opens its database when it is first asked, as a library would."""

    connection = None

    def count(self):
        if self.connection is None:
            self.connection = sqlite3.connect(":memory:")
        return self.connection.execute("select 1").fetchone()[0]


class Stored:
    """Holds, not itself but deeper, what belongs to the thread that made it."""

    def __init__(self):
        self.parts = {"store": Store()}

    def predict(self, X, names):
        return [self.parts["store"].count()]
