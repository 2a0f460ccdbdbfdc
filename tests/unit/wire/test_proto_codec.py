"""Protobuf messages to content and back: the protocol's tables, bytes kept, and the faults that name the field."""

import json
import struct
from decimal import Decimal
from enum import Enum
from uuid import UUID

import numpy as np
import pytest
from google.protobuf import any_pb2, wrappers_pb2

from infergraph.errors import BadMetadata, ComponentError, PayloadError
from infergraph.message import Encoding, Feedback, FeedbackContent, Message
from infergraph.wire import fields, json_codec, number_lists, prediction, proto_codec, proto_content, protobuf_values
from infergraph.wire.json_codec import JsonFeedback, JsonMessage
from infergraph.wire.prediction import SeldonMessage
from infergraph.wire.proto_codec import ProtoFeedback, ProtoMessage


class Colour(Enum):
    """A kind of value that a component may answer."""

    RED = "red"


def decoded(**members):
    """The content of a SeldonMessage with these members."""
    return ProtoMessage.of_proto(SeldonMessage(**members)).content


def written(message: Message):
    """The SeldonMessage that is sent for a message."""
    return SeldonMessage.FromString(proto_codec.encode(message))


def listed(rows: list) -> dict:
    """A data member with an ndarray."""
    value = prediction.ListValue()
    value.extend(rows)
    return {"ndarray": value}


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rows", "dtype", "value"),
    [
        ([[1, 2], [3, 4]], "float64", [[1.0, 2.0], [3.0, 4.0]]),
        ([1, 2, 3], "float64", [1.0, 2.0, 3.0]),
        ([[[1], [2]], [[3], [4]]], "float64", [[[1.0], [2.0]], [[3.0], [4.0]]]),
        ([["a", "b"]], "<U1", [["a", "b"]]),
        ([["a", 1, 2.5]], "<U3", [["a", "1.0", "2.5"]]),
        ([["a", None]], "object", [["a", None]]),
        ([[1, None]], "object", [[1.0, None]]),
        ([[True, False]], "bool", [[True, False]]),
        ([[True, 2]], "float64", [[1.0, 2.0]]),
        ([{"a": 1}], "object", [{"a": 1.0}]),
        ([], "float64", []),
        ([[]], "float64", [[]]),
        ([[float(i) for i in range(40)]] * 30, "float64", [[float(i) for i in range(40)]] * 30),
        ([[float(i) for i in range(40)]] * 30 + [["a"] * 40], "<U32", None),
    ],
)
def test_ndarray_becomes_the_array_of_the_table(rows, dtype, value):
    """Each kind of ndarray has the dtype users know; numbers are float64, by the short and the long way."""
    content = decoded(data=listed(rows))
    assert (content.encoding, content.payload.dtype.kind) == (Encoding.NDARRAY, np.dtype(dtype).kind)
    if value is not None:
        assert content.payload.tolist() == value


def test_tensor_becomes_float64():
    """A tensor's values are float64 in its shape; without a shape one value has no axes."""
    content = decoded(data={"names": ["a", "b"], "tensor": {"shape": [1, 2], "values": [1, 2.5]}})
    assert (content.payload.dtype, content.payload.tolist(), content.names) == (np.float64, [[1.0, 2.5]], ["a", "b"])
    assert decoded(data={"tensor": {"values": [5]}}).payload.shape == ()
    assert decoded(data={"tensor": {"shape": [0]}}).payload.shape == (0,)


@pytest.mark.parametrize("count", [3, 3000])
@pytest.mark.parametrize("shape", [[], [1], [2, 2], [9999], [2**31 - 1, 2**31 - 1]])
def test_values_that_do_not_fit_the_shape_are_refused(count, shape):
    """Missing and surplus values are a PayloadError that names both sizes, in small and large messages (Q15)."""
    with pytest.raises(PayloadError, match=rf"data\.tensor has {count} values, which do not fit the shape"):
        decoded(data={"tensor": {"shape": shape, "values": range(count)}})


