"""The seven gRPC services for Serve's gRPC proxy: each call becomes one of the ingress, its message left as bytes.

Serve calls the ingress by the name of the method alone, so the path of the call travels beside the message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import grpc

from infergraph.protocol import services


class GrpcCall(NamedTuple):
    """A call as it came: its path and its message."""

    path: str
    message: bytes


class GrpcAnswer(NamedTuple):
    """The message of an answer, as Serve asks for it."""

    message: bytes

    def SerializeToString(self) -> bytes:
        """The message."""
        return self.message


CALLS = (*services.METHODS, services.NODE_METADATA, services.MODEL_METADATA, services.GRAPH_METADATA)
"""All calls, as Service/Method."""


def status_of(number: int) -> grpc.StatusCode:
    """A gRPC status by its number."""
    return next(code for code in grpc.StatusCode if code.value[0] == number)


def _adder(service: str) -> Callable[[Any, Any], None]:
    """What lets Serve's proxy answer a service."""
    methods = [method for name, _, method in (call.partition("/") for call in CALLS) if name == service]

    def add(_servicer: Any, server: Any) -> None:
        handlers = {method: _handler(services.path(f"{service}/{method}")) for method in methods}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(f"{services.PACKAGE}.{service}", handlers),)
        )

    return add


def _handler(path: str) -> Any:
    """A handler whose function Serve replaces."""
    return grpc.unary_unary_rpc_method_handler(
        lambda _call, _context: b"", request_deserializer=lambda message: GrpcCall(path, message)
    )


add_ModelServicer_to_server = _adder("Model")
add_RouterServicer_to_server = _adder("Router")
add_TransformerServicer_to_server = _adder("Transformer")
add_OutputTransformerServicer_to_server = _adder("OutputTransformer")
add_CombinerServicer_to_server = _adder("Combiner")
add_GenericServicer_to_server = _adder("Generic")
add_SeldonServicer_to_server = _adder("Seldon")
