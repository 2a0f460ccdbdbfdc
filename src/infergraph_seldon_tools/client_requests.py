"""What SeldonClient sends: one payload as a document or as protobuf, and where to."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from seldon_core.proto import prediction_pb2
from seldon_core.utils import array_to_grpc_datadef, array_to_rest_datadef, json_to_seldon_message

from infergraph.message import Method
from infergraph.protocol.paths import API, EXTERNAL


class SeldonClientException(Exception):
    """A call that cannot be made, or that got no answer."""

    status_code = 400

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Payload(NamedTuple):
    """One payload: the first of raw_data, bin_data, str_data, json_data, custom_data, data and shape that is given.

    `shape` asks for random numbers of that shape; `meta` is a mapping of tags.
    """

    raw_data: Mapping[str, Any] | None = None
    bin_data: bytes | bytearray | None = None
    str_data: str | None = None
    json_data: Any = None
    custom_data: Any = None
    data: Any = None
    shape: tuple[int, ...] | None = None
    names: Iterable[str] | None = None
    meta: Mapping[str, Any] | None = None
    payload_type: str = "tensor"

    def document(self) -> dict[str, Any]:
        """The message's document. Raises: SeldonClientException if there is no payload, or none that JSON can carry."""
        if self.raw_data is not None:
            return dict(self.raw_data)
        message = self._content()
        return {"meta": {"tags": dict(self.meta)}, **message} if self.meta else message

    def proto(self) -> Any:
        """The SeldonMessage. Raises: SeldonClientException if there is no payload."""
        if self.raw_data is None and self.custom_data is not None and self._is_last(4):
            message = prediction_pb2.SeldonMessage(customData=self.custom_data)
        elif self.raw_data is None and self._is_last(5):
            datadef = array_to_grpc_datadef(self.payload_type, self._array(), self.names)
            message = prediction_pb2.SeldonMessage(data=datadef)
        else:
            return json_to_seldon_message(self.document())
        if self.meta:
            message.meta.CopyFrom(json_to_seldon_message({"meta": {"tags": dict(self.meta)}}).meta)
        return message

    def _content(self) -> dict[str, Any]:
        if self.bin_data is not None:
            return {"binData": base64.b64encode(self.bin_data).decode()}
        if self.str_data is not None:
            return {"strData": self.str_data}
        if self.json_data is not None:
            return {"jsonData": self.json_data}
        if self.custom_data is not None:
            raise SeldonClientException("custom_data can be sent over gRPC only")
        return {"data": array_to_rest_datadef(self.payload_type, self._array(), self.names)}

    def _array(self) -> np.ndarray[Any, Any]:
        if self.data is not None:
            return np.asarray(self.data)
        if self.shape is None:
            raise SeldonClientException(
                "there is nothing to send: give data, json_data, str_data, bin_data, custom_data or raw_data, "
                "or a shape for random numbers"
            )
        return np.random.default_rng().random(self.shape)

    def _is_last(self, position: int) -> bool:
        """Whether none of the payloads before `position` (raw_data is 0) is given."""
        return all(value is None for value in self[:position])


def external_url(options: Mapping[str, Any], method: Method, scheme: str) -> str:
    """The address that asks a deployment behind the gateway.

    A gateway of the kind `seldon` is the deployment itself; the others find it by namespace and name.
    """
    server = f"{scheme}://{options['gateway_endpoint']}"
    path = options.get("http_path") or EXTERNAL[method]
    if options["gateway"] == "seldon":
        return server + path
    return server + (options.get("gateway_prefix") or _prefix(options, options["deployment_name"])) + path


def explanation_url(options: Mapping[str, Any], predictor: str, scheme: str) -> str:
    """The address of the explainer of `predictor` behind the gateway."""
    explainer = _prefix(options, f"{options['deployment_name']}-explainer")
    path = options.get("http_path") or f"{API}/explain"
    return f"{scheme}://{options['gateway_endpoint']}{options.get('gateway_prefix') or explainer}/{predictor}{path}"


def _prefix(options: Mapping[str, Any], name: str | None) -> str:
    namespace = options.get("namespace")
    return "/seldon/" + (f"{namespace}/" if namespace else "") + str(name)
