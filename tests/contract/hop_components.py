"""Two nodes for the contract of hops: one gives what it is told to, the next tells what it was handed."""

import datetime
import decimal
import uuid

import numpy as np
import pandas as pd

FRAME = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})
MIXED = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
DATES = pd.DataFrame({"id": [1, 2], "seen": [pd.Timestamp("2024-05-06"), pd.NaT]})


class SeldonResponse:
    """A result with tags, which is known by its name."""

    def __init__(self, data, tags=None, metrics=None):
        self.data = data
        self.tags = tags
        self.metrics = metrics


class Tensor:
    """As tensors of other libraries are: an array for who asks."""

    def __array__(self, dtype=None, copy=None):
        return np.array([[1.0, 2.0]], dtype=dtype)


def uneven():
    rows = np.empty(3, dtype=object)
    rows[:] = [[0, 2], [], [1, 4, 9]]
    return rows


def nested(levels):
    value = {}
    for _ in range(levels):
        value = {"in": value}
    return value


RESULTS = {
    "text": lambda: "hello",
    "empty text": lambda: "",
    "long text": lambda: "long " * 500,
    "lone surrogate": lambda: "a\ud800b",
    "bytes": lambda: b"\x00\xff",
    "bytearray": lambda: bytearray(b"abc"),
    "dict": lambda: {"a": [1, 2.5, None, True, "x"], "b": {"c": []}},
    "dict of numpy": lambda: {"a": np.arange(3), "f": np.float32(0.1), "i": np.int8(3), "b": np.bool_(True)},
    "dict with keys that are numbers": lambda: {1: "one", 2.5: "two", None: "three"},
    "dict of tuples": lambda: {"a": (1, (2, 3))},
    "dict of dates": lambda: {"d": datetime.date(2024, 5, 6), "t": datetime.datetime(2024, 5, 6, 7, 8, 9)},
    "dict of the year 1": lambda: {
        "d": datetime.datetime(1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=8)))
    },
    "dict of missing values": lambda: {
        "nat": pd.NaT,
        "na": pd.NA,
        "none": None,
        "nan": float("nan"),
        "inf": float("-inf"),
    },
    "dict of timestamps": lambda: {
        "t": pd.Timestamp("2024-05-06 07:08:09"),
        "n": np.datetime64("2024-05-06"),
        "nat": np.datetime64("NaT"),
    },
    "dict of others": lambda: {"d": decimal.Decimal("1.50"), "u": uuid.UUID(int=7)},
    "dict of large integers": lambda: {"n": 2**53 + 1, "m": -(2**70)},
    "deep dict": lambda: nested(20),
    "set in a dict": lambda: {"a": {1, 2}},
    "bytes in a dict": lambda: {"a": b"x"},
    "complex in a dict": lambda: {"a": 1j},
    "frame in a dict": lambda: {"frame": FRAME},
    "object in a dict": lambda: {"a": object()},
    "integers": lambda: np.array([[1, 2], [3, 4]]),
    "floats": lambda: np.array([[1.5, -2.0]]),
    "uint8": lambda: np.array([[250, 3]], dtype=np.uint8),
    "int32": lambda: np.array([[-250, 3]], dtype=np.int32),
    "uint64": lambda: np.array([[1, 3]], dtype=np.uint64),
    "large uint64": lambda: np.array([[2**64 - 1, 3]], dtype=np.uint64),
    "large integers": lambda: np.array([[2**53 + 1, -(2**53) - 1]]),
    "float32": lambda: np.array([[0.1, 2.0]], dtype=np.float32),
    "float16": lambda: np.array([[0.1, 2.0]], dtype=np.float16),
    "long double": lambda: np.array([[0.5]], dtype=np.longdouble),
    "nan": lambda: np.array([[np.nan, np.inf, -np.inf, -0.0]]),
    "booleans": lambda: np.array([[True, False]]),
    "complex": lambda: np.array([[1j]]),
    "texts": lambda: np.array([["a", "é"]]),
    "byte texts": lambda: np.array([[b"a"]]),
    "objects": lambda: np.array([[1, None], [2.5, True]], dtype=object),
    "objects of all kinds": lambda: np.array([{"a": [1]}, None, "x", 1.5], dtype=object),
    "objects that cannot be sent": lambda: np.array([object()], dtype=object),
    "dates": lambda: np.array([["2024-05-06", "NaT"]], dtype="datetime64[ns]"),
    "early dates": lambda: np.array(["0001-01-01", "-0005-01-01"], dtype="datetime64[D]"),
    "no axes": lambda: np.array(5),
    "float without axes": lambda: np.array(2.5),
    "boolean without axes": lambda: np.array(True),
    "numpy boolean": lambda: np.bool_(False),
    "boolean": lambda: True,
    "text without axes": lambda: np.array("x"),
    "date without axes": lambda: np.array("2024-05-06", dtype="datetime64[D]"),
    "missing value without axes": lambda: np.array(None),
    "dict without axes": lambda: np.array({"a": 1}, dtype=object),
    "one axis": lambda: np.array([1.0, 2.0]),
    "three axes": lambda: np.arange(8.0).reshape(2, 2, 2),
    "numpy integer": lambda: np.int64(3),
    "numpy float": lambda: np.float32(0.5),
    "number": lambda: 1.5,
    "whole number": lambda: 7,
    "nothing": lambda: None,
    "a set": lambda: {1, 2},
    "a generator": lambda: (n for n in range(3)),
    "empty": lambda: np.array([]),
    "no rows": lambda: np.empty((0, 3)),
    "no texts": lambda: np.array([], dtype="U1"),
    "no booleans": lambda: np.empty((0, 3), dtype=bool),
    "no objects": lambda: np.empty((0, 3), dtype=object),
    "no dates": lambda: np.array([], dtype="datetime64[D]"),
    "no columns": lambda: np.empty((3, 0)),
    "empty list": lambda: [],
    "list": lambda: [[1, 2], [3, 4]],
    "list of floats": lambda: [[1, 2.5]],
    "list of texts": lambda: ["a", "b"],
    "list of texts and numbers": lambda: [["a", 1, None]],
    "list of text beside numbers": lambda: [["a", 1.5]],
    "list of text beside nan": lambda: [["a", float("nan"), 1.5]],
    "objects with nan beside text": lambda: np.array([["a", float("nan")], [1.5, None]], dtype=object),
    "list of booleans": lambda: [True, False],
    "list of missing values": lambda: [[1.0, None], [pd.NA, pd.NaT]],
    "list of dicts": lambda: [{"a": 1.5}, {"b": [None]}],
    "list of large integers": lambda: [2**53 + 1, 2**64 - 1],
    "list of huge integers": lambda: [2**70, -1],
    "list of nan": lambda: [[float("nan"), 1.0]],
    "list of arrays": lambda: [np.array([1.0, 2.0]), np.array([3.0, 4.0])],
    "list of numpy numbers": lambda: [np.float32(0.5), np.int8(1)],
    "list of frames": lambda: [FRAME, FRAME],
    "list of dates": lambda: [datetime.date(2024, 5, 6), datetime.date(2024, 5, 7)],
    "tuple": lambda: ((1, 2), (3, 4)),
    "uneven list": lambda: [[0, 2], [], [1, 4, 9]],
    "uneven deep list": lambda: [[[1], [2, 3]], [[4], [5]]],
    "uneven objects": uneven,
    "values beside lists": lambda: [1, [2, 3]],
    "masked": lambda: np.ma.masked_array([[1, 2]], [[False, True]]),
    "matrix": lambda: np.asmatrix([[1.0, 2.0]]),
    "read only": lambda: np.frombuffer(np.array([1.0, 2.0]).tobytes()),
    "columns first": lambda: np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "every other": lambda: np.arange(10.0)[::2],
    "big endian": lambda: np.array([[1.0, 2.0]], dtype=">f8"),
    "tensor": Tensor,
    "frame": lambda: FRAME,
    "mixed frame": lambda: MIXED,
    "frame of text": lambda: pd.DataFrame({"a": ["x", None]}),
    "frame of numbers with a gap beside text": lambda: pd.DataFrame({"a": [1.5, None], "b": ["x", "y"]}),
    "series of text": lambda: pd.Series(["x", None]),
    "categories": lambda: pd.Categorical(["x", None]),
    "frame of dates": lambda: DATES,
    "series": lambda: FRAME["b"],
    "series of missing values": lambda: pd.Series([1, None], dtype="Int64"),
    "response": lambda: SeldonResponse(
        data=np.array([[1.0]]), tags={"at": datetime.date(2024, 5, 6), "n": np.int64(3)}
    ),
}


class Gives:
    """Answers the result that its request's tag `give` names."""

    def predict(self, X, names, meta=None):
        return RESULTS[meta["tags"]["give"]]()


class Sees:
    """Tells what it was handed, having tried to change it."""

    def predict(self, X, names, meta=None):
        told = {
            "X": seen(X),
            "names": [list(map(str, names)), type(names).__name__],
            "tags": seen((meta or {}).get("tags")),
        }
        if isinstance(X, np.ndarray) and X.size and X.dtype.kind in "if":
            X += 1
        return told


def seen(value):
    if isinstance(value, np.ndarray):
        return {
            "dtype": str(value.dtype),
            "shape": list(value.shape),
            "items": [seen(item) for item in value.ravel().tolist()],
        }
    if isinstance(value, dict):
        return {key: seen(item) for key, item in value.items()}
    if isinstance(value, list):
        return [seen(item) for item in value]
    return f"{type(value).__name__} {value!r}"