def test_other_payloads_are_read():
    """strData, binData, jsonData and customData are read; numbers inside jsonData are floats."""
    assert decoded(strData="")[:2] == ("", Encoding.STR)
    assert decoded(binData=b"\xff")[:2] == (b"\xff", Encoding.BIN)
    message = SeldonMessage()
    message.jsonData.struct_value.update({"a": [1, "x", None, True, {"b": []}]})
    content = ProtoMessage.of_proto(message).content
    assert content[:2] == ({"a": [1.0, "x", None, True, {"b": []}]}, Encoding.JSON)
    packed = any_pb2.Any()
    packed.Pack(wrappers_pb2.StringValue(value="x"))
    content = decoded(customData={"type_url": packed.type_url, "value": packed.value})
    assert (content.encoding, content.payload.type_url) == (Encoding.CUSTOM, packed.type_url)
    assert decoded(jsonData={"null_value": 0}).payload is None


@pytest.mark.parametrize("members", [{}, {"meta": {"puid": "p"}}, {"status": {"code": 1}}])
def test_no_payload_is_refused(members):
    """A message without payload is a PayloadError with a text (Q5)."""
    with pytest.raises(PayloadError, match=r"^Invalid request data type"):
        decoded(**members)


def test_unreadable_bytes_are_refused():
    """Bytes that are no message, and data of no kind, are PayloadErrors."""
    with pytest.raises(PayloadError, match=r"^data has none of tensor, ndarray and tftensor$"):
        decoded(data={"names": ["a"]})
    for raw in (b"\xff", b"\x0a\x05a", b"hello" * 1000, b"\x1a\xff\xff\xff\xff\x0f"):
        with pytest.raises(PayloadError, match=r"not a valid seldon\.protos\.SeldonMessage"):
            _ = ProtoMessage(raw).content
    with pytest.raises(PayloadError, match="regular array"):
        decoded(data=listed([[1], [2, 3]]))


def test_meta_has_the_protocols_json_spelling():
    """Meta is a dict in JSON spelling: metric types by name, also COUNTER, tags as plain values; {} where none came."""
    proto = SeldonMessage(strData="x")
    assert ProtoMessage.of_proto(proto).content.meta == {}
    proto.meta.puid = "p"
    proto.meta.tags["a"].number_value = 1
    proto.meta.tags["b"].list_value.extend(["x", None])
    proto.meta.routing["r"] = -1
    proto.meta.requestPath["m"] = "img:1"
    proto.meta.metrics.add(key="c", value=1)
    proto.meta.metrics.add(key="g", type=1, value=0.5, tags={"t": "x"})
    meta = {
        "puid": "p",
        "tags": {"a": 1.0, "b": ["x", None]},
        "routing": {"r": -1},
        "requestPath": {"m": "img:1"},
        "metrics": [
            {"key": "c", "type": "COUNTER", "value": 1.0},
            {"key": "g", "type": "GAUGE", "value": 0.5, "tags": {"t": "x"}},
        ],
    }
    message = ProtoMessage.of_proto(proto)
    assert message.meta == message.content.meta == meta
    again = written(Message.of("x", Encoding.STR, meta=meta))
    assert again == proto


@pytest.mark.parametrize("shape", [(400,), (20, 20), (100, 2, 2), (1, 400), (400, 1)])
@pytest.mark.parametrize("encoding", [Encoding.TENSOR, Encoding.NDARRAY])
def test_large_arrays_are_the_same_by_the_short_way(shape, encoding):
    """A scan of a large message finds what protobuf finds."""
    array = np.linspace(-1, 1, 400).reshape(shape)
    raw = proto_codec.encode(Message.of(array, encoding, names=["é", "b"], meta={"tags": {"a": 1}}))
    found = proto_content.scan(raw)
    expected = proto_content.content_of(proto_content.parse(SeldonMessage, raw))
    assert found is not None
    assert np.array_equal(found.payload, array)
    assert np.array_equal(expected.payload, array)
    assert found.payload.flags.writeable
    assert (found.encoding, found.names, found.meta) == (expected.encoding, expected.names, expected.meta)


