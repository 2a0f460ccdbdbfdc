"""What a hook's result is made into."""

import math

import numpy as np
import pandas as pd
import pytest

from infergraph.component import results
from infergraph.errors import ComponentError
from infergraph.message import Encoding, Message
from infergraph.wire import json_codec


@pytest.mark.parametrize(("columns", "count"), [(None, 0), (0, 0), (3, 3), (20_000, 20_000), (1_000_001, 0)])
def test_columns_are_numbered_as_far_as_it_is_worth_it(columns: int | None, count: int) -> None:
    """Unnamed columns are `t:0`, `t:1`, …; a million and more have no names, which would take all memory."""
    names = results.default_names(columns)
    assert len(names) == count
    assert list(names[:3]) == ["t:0", "t:1", "t:2"][:count]


@pytest.mark.parametrize("asked", [Encoding.NDARRAY, Encoding.TENSOR, Encoding.JSON])
@pytest.mark.parametrize(
    ("result", "payload"),
    [
        (np.array(True), [True]),
        (np.bool_(False), [False]),
        (True, [True]),
        (np.array("x"), ["x"]),
        (np.array(None), [None]),
        (np.array({"a": 1}, dtype=object), [{"a": 1}]),
        (np.array("2024-05-06", dtype="datetime64[D]"), ["Mon, 06 May 2024 00:00:00 GMT"]),
    ],
    ids=repr,
)
def test_only_a_number_is_without_axes(result: object, payload: object, asked: Encoding) -> None:
    """Whatever else has no axes gets one, in every encoding, since over gRPC only a number can be without."""
    shaped = results.shape(result, asked)
    assert shaped.encoding is Encoding.NDARRAY
    assert list(shaped.payload) == payload


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        (pd.DataFrame({"a": ["x", None]}), [["x"], [None]]),
        (pd.DataFrame({"a": [1.5, None], "b": ["x", "y"]}), [[1.5, "x"], [None, "y"]]),
        (pd.Series(["x", float("nan")], dtype=object), ["x", None]),
        (pd.Categorical(["x", None]), ["x", None]),
        (pd.MultiIndex.from_tuples([(1, "x")]), [[1, "x"]]),
    ],
    ids=["text", "gap beside text", "objects", "categories", "levels"],
)
def test_a_missing_value_beside_text_is_none(table: object, rows: object) -> None:
    """Whatever pandas marks it by."""
    assert results.shape(table, Encoding.NDARRAY).payload == rows


def test_nan_beside_text_does_not_become_text() -> None:
    """A list with numbers beside text becomes an array of text, as NumPy makes it, unless one of them is NaN."""
    assert results.shape([["a", 1.5]], Encoding.NDARRAY, as_array=True).payload.tolist() == [["a", "1.5"]]
    shaped = results.shape([["nan", float("nan")]], Encoding.NDARRAY, as_array=True)
    assert shaped.payload[0][0] == "nan"
    assert math.isnan(shaped.payload[0][1])


@pytest.mark.parametrize("result", [10**5000, [10**5000], {"a": -(10**5000)}], ids=["integer", "list", "dict"])
def test_an_integer_of_too_many_digits_is_told(result: object) -> None:
    """Python converts some 4,300 digits; more are the component's error, which names the place."""
    with pytest.raises(ComponentError, match=r"too many digits at (data\.ndarray|jsonData\.a)"):
        json_codec.encode(Message.of(*_shaped(result)))
    assert json_codec.encode(Message.of(*_shaped([10**4000]))).count(b"0") == 4000


def _shaped(result: object) -> tuple[object, Encoding]:
    shaped = results.shape(result, Encoding.NDARRAY)
    return shaped.payload, shaped.encoding
