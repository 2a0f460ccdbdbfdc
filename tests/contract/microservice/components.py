"""Components of the microservice contract suite: each shows one habit of real components."""

import asyncio
import time

import numpy as np


class Identity:
    """Answers what it was asked."""

    def predict(self, X, names=None, meta=None):
        return X


class Nothing:
    """Has no method at all."""


class Seen:
    """Tells what reached it, as jsonData."""

    def predict(self, X, names, meta=None):
        if isinstance(X, np.ndarray):
            return {"dtype": str(X.dtype), "shape": list(X.shape), "names": list(names), "meta": meta}
        return {"type": type(X).__name__, "names": list(names), "meta": meta}

    transform_input = predict


class Returns:
    """Returns what `value` of the request's jsonData asks for."""

    def __init__(self, kind="none"):
        self.kind = kind

    def predict(self, X, names=None):
        return {
            "int-array": lambda: np.array([1, 2, 3]),
            "matrix": lambda: np.array([[1, 2], [3, 4]]),
            "cube": lambda: np.arange(8.0).reshape(2, 2, 2),
            "zero-d": lambda: np.array(5),
            "empty": lambda: np.array([]),
            "empty-list": lambda: [],
            "mixed-list": lambda: [["a", 1, None]],
            "tuple": lambda: (1, 2),
            "bools": lambda: np.array([True, False]),
            "nan": lambda: np.array([1.0, float("nan"), float("inf")]),
            "dict": lambda: {"a": 1, "b": [1.0, "x", None, True]},
            "numpy-in-dict": lambda: {"f": np.float32(0.5), "i": np.int64(3), "a": np.array([1, 2])},
            "str": lambda: "hello",
            "bytes": lambda: b"\x00\x01hi",
            "bytearray": lambda: bytearray(b"\x00\x01hi"),
            "float32": lambda: np.array([0.1], dtype=np.float32),
            "numpy-float": lambda: np.float64(2.5),
            "big-int": lambda: {"n": 123456789012345678901234567890},
            "chinese": lambda: "北京大学",
            "int": lambda: 5,
            "none": lambda: None,
            "set": lambda: {1, 2},
            "ragged": lambda: [[1], [2, 3]],
            "complex": lambda: np.array([1j]),
            "object": lambda: object(),
        }[self.kind]()


class Full:
    """Names, tags, metrics and a response with its own."""

    def class_names(self):
        return ["c1", "c2"]

    def tags(self):
        return {"static": "own", "n": 1}

    def metrics(self):
        return [
            {"type": "COUNTER", "key": "mycounter", "value": 1},
            {"type": "GAUGE", "key": "mygauge", "value": 100},
            {"type": "TIMER", "key": "mytimer", "value": 20.2, "tags": {"t": "x"}},
        ]

    def predict(self, X, names, meta=None):
        from seldon_core.user_model import SeldonResponse

        return SeldonResponse(
            data=np.array([[0.1, 0.9]]),
            tags={"static": "overridden", "run": "p"},
            metrics=[{"type": "COUNTER", "key": "rt", "value": 1}],
        )

    def route(self, X, names):
        return 1

    def aggregate(self, Xs, names):
        return np.mean(np.array(Xs), axis=0)

    def send_feedback(self, X, names, reward, truth, routing=None):
        return {
            "X": X.tolist(),
            "names": list(names),
            "reward": reward,
            "truth": np.asarray(truth).tolist(),
            "routing": routing,
        }


class Router:
    """Routes by the first value."""

    def route(self, X, names=None):
        return {0: 0, 1: np.int64(1), 2: True, 3: 1.0, 4: -1, 5: [1]}[int(np.ravel(X)[0])]


class Raises:
    """Raises what it is told to."""

    def __init__(self):
        self.calls = 0

    def predict(self, X, names, meta=None):
        self.calls += 1
        kind = str(X)
        if kind == "type-error":
            raise TypeError("the user's own")
        if kind == "key-error":
            raise KeyError("nokey")
        if kind == "empty":
            raise ValueError
        if kind == "exit":
            raise SystemExit(3)
        if kind == "seldon":
            from seldon_core.flask_utils import SeldonMicroserviceException

            raise SeldonMicroserviceException("payment please", status_code=402, reason="PAY")
        if kind == "not-implemented":
            raise NotImplementedError("not yet")
        return [self.calls]


class Raw:
    """Raw hooks: what comes goes out."""

    def predict_raw(self, msg):
        if isinstance(msg, dict):
            return {"echo": msg, "meta": {"metrics": [{"key": "rawcount", "type": "COUNTER", "value": 1}]}}
        return msg

    def transform_input_raw(self, msg):
        return {"status": {"code": 404, "info": "gone"}, "strData": "x"}


class Statuses:
    """A raw answer with a status of its own."""

    def predict_raw(self, msg):
        return {"status": {"code": msg["jsonData"]}, "strData": "x"}


class Arguments:
    """Hooks that leave arguments out or take them by name."""

    def predict(self, X):
        return [1]

    def transform_input(self, X, **kwargs):
        return {"given": sorted(kwargs)}

    def transform_output(self, X, *, meta):
        return {"meta": meta}

    def send_feedback(self, features, feature_names, reward, truth):
        return {"reward": reward}


class Awaits:
    """Async hooks."""

    async def predict(self, X, names=None):
        await asyncio.sleep(0)
        return X

    async def health_status(self):
        return "well"

    async def load(self):
        self.loaded = True


class BadMetrics:
    """Metrics that are none."""

    def predict(self, X, names):
        return X

    def metrics(self):
        return [{"type": "COUNTER", "key": "nothing"}]


class Metadata:
    """Good metadata."""

    def init_metadata(self):
        return {
            "name": "my-model",
            "versions": ["v1"],
            "platform": "sklearn",
            "inputs": [{"messagetype": "ndarray", "schema": {"names": ["a"], "shape": [1, 4]}}],
            "outputs": [{"name": "out", "datatype": "FP32", "shape": [1]}],
            "custom": {"author": "me"},
        }


class BadMetadata:
    """Metadata with a key too many."""

    def init_metadata(self):
        return {"nmae": "x"}


class Slow:
    """Takes its time; health answers beside it."""

    def predict(self, X, names=None):
        time.sleep(float(np.ravel(X)[0]))
        return X

    def health_status(self):
        return [1, 2]


class Unhealthy:
    """Says it is not well."""

    def health_status(self):
        return False


class FailsToLoad:
    """Cannot load."""

    def load(self):
        raise AttributeError("no such weights")


class Feedback:
    """A router that keeps what feedback tells it."""

    def send_feedback(self, features, names, reward, truth, routing=None):
        return None

    def route(self, features, names):
        return 0


class ClassNamesList:
    """Class names as a plain list."""

    class_names = ("yes", "no")

    def predict(self, X, names=None):
        return np.array([[1, 2]])
