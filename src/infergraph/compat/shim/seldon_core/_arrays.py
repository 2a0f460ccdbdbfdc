"""numpy arrays to the protocol's array forms and back, by infergraph's codecs.

prediction_pb2 message ◀─ bytes ─▶ wire codec ◀─▶ numpy
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from google.protobuf import struct_pb2

from infergraph.errors import Fault, PayloadError
from infergraph.message import Content, Encoding, Message
from infergraph.wire import json_codec, proto_codec

from .flask_utils import SeldonMicroserviceException
from .proto import prediction_pb2

_ENCODINGS = {"tensor": Encoding.TENSOR, "tftensor": Encoding.TFTENSOR}


def array_to_grpc_datadef(data_type: str, array: Any, names: Iterable[str] | None = ()) -> Any:
    """A DefaultData of `array`.

    Args:
        data_type: `tensor`, `tftensor`, or anything else for `ndarray`.
        array: of any shape; numbers for the tensors.
        names: column names.
    """
    message = _message(data_type, array, names)
    return prediction_pb2.SeldonMessage.FromString(translated(proto_codec.encode, message)).data


def array_to_rest_datadef(data_type: str, array: Any, names: Iterable[str] | None = ()) -> dict[str, Any]:
    """The document of a DefaultData of `array`; arguments as for `array_to_grpc_datadef`."""
    data: dict[str, Any] = document_of(_message(data_type, array, names))["data"]
    return data


def array_to_list_value(array: Any, lv: Any = None) -> Any:
    """A ListValue of `array`, or `lv` with its rows added."""
    rows = array_to_grpc_datadef("ndarray", array).ndarray
    target = struct_pb2.ListValue() if lv is None else lv
    target.MergeFrom(rows)
    return target


def grpc_datadef_to_array(datadef: Any) -> Any:
    """The array of a DefaultData; empty if it has none.

    Raises: SeldonMicroserviceException if it cannot be read.
    """
    if datadef.WhichOneof("data_oneof") is None:
        return np.array([])
    return content_of_proto(prediction_pb2.SeldonMessage(data=datadef)).payload


def content_of_proto(message: Any) -> Content:
    """The decoded content of a SeldonMessage. Raises: SeldonMicroserviceException if it cannot be read."""
    content: Content = translated(lambda: proto_codec.of_proto(message).content)
    return content


def content_of_document(document: Any) -> Content:
    """The decoded content of a message's document. Raises: SeldonMicroserviceException if it cannot be read."""
    content: Content = translated(lambda: json_codec.of_document(document).content)
    return content


def document_of(message: Message) -> Any:
    """The document of a message, of plain Python values: the codec's own may hold arrays, which `json` cannot write."""
    document = translated(json_codec.document_of, message)
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict):
        return document
    if isinstance(data.get("tensor"), dict):
        data = data | {"tensor": {name: _listed(value) for name, value in data["tensor"].items()}}
    return document | {"data": {name: _listed(value) for name, value in data.items()}}


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def translated(function: Any, *arguments: Any, **named: Any) -> Any:
    """Call, with infergraph's faults as the exception that user code knows."""
    try:
        return function(*arguments, **named)
    except Fault as fault:
        status = 400 if isinstance(fault, PayloadError) else getattr(fault, "status", None) or 500
        raise SeldonMicroserviceException(str(fault), status_code=status, reason=fault.reason) from fault


def _message(data_type: str, array: Any, names: Iterable[str] | None) -> Message:
    return Message.of(np.asarray(array), _ENCODINGS.get(data_type, Encoding.NDARRAY), names=list(names or ()))
