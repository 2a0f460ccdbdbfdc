"""The services for Serve's gRPC proxy."""

from __future__ import annotations

from typing import Any

import infergraph.ray
from infergraph.protocol import services
from infergraph.ray.grpc_services import CALLS, GrpcAnswer, GrpcCall
from infergraph.ray.replicas import FrontReplica
from infergraph.render.ray import serve_config


class Server:
    """A server that notes what it is to answer."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Note them, as Serve's proxy does."""
        self.handlers |= handlers[0]._method_handlers


def test_what_is_rendered_names_all_calls_of_the_seven_services() -> None:
    """Each function of the configuration exists; together they cover every call, which the ingress has a method for."""
    server = Server()
    for name in serve_config([])["grpc_options"]["grpc_servicer_functions"]:
        module, _, function = name.partition(":")
        assert module == infergraph.ray.__name__
        getattr(infergraph.ray, function)(None, server)
    assert server.handlers.keys() == {services.path(call) for call in CALLS}
    for path in server.handlers:
        assert callable(getattr(FrontReplica, path.rpartition("/")[2]))


def test_a_message_stays_as_it_is_beside_its_path() -> None:
    """Serve tells the ingress the name of a method alone."""
    server = Server()
    infergraph.ray.add_SeldonServicer_to_server(None, server)
    path = services.path("Seldon/Predict")
    assert server.handlers[path].request_deserializer(b"\x0a\x00") == GrpcCall(path, b"\x0a\x00")
    assert GrpcAnswer(b"\x0a\x00").SerializeToString() == b"\x0a\x00"
