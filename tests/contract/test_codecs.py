"""The codec seam: what both codecs promise for any message, shown on generated ones."""

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from infergraph.errors import ComponentError, PayloadError
from infergraph.message import Encoding, Message
from infergraph.settings import NanPolicy
from infergraph.wire import (
    body,
    json_codec,
    json_scan,
    json_text,
    number_lists,
    proto_codec,
    proto_content,
    protobuf_values,
)
from infergraph.wire.json_codec import JsonFeedback, JsonMessage, JsonOptions
from infergraph.wire.prediction import SeldonMessage
from infergraph.wire.proto_codec import ProtoFeedback, ProtoMessage
from infergraph.wire.v2 import json as v2_json

LITERAL = JsonOptions(nan=NanPolicy.LITERAL)
FAST = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Codec(NamedTuple):
    """One implementation of the seam."""

    encode: Callable[[Message], bytes]
    decode: Callable[[bytes], Message]
    keeps_integers: bool


CODECS = {
    "json": Codec(lambda message: json_codec.encode(message, LITERAL), JsonMessage, True),
    "protobuf": Codec(proto_codec.encode, ProtoMessage, False),
}


@pytest.fixture(params=CODECS)
def codec(request) -> Codec:
    """Each codec in turn."""
    return CODECS[request.param]


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
any_text = st.text(max_size=8)
doubles = st.floats(width=64)
integers = st.integers(-(2**80), 2**80)
small_integers = st.integers(-(2**53), 2**53)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """JSON values over `leaves`."""
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4))


json_values = nested(st.none() | st.booleans() | integers | doubles | text)
double_values = nested(st.none() | st.booleans() | doubles | text)
shapes = arrays.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=8)
double_arrays = arrays.arrays(np.float64, shapes, elements=doubles)
names = st.lists(text, max_size=3)
metas = st.fixed_dictionaries(
    {},
    optional={
        "puid": text.filter(bool),
        "tags": st.dictionaries(text, double_values, min_size=1, max_size=3),
        "routing": st.dictionaries(text, st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=3),
        "requestPath": st.dictionaries(text, text, min_size=1, max_size=3),
        "metrics": st.lists(
            st.fixed_dictionaries(
                {
                    "key": text,
                    "type": st.sampled_from(["COUNTER", "GAUGE", "TIMER"]),
                    "value": st.floats(width=32, allow_nan=False),
                },
                optional={"tags": st.dictionaries(text, text, min_size=1, max_size=2)},
            ),
            min_size=1,
            max_size=3,
        ),
    },
)