def test_unusual_spellings_of_large_arrays_are_left_to_protobuf():
    """Split, unpacked and repeated fields, which protobuf merges, mean the same in a large message."""
    tensor = fields.delimited(b"\x0a", fields.varint(400))
    unpacked = tensor + b"".join(b"\x11" + struct.pack("<d", value) for value in range(400))
    split = tensor + 2 * fields.delimited(b"\x12", np.arange(200.0).tobytes())
    whole = tensor + fields.delimited(b"\x12", np.arange(400.0).tobytes())
    twice = fields.delimited(b"\x1a", fields.delimited(b"\x0a", b"n" * 9)) + fields.delimited(
        b"\x1a", fields.delimited(b"\x12", whole)
    )
    for raw, expected in [
        (fields.delimited(b"\x1a", fields.delimited(b"\x12", unpacked)), list(range(400))),
        (fields.delimited(b"\x1a", fields.delimited(b"\x12", split)), [*range(200)] * 2),
        (twice, list(range(400))),
        (fields.delimited(b"\x1a", fields.delimited(b"\x12", whole)) + b"\xaa\x06\x01x", list(range(400))),
    ]:
        assert len(raw) > proto_content.LARGE_BYTES
        assert proto_content.scan(raw) is None
        assert ProtoMessage(raw).payload.tolist() == expected
    text = fields.delimited(b"\x1a", fields.delimited(b"\x12", whole)) + fields.delimited(b"\x2a", b"x")
    assert ProtoMessage(text).encoding is Encoding.STR


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("payload", "encoding", "text"),
    [
        (np.array([[1, 2.5]]), Encoding.TENSOR, {"tensor": {"shape": [1, 2], "values": [1.0, 2.5]}}),
        (np.array(5), Encoding.TENSOR, {"tensor": {"values": [5.0]}}),
        (np.array([]), Encoding.TENSOR, {"tensor": {"shape": [0]}}),
        (np.array([]), Encoding.NDARRAY, {"ndarray": []}),
        (np.array(5), Encoding.NDARRAY, {"tensor": {"values": [5.0]}}),
        (np.array([True, False]), Encoding.TENSOR, {"ndarray": [True, False]}),
        (np.array([["a", "é"]]), Encoding.TENSOR, {"ndarray": [["a", "é"]]}),
        (np.array([["a", None]]), Encoding.NDARRAY, {"ndarray": [["a", None]]}),
        ([["a", 1, None]], Encoding.NDARRAY, {"ndarray": [["a", 1.0, None]]}),
        ([[1, 2]], Encoding.TENSOR, {"tensor": {"shape": [1, 2], "values": [1.0, 2.0]}}),
        (np.array([0.1], np.float32), Encoding.NDARRAY, {"ndarray": [0.10000000149011612]}),
        (np.arange(20).reshape(4, 5), Encoding.NDARRAY, {"ndarray": np.arange(20.0).reshape(4, 5).tolist()}),
        (np.zeros((2, 0)), Encoding.NDARRAY, {"ndarray": [[], []]}),
        (np.array([7]), Encoding.TFTENSOR, {"tftensor": {"dtype": "DT_INT64", "int64Val": ["7"]}}),
        (np.array([True]), Encoding.TFTENSOR, {"ndarray": [True]}),
    ],
)
def test_arrays_are_written_as_the_table_says(payload, encoding, text):
    """An array is written in the encoding asked for if that can hold it, else as ndarray; meta is always set."""
    proto = written(Message.of(payload, encoding, names=["a"]))
    assert proto.HasField("meta")
    assert list(proto.data.names) == ["a"]
    found = json_codec.document_of(ProtoMessage.of_proto(proto))["data"]
    found.pop("names")
    if "tftensor" in found:
        found["tftensor"].pop("tensorShape")
    if "tensor" in found:
        text["tensor"].setdefault("shape", [])
        text["tensor"].setdefault("values", [])
    assert found == text


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f8", "i1", "i8", ">i4", "u1", "u8", "g"])
@pytest.mark.parametrize("encoding", [Encoding.TENSOR, Encoding.NDARRAY])
def test_every_number_type_and_layout_is_written(dtype, encoding):
    """Arrays of any number type, byte order and layout arrive as the same doubles."""
    array = np.linspace(0, 100, 80).astype(dtype).reshape(4, -1).T[::2]
    assert np.array_equal(ProtoMessage(proto_codec.encode(Message.of(array, encoding))).payload, array.astype(float))


