"""JSON messages to content and back: the protocol's tables, row by row, and the faults that name the field."""

import gzip
import json
import os
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from uuid import UUID

import numpy as np
import orjson
import pytest
from google.protobuf import json_format

from infergraph.errors import ComponentError, PayloadError, UploadTooLarge
from infergraph.message import Encoding, Feedback, FeedbackContent, Message
from infergraph.settings import NanPolicy
from infergraph.wire import json_codec, json_content, json_values, prediction, proto_codec
from infergraph.wire.json_codec import JsonFeedback, JsonMessage, JsonOptions
from infergraph.wire.wire_message import is_larger


def decoded(text: str):
    """The content of a JSON body."""
    return JsonMessage(text.encode()).content


# ── requests: the decoding table ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("payload", "dtype", "value"),
    [
        ("[[1,2],[3,4]]", "int64", [[1, 2], [3, 4]]),
        ("[[1.0,2.5]]", "float64", [[1.0, 2.5]]),
        ("[[1,2.5]]", "float64", [[1.0, 2.5]]),
        ("[1,2,3]", "int64", [1, 2, 3]),
        ("[[[1],[2]],[[3],[4]]]", "int64", [[[1], [2]], [[3], [4]]]),
        ("5", "int64", 5),
        ('"abc"', "<U3", "abc"),
        ("null", "object", None),
        ('[["a","b"]]', "<U1", [["a", "b"]]),
        ('[["a",1,2.5]]', "<U32", [["a", "1", "2.5"]]),
        ('[["a",null]]', "object", [["a", None]]),
        ('[["a",NaN,"nan",1.5]]', "object", [["a", None, "nan", 1.5]]),
        ('["nan",1]', "<U21", ["nan", "1"]),
        ("[[1,null]]", "object", [[1, None]]),
        ("[[true,false]]", "bool", [[True, False]]),
        ("[[true,2]]", "int64", [[1, 2]]),
        ('[{"a":1},{"b":2}]', "object", [{"a": 1}, {"b": 2}]),
        ("[]", "float64", []),
        ("[[]]", "float64", [[]]),
        ("[123456789012345678901234567890]", "object", [123456789012345678901234567890]),
        ("[9007199254740993]", "int64", [9007199254740993]),
        ("[[9007199254740993,12345678901234567890]]", "uint64", [[9007199254740993, 12345678901234567890]]),
        ("[true,12345678901234567890]", "uint64", [1, 12345678901234567890]),
        ("[-1,12345678901234567890]", "object", [-1, 12345678901234567890]),
        ("[-9223372036854775808]", "int64", [-9223372036854775808]),
        ('["a\\u0000"]', "object", ["a\0"]),
        ("[1e400]", "float64", [float("inf")]),
    ],
)
def test_ndarray_becomes_the_array_of_the_table(payload, dtype, value):
    """Each kind of ndarray has the dtype users know, and no integer and no text loses anything."""
    content = decoded(f'{{"data":{{"ndarray":{payload}}}}}')
    assert (content.encoding, str(content.payload.dtype)) == (Encoding.NDARRAY, dtype)
    assert content.payload.tolist() == value


@pytest.mark.parametrize(
    ("tensor", "dtype", "value"),
    [
        ('{"shape":[2,2],"values":[1,2,3,4]}', "int64", [[1, 2], [3, 4]]),
        ('{"shape":[2],"values":[1,2.5]}', "float64", [1.0, 2.5]),
        ('{"shape":[-1],"values":[1,2]}', "int64", [1, 2]),
        ('{"shape":[1],"values":["a"]}', "<U1", ["a"]),
        ('{"shape":[0],"values":[]}', "float64", []),
        ('{"shape":[],"values":[5]}', "int64", 5),
        ('{"shape":[1,3],"values":[[1,2,3]]}', "int64", [[1, 2, 3]]),
    ],
)
def test_tensor_becomes_the_array_of_the_table(tensor, dtype, value):
    """A tensor's values are put in its shape with the dtype that the JSON has."""
    content = decoded(f'{{"data":{{"tensor":{tensor}}}}}')
    assert (content.encoding, str(content.payload.dtype)) == (Encoding.TENSOR, dtype)
    assert content.payload.tolist() == value


@pytest.mark.parametrize(
    ("text", "encoding", "payload"),
    [
        ('{"jsonData":{"a":[1,null]}}', Encoding.JSON, {"a": [1, None]}),
        ('{"jsonData":null}', Encoding.JSON, None),
        ('{"jsonData":12345678901234567890123}', Encoding.JSON, 12345678901234567890123),
        ('{"strData":""}', Encoding.STR, ""),
        ('{"strData":5}', Encoding.STR, 5),
        ('{"binData":"aGVsbG8="}', Encoding.BIN, b"hello"),
        ('{"binData":"-_8="}', Encoding.BIN, b"\xfb\xff"),
        ('{"binData":""}', Encoding.BIN, b""),
        ('{"binData":"aGVsbG8=","strData":"x","jsonData":1}', Encoding.JSON, 1),
        ('{"binData":"aGVsbG8=","strData":"x"}', Encoding.STR, "x"),
    ],
)
def test_other_payloads_are_read(text, encoding, payload):
    """jsonData, strData and binData are read, the first of them wins."""
    content = decoded(text)
    assert (content.encoding, content.payload) == (encoding, payload)


def test_data_goes_before_everything_and_tensor_before_ndarray():
    """The first key of the protocol's order wins."""
    content = decoded('{"strData":"x","data":{"ndarray":[1],"tensor":{"shape":[1],"values":[2]}}}')
    assert (content.encoding, content.payload.tolist()) == (Encoding.TENSOR, [2])


