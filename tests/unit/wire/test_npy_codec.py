"""Arrays as .npy files: what is read, what is written, what is refused."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from infergraph.errors import PayloadError
from infergraph.message import Encoding, Message
from infergraph.wire import json_codec, npy_codec
from infergraph.wire.npy_codec import NpyMessage

TYPES = ["?", "<i1", "<u2", ">i4", "<i8", "<u8", "<f2", "<f4", ">f8", "<f8"]


def file_of(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@given(
    array=arrays.arrays(st.sampled_from(TYPES), arrays.array_shapes(min_dims=0, max_dims=4, min_side=0)),
    in_columns=st.booleans(),
)
def test_what_numpy_saves_is_read(array: np.ndarray[Any, Any], in_columns: bool) -> None:
    """Any shape, order and byte order comes in as the same writable array, and goes out as NumPy reads it."""
    given = NpyMessage(file_of(np.asfortranarray(array) if in_columns and array.ndim else array))
    read = given.payload
    assert read.shape == array.shape
    assert read.dtype == array.dtype.newbyteorder("=")
    assert read.flags.writeable
    assert np.array_equal(read, array, equal_nan=array.dtype.kind == "f")
    written = npy_codec.encode(given)
    assert written is not None
    assert np.array_equal(np.load(io.BytesIO(written)), array, equal_nan=array.dtype.kind == "f")


@given(cut=st.integers(0, 200), flips=st.lists(st.tuples(st.integers(0, 199), st.integers(0, 255)), max_size=4))
def test_damaged_files_are_refused_or_read(cut: int, flips: list[tuple[int, int]]) -> None:
    """Whatever is done to a file, it is an array or a PayloadError; nothing else is raised."""
    raw = bytearray(file_of(np.arange(9.0).reshape(3, 3)))
    for at, value in flips:
        raw[at % len(raw)] = value
    with contextlib.suppress(PayloadError):
        assert isinstance(npy_codec.decode(bytes(raw[:cut])), np.ndarray)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.array([{}], dtype=object), "|O"),
        (np.array(["text"]), "<U4"),
        (np.array([1j]), "<c16"),
        (np.array(["2026-01-01"], dtype="M8[D]"), "<M8[D]"),
        (np.zeros(2, dtype=[("a", "i4")]), "'a'"),
    ],
)
def test_other_types_are_named(array: np.ndarray[Any, Any], told: str) -> None:
    """What is neither number nor boolean is refused by its type; nothing is unpickled."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    with pytest.raises(PayloadError) as raised:
        npy_codec.decode(file.getvalue())
    assert told in raised.value.text


def test_sizes_must_fit() -> None:
    """A file with fewer or more values than its shape says is refused with both sizes."""
    raw = file_of(np.zeros((2, 2)))
    for wrong in (raw[:-1], raw + b"\0"):
        with pytest.raises(PayloadError, match=r"shape \(2, 2\) of float64 needs 32"):
            npy_codec.decode(wrong)


@pytest.mark.parametrize("shape", [b"(9999999999, 9999999)", b"(-1, -4)", b"(True, 4)", b"4", b"(4.0,)", b"(0, 10**9)"])
def test_shapes_that_are_none(shape: bytes) -> None:
    """A shape that is no shape, or that would take more than there is, is refused."""
    raw = file_of(np.zeros((2, 2)))
    start = raw.index(b"(2, 2)")
    with pytest.raises(PayloadError, match=r"\.npy"):
        npy_codec.decode(raw[:start] + (shape + b", }").ljust(127 - start) + raw[127:])


def test_an_empty_array_of_impossible_size() -> None:
    """Sizes beyond the machine's are refused even where one of them is nought."""
    raw = file_of(np.zeros((0, 2)))
    start = raw.index(b"(0, 2)")
    with pytest.raises(PayloadError, match="shape"):
        npy_codec.decode(raw[:start] + b"(0, 99999999999999999999), }".ljust(127 - start) + raw[127:])


@pytest.mark.parametrize(
    "message",
    [
        Message.of("text", Encoding.STR),
        Message.of({"a": 1}, Encoding.JSON),
        Message.of([["a", 1]], Encoding.NDARRAY),
        Message.of([[1, 2], [3]], Encoding.NDARRAY),
        Message.of(np.array(["a"]), Encoding.NDARRAY),
    ],
)
def test_what_is_no_array_of_numbers_is_not_written(message: Message) -> None:
    """Texts, objects and ragged lists have no .npy form here."""
    assert npy_codec.encode(message) is None


def test_a_message_that_cannot_be_read_as_an_array_is_none():
    """A document without a readable payload is no array, so that the edge sends it as it is."""
    assert npy_codec.encode(json_codec.of_document({"data": {"tensor": {}}})) is None