def test_other_payloads_are_written():
    """Text, bytes, JSON values and a user's Any go into their own members."""
    assert written(Message.of("x", Encoding.STR)).strData == "x"
    assert written(Message.of(5, Encoding.STR)).strData == "5"
    assert written(Message.of(bytearray(b"\xff"), Encoding.BIN)).binData == b"\xff"
    document = {
        "a": [1, 2.5, "x", None, True, {"b": []}, (1,)],
        "c": [np.float32(0.5), Colour.RED, Decimal("1.5"), UUID(int=5), np.longdouble(0.5)],
        "d": np.arange(2),
        3: 2**60,
        None: False,
        True: 1,
        np.int64(7): 2,
    }
    message = written(Message.of(document, Encoding.JSON))
    assert ProtoMessage.of_proto(message).payload == {
        "a": [1.0, 2.5, "x", None, True, {"b": []}, [1.0]],
        "c": [0.5, "red", "1.5", "00000000-0000-0000-0000-000000000005", 0.5],
        "d": [0.0, 1.0],
        "3": 2.0**60,
        "null": False,
        "true": 1.0,
        "7": 2.0,
    }
    packed = any_pb2.Any()
    packed.Pack(wrappers_pb2.StringValue(value="x"))
    assert written(Message.of(packed, Encoding.CUSTOM)).customData.value == packed.value
    assert written(Message.of("x\ud800", Encoding.STR)).strData == "x\ufffd"
    assert list(written(Message.of([1], Encoding.NDARRAY, names=["\ud800", 5])).data.names) == ["\ufffd", "5"]


@pytest.mark.parametrize(
    ("payload", "encoding", "fault"),
    [
        ({"a": [1, {2}]}, Encoding.JSON, r"holds a set at jsonData\.a\[1\]"),
        ({(1,): 2}, Encoding.JSON, "holds a key of type tuple at jsonData"),
        ({"a": 10**400}, Encoding.JSON, r"holds an integer too large for a double at jsonData\.a"),
        ([[1, object()]], Encoding.NDARRAY, r"holds a object at data\.ndarray\[0\]\[1\]"),
        (np.array(["2020-01-01"], "M8[D]"), Encoding.NDARRAY, "an array of datetime64"),
        (np.array([1j]), Encoding.TENSOR, "an array of complex128"),
        ([[1], [2, 3]], Encoding.TENSOR, "not a regular array"),
        ("text", Encoding.BIN, "binData cannot hold a str"),
        ({}, Encoding.CUSTOM, "customData cannot hold a dict"),
    ],
)
def test_what_cannot_be_written_names_type_and_place(payload, encoding, fault):
    """An answer that protobuf cannot hold is a ComponentError with the type and the path."""
    with pytest.raises(ComponentError, match=fault):
        proto_codec.encode(Message.of(payload, encoding))


@pytest.mark.parametrize(
    "meta",
    [
        {"routing": {"r": "x"}},
        {"routing": {"r": 2**31}},
        {"routing": {"r": 0.5}},
        {"tags": [1]},
        {"tags": {"a": object()}},
        {"metrics": [{}]},
        {"metrics": [{"key": "k", "type": "WRONG", "value": 1}]},
        {"metrics": [5]},
        {"requestPath": 5},
    ],
)
def test_meta_of_another_shape_is_refused(meta):
    """Meta that the protocol's types cannot hold is a ComponentError, never another exception."""
    with pytest.raises(ComponentError):
        proto_codec.encode(Message.of("x", Encoding.STR, meta=meta))


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}], ids=["list", "object"])
def test_deep_values_are_written_as_deep_as_they_can_be_read(wrap):
    """What is written can be read by protobuf, also inside a list of messages; what is deeper is a ComponentError."""
    value, levels = wrap(1), 1
    while levels < 30:
        value, levels = wrap(value), levels + 1
        raw = proto_codec.encode_messages([Message.of(value, Encoding.JSON)])
        assert proto_codec.decode_messages(raw)[0].payload is not None
        prediction.SeldonMessageList.FromString(raw)
    while levels < 100:
        value, levels = wrap(value), levels + 1
    with pytest.raises(ComponentError, match="too many levels"):
        proto_codec.encode(Message.of(value, Encoding.JSON))


# ── the two codecs together ─────────────────────────────────────────────────────────────────────────────────────


