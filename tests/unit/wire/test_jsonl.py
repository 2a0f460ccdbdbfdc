"""Lines of JSON: nothing is lost, nothing is invented, and what cannot be read is refused with its place."""

from __future__ import annotations

import json
import math

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from infergraph.errors import PayloadError
from infergraph.settings import NanPolicy
from infergraph.wire import error_lines, json_text, jsonl
from infergraph.wire.jsonl import Bad

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(max_size=8), VALUES, max_size=4), max_size=8), st.booleans())
@example([{"data": "a\u2028b\u2029c\x85d\x0b\x0ce"}], False)
@example([{"n": 2**70}, {"n": -(2**63) - 1}], True)
def test_rows_survive_writing_and_reading(rows: list[dict[str, object]], windows: bool) -> None:
    """What is written as lines is read back equal: one line a row, whatever characters and integers it holds."""
    written = jsonl.write(rows)
    end = b"\r\n" if windows else b"\n"
    lines, again = jsonl.read(b"".join(line + end for line in written))
    assert again == rows
    assert len(lines) == len(rows)


@given(VALUES)
def test_a_line_reads_as_the_standard_library_reads_it(value: object) -> None:
    """A line means what the standard library says it means, integers of any size included."""
    line = json.dumps(value).encode()
    assert jsonl.read_line(line) == value
    assert type(jsonl.read_line(line)) is type(value)


LITERALS = st.sampled_from(["NaN", "Infinity", "-Infinity", "1e999", '"cut \\ud83d"', "123456789012345678901234567890"])


@given(st.lists(VALUES.map(json.dumps) | LITERALS, max_size=6))
def test_a_line_is_read_as_a_request_is(values: list[str]) -> None:
    """A line has the value that the same JSON has as the body of a request: NaN, infinities, surrogates, all of it."""
    line = ('{"a": [' + ", ".join(values) + "]}").encode()
    assert repr(jsonl.read_line(line)) == repr(json_text.read(line))


@given(st.binary(max_size=200))
def test_splitting_loses_no_byte(block: bytes) -> None:
    """Lines and their ends are exactly the block, for any bytes."""
    lines = jsonl.split(block)
    joined = b"\n".join(lines)
    assert block in (joined, joined + b"\n")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "the line is blank"),
        (b"  \t\r", "the line is blank"),
        (b'{"a": nan}', "not JSON at column 7"),
        (b'{"a": 1} x', "not JSON at column 10"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON at column 1: a byte order mark inside the file"),
        (b'{"a": 1', "not JSON"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 8"),
        (b'{"n": 99999999999999999999999, "a": nan}', "not JSON at column 37"),
        (b'{"n": ' + b"9" * 5000 + b"}", "not JSON: an integer of 5000 digits"),
        (b"[" * 5000, "not JSON: it is nested too deeply"),
    ],
)
def test_a_bad_line_says_why_and_where(line: bytes, reason: str) -> None:
    """A line that is not JSON is refused with a reason that names the place, and its neighbours are read."""
    bad = jsonl.read_line(line)
    assert isinstance(bad, Bad)
    assert bad.reason.startswith(reason)
    _, rows = jsonl.read(b'{"x": 1}\n' + line + b'\n{"x": 2}\n')
    assert rows == [{"x": 1}, bad, {"x": 2}]


@given(
    arrays(
        st.sampled_from(["<f8", "<f4", "<i8", "u1", "<i2", "?", ">f8", "U3"]).map(np.dtype),
        array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=5),
    ),
    st.booleans(),
)
def test_an_array_is_written_as_its_rows_are(table: np.ndarray, turned: bool) -> None:
    """The rows of an array, whatever its type and layout, are written as the same rows in a list, NaN included."""
    table = table.T if turned else table
    assert jsonl.write(table) == jsonl.write(table.tolist())


@given(st.lists(VALUES | st.floats() | st.text(st.characters(exclude_categories=()), max_size=5), max_size=6))
def test_rows_of_json_s_own_types_are_written_at_once(rows: list[object]) -> None:
    """Written together or one by one, rows have the same values, and the same ones are refused."""
    together, alone = jsonl.write(rows, is_json=True), jsonl.write(rows)
    assert [isinstance(line, Bad) or json.loads(line) for line in together] == [
        isinstance(line, Bad) or json.loads(line) for line in alone
    ]


def test_numpy_answers_are_written() -> None:
    """NumPy scalars and arrays, also in dicts, come out as plain JSON, beside text that stays as it is."""
    rows = [{"score": np.float32(0.5), "ids": np.arange(3), "data": "北京"}, {"n": np.int64(7)}]
    assert jsonl.write(rows) == ['{"score":0.5,"ids":[0,1,2],"data":"北京"}'.encode(), b'{"n":7}']


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan"), np.array([1.0, np.inf])])
def test_what_json_cannot_express_is_no_answer(value: object) -> None:
    """NaN and infinities are refused with their place, never written as null, while a true null is."""
    good, bad, null = jsonl.write([{"a": 1}, {"a": [{"b": value}]}, {"a": None}])
    assert (good, null) == (b'{"a":1}', b'{"a":null}')
    assert isinstance(bad, Bad)
    assert "a[0].b" in bad.reason


@pytest.mark.parametrize(("nan", "written"), [(NanPolicy.NULL, b"null"), (NanPolicy.LITERAL, b"NaN")])
def test_nan_is_written_as_it_is_asked_for(nan: NanPolicy, written: bytes) -> None:
    """A policy other than the refusal writes null or the literal, in lists of values and in arrays."""
    expected = [b"[1.0," + written + b"]", b"[2.0,3.0]"]
    assert jsonl.write([[1.0, math.nan], [2.0, 3.0]], nan) == expected
    assert jsonl.write(np.array([[1.0, math.nan], [2.0, 3.0]]), nan) == expected


def test_what_cannot_be_written_names_its_type() -> None:
    """An answer that holds an object of the user's own is refused by type and place; the others are written."""
    lines = jsonl.write([{"a": object()}, {"a": 2**80}])
    assert isinstance(lines[0], Bad)
    assert "object at " in lines[0].reason
    assert lines[1] == b'{"a":%d}' % 2**80


def test_an_answer_that_holds_itself_is_no_answer() -> None:
    """A value without end is refused, not followed for ever."""
    loop: list[object] = []
    loop.append(loop)
    assert isinstance(jsonl.write([loop])[0], Bad)


@given(st.integers(1, 10**12), st.text(), st.binary(max_size=80).filter(lambda raw: b"\n" not in raw))
def test_an_error_line_is_json_and_keeps_its_input(number: int, reason: str, raw: bytes) -> None:
    """An error line is one line of JSON for any reason and any raw bytes, and gives number and input back."""
    line = error_lines.error_line(number, reason, raw)
    assert b"\n" not in line
    assert set(orjson.loads(line)) == {"error", "input"}
    read_number, _, text = error_lines.read_error_line(line)
    assert read_number == number
    assert text == raw.removesuffix(b"\r").decode("utf-8", "backslashreplace")


def test_other_lines_are_no_error_lines() -> None:
    """An answer that merely looks similar is told apart."""
    for line in (b"{}", b'{"error": {"line": 1}}', b"1", b"x"):
        with pytest.raises(PayloadError):
            error_lines.read_error_line(line)
