"""The protocol's messages in protobuf's default pool, where user code mixes them with the well-known types.

    wire's descriptor set ─ renamed files ─▶ default pool ─▶ classes of seldon_core.proto.prediction_pb2

Names of messages are the protocol's; file names are ours, so that they meet no generated file. Whoever came first keeps
a name: if the pool already has the protocol's messages or TensorFlow's tensor, those are used.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from types import ModuleType

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, empty_pb2, struct_pb2
from google.protobuf.descriptor import FileDescriptor

from infergraph.wire import prediction

_log = logging.getLogger(__name__)

WELL_KNOWN: tuple[ModuleType, ...] = (any_pb2, empty_pb2, struct_pb2)
"""Imported here so that the default pool has the types that our messages refer to."""

_FOLDER = "infergraph/compat/"
_TENSOR, _PREDICTION = prediction.FILES[:2]
_TENSORFLOW = "tensorflow.core.framework.tensor_pb2"


def register() -> FileDescriptor:
    """The file of the protocol's messages in the default pool, put there if need be. Idempotent."""
    found = _file_of(f"{prediction.PACKAGE}.SeldonMessage")
    return found or _add(_PREDICTION, {_TENSOR: register_tensor().name})


def register_tensor() -> FileDescriptor:
    """The file of TensorFlow's tensor in the default pool: TensorFlow's own if that is installed, else ours."""
    found = _file_of("tensorflow.TensorProto")
    if found is None and importlib.util.find_spec("tensorflow") is not None:
        # Ours in the pool would make a later `import tensorflow` fail: the same names from another file.
        try:
            importlib.import_module(_TENSORFLOW)
            found = _file_of("tensorflow.TensorProto")
        except (ImportError, TypeError, AttributeError) as error:
            _log.warning("tensorflow is installed and cannot be imported; its tensor messages are ours: %s", error)
    return found or _add(_TENSOR, {})


def _file_of(symbol: str) -> FileDescriptor | None:
    try:
        return descriptor_pool.Default().FindFileContainingSymbol(symbol)
    except KeyError:
        return None


def _add(name: str, renamed: dict[str, str]) -> FileDescriptor:
    pool = descriptor_pool.Default()
    file = descriptor_pb2.FileDescriptorProto.FromString(prediction.POOL.FindFileByName(name).serialized_pb)
    file.name = _FOLDER + name.rpartition("/")[2]
    dependencies = [renamed.get(dependency, dependency) for dependency in file.dependency]
    file.ClearField("dependency")
    file.dependency.extend(dependencies)
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindFileByName(file.name)
