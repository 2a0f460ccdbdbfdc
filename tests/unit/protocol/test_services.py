"""The gRPC calls, against the descriptors that the messages come from."""

from __future__ import annotations

import pytest

from infergraph.message import Method
from infergraph.protocol import services
from infergraph.wire import prediction

METADATA = {services.NODE_METADATA, services.MODEL_METADATA, services.GRAPH_METADATA}


def test_the_calls_are_those_of_the_descriptors() -> None:
    """The calls of the seven services are those that ask for a method and those that ask for metadata."""
    defined = {f"{service}/{call}" for service, calls in prediction.SERVICES.items() for call in calls}
    defined = {call for call in defined if call.startswith(services.PACKAGE)}
    assert {f"{services.PACKAGE}.{call}" for call in services.METHODS.keys() | METADATA} == defined


@pytest.mark.parametrize("calls", [services.NODE_CALLS, services.CLIENT_CALLS], ids=["node", "client"])
def test_every_method_can_be_asked(calls: dict[Method, str]) -> None:
    """An orchestrator and a client each have a call for every method, which is answered by that method."""
    assert {method: services.METHODS[call] for method, call in calls.items()} == {method: method for method in Method}


def test_a_call_has_a_path() -> None:
    """The path on the wire is the package, the service and the method."""
    assert services.path("Model/Predict") == "/seldon.protos.Model/Predict"
