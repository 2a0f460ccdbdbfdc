"""The REST paths of methods, nodes and models."""

from __future__ import annotations

import pytest

from infergraph.message import Method
from infergraph.protocol import paths
from infergraph.protocol.paths import Protocol

SELDON, TENSORFLOW, V2 = Protocol.SELDON, Protocol.TENSORFLOW, Protocol.V2


@pytest.mark.parametrize(
    ("protocol", "method", "expected"),
    [
        (SELDON, Method.TRANSFORM_INPUT, "/transform-input"),
        (SELDON, Method.AGGREGATE, "/aggregate"),
        (TENSORFLOW, Method.PREDICT, "/v1/models/m:predict"),
        (TENSORFLOW, Method.ROUTE, "/v1/models/m:route"),
        (V2, Method.TRANSFORM_OUTPUT, "/v2/models/m/infer"),
        (V2, Method.AGGREGATE, "/v2/models/m/aggregate"),
    ],
)
def test_where_a_node_is_asked(protocol: Protocol, method: Method, expected: str) -> None:
    """Seldon's nodes have a path for each method; models of the other protocols have one for all but two."""
    assert paths.method_path(protocol, method, "m") == expected


@pytest.mark.parametrize(
    ("protocol", "health", "metadata", "probe"),
    [
        (SELDON, "/health/status", "/metadata", "/api/v1.0/health/status"),
        (TENSORFLOW, "/v1/models/m", "/v1/models/m/metadata", ""),
        (V2, "/v2/models/m/ready", "/v2/models/m", "/v2/health/ready"),
    ],
)
def test_where_a_node_tells_of_itself(protocol: Protocol, health: str, metadata: str, probe: str) -> None:
    """Health, metadata and the full health check have a path in each protocol; TensorFlow's has no such check."""
    told = (paths.health_path(protocol, "m"), paths.metadata_path(protocol, "m"), paths.probe_path(protocol))
    assert told == (health, metadata, probe)


def test_a_models_name_stays_one_segment() -> None:
    """A name from a caller's address can neither add a segment nor end the request line."""
    assert paths.method_path(V2, Method.PREDICT, "a/b\r\n c") == "/v2/models/a%2Fb%0D%0A%20c/infer"


@pytest.mark.parametrize(("name", "expected"), [("", SELDON), ("seldon", SELDON), ("kfserving", V2), ("v2", V2)])
def test_the_protocol_of_a_deployment_file(name: str, expected: Protocol) -> None:
    """A file that names none speaks Seldon's; kfserving is an older name of the open inference protocol."""
    assert Protocol.named(name) is expected
