"""A graph as an application of Ray Serve: what the configuration of `infergraph render ray` names.

    client ──▶ Serve's proxies ──▶ `front`, which passes on ──▶ the front's server ──▶ servers of groups
    `addresses`: groups tell where they listen; the front, and groups that call others, ask for it

Serve places, replaces and scales the replicas. Each runs an ordinary server (`process.ray.replica`), and requests
between these never go through Serve.
"""

from infergraph.ray.application import app
from infergraph.ray.grpc_services import (
    add_CombinerServicer_to_server,
    add_GenericServicer_to_server,
    add_ModelServicer_to_server,
    add_OutputTransformerServicer_to_server,
    add_RouterServicer_to_server,
    add_SeldonServicer_to_server,
    add_TransformerServicer_to_server,
)
from infergraph.ray.scaling import by_requests_in_flight

__all__ = [
    "add_CombinerServicer_to_server",
    "add_GenericServicer_to_server",
    "add_ModelServicer_to_server",
    "add_OutputTransformerServicer_to_server",
    "add_RouterServicer_to_server",
    "add_SeldonServicer_to_server",
    "add_TransformerServicer_to_server",
    "app",
    "by_requests_in_flight",
]
