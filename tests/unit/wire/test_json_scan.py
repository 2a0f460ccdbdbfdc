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
