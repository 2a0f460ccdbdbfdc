"""The message classes: their fields, their pool, and that the compiled file is what the sources say."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import any_pb2, descriptor_pool, wrappers_pb2

from infergraph.wire import prediction
from infergraph.wire.generated import compile as compiling

FIELDS = {
    "SeldonMessage": {
        "status": 1,
        "meta": 2,
        "data": 3,
        "binData": 4,
        "strData": 5,
        "jsonData": 6,
        "customData": 7,
    },
    "DefaultData": {"names": 1, "tensor": 2, "ndarray": 3, "tftensor": 4},
    "Tensor": {"shape": 1, "values": 2},
    "Meta": {"puid": 1, "tags": 2, "routing": 3, "requestPath": 4, "metrics": 5},
    "Metric": {"key": 1, "type": 2, "value": 3, "tags": 4},
    "Status": {"code": 1, "info": 2, "reason": 3, "status": 4},
    "SeldonMessageList": {"seldonMessages": 1},
    "Feedback": {"request": 1, "response": 2, "reward": 3, "truth": 4},
    "RequestResponse": {"request": 1, "response": 2},
    "SeldonModelMetadataRequest": {"name": 1},
    "SeldonMessageMetadata": {"messagetype": 1, "schema": 2, "name": 3, "datatype": 4, "shape": 5},
    "SeldonModelMetadata": {"name": 1, "versions": 2, "platform": 3, "inputs": 4, "outputs": 5, "custom": 6},
    "SeldonGraphMetadata": {"name": 1, "models": 2, "inputs": 3, "outputs": 4},
}


def test_compiled_descriptors_match_the_sources():
    """The committed descriptor set is what compiling the .proto files gives."""
    assert compiling.compiled() == compiling.OUTPUT.read_bytes()


@pytest.mark.parametrize("name", FIELDS)
def test_fields_have_the_numbers_of_the_protocol(name):
    """Every message has exactly the protocol's field names and numbers."""
    fields = getattr(prediction, name).DESCRIPTOR.fields
    assert {field.name: field.number for field in fields} == FIELDS[name]


def test_services_have_the_methods_of_the_protocol():
    """SERVICES lists the seven services with each method's request and answer type."""
    message, listed, feedback = (f"seldon.protos.{name}" for name in ("SeldonMessage", "SeldonMessageList", "Feedback"))
    model, graph = "seldon.protos.SeldonModelMetadata", "seldon.protos.SeldonGraphMetadata"
    expected = {
        "seldon.protos.Generic": {
            "TransformInput": (message, message),
            "TransformOutput": (message, message),
            "Route": (message, message),
            "Aggregate": (listed, message),
            "SendFeedback": (feedback, message),
        },
        "seldon.protos.Model": {
            "Predict": (message, message),
            "SendFeedback": (feedback, message),
            "Metadata": ("google.protobuf.Empty", model),
        },
        "seldon.protos.Router": {"Route": (message, message), "SendFeedback": (feedback, message)},
        "seldon.protos.Transformer": {"TransformInput": (message, message)},
        "seldon.protos.OutputTransformer": {"TransformOutput": (message, message)},
        "seldon.protos.Combiner": {"Aggregate": (listed, message)},
        "seldon.protos.Seldon": {
            "Predict": (message, message),
            "SendFeedback": (feedback, message),
            "ModelMetadata": ("seldon.protos.SeldonModelMetadataRequest", model),
            "GraphMetadata": ("google.protobuf.Empty", graph),
        },
    }
    services = {name: calls for name, calls in prediction.SERVICES.items() if name.startswith(prediction.PACKAGE)}
    assert services == expected


def test_default_pool_is_left_alone():
    """Importing the codecs registers nothing in protobuf's default pool, where other packages claim our names."""
    program = (
        "from google.protobuf import descriptor_pool\n"
        "import infergraph.wire.json_codec, infergraph.wire.proto_codec\n"
        "for name in ('seldon.protos.SeldonMessage', 'tensorflow.TensorProto'):\n"
        "    try:\n"
        "        descriptor_pool.Default().FindMessageTypeByName(name)\n"
        "    except KeyError:\n"
        "        continue\n"
        "    raise SystemExit(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_second_pool_with_the_same_names_reads_the_same_bytes():
    """A message of another pool with the same names crosses by its bytes."""
    other = descriptor_pool.DescriptorPool()
    for name in ("any", "empty", "struct"):
        other.AddSerializedFile(prediction.POOL.FindFileByName(f"google/protobuf/{name}.proto").serialized_pb)
    for name in prediction.FILES:
        other.AddSerializedFile(prediction.POOL.FindFileByName(name).serialized_pb)
    assert other.FindMessageTypeByName("seldon.protos.Meta") is not prediction.Meta.DESCRIPTOR
    assert prediction.Meta.FromString(prediction.Meta(puid="p").SerializeToString()).puid == "p"


def test_well_known_types_keep_their_methods():
    """Struct, ListValue and Any of the private pool behave as protobuf's own do."""
    message = prediction.SeldonMessage()
    message.jsonData.struct_value.update({"a": [1, None, {"b": True}]})
    assert message.jsonData.struct_value["a"][2]["b"] is True
    rows = prediction.ListValue()
    rows.extend([1, ["x"], None])
    assert [rows[0], rows[1][0], rows[2]] == [1, "x", None]
    packed = any_pb2.Any()
    packed.Pack(wrappers_pb2.StringValue(value="x"))
    custom = prediction.SeldonMessage(customData={"type_url": packed.type_url, "value": packed.value}).customData
    unpacked = wrappers_pb2.StringValue()
    assert custom.Unpack(unpacked)
    assert unpacked.value == "x"


def test_sources_lie_beside_the_descriptors():
    """The .proto files that clients may want are part of the package."""
    folder = Path(prediction.__file__).parent
    assert [(folder / Path(name).name).is_file() for name in prediction.FILES] == [True] * 3
