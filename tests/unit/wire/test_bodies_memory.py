"""What the bodies in work may take together, and one message of them."""

import threading

import pytest

from infergraph.errors import Overloaded, PayloadError, UploadTooLarge
from infergraph.message import Encoding
from infergraph.wire import json_codec, json_slices, proto_codec
from infergraph.wire.bodies_memory import BodiesMemory, ValuesAccount
from infergraph.wire.fields import delimited
from infergraph.wire.v2 import json as v2_json
from infergraph.wire.v2 import proto as v2_proto

MIB = 1 << 20
JSON = b'{"jsonData":[' + b"1.5," * (json_slices.LARGE_BYTES // 4) + b"0]}"
NUMBERS = b'{"data":{"ndarray":[' + b"1.5," * (json_slices.LARGE_BYTES // 4) + b"0]}}"
TEXT = b'{"strData":"' + b"a" * json_slices.LARGE_BYTES + b'"}'
PROTO = proto_codec.encode(json_codec.received(JSON))


def test_bodies_and_values_are_one_sum() -> None:
    """What is over the limit together is refused by the setting's name; a body counts all the same, values do not."""
    memory = BodiesMemory(100)
    memory.hold(60)
    memory.charge(40)
    with pytest.raises(Overloaded, match="setting bodies_limit_bytes"):
        memory.charge(1)
    assert memory.taken_bytes == 100
    with pytest.raises(Overloaded, match="setting bodies_limit_bytes"):
        memory.hold(1)
    memory.release(61)
    memory.charge(60)
    assert memory.taken_bytes == 100


def test_without_a_limit_nothing_is_refused() -> None:
    """A limit of 0 is none, for one message as for all."""
    memory = BodiesMemory()
    memory.hold(1 << 60)
    account = ValuesAccount(memory)
    account.charge(1 << 60)
    assert account.limit_bytes == 0


def test_threads_count_together() -> None:
    """Values that many threads charge and give back are all counted."""
    memory = BodiesMemory(1 << 60)

    def work() -> None:
        for _ in range(2000):
            account = ValuesAccount(memory)
            account.charge(3)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert memory.taken_bytes == 0


@pytest.mark.parametrize("raw", [JSON, NUMBERS, TEXT], ids=["values", "numbers", "text"])
def test_a_json_message_is_charged_until_it_is_freed(raw: bytes) -> None:
    """It is charged no less than its size once it is read, and gives it back when nobody has it any more."""
    memory = BodiesMemory(1024 * MIB)
    message = json_codec.received(raw, account=ValuesAccount(memory))
    assert memory.taken_bytes == 0
    assert message.encoding in Encoding
    assert memory.taken_bytes >= 0.9 * len(raw)
    del message
    assert memory.taken_bytes == 0


def test_a_protobuf_message_is_charged_until_it_is_freed() -> None:
    """As one in JSON is."""
    memory = BodiesMemory(1024 * MIB)
    message = proto_codec.received(PROTO, account=ValuesAccount(memory))
    assert message.encoding is Encoding.JSON
    assert memory.taken_bytes >= 10 * MIB
    del message
    assert memory.taken_bytes == 0


@pytest.mark.parametrize("received", [lambda account: json_codec.received(JSON, account=account),
                                      lambda account: proto_codec.received(PROTO, account=account)],
                         ids=["json", "protobuf"])  # fmt: skip
def test_messages_together_are_refused_once_they_would_take_too_much(received) -> None:
    """One message may take an eighth of the limit; many such together no more than the limit, in either format."""
    with pytest.raises(UploadTooLarge, match="setting bodies_limit_bytes"):
        _ = received(ValuesAccount(BodiesMemory(8 * MIB))).content
    first = received(ValuesAccount(memory := BodiesMemory(1024 * MIB)))
    assert first.encoding is Encoding.JSON
    cost_bytes = memory.taken_bytes
    memory = BodiesMemory(10 * cost_bytes)
    read = [received(ValuesAccount(memory)) for _ in range(11)]
    assert [message.encoding for message in read[:10]] == [Encoding.JSON] * 10
    with pytest.raises(Overloaded, match="setting bodies_limit_bytes"):
        _ = read[10].content
    del read[0]
    assert read[9].encoding is Encoding.JSON


def _infer(datatype: str, shape: list[int], contents: bytes, raw: bytes = b"") -> bytes:
    entry = v2_proto.ModelInferRequest().inputs.add(name="a", datatype=datatype, shape=shape)
    body = entry.SerializeToString() + (delimited(b"\x2a", contents) if contents else b"")
    return delimited(b"\x2a", body) + (delimited(b"\x3a", raw) if raw else b"")


@pytest.mark.parametrize(
    "request_bytes",
    [
        _infer("BYTES", [MIB], b"\x42\x00" * MIB),
        _infer("BYTES", [MIB], b"", bytes(4 * MIB)),
        _infer("INT64", [MIB], delimited(b"\x1a", b"\x01" * MIB)),
        _infer("BOOL", [MIB], b"\x08\x01" * MIB),
        _infer("FP64", [1], delimited(b"\x3a", bytes(8))) * 20_000,
    ],
    ids=["texts", "raw texts", "integers", "truths, one by one", "inputs"],
)
def test_elements_of_the_open_inference_protocol_are_charged(request_bytes: bytes) -> None:
    """A request whose elements would take far more memory than its bytes is refused before it is parsed."""
    with pytest.raises(UploadTooLarge, match="setting bodies_limit_bytes"):
        v2_proto.decode(request_bytes, ValuesAccount(BodiesMemory(80 * MIB)))


def _binary(datatype: str, size: int) -> tuple[bytes, str]:
    """A body with one tensor of so many elements and four bytes each, and the length of its JSON."""
    head = b'{"inputs":[{"name":"a","datatype":"%b","shape":[%d],"parameters":{"binary_data_size":%d}}]}'
    head = head % (datatype.encode(), size, 4 * size)
    return head + bytes(4 * size), str(len(head))


def test_elements_of_a_blob_are_charged() -> None:
    """A blob of many small texts is refused before they are read; one of numbers costs little beside its bytes."""
    account = ValuesAccount(BodiesMemory(80 * MIB))
    assert v2_json.decode(*_binary("FP32", MIB), account=account).inputs[0].array.shape == (MIB,)
    with pytest.raises(UploadTooLarge, match="setting bodies_limit_bytes"):
        v2_json.decode(*_binary("BYTES", MIB), account=account)


@pytest.mark.parametrize(
    "request_bytes",
    [
        _infer("FP64", [MIB], delimited(b"\x3a", bytes(8 * MIB))),
        _infer("FP64", [MIB], b"", bytes(8 * MIB)),
        _infer("BYTES", [1], b"", MIB.to_bytes(4, "little") + b"B" * MIB),
    ],
    ids=["floats", "raw floats", "a raw text"],
)
def test_arrays_of_the_open_inference_protocol_are_not_refused(request_bytes: bytes) -> None:
    """What becomes an array without an object for each element costs little beside its bytes."""
    assert v2_proto.decode(request_bytes, ValuesAccount(BodiesMemory(80 * MIB))).inputs[0].name == "a"


@pytest.mark.parametrize("request_bytes", [b"\xff", b"\x2a\x05abc", b"\x2a\x03\x2a\x01\x0a", b"\x2a\x02\x2a\x00"])
def test_what_is_no_request_is_charged_nothing(request_bytes: bytes) -> None:
    """The parser finds what is wrong with it."""
    memory = BodiesMemory(80 * MIB)
    with pytest.raises(PayloadError):
        v2_proto.decode(request_bytes, ValuesAccount(memory))
    assert memory.taken_bytes == 0
