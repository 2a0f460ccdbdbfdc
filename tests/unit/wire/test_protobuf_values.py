"""Very large values of protobuf, read in parts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from infergraph.errors import PayloadError, UploadTooLarge
from infergraph.message import Encoding
from infergraph.wire import prediction, proto_content, protobuf_values
from infergraph.wire.fields import delimited
from infergraph.wire.proto_codec import ProtoMessage

VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=40,
)


def shown(decode: Any, raw: bytes) -> str:
    """What a decoder makes of some bytes; any refusal is like another."""
    try:
        return json.dumps(decode(raw), sort_keys=True)
    except (DecodeError, ValueError):
        return "refused"


@given(VALUES, st.integers(1, 60), st.integers(0), st.integers(-1, 255))
def test_parts_agree_with_protobuf(value: Any, part_bytes: int, place: int, byte: int) -> None:
    """A value reads the same in parts of any size as at once, also where a byte of it is another."""
    raw = protobuf_values.encode_value(value, "x")
    if byte >= 0:
        place %= len(raw)
        raw = raw[:place] + bytes([byte]) + raw[place + 1 :]
    expected = shown(lambda raw: protobuf_values.decode_value(prediction.Value.FromString(raw)), raw)
    in_parts = shown(lambda raw: protobuf_values.decode_value_bytes(memoryview(raw), part_bytes=part_bytes), raw)
    assert in_parts == expected


def _json_data(item: Any, count: int) -> bytes:
    items = delimited(b"\x0a", protobuf_values.encode_value(item, "x")) * count
    return delimited(b"\x32", delimited(b"\x32", items))


def test_a_large_message_is_read_in_parts() -> None:
    """A message of megabytes has the content that it has in a small one."""
    row = {"text": "北京" * 50, "scores": [0.5, None, True]}
    message = ProtoMessage(_json_data(row, proto_content.SLICED_BYTES // 300) + b"\x12\x00")
    assert message.payload == [row] * (proto_content.SLICED_BYTES // 300)
    assert (message.encoding, message.meta) == (Encoding.JSON, {})


def test_a_message_of_too_many_values_is_refused() -> None:
    """A message whose values would take far more memory than its bytes is refused before they are made."""
    with pytest.raises(UploadTooLarge, match="so many values"):
        ProtoMessage(_json_data([], 4_000_000)).content  # noqa: B018 - the property reads


def test_deep_nesting_is_refused() -> None:
    """A large message nested beyond protobuf's own limit is the sender's fault."""
    raw = delimited(b"\x1a", b"x" * proto_content.SLICED_BYTES)
    for _ in range(3000):
        raw = delimited(b"\x32", delimited(b"\x0a", raw))
    with pytest.raises(PayloadError):
        ProtoMessage(delimited(b"\x32", raw)).content  # noqa: B018 - the property reads


def test_a_large_tensor_without_a_shape_is_told_apart() -> None:
    """Values that are written one by one, or without a shape, are read like packed ones."""
    tensor = prediction.Tensor(shape=[1000], values=range(1000))
    one_by_one = b"\x0a\x02\xe8\x07" + b"".join(b"\x11" + np.float64(n).tobytes() for n in range(1000))
    for raw in (tensor.SerializeToString(), one_by_one):
        payload = ProtoMessage(delimited(b"\x1a", delimited(b"\x12", raw))).payload
        np.testing.assert_array_equal(payload, np.arange(1000.0))
    with pytest.raises(PayloadError, match="1000 values"):
        ProtoMessage(delimited(b"\x1a", delimited(b"\x12", one_by_one[4:]))).content  # noqa: B018