@pytest.mark.parametrize(("names", "value"), [('["a"]', ["a"]), ("null", None), ('"ab"', "ab")])
def test_names_are_exactly_as_sent(names, value):
    """Column names are not touched; none are an empty list."""
    assert decoded(f'{{"data":{{"names":{names},"ndarray":[1]}}}}').names == value
    assert decoded('{"data":{"ndarray":[1]}}').names == []


@pytest.mark.parametrize(("meta", "value"), [('{"puid":5}', {"puid": 5}), ("null", None), ("{}", {})])
def test_meta_is_the_object_sent(meta, value):
    """Meta is the object as it came; null and none are None."""
    assert decoded(f'{{"meta":{meta},"strData":""}}').meta == value
    assert decoded('{"strData":""}').meta is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[1, 2]", r"^Invalid request data type: \[1, 2\]; rows are sent as "),
        ('"x"', "^Invalid request data type: 'x'$"),
        ("5", "^Invalid request data type: 5$"),
        ("{}", r"^Invalid request data type: \{\}$"),
        ('{"foo":1}', "^Invalid request data type: {'foo': 1}$"),
        ('{"customData":1}', "^Invalid request data type: "),
        ('{"data":null}', "^data must be an object"),
        ('{"data":"x"}', "^data must be an object"),
        ('{"data":[[1,2]]}', "^data must be an object"),
        ('{"data":{}}', "^data has none of tensor, ndarray and tftensor"),
        ('{"data":{"ndarry":[1]}}', "^data has none of .*ndarry"),
        ('{"data":{"ndarray":[[1],[2,3]]}}', "^data.ndarray is not a regular array"),
        ('{"data":{"ndarray":[1,[2]]}}', "^data.ndarray is not a regular array"),
        ('{"data":{"tensor":[1]}}', "^data.tensor must be an object"),
        ('{"data":{"tensor":{"values":[1]}}}', "^data.tensor has no shape$"),
        ('{"data":{"tensor":{"shape":[1]}}}', "^data.tensor has no values$"),
        ('{"data":{"tensor":{"shape":1,"values":[1]}}}', "^data.tensor.shape must be a list"),
        ('{"data":{"tensor":{"shape":["1"],"values":[1]}}}', "^data.tensor.shape must hold integers"),
        ('{"data":{"tensor":{"shape":[true],"values":[1]}}}', "^data.tensor.shape must hold integers"),
        ('{"data":{"tensor":{"shape":[2,2],"values":[1,2]}}}', r"2 values, which do not fit the shape \[2, 2\]"),
        ('{"data":{"tensor":{"shape":[1],"values":[1,2,3]}}}', r"3 values, which do not fit the shape \[1\]"),
        ('{"data":{"tensor":{"shape":[-1,-1],"values":[1]}}}', "do not fit the shape"),
        ('{"data":{"tensor":{"shape":[99999999999999999999],"values":[1]}}}', "do not fit the shape"),
        ('{"data":{"tensor":{"shape":[0,1000000000],"values":[]}}}', "no values but the shape"),
        ('{"data":{"tftensor":{"foo":1}}}', "^data.tftensor cannot be read"),
        ('{"meta":"x","strData":""}', "^meta must be an object"),
        ('{"meta":[],"strData":""}', "^meta must be an object"),
        ('{"strData":null}', "^strData must be a string"),
        ('{"strData":[1]}', "^strData must be a string"),
        ('{"binData":5}', "^binData must be base64 text"),
        ('{"binData":"aGVsb"}', "^binData is not valid base64"),
        ('{"binData":"!!!!"}', "^binData is not valid base64"),
        ('{"binData":"é"}', "^binData is not valid base64"),
        ('{"data":{"ndarray":' + "[" * 200 + "]" * 200 + "}}", "axes|regular"),
    ],
)
def test_what_cannot_be_read_names_the_field(text, fault):
    """Every unreadable payload is a PayloadError that names the field (Q3, Q4, Q32)."""
    with pytest.raises(PayloadError, match=fault):
        decoded(text)


@pytest.mark.parametrize(
    "text",
    ["aGVsbG8/Pz8+", "aGVsbG8_Pz8-", "aGVs\nbG8/\r\nPz8+\n", " aGVs bG8_Pz8- ", "aGVsbG8/Pz8+\n"],
)
def test_base64_is_read_in_all_its_forms(text):
    """Either alphabet, with line breaks as MIME encoders and `base64` write them (proto3's JSON mapping)."""
    assert JsonMessage(json.dumps({"binData": text}).encode()).payload == b"hello???>"


@pytest.mark.parametrize("text", ["aGVsbG8=", "aGVsbG8", "aGVsbG8=\n", "aGVs\nbG8\n"])
def test_base64_needs_no_padding(text):
    """Padding may be left out, before a last line break too."""
    assert JsonMessage(json.dumps({"binData": text}).encode()).payload == b"hello"


def test_long_values_are_cut_in_faults():
    """A fault never repeats a whole body."""
    for raw in (b'["' + b"x" * 10_000 + b'"]', b"[" * 1000 + b"]" * 1000):
        with pytest.raises(PayloadError, match=r"^Invalid request data type") as caught:
            _ = JsonMessage(raw).content
        assert len(str(caught.value)) < 300


def test_text_of_very_different_lengths_takes_no_more_memory_than_it_has():
    """One long text among many short ones becomes an array of objects, not one padded to 80 GB."""
    values = ["x" * 200_000, *[""] * 100_000]
    payload = JsonMessage(orjson.dumps({"data": {"ndarray": values}})).payload
    assert payload.dtype == object
    assert payload.tolist() == values


def test_ragged_text_of_very_different_lengths_is_still_refused():
    """The way for long text refuses irregular rows as the usual way does."""
    values = [["x" * 200_000, *[""] * 100_000], [""]]
    with pytest.raises(PayloadError, match="rows have different lengths"):
        _ = JsonMessage(orjson.dumps({"data": {"ndarray": values}})).payload