def same(first: Any, second: Any) -> bool:
    """Equality of JSON values in which NaN equals itself and an integer is no float."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, float) and isinstance(second, float) and math.isnan(first):
        return math.isnan(second)
    return type(first) is type(second) and first == second


# ── round trips ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@given(values=double_arrays, encoding=st.sampled_from([Encoding.TENSOR, Encoding.NDARRAY]), names=names, meta=metas)
@FAST
def test_arrays_of_doubles_come_back_bit_for_bit(codec, values, encoding, names, meta):
    """Doubles, NaN and infinities, of any shape, with names and meta, survive both codecs."""
    content = codec.decode(codec.encode(Message.of(values, encoding, names=names, meta=meta))).content
    assert content.payload.dtype == np.float64
    assert content.payload.shape == values.shape
    assert np.array_equal(content.payload, values, equal_nan=True)
    assert np.array_equal(np.signbit(content.payload), np.signbit(values)) or np.isnan(values).any()
    assert (content.encoding, content.names) == (encoding, names)
    assert same(content.meta, meta)


@given(payload=json_values)
@FAST
def test_json_values_come_back_exactly_as_json(payload):
    """Any JSON value survives the JSON codec: integers of any size, floats, key order, nesting."""
    message = Message.of(payload, Encoding.JSON)
    back = JsonMessage(json_codec.encode(message, LITERAL)).payload
    assert same(back, payload)
    assert json.dumps(back) == json.dumps(payload)


@given(payload=double_values)
@FAST
def test_json_values_come_back_exactly_as_protobuf(payload):
    """Any JSON value whose numbers are doubles survives the protobuf codec."""
    try:
        raw = proto_codec.encode(Message.of(payload, Encoding.JSON))
    except ComponentError as fault:
        assert "too many levels" in fault.text  # noqa: PT017  (a refusal of depth is no failure)
        return
    assert same(ProtoMessage(raw).payload, payload)
    assert SeldonMessage.FromString(raw).WhichOneof("data_oneof") == "jsonData"


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@given(payload=text, blob=st.binary(max_size=50))
@FAST
def test_text_and_bytes_come_back(codec, payload, blob):
    """Text in any script and any bytes survive both codecs."""
    assert codec.decode(codec.encode(Message.of(payload, Encoding.STR))).payload == payload
    assert codec.decode(codec.encode(Message.of(blob, Encoding.BIN))).payload == blob


@given(
    values=arrays.arrays(
        st.sampled_from([np.int8, np.int32, np.int64, np.uint8, np.uint64]), arrays.array_shapes(max_dims=3, max_side=6)
    ),
    encoding=st.sampled_from([Encoding.TENSOR, Encoding.NDARRAY, Encoding.TFTENSOR]),
)
@FAST
def test_integers_stay_integers_as_json(values, encoding):
    """Integer arrays keep every digit through JSON."""
    back = JsonMessage(json_codec.encode(Message.of(values, encoding))).payload
    assert back.dtype.kind in "iu"
    assert back.shape == values.shape
    assert back.tolist() == values.tolist()


@given(rows=st.lists(st.lists(integers, min_size=3, max_size=3), min_size=1, max_size=20))
@FAST
def test_integers_of_any_size_stay_integers_as_json(rows):
    """Lists of integers beyond 64 bits, or of both signs near its end, keep every digit in both directions."""
    back = JsonMessage(json.dumps({"data": {"ndarray": rows}}).encode()).payload
    assert back.tolist() == rows
    assert JsonMessage(json_codec.encode(Message.of(back, Encoding.NDARRAY))).payload.tolist() == rows


# ── short ways ──────────────────────────────────────────────────────────────────────────────────────────────────

numbers = st.one_of(small_integers, st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False))
leaves = numbers | st.sampled_from([None, True, "a", "ndarray"])


@given(
    payload=st.one_of(
        arrays.array_shapes(max_dims=3, max_side=4).flatmap(
            lambda shape: st.lists(numbers, min_size=math.prod(shape), max_size=math.prod(shape)).map(
                lambda flat: np.array(flat, dtype=object).reshape(shape).tolist()
            )
        ),
        st.recursive(leaves, lambda inner: st.lists(inner, max_size=3), max_leaves=12),
    ),
    names=st.lists(st.sampled_from(["a", "ndarray", '"ndarray":[', "]]"]), max_size=2),
    indent=st.sampled_from([None, 1]),
)
@FAST
def test_the_scan_of_json_agrees_with_the_general_way(payload, names, indent):
    """Where the scan for large bodies gives a result, it is the one of the general way."""
    document = {"data": {"names": names, "ndarray": payload}, "meta": {"tags": {"t": 1}}}
    found = json_scan.read_numbers(json.dumps(document, indent=indent).encode())
    if found is None:
        return
    expected = JsonMessage.of_document(document).content
    assert found.payload.dtype == expected.payload.dtype
    assert found.payload.tolist() == expected.payload.tolist()
    assert found[1:] == expected[1:]


def test_large_bodies_are_read_without_the_scanner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where simdjson is not installed, a large body is read all the same, more slowly."""
    raw = json.dumps({"data": {"names": ["a", "b"], "ndarray": [[float(n), -n / 3] for n in range(2000)]}}).encode()
    assert len(raw) > json_scan.LARGE_BYTES
    scanned = JsonMessage(raw).content
    assert json_scan.read_numbers(raw) is not None
    monkeypatch.setattr(json_scan, "simdjson", None)
    assert json_scan.read_numbers(raw) is None
    found = JsonMessage(raw).content
    assert np.array_equal(found.payload, scanned.payload)
    assert found[1:] == scanned[1:]


