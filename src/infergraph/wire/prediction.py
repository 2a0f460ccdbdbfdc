"""The protocol's message classes, in a descriptor pool of our own.

The private pool lets this package coexist in one process with TensorFlow and with the original wrapper, whose generated
code registers the same names in protobuf's default pool. Messages are passed between pools as bytes.
"""

from __future__ import annotations

from importlib import resources
from itertools import chain
from typing import Any, TypeAlias

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, empty_pb2, message_factory, struct_pb2

from infergraph.protocol import services

PACKAGE = services.PACKAGE

MessageClass: TypeAlias = Any
"""A class built from a descriptor at run time: a type checker cannot know its fields."""


def _load_pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for module in (any_pb2, empty_pb2, struct_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    compiled = resources.files("infergraph.wire.generated").joinpath("prediction.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL = _load_pool()
"""The descriptor pool of the messages, enums and services below; gRPC reflection uses it."""

FILES: tuple[str, ...] = (
    "infergraph/wire/tensor.proto",
    "infergraph/wire/prediction.proto",
    "infergraph/wire/inference.proto",
)
"""The names of our own files in POOL."""


def message_class(full_name: str) -> MessageClass:
    """The class of the message `full_name` of POOL.

    Raises: KeyError for an unknown name.
    """
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(full_name))


SeldonMessage = message_class(f"{PACKAGE}.SeldonMessage")
SeldonMessageList = message_class(f"{PACKAGE}.SeldonMessageList")
DefaultData = message_class(f"{PACKAGE}.DefaultData")
Tensor = message_class(f"{PACKAGE}.Tensor")
Meta = message_class(f"{PACKAGE}.Meta")
Metric = message_class(f"{PACKAGE}.Metric")
Status = message_class(f"{PACKAGE}.Status")
Feedback = message_class(f"{PACKAGE}.Feedback")
RequestResponse = message_class(f"{PACKAGE}.RequestResponse")
SeldonModelMetadataRequest = message_class(f"{PACKAGE}.SeldonModelMetadataRequest")
SeldonMessageMetadata = message_class(f"{PACKAGE}.SeldonMessageMetadata")
SeldonModelMetadata = message_class(f"{PACKAGE}.SeldonModelMetadata")
SeldonGraphMetadata = message_class(f"{PACKAGE}.SeldonGraphMetadata")
TensorProto = message_class("tensorflow.TensorProto")
TensorShapeProto = message_class("tensorflow.TensorShapeProto")
Value = message_class("google.protobuf.Value")
ListValue = message_class("google.protobuf.ListValue")
Struct = message_class("google.protobuf.Struct")
Empty = message_class("google.protobuf.Empty")


def _services() -> dict[str, dict[str, tuple[str, str]]]:
    services = chain.from_iterable(POOL.FindFileByName(file).services_by_name.values() for file in FILES)
    return {
        service.full_name: {
            method.name: (method.input_type.full_name, method.output_type.full_name) for method in service.methods
        }
        for service in services
    }


SERVICES: dict[str, dict[str, tuple[str, str]]] = _services()
"""The request and answer type of each method, by the full name of its service."""
