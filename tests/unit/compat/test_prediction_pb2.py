"""The protocol's protobuf classes in the default pool: ordinary, and at peace with TensorFlow's."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from google.protobuf import any_pb2, descriptor_pool, json_format, struct_pb2, wrappers_pb2

from infergraph import compat
from infergraph.wire import prediction

compat.install()

from seldon_core.proto import prediction_pb2  # noqa: E402


def test_mixes_with_protobufs_own_types() -> None:
    """A Value, a ListValue and an Any made with protobuf's own classes are fields of our messages."""
    packed = any_pb2.Any()
    packed.Pack(wrappers_pb2.StringValue(value="x"))
    assert prediction_pb2.SeldonMessage(jsonData=struct_pb2.Value(number_value=1)).jsonData.number_value == 1
    assert prediction_pb2.SeldonMessage(customData=packed).customData == packed
    rows = struct_pb2.ListValue()
    rows.extend([[1, 2]])
    message = prediction_pb2.SeldonMessage()
    message.data.ndarray.CopyFrom(rows)
    assert json_format.MessageToDict(message) == {"data": {"ndarray": [[1.0, 2.0]]}}


def test_classes_are_those_of_the_default_pool() -> None:
    """The class is the one that protobuf itself gives for the message's name, and its file is ours."""
    descriptor = descriptor_pool.Default().FindMessageTypeByName("seldon.protos.SeldonMessage")
    assert prediction_pb2.SeldonMessage.DESCRIPTOR is descriptor
    assert descriptor.file.name == "infergraph/compat/prediction.proto"
    assert prediction_pb2.SeldonMessage.__module__ == "seldon_core.proto.prediction_pb2"


def test_survives_pickling_and_copying() -> None:
    """A message can be pickled and copied, as those of generated code can."""
    message = prediction_pb2.SeldonMessage(strData="x", meta=prediction_pb2.Meta(puid="p"))
    assert pickle.loads(pickle.dumps(message)) == message
    assert copy.deepcopy(message) == message


def test_enum_values_are_class_attributes() -> None:
    """Metric.GAUGE and Status.FAILURE are there, by number and by name."""
    assert prediction_pb2.Metric.GAUGE == 1
    assert prediction_pb2.Status.StatusFlag.Value("FAILURE") == 1
    assert prediction_pb2.Metric(type=prediction_pb2.Metric.TIMER).type == 2


def test_messages_cross_to_the_private_pool_by_their_bytes() -> None:
    """What user code builds is read unchanged by infergraph's own classes, and back."""
    message = prediction_pb2.SeldonMessage(data=prediction_pb2.DefaultData(names=["a"]))
    message.data.tensor.shape.extend([1, 1])
    message.data.tensor.values.append(0.5)
    message.meta.tags["t"].string_value = "x"
    ours = prediction.SeldonMessage.FromString(message.SerializeToString())
    assert list(ours.data.tensor.values) == [0.5]
    assert prediction_pb2.SeldonMessage.FromString(ours.SerializeToString()) == message


def test_every_message_and_service_of_the_protocol_is_registered() -> None:
    """The default pool has the same messages, fields and services as infergraph's own pool."""
    theirs = prediction_pb2.DESCRIPTOR
    ours = prediction.POOL.FindFileByName(prediction.FILES[1])
    assert theirs.message_types_by_name.keys() == ours.message_types_by_name.keys()
    for name, message in ours.message_types_by_name.items():
        fields = {field.number: (field.name, field.type) for field in message.fields}
        assert {f.number: (f.name, f.type) for f in theirs.message_types_by_name[name].fields} == fields
    assert theirs.services_by_name.keys() == ours.services_by_name.keys()


@pytest.fixture
def tensorflow(tmp_path: Path) -> Path:
    """A folder with a `tensorflow` package whose tensor messages protoc generated from its own file names."""
    from grpc_tools import protoc

    folder = tmp_path / "tensorflow" / "core" / "framework"
    folder.mkdir(parents=True)
    tensor = resources.files("infergraph.wire").joinpath("tensor.proto").read_text()
    (folder / "tensor.proto").write_text(tensor)
    source = str(folder / "tensor.proto")
    assert protoc.main(["protoc", f"--proto_path={tmp_path}", f"--python_out={tmp_path}", source]) == 0
    for package in (tmp_path / "tensorflow", tmp_path / "tensorflow" / "core", folder):
        (package / "__init__.py").write_text("")
    return tmp_path


@pytest.mark.parametrize("first", ["seldon_core.proto.prediction_pb2", "tensorflow.core.framework.tensor_pb2"])
def test_shares_tensorflows_tensor_where_that_is_installed(tensorflow: Path, first: str) -> None:
    """With TensorFlow installed its TensorProto is the field's class, whichever of the two is imported first."""
    program = f"""
import sys; sys.path.insert(0, {str(tensorflow)!r})
from infergraph import compat
compat.install()
import {first}
from seldon_core.proto.prediction_pb2 import SeldonMessage
from tensorflow.core.framework.tensor_pb2 import TensorProto
message = SeldonMessage()
message.data.tftensor.CopyFrom(TensorProto(dtype=1, float_val=[2.5]))
print(type(message.data.tftensor) is TensorProto, TensorProto.DESCRIPTOR.file.name)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["True", "tensorflow/core/framework/tensor.proto"]


def test_uses_ours_where_tensorflow_cannot_be_imported(tmp_path: Path) -> None:
    """A TensorFlow that is installed and broken does not take the protocol's messages with it."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("raise ImportError('no AVX here')\n")
    program = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
from infergraph import compat
compat.install()
from seldon_core.proto.prediction_pb2 import SeldonMessage
print(SeldonMessage().data.tftensor.DESCRIPTOR.file.name)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "infergraph/compat/tensor.proto"


def test_uses_the_users_own_generated_messages_if_they_came_first(tmp_path: Path) -> None:
    """Where user code has registered the protocol's messages itself, its classes are the ones used."""
    from grpc_tools import protoc

    (tmp_path / "tensor.proto").write_text(resources.files("infergraph.wire").joinpath("tensor.proto").read_text())
    text = resources.files("infergraph.wire").joinpath("prediction.proto").read_text()
    (tmp_path / "own_prediction.proto").write_text(text.replace("infergraph/wire/tensor.proto", "tensor.proto"))
    include = str(resources.files("grpc_tools") / "_proto")
    files = [str(tmp_path / "tensor.proto"), str(tmp_path / "own_prediction.proto")]
    assert (
        protoc.main(["", f"--proto_path={tmp_path}", f"--proto_path={include}", f"--python_out={tmp_path}", *files])
        == 0
    )
    program = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
import own_prediction_pb2
from infergraph import compat
compat.install()
from seldon_core.proto import prediction_pb2
print(prediction_pb2.SeldonMessage is own_prediction_pb2.SeldonMessage)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "True"