def test_very_large_requests_of_tensors_are_read_without_the_scanner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where simdjson is not installed, a request that would be read in slices is left to the general decoder."""
    rest = b" " * json_scan.SLICED_BYTES
    raw = b'{"inputs":[{"name":"a","shape":[2],"datatype":"FP64","data":[1.5,2%b]}]}' % rest
    assert json_scan.read_tensors(raw) is not None
    monkeypatch.setattr(json_scan, "simdjson", None)
    assert json_scan.read_tensors(raw) is None
    assert v2_json.decode(raw).inputs[0].array.tolist() == [1.5, 2.0]


@given(values=double_arrays, encoding=st.sampled_from([Encoding.TENSOR, Encoding.NDARRAY]), names=names, meta=metas)
@FAST
def test_the_scan_of_protobuf_agrees_with_protobuf(values, encoding, names, meta):
    """A scan of a message finds what parsing it finds, and the bytes are those that protobuf would write."""
    raw = proto_codec.encode(Message.of(values, encoding, names=names, meta=meta))
    parsed = SeldonMessage.FromString(raw)
    found, expected = proto_content.scan(raw), proto_content.content_of(parsed)
    assert found is not None
    assert np.array_equal(found.payload, expected.payload, equal_nan=True)
    assert found.payload.shape == expected.payload.shape
    assert found[1:3] == expected[1:3]
    assert same(found.meta, expected.meta)
    if not meta:
        assert parsed.SerializeToString() == raw


@given(raw=st.binary(max_size=60) | st.lists(leaves | st.lists(leaves, max_size=3)).map(lambda rows: encoded(rows)))
@FAST
def test_number_lists_are_read_only_where_protobuf_agrees(raw):
    """The short way for lists of numbers refuses, or gives what protobuf gives."""
    found = number_lists.decode(raw)
    if found is not None:
        listed = SeldonMessage.FromString(SeldonMessage(data={"ndarray": {}}).SerializeToString()).data.ndarray
        listed.MergeFromString(raw)
        assert same([protobuf_values.decode_value(value) for value in listed.values], found.tolist())


def encoded(rows: list[Any]) -> bytes:
    """The bytes of a ListValue."""
    return protobuf_values.encode_list(rows, "", 1)


# ── anything at all ─────────────────────────────────────────────────────────────────────────────────────────────

almost_messages = st.dictionaries(
    st.sampled_from(["data", "jsonData", "strData", "binData", "meta", "names", "status"]),
    st.recursive(
        st.none() | st.booleans() | integers | doubles | any_text,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["tensor", "ndarray", "tftensor", "shape", "values", "names", "puid", "routing"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    ),
    max_size=4,
)


@given(document=almost_messages)
@FAST
def test_almost_any_document_is_read_or_refused(document):
    """A JSON document that is nearly a message is read, or refused with a PayloadError, and the same for feedback."""
    raw = json.dumps(document).encode()
    for read in (
        lambda: JsonMessage(raw).content,
        lambda: JsonFeedback(json.dumps({"request": document}).encode()).content.request.content,
    ):
        try:
            read()
        except PayloadError as fault:
            assert str(fault)  # noqa: PT017  (a fault always has a text)


@given(
    raw=st.binary(max_size=200),
    content_type=st.sampled_from(
        ["application/json", "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=X"]
    ),
    query=st.binary(max_size=20) | st.binary(max_size=20).map(lambda value: b"json=" + value),
)
@FAST
def test_any_bytes_are_read_or_refused(raw, content_type, query):
    """Any body of any type is read, or refused with a PayloadError: never another exception."""
    for read in (
        lambda: body.read(raw, content_type, query),
        lambda: JsonMessage(raw, content_type, query=query).content,
        lambda: JsonMessage(raw, content_encoding="gzip").content,
        lambda: body.read(b"--X\r\n" + raw + b"\r\n--X--", "multipart/form-data; boundary=X"),
        lambda: ProtoMessage(raw).content,
        lambda: proto_content.scan(raw),
        lambda: ProtoFeedback(raw).content,
        lambda: [message.content for message in proto_codec.decode_messages(raw)],
        lambda: proto_codec.decode_metadata(raw),
    ):
        try:
            read()
        except PayloadError as fault:
            assert str(fault)  # noqa: PT017  (a fault always has a text)


class Stranger:
    """A type that no codec knows."""


results = st.one_of(
    double_arrays,
    arrays.arrays(st.sampled_from(["?", "U3", "M8[s]", "m8[s]", "c16", "f2", "S2"]), arrays.array_shapes(max_side=3)),
    nested(
        st.none()
        | integers
        | doubles
        | any_text
        | st.binary(max_size=3)
        | st.sampled_from([Stranger(), {1}, 1j, np.float32(0.1), np.bool_(True)])
        | st.datetimes()
        | st.dates()
        | st.decimals()
        | st.uuids()
    ),
    st.dictionaries(integers | st.tuples(integers) | st.none(), doubles, max_size=3),
)


@given(
    payload=results,
    encoding=st.sampled_from([each for each in Encoding if each is not Encoding.TENSORS]),
    options=st.builds(JsonOptions, st.just(NanPolicy.NULL), st.booleans(), st.booleans(), st.booleans()),
)
@FAST
def test_any_answer_is_valid_or_a_component_error(payload, encoding, options):
    """Whatever a component answers leaves as valid JSON and as readable protobuf, or as a ComponentError."""
    message = Message.of(payload, encoding)
    try:
        written = json_codec.encode(message, options)
    except ComponentError as fault:
        assert str(fault)  # noqa: PT017  (a fault always has a text)
    else:
        json.loads(written, parse_constant=pytest.fail)  # called for NaN and Infinity, which are no JSON
        if not json_text.has_wide_integer(written):
            orjson.loads(written)
        assert written.isascii() or not options.ascii
    try:
        raw = proto_codec.encode(message)
    except ComponentError as fault:
        assert str(fault)  # noqa: PT017  (a fault always has a text)
    else:
        SeldonMessage.FromString(raw)


@given(payload=results)
@FAST
def test_options_change_the_spelling_only(payload):
    """Sorted, indented or in ASCII, the text means the same."""
    message = JsonMessage.of_document(payload)
    try:
        plain = json.loads(json_codec.encode(message))
    except ComponentError:
        return
    for options in (JsonOptions(sort_keys=True), JsonOptions(ascii=True), JsonOptions(pretty=True)):
        assert same(json.loads(json_codec.encode(message, options)), plain)


# ── across ──────────────────────────────────────────────────────────────────────────────────────────────────────


@given(payload=double_values, meta=metas)
@FAST
def test_messages_cross_between_the_codecs(payload, meta):
    """JSON to protobuf and back to JSON loses nothing of a message whose numbers are doubles."""
    came = JsonMessage(json_codec.encode(Message.of(payload, Encoding.JSON, meta=meta), LITERAL))
    try:
        crossed = ProtoMessage(proto_codec.encode(came))
    except ComponentError as fault:
        assert "too many levels" in fault.text  # noqa: PT017  (a refusal of depth is no failure)
        return
    back = JsonMessage(json_codec.encode(crossed, LITERAL))
    assert same(back.document, came.document)
