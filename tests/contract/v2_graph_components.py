"""Nodes for graphs of the open inference protocol: each tells in a tag what it was handed, and scribbles over it."""

import datetime

import numpy as np
import pandas as pd


def told(value):
    """What a hook was handed, as text that is the same wherever it runs."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}{[told(item) for item in value.ravel().tolist()][:8]}"
    if isinstance(value, pd.DataFrame):
        columns = {name: told(np.asarray(value[name])) for name in value.columns}
        return f"frame{columns}"
    if isinstance(value, dict):
        return str({key: told(item) for key, item in value.items()})
    if isinstance(value, list):
        return str([told(item) for item in value][:8])
    return f"{type(value).__name__} {value!r}"


def copied(value):
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value.copy() if isinstance(value, np.ndarray | pd.DataFrame) else value


def scribble(value):
    """Change all that a hook was handed, as far as it can be changed."""
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]:
        if isinstance(part, np.ndarray) and part.flags.writeable and part.size:
            part.flat[:] = part.flat[0]
        elif isinstance(part, pd.DataFrame):
            del part[part.columns[0]]
    if isinstance(value, dict | list):
        value.clear()


class Passing:
    """Answers what it was handed."""

    seen = ""

    def passed(self, X, names):
        self.seen = f"{told(X)} {list(names)}"
        result = copied(X)
        scribble(X)
        return result

    def tags(self):
        return {type(self).__name__.lower(): self.seen}


class Clean(Passing):
    def transform_input(self, X, names, meta=None):
        return self.passed(X, names)


class By(Passing):
    """Chooses the second child for texts and for several tensors."""

    def route(self, X, names, meta=None):
        is_text = isinstance(X, np.ndarray) and X.dtype == object
        several = isinstance(X, dict) and len(X) > 1
        self.passed(X, names)
        return int(is_text or several)


class One(Passing):
    def predict(self, X, names, meta=None):
        return self.passed(X, names)


class Two(Passing):
    """A dict stays one, also with a single key."""

    def predict(self, X, names, meta=None):
        passed = self.passed(X, names)
        return passed if isinstance(passed, dict | pd.DataFrame) else {"only": passed}


class Mean(Passing):
    """The first of the answers."""

    def aggregate(self, Xs, names):
        self.seen = " | ".join(f"{told(X)} {list(each)}" for X, each in zip(Xs, names, strict=True))
        first = copied(Xs[0])
        for X in Xs:
            scribble(X)
        return first


class Out(Passing):
    def transform_output(self, X, names, meta=None):
        return self.passed(X, names)


class Odd(Passing):
    """Its tags have names that mean something in the protocol."""

    def predict(self, X, names, meta=None):
        return X

    def tags(self):
        return {"content_type": "pd", "binary_data_output": True, "seldon_routing": "{}", "mine": [1]}


class Meta:
    """Tells what its meta says of the request."""

    def predict(self, X, names, meta=None):
        return {"told": [str(meta["parameters"]), str(meta["id"]), told(X)]}


class Parameters:
    def predict_v2(self, request):
        return {"outputs": [{"name": "z", "data": request["inputs"][0]["data"]}], "parameters": {"p": "q"}}


class Doubles:
    """Two arrays of one: as they are, and doubled."""

    def predict(self, X, names, meta=None):
        return {"a": np.asarray(X), "b": np.asarray(X) * 2}


class Fails:
    """Fails every other time."""

    calls = 0

    def predict(self, X, names, meta=None):
        self.calls += 1
        if self.calls % 2:
            raise ValueError("not this time")
        return X


RESULTS = {
    "frame": lambda: pd.DataFrame({"a": [1, 2], "t": ["x", "y"]}),
    "series": lambda: pd.Series([1.5, 2.5], name="s"),
    "dates": lambda: [datetime.datetime(2024, 5, 6), datetime.datetime(2025, 1, 1)],
    "days": lambda: np.array(["2024-05-06"], dtype="datetime64[D]"),
    "list of dicts": lambda: [{"a": 1}, {"b": [2]}],
    "dict": lambda: {"a": {"deep": 1}, "b": "t"},
    "text": lambda: "hello",
    "bytes": lambda: b"\xff\x00",
    "list of bytes": lambda: [b"a", b"\xff"],
    "number": lambda: 3,
    "half": lambda: np.array([1.5, 2], dtype=np.float16),
    "texts": lambda: np.array([["a", "b"], ["c", "é"]]),
    "empty": lambda: np.empty((0, 3), dtype=np.int16),
    "infinities": lambda: {"a": np.array([np.inf, np.nan]), "b": np.array([1, 2])},
    "one key": lambda: {"k": np.array([1.0])},
    "one key of texts": lambda: {"k": ["a"]},
    "list of texts": lambda: ["a", "b"],
    "booleans": lambda: [[True], [False]],
    "big endian": lambda: np.array([1, 2], dtype=">i4"),
    "every other": lambda: np.arange(6)[::2],
    "large integers": lambda: np.array([2**53 + 1, -(2**63)]),
}


class Gives:
    """Answers the result that a parameter of the request names."""

    def predict(self, X, names, meta=None):
        return RESULTS[meta["parameters"]["give"]]()


class Told:
    """Tells what it was handed."""

    def predict(self, X, names, meta=None):
        return {"told": [told(X), str(list(names))]}