def test_content_is_decoded_once_and_meta_needs_no_payload():
    """A message is read at most once; its meta can be had of a message without payload."""
    message = JsonMessage(b'{"meta":{"routing":{"r":1}}}')
    assert message.meta == {"routing": {"r": 1}}
    assert message.document is message.document
    full = JsonMessage(b'{"data":{"ndarray":[1]}}')
    assert full.content is full.content


# ── large bodies ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "values",
    [
        np.arange(6000).reshape(1000, 6),
        np.arange(6000.0).reshape(10, 20, 30) / 7,
        np.arange(5000),
        np.array([2**63 + index for index in range(2000)], dtype=np.uint64),
        np.concatenate([np.arange(2000), [0.5]]),
        np.full((2000, 1), 2**53 + 1),
        np.ones((1, 1, 2000, 1)),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_large_arrays_of_numbers_are_the_same_by_the_short_way(values, indent):
    """A large body gives the array, dtype and names that a small one would, whitespace or not."""
    document = {"data": {"names": ["a"], "ndarray": values.tolist()}, "meta": {"tags": {"x": 1}}}
    content = JsonMessage(json.dumps(document, indent=indent).encode()).content
    expected = JsonMessage.of_document(document).content
    assert content.payload.dtype == expected.payload.dtype == values.dtype
    assert np.array_equal(content.payload, values)
    assert content.payload.flags.writeable
    assert (content.names, content.meta, content.encoding) == (expected.names, expected.meta, expected.encoding)
    tensor = {"data": {"tensor": {"shape": list(values.shape), "values": values.ravel().tolist()}}}
    content = JsonMessage(json.dumps(tensor, indent=indent).encode()).content
    assert content.payload.dtype == values.dtype
    assert np.array_equal(content.payload, values)
    assert content.payload.flags.writeable


@pytest.mark.parametrize(
    "payload",
    [
        [[1, 2]] * 3000 + [[1, 2, 3]],
        [[1, 2]] * 3000 + [[1], [2, 3]],
        [*[[1, 2]] * 3000, 5],
        [[1, 2], *[3] * 3000],
        [[[1, 2], [3, 4]]] * 1000 + [[[1, 2, 3, 4]]],
    ],
)
def test_large_irregular_arrays_are_refused(payload):
    """An irregular array is refused whatever its size, also where the number of values would fit."""
    with pytest.raises(PayloadError, match=r"data\.ndarray is not a regular array"):
        _ = JsonMessage(orjson.dumps({"data": {"ndarray": payload}})).payload


@pytest.mark.parametrize(
    "payload",
    [
        [*range(3000), True],
        [*range(3000), None],
        [*range(3000), "a"],
        [*range(3000), -1, 2**63],
        [*range(3000), 2**70],
        [[]] * 3000,
        [{"a": 1}] * 3000,
        ["ndarray"] * 3000,
    ],
)
def test_large_arrays_of_other_values_are_read_by_the_long_way(payload):
    """What is no array of 64-bit numbers is read as ever, however large."""
    values = JsonMessage(orjson_dumps({"data": {"ndarray": payload}})).payload
    expected = JsonMessage.of_document({"data": {"ndarray": payload}}).payload
    assert values.dtype == expected.dtype
    assert values.tolist() == expected.tolist()


def orjson_dumps(document) -> bytes:
    """JSON text of any integers."""
    return json.dumps(document).encode()


def test_large_bodies_with_repeated_keys_keep_the_last():
    """Repeated keys mean the same in a large body as in a small one."""
    numbers = ",".join(map(str, range(3000)))
    text = f'{{"data":{{"ndarray":[{numbers}],"ndarray":[7]}},"meta":{{}}}}'
    assert JsonMessage(text.encode()).payload.tolist() == [7]
    text = f'{{"data":{{"ndarray":[{numbers}]}},"data":{{"ndarray":[8]}}}}'
    assert JsonMessage(text.encode()).payload.tolist() == [8]


def test_large_bodies_with_misleading_text_are_read_right():
    """A name or another member that looks like the array does not mislead the reading of its shape."""
    rows = [[1, 2, 3]] * 2000
    for names in (['"ndarray":[['], ["ndarray"], [[1, 2], "]]"]):
        document = {"data": {"names": names, "ndarray": rows}, "meta": {"tags": {"ndarray": [1, 2]}}}
        content = JsonMessage(orjson.dumps(document)).content
        assert (content.payload.tolist(), content.names) == (rows, names)


def test_large_bodies_that_are_no_json_are_refused():
    """A large body that is cut off, or has text after its end, is a PayloadError."""
    text = orjson.dumps({"data": {"ndarray": list(range(3000))}})
    for raw in (text[:-1], text + b"x", text.replace(b"[0,", b"[NaN2,")):
        with pytest.raises(PayloadError, match="Can't find JSON in data"):
            _ = JsonMessage(raw).payload


# ── compressed bodies ───────────────────────────────────────────────────────────────────────────────────────────


def test_gzip_is_read_within_its_limit():
    """A compressed body is read; one that unpacks beyond the limit, or is damaged, is refused."""
    raw = gzip.compress(b'{"strData":"' + b"x" * 100_000 + b'"}')
    assert len(JsonMessage(raw, content_encoding="gzip").payload) == 100_000
    assert len(JsonMessage(raw, content_encoding="gzip", limit_bytes=200_000).payload) == 100_000
    with pytest.raises(UploadTooLarge, match="unpacks to more than 1000 bytes"):
        _ = JsonMessage(raw, content_encoding="gzip", limit_bytes=1000).payload
    for damaged in (raw[:-9], b"hello", b""):
        with pytest.raises(PayloadError, match="not valid gzip"):
            _ = JsonMessage(damaged, content_encoding="gzip").payload
    with pytest.raises(PayloadError, match="content encoding 'br' cannot be read"):
        _ = JsonMessage(raw, content_encoding="br").payload


# ── passing on ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "raw",
    [b'{ "b":1, "a":[1.0, 1e2],"strData":"x" }', b"[1]", b'"NaN"', b'{"strData":"Infinity NaN"}', b'{"a":1,"a":2}'],
)
def test_json_that_came_goes_out_as_it_came(raw):
    """Passing a message on neither reads nor changes its bytes: order, spelling and unknown members survive."""
    message = JsonMessage(raw)
    assert json_codec.encode(message) is raw
    assert json_codec.encode_messages([message, message]) == b"[" + raw + b"," + raw + b"]"
    assert json_codec.outgoing(message) == (raw, "application/json", "")


