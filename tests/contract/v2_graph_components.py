"""Nodes for graphs of the open inference protocol: each tells in a tag what it was handed, and scribbles over it."""

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
