"""Very large bodies of numbers, read in slices."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.errors import PayloadError
from infergraph.message import Content
from infergraph.wire import json_content, json_scan, json_text

pytestmark = pytest.mark.skipif(json_scan.simdjson is None, reason="pysimdjson is not there")

NUMBERS = st.sampled_from([0, 7, -3, 300, 0.5, -1e300, 2**63, -(2**62)])
NAMES = st.sampled_from([None, ["a", "b,]["], ["]"]])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Messages of a tensor or an array of numbers, some of them broken by one sign."""
    width = draw(st.integers(1, 5))
    rows = draw(st.lists(st.lists(NUMBERS, min_size=width, max_size=width), min_size=1, max_size=8))
    payload = draw(
        st.sampled_from(
            [
                {"ndarray": rows},
                {"ndarray": rows[0]},
                {"ndarray": [rows, rows]},
                {"tensor": {"shape": [width], "values": rows[0]}},
                {"tensor": {"values": rows[0], "shape": [1, -1]}},
            ]
        )
    )
    names = draw(NAMES)
    data = (
        payload if names is None else draw(st.sampled_from([{"names": names, **payload}, {**payload, "names": names}]))
    )
    message = draw(st.sampled_from([{"data": data}, {"data": data, "meta": {"tags": {"a": "]"}}}]))
    raw = json.dumps(message, separators=draw(st.sampled_from([(",", ":"), (", ", ": ")]))).encode()
    place, sign = (
        draw(st.integers(0, len(raw) - 1)),
        draw(st.sampled_from([b"", *(bytes([sign]) for sign in b'[]{},:" 1')])),
    )
    return raw[:place] + sign + raw[place:] if draw(st.booleans()) else raw


def general(raw: bytes) -> Content | str:
    """What the general way makes of a body."""
    try:
        return json_content.content_of(json_text.read(raw))
    except PayloadError as fault:
        return fault.text


@given(bodies(), st.integers(1, 30))
def test_slices_of_numbers_agree_with_the_general_way(raw: bytes, slice_bytes: int) -> None:
    """Where the slices decide at all, content and faults are those of the general way."""
    try:
        found: Content | str | None = json_scan.read_slices(raw, slice_bytes)
    except PayloadError as fault:
        found = fault.text
    expected = general(raw)
    if found is None or isinstance(found, str) or isinstance(expected, str):
        assert found is None or found == expected
        return
    assert found[1:] == expected[1:]
    assert found.payload.dtype == expected.payload.dtype
    np.testing.assert_array_equal(found.payload, expected.payload)


def test_a_large_body_of_numbers_is_read_in_slices() -> None:
    """Megabytes of numbers come out in their shape, whole numbers as such."""
    rows = [[number, number + 1] for number in range(json_scan.SLICED_BYTES // 8)]
    content = json_scan.read_numbers(json.dumps({"data": {"ndarray": rows}}).encode())
    assert content is not None
    np.testing.assert_array_equal(content.payload, rows)
    assert content.payload.dtype == np.int64


def _told(found: tuple[dict[str, object], list[np.ndarray]] | None) -> object:
    return found and (found[0], [(array.dtype.str, array.tolist()) for array in found[1]])


@pytest.mark.parametrize("slice_bytes", [1, 5, 1000])
@pytest.mark.parametrize(
    "inputs",
    [
        '{"name":"a","shape":[3],"datatype":"FP64","data":[1.5,-2,3]}',
        '{"data" : [ [1,2], [3,4] ],"name":"a","shape":[2,2],"datatype":"INT64"},'
        '{"name":"b","shape":[1],"datatype":"UINT64","data":[18446744073709551615]}',
        '{"name":"\\\\"data\\\\":[1,2]","shape":[1],"datatype":"FP64","parameters":{"x":"\\"data\\":[9]"},"data":[1]}',
        '{"name":"a","shape":[2],"datatype":"BYTES","data":["x","y"]}',
        '{"name":"a","shape":[1],"datatype":"FP64","data":[1],"parameters":{"data":[2]}}',
        '{"name":"a","shape":[1],"datatype":"FP64","parameters":{"data":[2]}}',
        '{"name":"a","shape":[0],"datatype":"FP64","data":[]}',
        '{"name":"a","shape":[2],"datatype":"BOOL","data":[true,false]}',
        '{"name":"a","shape":[1],"datatype":"FP64","data":[1],"odd":1}',
        '{"name":"a","shape":[1],"datatype":"FP64","data":[1}',
        "5",
    ],
)
def test_tensors_read_in_slices_are_the_same(inputs: str, slice_bytes: int) -> None:
    """A request of the open inference protocol, or None: as where it is parsed at once, wherever it is cut."""
    raw = b'{"id":"i","inputs":[%b],"outputs":[{"name":"o"}]}' % inputs.encode()
    sliced = _told(json_scan.read_tensor_slices(raw, slice_bytes))
    expected = _told(json_scan.read_tensors(raw))
    assert sliced in (expected, None)
    assert sliced is not None or expected is None or "parameters" in inputs