def test_what_is_no_plain_json_is_rewritten_as_json():
    """Forms, queries, other encodings and NaN literals leave as valid JSON in UTF-8."""
    form = "application/x-www-form-urlencoded"
    for message in (
        JsonMessage(b"json=%7B%22a%22%3A1%7D", form),
        JsonMessage(b"", "", query=b"json=%7B%22a%22%3A1%7D"),
        JsonMessage(b'\xef\xbb\xbf{"a":1}'),
        JsonMessage('{"a":1}'.encode("utf-16-le")),
        JsonMessage(
            b'--X\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--X--', "multipart/form-data;boundary=X"
        ),
        JsonMessage(gzip.compress(b'{"a":1}'), content_encoding="gzip"),
    ):
        assert json_codec.encode(message) == b'{"a":1}'
    assert json_codec.encode(JsonMessage(b'{"a":[NaN,-Infinity]}')) == b'{"a":[null,null]}'
    literal = JsonOptions(nan=NanPolicy.LITERAL)
    assert json_codec.encode(JsonMessage(b'{"a":NaN}'), literal) == b'{"a":NaN}'


def test_outgoing_tells_how_to_read_the_body():
    """A body goes out with the headers that fit it: as it came where it came as a body, else as JSON."""
    packed = gzip.compress(b'{"a":1}')
    plain = ("application/json", "")
    form = "application/x-www-form-urlencoded"
    sort = JsonOptions(sort_keys=True)
    assert json_codec.outgoing(JsonMessage(packed, content_encoding="gzip")) == (packed, "application/json", "gzip")
    assert json_codec.outgoing(JsonMessage(packed, content_encoding="gzip"), sort) == (b'{"a":1}', *plain)
    assert json_codec.outgoing(JsonMessage(b"hello", "text/plain")) == (b"hello", "text/plain", "")
    assert json_codec.outgoing(JsonMessage(b'{"a":1}', form)) == (b'{"a":1}', *plain)
    assert json_codec.outgoing(JsonMessage(b"json={}", form)) == (b"{}", *plain)
    assert json_codec.outgoing(JsonMessage(b'{"a":NaN}')) == (b'{"a":null}', *plain)
    assert json_codec.outgoing(Message.of("x", Encoding.STR)) == (b'{"strData":"x","meta":{}}', *plain)


def test_documents_go_out_as_they_are():
    """A raw hook's answer may be any JSON value, with NumPy's values in it."""
    for document, text in [
        ({"status": {"code": 404}, "strData": "x"}, b'{"status":{"code":404},"strData":"x"}'),
        ([1, "a", None], b'[1,"a",null]'),
        (None, b"null"),
        (
            {"a": np.float32(0.1), "b": np.arange(3), "c": np.bool_(True)},
            b'{"a":0.10000000149011612,"b":[0,1,2],"c":true}',
        ),
    ]:
        assert json_codec.encode(JsonMessage.of_document(document)) == text


@pytest.mark.parametrize("rows", [[[1, 2.5]], [[1, 2.5]] * 2000, [["x", 1]] * 2000])
def test_meta_is_exchanged_and_nothing_else(rows):
    """with_meta keeps every other member, in small and large messages; meta can be had before the content."""
    document = {"meta": {"puid": "old"}, "data": {"names": ["a"], "ndarray": rows}}
    for extra in ({}, {"status": {"code": 1}}, {"other": [1]}):
        message = JsonMessage(orjson.dumps({**document, **extra}))
        assert message.meta == {"puid": "old"}
        changed = JsonMessage(orjson.dumps({**document, **extra})).with_meta({"puid": "new"})
        assert json_codec.document_of(changed) == {**document, **extra, "meta": {"puid": "new"}}


def test_meta_finds_its_place_without_a_payload():
    """A large document without payload still has a meta; JSON that is no object has no place for one."""
    message = JsonMessage(orjson.dumps({"meta": {"puid": "p"}, "status": {"info": "x" * 5000}}))
    assert message.meta == {"puid": "p"}
    assert json_codec.document_of(message.with_meta({}))["meta"] == {}
    bare = JsonMessage(b"[1]")
    assert bare.with_meta({}) is bare
    with pytest.raises(PayloadError, match="Invalid request data type"):
        _ = bare.meta


def test_a_fault_shows_no_more_of_a_large_value_than_fits():
    """A fault's text shows the start of a value, and what it does not show is not looked at."""

    class Unseen:
        def __repr__(self):
            raise AssertionError("this is beyond the text")

    for value in ([0] * 500 + [Unseen()], {**dict.fromkeys(map(str, range(500)), 0), "last": Unseen()}):
        text = json_content.shown(value)
        assert text.endswith("…")
        assert len(text) == 201
    assert json_content.shown({"a": [1, "x" * 9]}) == "{'a': [1, 'xxxxxxxxx']}"


# ── several messages ────────────────────────────────────────────────────────────────────────────────────────────