def test_json_crosses_to_protobuf_whole():
    """A JSON message leaves by gRPC with its status, meta, names and the types of its values."""
    raw = (
        b'{"status":{"code":404,"info":"i","reason":"r","status":"FAILURE"},"meta":{"puid":5,"tags":{"t":[1]}},'
        b'"data":{"names":["a","b"],"ndarray":[["x",1,null,true]]}}'
    )
    proto = written(JsonMessage(raw))
    assert (proto.status.code, proto.status.info, proto.status.reason, proto.status.status) == (404, "i", "r", 1)
    assert proto.meta.puid == "5"
    assert json_codec.document_of(ProtoMessage.of_proto(proto)) == {
        "status": {"code": 404, "info": "i", "reason": "r", "status": "FAILURE"},
        "data": {"names": ["a", "b"], "ndarray": [["x", 1.0, None, True]]},
        "meta": {"puid": "5", "tags": {"t": [1.0]}},
    }


def test_json_without_payload_crosses_if_it_says_something_else():
    """A document of status and meta alone is a message; one that says nothing of the protocol is not."""
    assert written(JsonMessage(b'{"status":{"status":1}}')).status.status == 1
    assert written(JsonMessage.of_document({})) == SeldonMessage(meta={})
    for raw in (b'{"foo":1}', b"[1]", b'{"status":{},"data":{}}'):
        with pytest.raises(PayloadError):
            proto_codec.encode(JsonMessage(raw))
    for status in ("x", {"code": "y"}, {"status": "z"}, {"code": 1.5}):
        with pytest.raises(ComponentError, match="status cannot be written"):
            proto_codec.encode(JsonMessage.of_document({"status": status}))


def test_a_large_json_message_crosses_with_its_status():
    """A large array keeps its status and values on the way to protobuf."""
    document = {"data": {"ndarray": [[0.5, 1]] * 2000}, "status": {"code": 7}}
    proto = written(JsonMessage(json.dumps(document).encode()))
    assert (proto.status.code, len(proto.data.ndarray.values)) == (7, 2000)
    del document["status"]
    document["data"]["names"] = ["a"]
    message = ProtoMessage(proto_codec.encode(JsonMessage(json.dumps(document).encode())))
    assert (message.payload.tolist(), message.names) == (document["data"]["ndarray"], ["a"])


@pytest.mark.parametrize("count", [2, 2000])
@pytest.mark.parametrize("kind", ["tensor", "ndarray"])
def test_protobuf_crosses_to_json(kind, count):
    """A protobuf message leaves by REST as JSON with floats, names and meta."""
    array = np.arange(count * 2.0).reshape(count, 2)
    message = Message.of(array, Encoding(kind), names=["a", "b"], meta={"puid": "p"})
    document = json.loads(json_codec.encode(ProtoMessage(proto_codec.encode(message))))
    values = array.tolist() if kind == "ndarray" else {"shape": [count, 2], "values": array.ravel().tolist()}
    assert document == {"data": {"names": ["a", "b"], kind: values}, "meta": {"puid": "p"}}


def test_every_payload_of_protobuf_crosses_to_json():
    """Text, bytes, JSON, tensors of TensorFlow, an Any, and no payload at all have a JSON view."""
    tensor = {"dtype": 3, "tensor_shape": {"dim": [{"size": 1}]}, "int_val": [5]}
    for members, view in [
        ({"strData": "x"}, {"strData": "x"}),
        ({"binData": b"hello"}, {"binData": "aGVsbG8="}),
        ({"jsonData": {"number_value": 1}}, {"jsonData": 1.0}),
        ({"customData": {"type_url": "t/x", "value": b"a"}}, {"customData": {"@type": "t/x", "value": "YQ=="}}),
        ({}, {}),
        (
            {"data": {"tftensor": tensor}},
            {
                "data": {
                    "names": [],
                    "tftensor": {"dtype": "DT_INT32", "tensorShape": {"dim": [{"size": "1"}]}, "intVal": [5]},
                }
            },
        ),
    ]:
        message = ProtoMessage.of_proto(SeldonMessage(**members))
        assert json_codec.document_of(message) == {**view, "meta": {}}
        assert json.loads(json_codec.encode(message)) == {**view, "meta": {}}


