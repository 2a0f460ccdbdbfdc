from __future__ import annotations

import gzip
import json
from urllib.parse import unquote

import numpy as np
import pytest

from infergraph.errors import PayloadError, UploadTooLarge
from infergraph.message import Encoding, Feedback, FeedbackContent, Message, Transport
from infergraph.observe.payload_events import Kind, Origin, Record, event_of
from infergraph.wire import prediction, proto_codec
from infergraph.wire.json_codec import JsonFeedback, JsonMessage
from infergraph.wire.proto_codec import ProtoFeedback, ProtoMessage

ORIGIN = Origin(source="http://h:1/", deployment="d", namespace="ns", predictor="p", protocol="seldon")
MADE = Message.of(np.array([[1.0, 2.0]]), Encoding.TENSOR)


def record(
    carrier: Message | Feedback,
    kind: Kind = Kind.REQUEST,
    *,
    transport: Transport = Transport.REST,
    puid: str = "id-1",
    node: str = "m",
) -> Record:
    return Record("http://sink/", kind, node, puid, carrier, transport, 1_700_000_000.25)


def test_an_event_says_what_it_is_and_where_from() -> None:
    """Every attribute of the specification is a header, the time in UTC, the content type the payload's own."""
    event = event_of(record(JsonMessage(b"{}", "application/json; charset=utf-8"), Kind.RESPONSE), ORIGIN, "e-1")
    assert dict(event.headers) == {
        "Ce-Id": "e-1",
        "Ce-Specversion": "1.0",
        "Ce-Type": "io.seldon.serving.inference.response",
        "Ce-Source": "http://h:1/",
        "Ce-Time": "2023-11-14T22:13:20.250000Z",
        "Ce-Modelid": "m",
        "Ce-Requestid": "id-1",
        "Ce-Inferenceservicename": "d",
        "Ce-Namespace": "ns",
        "Ce-Endpoint": "p",
        "Ce-Protocol": "seldon",
        "Content-Type": "application/json; charset=utf-8",
    }


def test_attributes_without_a_value_are_left_out() -> None:
    """CloudEvents has no empty attributes: a deployment without a namespace has no such header."""
    origin = Origin(source="http://h:1/", deployment="", namespace="", predictor="p", protocol="v2")
    names = {name for name, _ in event_of(record(MADE, puid=""), origin, "e").headers}
    assert not names & {"Ce-Namespace", "Ce-Inferenceservicename", "Ce-Requestid"}
    assert {"Ce-Endpoint", "Ce-Protocol"} <= names


@pytest.mark.parametrize("text", ["模型", 'a "b" 100%', "x\r\nEvil: 1", "é"])
def test_no_value_breaks_its_header(text: str) -> None:
    """Names and ids of any characters are percent-encoded as the HTTP binding says, and come back whole."""
    value = dict(event_of(record(MADE, puid=text, node=text), ORIGIN, "e").headers)["Ce-Requestid"]
    assert all("!" <= character <= "~" for character in value)
    assert unquote(value) == text


def test_payloads_keep_their_bytes() -> None:
    """What came off the wire is logged as it came, JSON and protobuf, messages and feedback."""
    proto = prediction.SeldonMessage(strData="s").SerializeToString()
    feedback = prediction.Feedback(reward=1).SerializeToString()
    for carrier, body, kind in (
        (JsonMessage(b'{ "strData":"s"}', "text/json"), b'{ "strData":"s"}', "text/json"),
        (JsonMessage(b"[1", ""), b"[1", "application/json"),
        (JsonFeedback(b'{"reward": 1}'), b'{"reward": 1}', "application/json"),
        (ProtoMessage(proto), proto, "application/protobuf"),
        (ProtoFeedback(feedback), feedback, "application/protobuf"),
    ):
        for transport in (Transport.REST, Transport.GRPC):
            event = event_of(record(carrier, transport=transport), ORIGIN, "e")
            assert (event.body, dict(event.headers)["Content-Type"]) == (body, kind)


def test_made_payloads_are_written_as_the_request_was() -> None:
    """An answer that was made here is JSON under a REST request and protobuf under a gRPC one; so is a feedback."""
    rest = event_of(record(MADE), ORIGIN, "e")
    assert json.loads(rest.body)["data"]["tensor"] == {"shape": [1, 2], "values": [1.0, 2.0]}
    grpc = event_of(record(MADE, transport=Transport.GRPC), ORIGIN, "e")
    assert dict(grpc.headers)["Content-Type"] == "application/protobuf"
    assert ProtoMessage(grpc.body).payload.tolist() == [[1.0, 2.0]]
    feedback = Feedback(FeedbackContent(None, None, 0.5, None))
    assert json.loads(event_of(record(feedback), ORIGIN, "e").body)["reward"] == 0.5
    sent = event_of(record(feedback, transport=Transport.GRPC), ORIGIN, "e").body
    assert proto_codec.ProtoFeedback(sent).content.reward == 0.5


def test_documents_stay_json() -> None:
    """A raw hook's document, and a body that came in the query, are logged as JSON whatever the transport."""
    document = JsonMessage.of_document({"any": [1]})
    assert json.loads(event_of(record(document, transport=Transport.GRPC), ORIGIN, "e").body) == {"any": [1]}
    asked = JsonMessage(b"", "", query=b"json=%7B%22strData%22%3A%22q%22%7D")
    assert json.loads(event_of(record(asked), ORIGIN, "e").body) == {"strData": "q"}


def test_compressed_bodies_are_unpacked() -> None:
    """A gzip body is logged plain; one that is no gzip, or unpacks to more than the limit, is refused."""
    plain = b'{"strData":"' + b"a" * 5000 + b'"}'
    packed = gzip.compress(plain)
    assert event_of(record(JsonMessage(packed, content_encoding="gzip")), ORIGIN, "e").body == plain
    with pytest.raises(UploadTooLarge, match="more than 100 bytes"):
        event_of(record(JsonMessage(packed, content_encoding="gzip", limit_bytes=100)), ORIGIN, "e")
    with pytest.raises(PayloadError, match="not valid gzip"):
        event_of(record(JsonMessage(b"no gzip", content_encoding="gzip")), ORIGIN, "e")


def test_a_record_knows_its_weight() -> None:
    """The size of what waits counts raw bytes, arrays, text and bytes, and a little for the record itself."""
    empty = record(JsonMessage(b"")).size()
    assert empty > 0
    assert record(JsonMessage(b"x" * 1000)).size() == empty + 1000
    assert record(Message.of(np.zeros(100), Encoding.TENSOR)).size() == empty + 800
    assert record(Message.of("abc", Encoding.STR)).size() == empty + 3
    assert record(Message.of({"a": 1}, Encoding.JSON)).size() == empty