def test_message_lists_are_read_in_both_spellings():
    """An aggregate request is a bare list or an object with seldonMessages; its messages are read when asked."""
    for raw in (b'[{"strData":"a"},{"x":1}]', b'{"seldonMessages":[{"strData":"a"},{"x":1}]}'):
        first, second = json_codec.decode_messages(raw, "application/json", b"")
        assert first.payload == "a"
        with pytest.raises(PayloadError, match="Invalid request data type"):
            _ = second.payload
    assert list(json_codec.decode_messages(b"[]")) == []
    for raw in (b"{}", b'"x"', b'{"seldonMessages":null}', b'{"seldonMessages":{}}'):
        messages = json_codec.decode_messages(raw)
        assert messages.document == json.loads(raw)
        with pytest.raises(PayloadError, match=r"^Invalid request data type"):
            len(messages)


# ── answers: the encoding table ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("payload", "encoding", "text"),
    [
        (
            np.array([1, 2, 3]),
            Encoding.TENSOR,
            '{"data":{"names":[],"tensor":{"shape":[3],"values":[1,2,3]}},"meta":{}}',
        ),
        (np.array([1, 2, 3]), Encoding.NDARRAY, '{"data":{"names":[],"ndarray":[1,2,3]},"meta":{}}'),
        (np.array(5), Encoding.TENSOR, '{"data":{"names":[],"tensor":{"shape":[],"values":[5]}},"meta":{}}'),
        (np.array(5), Encoding.NDARRAY, '{"data":{"names":[],"ndarray":5},"meta":{}}'),
        (np.array([]), Encoding.TENSOR, '{"data":{"names":[],"tensor":{"shape":[0],"values":[]}},"meta":{}}'),
        ([], Encoding.TENSOR, '{"data":{"names":[],"tensor":{"shape":[0],"values":[]}},"meta":{}}'),
        ([], Encoding.NDARRAY, '{"data":{"names":[],"ndarray":[]},"meta":{}}'),
        (np.array([1.5, 2.0]), Encoding.NDARRAY, '{"data":{"names":[],"ndarray":[1.5,2.0]},"meta":{}}'),
        ([["a", 1, None]], Encoding.NDARRAY, '{"data":{"names":[],"ndarray":[["a",1,null]]},"meta":{}}'),
        (np.array([True, False]), Encoding.TENSOR, '{"data":{"names":[],"ndarray":[true,false]},"meta":{}}'),
        (np.array(["a"]), Encoding.TENSOR, '{"data":{"names":[],"ndarray":["a"]},"meta":{}}'),
        (
            np.array([0.1], np.float32),
            Encoding.NDARRAY,
            '{"data":{"names":[],"ndarray":[0.10000000149011612]},"meta":{}}',
        ),
        (np.array([0.1], np.float16), Encoding.NDARRAY, '{"data":{"names":[],"ndarray":[0.0999755859375]},"meta":{}}'),
        (np.array([0.5], np.longdouble), Encoding.NDARRAY, '{"data":{"names":[],"ndarray":[0.5]},"meta":{}}'),
        (
            np.array([2**64 - 1], np.uint64),
            Encoding.NDARRAY,
            f'{{"data":{{"names":[],"ndarray":[{2**64 - 1}]}},"meta":{{}}}}',
        ),
        (np.array([2**64, -1]), Encoding.TENSOR, f'{{"data":{{"names":[],"ndarray":[{2**64},-1]}},"meta":{{}}}}'),
        (
            np.array(["2020-01-01"], "M8[D]"),
            Encoding.NDARRAY,
            '{"data":{"names":[],"ndarray":["Wed, 01 Jan 2020 00:00:00 GMT"]},"meta":{}}',
        ),
        (
            np.array(["2020-01-01T01:02:03", "NaT"], "M8[ns]"),
            Encoding.TENSOR,
            '{"data":{"names":[],"ndarray":["Wed, 01 Jan 2020 01:02:03 GMT",null]},"meta":{}}',
        ),
        (
            np.array(["20000-01-01"], "M8[D]"),
            Encoding.NDARRAY,
            '{"data":{"names":[],"ndarray":["20000-01-01"]},"meta":{}}',
        ),
        ("hello", Encoding.STR, '{"strData":"hello","meta":{}}'),
        (b"\x00\x01hi", Encoding.BIN, '{"binData":"AAFoaQ==","meta":{}}'),
        (bytearray(b"\x00\x01hi"), Encoding.BIN, '{"binData":"AAFoaQ==","meta":{}}'),
        (
            {"a": 1, "b": [1.0, "x", None, True]},
            Encoding.JSON,
            '{"jsonData":{"a":1,"b":[1.0,"x",null,true]},"meta":{}}',
        ),
        ({7: 2, 1.5: 3, None: 4, True: 5}, Encoding.JSON, '{"jsonData":{"7":2,"1.5":3,"null":4,"true":5},"meta":{}}'),
        ((1, (2,)), Encoding.JSON, '{"jsonData":[1,[2]],"meta":{}}'),
        ({"a": np.int64(1), "b": np.array([[1.5]])}, Encoding.JSON, '{"jsonData":{"a":1,"b":[[1.5]]},"meta":{}}'),
        ("我\u2028", Encoding.STR, '{"strData":"我\u2028","meta":{}}'),
    ],
)
def test_answers_have_the_text_of_the_table(payload, encoding, text):
    """Each kind of result is written as clients know it, numbers exactly."""
    assert json_codec.encode(Message.of(payload, encoding)).decode() == text


def test_names_and_meta_are_written_as_given():
    """Names keep their form, a tuple becomes a list, meta is always there."""
    array = np.array([[1, 2]])
    assert json_codec.document_of(Message.of(array, Encoding.NDARRAY, names=("a", "b"), meta={"puid": "p"})) == {
        "data": {"names": ["a", "b"], "ndarray": [[1, 2]]},
        "meta": {"puid": "p"},
    }
    assert b'"names":null' in json_codec.encode(Message.of(array, Encoding.TENSOR, names=None))


