"""The protobuf messages that the benchmark sends and its gRPC floor answers, built without generated code.

Only the fields in use, with the protocols' names and numbers. This package's own schema is left alone, so that the
floor and the check of the answers owe nothing to the code that is measured.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto

_FILES: dict[str, dict[str, list[tuple[str, int, str]]]] = {
    "seldon.protos": {
        "Tensor": [("shape", 1, "int32*"), ("values", 2, "double*")],
        "DefaultData": [("names", 1, "string*"), ("tensor", 2, "Tensor")],
        "SeldonMessage": [("data", 3, "DefaultData")],
    },
    "inference": {
        "InferTensorContents": [("fp32_contents", 6, "float*"), ("fp64_contents", 7, "double*")],
        "InferInputTensor": [
            ("name", 1, "string"),
            ("datatype", 2, "string"),
            ("shape", 3, "int64*"),
            ("contents", 5, "InferTensorContents"),
        ],
        "ModelInferRequest": [
            ("model_name", 1, "string"),
            ("inputs", 5, "InferInputTensor*"),
            ("raw_input_contents", 7, "bytes*"),
        ],
        "ModelInferResponse": [("outputs", 5, "InferInputTensor*"), ("raw_output_contents", 6, "bytes*")],
    },
}


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for package, messages in _FILES.items():
        file = descriptor_pb2.FileDescriptorProto(name=f"bench/{package}.proto", package=package, syntax="proto3")
        for message, fields in messages.items():
            described = file.message_type.add(name=message)
            for name, number, kind in fields:
                field = described.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
                if kind.endswith("*"):
                    field.label = _Field.LABEL_REPEATED
                word = kind.rstrip("*")
                if word in messages:
                    field.type, field.type_name = _Field.TYPE_MESSAGE, f".{package}.{word}"
                else:
                    field.type = getattr(_Field, f"TYPE_{word.upper()}")
        pool.Add(file)
    return pool


_POOL = _pool()


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


SeldonMessage = _message("seldon.protos.SeldonMessage")
ModelInferRequest = _message("inference.ModelInferRequest")
ModelInferResponse = _message("inference.ModelInferResponse")