def test_protobufs_own_json_leaves_out_defaults():
    """The spelling of feedback answers: integers as floats, empty names and COUNTER left out."""
    meta = {"metrics": [{"key": "c", "type": "COUNTER", "value": 1}]}
    message = Message.of(np.array([]), Encoding.NDARRAY, meta=meta)
    assert proto_codec.proto3_document(message) == {
        "data": {"ndarray": []},
        "meta": {"metrics": [{"key": "c", "value": 1.0}]},
    }
    with pytest.raises(ComponentError, match="protobuf's JSON"):
        proto_codec.proto3_document(Message.of({"a": float("nan")}, Encoding.JSON))


# ── passing on ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_protobuf_that_came_goes_out_as_it_came():
    """Passing a message on keeps its bytes, unknown fields too, alone and in lists."""
    raw = SeldonMessage(strData="x").SerializeToString() + b"\xaa\x06\x01u"
    message = ProtoMessage(raw)
    assert proto_codec.encode(message) is raw
    first, second = proto_codec.decode_messages(proto_codec.encode_messages([message, JsonMessage(b'{"strData":"y"}')]))
    assert (first.raw, second.payload) == (raw, "y")


def test_message_lists_that_are_none_are_refused():
    """Bytes that are no list of messages are a PayloadError."""
    assert proto_codec.decode_messages(b"") == []
    for raw in (b"\x0a\x05a", b"\xff", b"\x0b", b"\x02\x00"):
        with pytest.raises(PayloadError, match=r"not a valid seldon\.protos\.SeldonMessageList"):
            proto_codec.decode_messages(raw)


def test_meta_is_exchanged_and_nothing_else():
    """with_meta keeps every other byte, also of unknown fields, and replaces all of the old meta."""
    payload, unknown = SeldonMessage(strData="x").SerializeToString(), b"\xaa\x06\x01u"
    old = SeldonMessage(meta={"puid": "old"}).SerializeToString()
    for raw in (old + payload + unknown, payload + old + unknown + old, payload + unknown):
        changed = ProtoMessage(raw).with_meta({"puid": "new"})
        assert (changed.meta, changed.payload) == ({"puid": "new"}, "x")
        assert changed.raw.endswith(payload + unknown)
    with pytest.raises(PayloadError):
        ProtoMessage(b"\xff").with_meta({})


def test_meta_of_a_large_message_is_read_alone():
    """The meta of a large message is the one that parsing all of it gives, also where it came in two parts."""
    one, two = SeldonMessage(meta={"puid": "a", "routing": {"r": 1}}), SeldonMessage(meta={"puid": "b"})
    raw = one.SerializeToString() + SeldonMessage(strData="x" * 5000).SerializeToString() + two.SerializeToString()
    message = ProtoMessage(raw)
    assert message.meta == {"puid": "b", "routing": {"r": 1}} == message.content.meta
    assert ProtoMessage(SeldonMessage(strData="x" * 5000).SerializeToString()).meta == {}
    with pytest.raises(PayloadError, match=r"not a valid seldon\.protos\.SeldonMessage"):
        _ = ProtoMessage(b"\xff" * 5000).meta


# ── feedback ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_feedback_is_read_and_kept():
    """A feedback's parts are messages of their own; its bytes go out as they came."""
    proto = prediction.Feedback(request={"strData": "q"}, response={"meta": {"routing": {"r": 2}}}, reward=0.1)
    feedback = ProtoFeedback.of_proto(proto)
    request, response, reward, truth = feedback.content
    assert (request.payload, response.meta, truth) == ("q", {"routing": {"r": 2}}, None)
    assert reward == pytest.approx(0.1)
    assert feedback.routing == {"r": 2}
    assert proto_codec.encode_feedback(feedback) is feedback.raw
    with pytest.raises(PayloadError, match=r"not a valid seldon\.protos\.Feedback"):
        _ = ProtoFeedback(b"\xff").content


def test_feedback_of_other_kinds_is_written():
    """A JSON or local feedback becomes the same protobuf."""
    came = JsonFeedback(b'{"request":{"strData":"q"},"reward":1,"truth":{"data":{"ndarray":[1]}}}')
    made = Feedback(
        FeedbackContent(Message.of("q", Encoding.STR), None, 1.0, Message.of(np.array([1]), Encoding.NDARRAY))
    )
    first, second = (prediction.Feedback.FromString(proto_codec.encode_feedback(item)) for item in (came, made))
    assert (first.request.strData, first.reward) == (second.request.strData, second.reward) == ("q", 1.0)
    assert first.truth.data == second.truth.data
    with pytest.raises(ComponentError, match="not a 32-bit number"):
        proto_codec.encode_feedback(Feedback(FeedbackContent(None, None, 1e300, None)))