@pytest.mark.parametrize("size", [10, 1000])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f8", "i1", "i8", ">i4", "u1", "u8", "?"])
def test_every_number_type_is_written_exactly(size, dtype):
    """Arrays of any number type, size, byte order and layout are written as Python would write their values."""
    values = np.linspace(0, 100, size * 4).astype(dtype).reshape(2, -1).T[::2]
    for encoding in (Encoding.NDARRAY, Encoding.TENSOR):
        document = json.loads(json_codec.encode(Message.of(values, encoding)))
        data = document["data"]
        expected = values.astype(float).tolist() if dtype.startswith(("f", ">f")) else values.tolist()
        if "tensor" in data:
            assert data["tensor"] == {"shape": list(values.shape), "values": np.array(expected).ravel().tolist()}
        else:
            assert data["ndarray"] == expected


@pytest.mark.parametrize("size", [3, 1000])
@pytest.mark.parametrize("encoding", [Encoding.TENSOR, Encoding.NDARRAY, Encoding.JSON])
def test_not_a_number_follows_the_policy(size, encoding):
    """NaN and the infinities become null, a fault that says where, or literals; by default the text is valid JSON."""
    values = np.arange(float(size))
    values[0], values[1] = np.nan, -np.inf
    payload = {"a": values} if encoding is Encoding.JSON else values
    message = Message.of(payload, encoding)
    assert orjson.loads(json_codec.encode(message))
    assert b"[null,null,2.0" in json_codec.encode(message)
    assert b"[NaN,-Infinity,2.0" in json_codec.encode(message, JsonOptions(nan=NanPolicy.LITERAL))
    with pytest.raises(ComponentError, match=r"holds nan at .*\[0\], which JSON cannot express"):
        json_codec.encode(message, JsonOptions(nan=NanPolicy.ERROR))


class Colour(Enum):
    """A kind of value that a component may answer."""

    RED = "red"


@dataclass
class Point:
    """Another one."""

    x: int
    y: float


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Colour.RED, '"red"'),
        (Point(1, float("inf")), '{"x":1,"y":null}'),
        (Decimal("1.50"), '"1.50"'),
        (UUID(int=5), '"00000000-0000-0000-0000-000000000005"'),
        (date(2020, 1, 1), '"Wed, 01 Jan 2020 00:00:00 GMT"'),
        (datetime(2020, 1, 1, 1, 2, 3), '"Wed, 01 Jan 2020 01:02:03 GMT"'),
        (datetime(2020, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), '"Wed, 01 Jan 2020 00:00:00 GMT"'),
        (np.datetime64("2020-01-01"), '"Wed, 01 Jan 2020 00:00:00 GMT"'),
        (np.longdouble(0.5), "0.5"),
        (np.array([0.5], np.longdouble), "[0.5]"),
        (np.array(["a", None], dtype=object), '["a",null]'),
        (np.arange(300, dtype=">i2"), str(list(range(300))).replace(" ", "")),
        (OrderedDict(b=1, a=(2,)), '{"b":1,"a":[2]}'),
    ],
)
@pytest.mark.parametrize("beside", ["x", 2**70])
def test_values_of_other_types_are_written(value, text, beside):
    """Common types of Python and NumPy have one spelling, by the short way and by the walk over the whole value."""
    written = json_codec.encode(JsonMessage.of_document({"v": value, "beside": beside})).decode()
    assert written == f'{{"v":{text},"beside":{json.dumps(beside)}}}'


def test_keys_of_numpy_are_text():
    """A key that is a NumPy number is the text of that number."""
    assert json_codec.encode(JsonMessage.of_document({np.int64(5): 1, np.bool_(True): 2})) == b'{"5":1,"true":2}'


def test_long_numbers_do_not_overrun_memory():
    """Rows of negative numbers of 24 characters, of sizes that orjson 3.13.0 overruns, are written whole.

    In a process of its own under glibc's checking allocator: where the guard is taken out, orjson 3.13.0 aborts it.
    """
    program = (
        "import json, numpy as np\n"
        "from infergraph.message import Encoding, Message\n"
        "import orjson\n"
        "from infergraph.wire import json_codec, json_values, jsonl\n"
        "orjson_of = lambda value: orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)\n"
        "for value in (-1.2345678901234567e-05, -1.7976931348623157e308, -2.2250738585072014e-308):\n"
        "    for count in (*range(300, 340), *range(655, 666), 1310):\n"
        "        for encoding in (Encoding.TENSOR, Encoding.NDARRAY, Encoding.JSON):\n"
        "            for other in (value, -value, -0.0012345678901234567, -1.797693134862315e308):\n"
        "                array = np.full((2, count), value)\n"
        "                array[:, ::2] = other\n"
        "                payload = {'a': array} if encoding is Encoding.JSON else array\n"
        "                body = json.loads(json_codec.encode(Message.of(payload, encoding)))\n"
        "                found = body.get('jsonData', body.get('data'))\n"
        "                found = found.get('a') or found.get('ndarray') or found['tensor']['values']\n"
        "                assert np.array_equal(np.array(found).reshape(2, count), array)\n"
        "            lines = jsonl.write(array) + jsonl.write(array.ravel())\n"
        "            assert np.array_equal(np.array(json.loads(b'[%b]' % b','.join(lines[:2]))), array)\n"
        "            assert [json.loads(line) for line in lines[2:]] == array.ravel().tolist()\n"
        "            assert json.loads(orjson_of(json_values.flat_elements(array))) == array.ravel().tolist()\n"
    )
    environment = {**os.environ, "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_null_is_no_nan():
    """The strict policy does not take a None for a NaN."""
    strict = JsonOptions(nan=NanPolicy.ERROR)
    assert json_codec.encode(Message.of({"a": None}, Encoding.JSON), strict) == b'{"jsonData":{"a":null},"meta":{}}'


def test_options_rewrite():
    """Sorting, ASCII and indenting rewrite any message, also one that came as bytes."""
    message = JsonMessage('{"b":{"z":1,"a":"é😀"},"a":1}'.encode())
    assert json_codec.encode(message, JsonOptions(sort_keys=True)) == '{"a":1,"b":{"a":"é😀","z":1}}'.encode()
    assert json_codec.encode(message, JsonOptions(ascii=True)) == b'{"b":{"z":1,"a":"\\u00e9\\ud83d\\ude00"},"a":1}'
    assert json_codec.encode(message, JsonOptions(pretty=True)).startswith(b'{\n  "b": {\n    "z": 1')
    wide = JsonMessage.of_document({"b": 2**70, "a": "é"})
    everything = JsonOptions(sort_keys=True, ascii=True, pretty=True)
    assert json_codec.encode(wide, everything) == b'{\n  "a": "\\u00e9",\n  "b": 1180591620717411303424\n}'
    large = Message.of(np.arange(1000), Encoding.TENSOR, names=["é"])
    assert json.loads(json_codec.encode(large, everything)) == json_codec.document_of(large)
    assert json_codec.encode(large, everything).isascii()
    assert json_codec.encode(large, JsonOptions(ascii=True)).isascii()


@pytest.mark.parametrize(
    ("payload", "encoding", "fault"),
    [
        ({"a": [1, {2}]}, Encoding.JSON, r"holds a set at jsonData\.a\[1\]"),
        ({"a": b"x"}, Encoding.JSON, r"holds a bytes at jsonData\.a,"),
        ({"a": 1j}, Encoding.JSON, r"holds a complex at jsonData\.a"),
        ({(1, 2): 3}, Encoding.JSON, "key of type tuple at jsonData"),
        ({"a": object()}, Encoding.JSON, "holds a object at"),
        (np.array([1j]), Encoding.NDARRAY, r"holds a complex at data\.ndarray\[0\]"),
        (np.array([1j]), Encoding.TENSOR, r"holds a complex at data\.ndarray\[0\]"),
        (np.array([b"x"]), Encoding.NDARRAY, r"holds a bytes at data\.ndarray\[0\]"),
        (np.array([1], "m8[s]"), Encoding.NDARRAY, "holds a timedelta at"),
        ([[1], [2, 3]], Encoding.TENSOR, "not a regular array"),
        ("text", Encoding.BIN, "binData must be bytes, not str"),
    ],
)
def test_what_cannot_be_written_names_type_and_place(payload, encoding, fault):
    """An answer that JSON cannot hold is a ComponentError with the type and the path."""
    with pytest.raises(ComponentError, match=fault):
        json_codec.encode(Message.of(payload, encoding))


def test_deep_answers_are_written_or_refused():
    """Nesting never crashes: up to some hundred levels are written, more is a ComponentError."""
    deep = []
    for _ in range(280):
        deep = [deep]
    assert json_codec.encode(JsonMessage.of_document(deep)) == b"[" * 281 + b"]" * 281
    for _ in range(20_000):
        deep = [deep]
    with pytest.raises(ComponentError, match="nested too deeply"):
        json_codec.encode(JsonMessage.of_document(deep))


def test_lone_surrogates_become_the_replacement_character():
    """Text that UTF-8 cannot carry is written with a replacement, in values and keys, and the rest is kept."""
    text = json_codec.encode(JsonMessage(b'{"a\\udc00":"x\\ud800\xe6\x88\x91"}'), JsonOptions(sort_keys=True))
    assert orjson.loads(text) == {"a\ufffd": "x\ufffd我"}


def test_documents_are_plain():
    """document_of gives JSON's own types for any message, as a raw hook wants it."""
    message = Message.of(np.array([[1, 2]]), Encoding.TENSOR, meta={"tags": {"t": np.float32(0.5)}})
    document = json_codec.document_of(message)
    assert document == {
        "data": {"names": [], "tensor": {"shape": [1, 2], "values": [1, 2]}},
        "meta": {"tags": {"t": 0.5}},
    }
    assert [type(value) for value in document["data"]["tensor"]["values"]] == [int, int]


# ── feedback ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_feedback_is_read_by_protobufs_rules():
    """Numbers are float64, the reward is a float32 that may be text, and a missing truth is None."""
    feedback = JsonFeedback(
        b'{"request":{"data":{"names":["a"],"ndarray":[[1,2]]},"meta":{"puid":"p"}},'
        b'"response":{"meta":{"routing":{"r":1}}},"reward":"0.1"}'
    )
    request, response, reward, truth = feedback.content
    assert (request.payload.dtype, request.payload.tolist(), request.names) == (np.float64, [[1.0, 2.0]], ["a"])
    assert request.meta == {"puid": "p"}
    assert (reward, truth) == (0.10000000149011612, None)
    assert feedback.routing == {"r": 1}
    assert response.meta == {"routing": {"r": 1}}


def test_empty_feedback_is_allowed():
    """Every field of a feedback may be missing."""
    feedback = JsonFeedback(b"{}")
    assert feedback.content == FeedbackContent(None, None, 0.0, None)
    assert feedback.routing == {}


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b'{"foo":1}', '^Invalid JSON: Message type "seldon.protos.Feedback" has no field named "foo"'),
        (b'{"request":{"foo":1}}', "^Invalid JSON: .*foo"),
        (b'{"reward":"zz"}', "^Invalid JSON: "),
        (b'{"reward":' + b"7" * 1000 + b"}", "^Invalid JSON: "),
        (b"[1]", "^Invalid JSON: a feedback must be an object"),
        (b'{"request":5}', "^Invalid JSON: "),
        (b'{"request":{"data":{"ndarray":5}}}', "^Invalid JSON: "),
        (b'{"request":{"jsonData":' + b"[" * 500 + b"]" * 500 + b"}}", "^Invalid JSON: "),
        (b"{bad", "^Can't find JSON in data"),
    ],
)
def test_unreadable_feedback_is_refused(raw, fault):
    """An unknown field, a wrong type or no JSON is a PayloadError in the words clients know."""
    with pytest.raises(PayloadError, match=fault):
        _ = JsonFeedback(raw).content