# ── metadata ────────────────────────────────────────────────────────────────────────────────────────────────────


MODEL = {
    "name": "n",
    "versions": ["1", "2"],
    "platform": "p",
    "inputs": [{"messagetype": "tensor", "schema": {"names": ["a"], "shape": [1.0, 2.0]}}],
    "outputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2]}, {}],
    "custom": {"k": "v"},
}


def test_metadata_comes_back():
    """A model's metadata survives: schema numbers as floats, shapes as integers, empty members as they were."""
    assert proto_codec.decode_metadata(proto_codec.encode_metadata(MODEL)) == MODEL
    empty = {"name": "", "versions": [], "platform": "", "inputs": [], "outputs": [], "custom": {}}
    assert proto_codec.decode_metadata(proto_codec.encode_metadata({})) == empty


def test_graph_metadata_comes_back():
    """A graph's metadata is read in both spellings of its inputs and given in REST's."""
    graph = {"name": "g", "models": {"m": MODEL}, "graphinputs": MODEL["inputs"], "graphoutputs": []}
    assert proto_codec.decode_graph_metadata(proto_codec.encode_graph_metadata(graph)) == graph
    other = {"name": "g", "models": {"m": MODEL}, "inputs": MODEL["inputs"]}
    assert proto_codec.decode_graph_metadata(proto_codec.encode_graph_metadata(other)) == graph


@pytest.mark.parametrize("metadata", [{"versions": "1"}, {"foo": 1}, {"inputs": [5]}, {"custom": {"a": {}}}])
def test_metadata_of_another_shape_is_refused(metadata):
    """Metadata that the protocol's types cannot hold is BadMetadata."""
    with pytest.raises(BadMetadata):
        proto_codec.encode_metadata(metadata)


def test_metadata_requests_are_read():
    """The name of the model asked for; empty where none is named; a PayloadError for other bytes."""
    raw = prediction.SeldonModelMetadataRequest(name="m").SerializeToString()
    assert (proto_codec.decode_metadata_request(raw), proto_codec.decode_metadata_request(b"")) == ("m", "")
    for decode in (
        proto_codec.decode_metadata_request,
        proto_codec.decode_metadata,
        proto_codec.decode_graph_metadata,
    ):
        with pytest.raises(PayloadError, match="not a valid"):
            decode(b"\xff")


# ── the pieces ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**31, 2**64 - 1, -1, -(2**63)])
def test_varints_are_protobufs(number):
    """A varint written here is read here and is the one of the encoding guide."""
    encoded = fields.varint(number)
    assert fields.read_varint(encoded + b"rest", 0) == (number % 2**64, len(encoded))
    if 0 <= number < 2**31:
        assert prediction.Tensor(shape=[number]).SerializeToString()[2:] == encoded


def test_number_lists_are_protobufs():
    """The bytes of a whole array are those that protobuf writes, and anything irregular is left to it."""
    for shape in [(1,), (20,), (3, 4), (2, 3, 4), (1, 1, 1), (3, 50), (2, 300, 2)]:
        array = np.random.default_rng(0).standard_normal(shape)
        value = prediction.ListValue.FromString(number_lists.encode(array))
        assert [protobuf_values.decode_value(item) for item in value.values] == array.tolist()
        assert value.SerializeToString() == number_lists.encode(array)
        assert np.array_equal(number_lists.decode(value.SerializeToString()), array)
    for rows in ([[1], [2, 3]], [1, [2]], [[1], 2], [], [[]], ["a"], [None], [1, "a"], [[1, 2], [3, "abcdefg"]]):
        assert number_lists.decode(protobuf_values.encode_list(rows, "", 1)) is None
    for raw in (b"\x0a", b"\x0a\xff", b"\x0a\x09\x11abc", b"\x12\x09\x11" + b"a" * 8, b"\x0a\x00", b"\x0a\x02\x32\x00"):
        assert number_lists.decode(raw) is None