def test_large_feedback_is_read_like_a_small_one():
    """A feedback about many numbers has the content of the general way."""
    rows = [[float(index), 0.5] for index in range(2000)]
    document = {
        "request": {"data": {"names": ["a", "b"], "ndarray": rows}},
        "truth": {"data": {"tensor": {"shape": [4000], "values": [value for row in rows for value in row]}}},
        "reward": 1,
    }
    feedback = JsonFeedback(orjson.dumps(document))
    assert feedback.content.request.payload.tolist() == rows
    assert feedback.content.request.names == ["a", "b"]
    assert feedback.content.truth.payload.tolist() == [value for row in rows for value in row]


@pytest.mark.parametrize(
    "rows",
    [[[1, 2]] * 20, [1.5] * 20, [[[1], [2]]] * 20, [[True, 2]] * 20, [["a"]] * 20, [[1], [2, 3]] * 10, [None] * 20, []],
)
def test_feedback_reads_arrays_as_protobuf_does(rows):
    """Taking numbers out before protobuf's parser changes nothing: the bytes are those that it alone would give."""
    document = {"truth": {"data": {"names": ["a"], "ndarray": rows}}, "request": {"strData": "x"}}
    expected = json_format.ParseDict(document, prediction.Feedback()).SerializeToString(deterministic=True)
    assert proto_codec.encode_feedback(JsonFeedback(json.dumps(document).encode())) == expected


def test_a_long_text_of_a_feedback_is_read_as_a_short_one():
    """It is kept whole; one with half a character, or beside another payload, is refused."""
    text = "中" * 70_000
    feedback = JsonFeedback(json.dumps({"request": {"strData": text, "meta": {"puid": "p"}}, "reward": 1}).encode())
    assert (feedback.content.request.payload, feedback.content.request.meta) == (text, {"puid": "p"})
    for request in ({"strData": f"{text}\ud800"}, {"strData": text, "jsonData": 1}):
        with pytest.raises(PayloadError, match=r"^Invalid JSON: "):
            _ = JsonFeedback(json.dumps({"request": request}).encode()).content


@pytest.mark.parametrize("values", [["x"] * 20, [[1]] * 20, [float("nan")] * 20, [{}] * 20])
def test_feedback_refuses_many_values_that_are_no_doubles(values):
    """A tensor of many values that protobuf's JSON does not allow is refused like one of few."""
    document = {"request": {"data": {"tensor": {"shape": [20], "values": values}}}}
    with pytest.raises(PayloadError, match=r"^Invalid JSON: "):
        _ = JsonFeedback(json.dumps(document).encode()).content


def test_feedback_goes_out_as_it_came_or_as_json():
    """A feedback that came as JSON keeps its bytes; any other is written with the messages' own bytes."""
    raw = b'{ "reward": 1, "request":{"strData":"x"} }'
    assert json_codec.encode_feedback(JsonFeedback(raw)) is raw
    assert json_codec.encode_feedback(JsonFeedback(raw), JsonOptions(sort_keys=True)) == (
        b'{"request":{"strData":"x"},"reward":1}'
    )
    made = Feedback(FeedbackContent(JsonMessage(b'{ "a":1}'), None, 0.5, Message.of("t", Encoding.STR)))
    assert json_codec.encode_feedback(made) == b'{"request":{ "a":1},"truth":{"strData":"t","meta":{}},"reward":0.5}'
    over = proto_codec.ProtoFeedback(proto_codec.encode_feedback(JsonFeedback(raw)))
    assert json.loads(json_codec.encode_feedback(over)) == {"request": {"strData": "x", "meta": {}}, "reward": 1.0}


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ('{"instances": [[5.1, 3.5], [1, 2]]}', '{"data": {"ndarray": [[5.1, 3.5]]}}'),
        ('{"inputs": [5.1, "模"]}', '{"data": {"ndarray": [[5.1, "模"]]}}'),
        ("[[1, 2], [3, 4]]", '{"data": {"ndarray": [[1, 2]]}}'),
        ("[1, 2]", '{"data": {"ndarray": [[1, 2]]}}'),
        ('{"instances": [{"b64": "' + "A" * 500 + '"}]}', '{"data": {"ndarray": [[1, 2]]}}'),
    ],
)
def test_rows_in_another_servers_form_are_answered_with_the_right_one(text, form):
    """A body of another protocol, or bare rows, is refused with those rows as a message has them."""
    with pytest.raises(PayloadError, match="Invalid request data type") as caught:
        _ = JsonMessage(text.encode()).content
    assert caught.value.text.endswith(f"; rows are sent as {form}")


def test_a_compressed_message_may_be_of_any_size():
    """Whoever asks whether a message is large is told so of each that is compressed, and of none made here."""
    assert is_larger(JsonMessage(b"x" * 11), 10)
    assert not is_larger(JsonMessage(b"x" * 9), 10)
    assert is_larger(JsonMessage(b"x" * 9, content_encoding="gzip"), 10)
    assert not is_larger(Message.of("x" * 99, Encoding.STR), 10)


@pytest.mark.parametrize("shape", [(3,), (20,), (1, 30), (5, 9), (2, 20, 3), (100, 1), (1, 1, 40)])
@pytest.mark.parametrize("scale", [1.0, -1e-5])
def test_large_arrays_are_written_in_blocks(shape, scale):
    """Whatever the shape, and however the blocks fall, the text is that of the whole array."""
    values = np.random.default_rng(0).random(shape) * scale
    for block_values in (1, 7, 1000):
        assert json.loads(json_values.numbers_text(values, block_values=block_values)) == values.tolist()
