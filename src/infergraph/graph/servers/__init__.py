"""Packaged model servers: the components behind `implementation: SKLEARN_SERVER` and its siblings.

    node with implementation and modelUri ──located──▶ target and arguments ──▶ a component like any other

Each is a plain class that loads its model from a folder once, in `load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from infergraph.errors import GraphError, TargetError
from infergraph.graph.spec.records import Node

PACKAGED: Mapping[str, str] = {
    "SKLEARN_SERVER": "infergraph.graph.servers.sklearn:SKLearnServer",
    "XGBOOST_SERVER": "infergraph.graph.servers.xgboost:XGBoostServer",
    "MLFLOW_SERVER": "infergraph.graph.servers.mlflow:MLFlowServer",
    "ONNX_SERVER": "infergraph.graph.servers.onnx:ONNXServer",
}
"""The target of each packaged server that runs in this process."""

_OF_MODELS: Mapping[str, Mapping[str, str]] = {
    "SKLEARN_SERVER": {"method": "auto", "columns": "classes"},
    "MLFLOW_SERVER": {"xtype": "DataFrame"},
}
"""Default arguments of a server for a model served on its own, where they differ from Seldon's defaults."""

_ELSEWHERE: Mapping[str, str] = {
    "TENSORFLOW_SERVER": "tensorflow",
    "TRITON_SERVER": "v2",
    "HUGGINGFACE_SERVER": "v2",
    "TEMPO_SERVER": "v2",
}


class Located(NamedTuple):
    """A component to load, and the arguments that its node's own parameters are added to."""

    target: str
    arguments: Mapping[str, str]


def located(node: Node, *, folder: Path, cache_dir: Path) -> Located:
    """The component behind a node with a packaged server.

    Args:
        folder: that of the deployment file; a relative `modelUri` starts there.
        cache_dir: where downloaded models are kept.
    Raises:
        GraphError: the server does not run in this process (the text says what to write instead), is not known,
            or there is no `modelUri`.
    """
    server = node.packaged
    if server in _ELSEWHERE:
        raise GraphError(
            f"node {node.name!r}: {server} runs in a process of its own; start it, and give its address instead of the "
            f"implementation: `type: MODEL` and `endpoint: {{service_host: HOST, service_port: PORT, type: REST}}`, "
            f"with `protocol: {_ELSEWHERE[server]}` in spec",
            node=node.name,
        )
    if server not in PACKAGED:
        raise GraphError(
            f"node {node.name!r}: there is no packaged server {server}; known are {', '.join(PACKAGED)}", node=node.name
        )
    if not node.model_uri:
        raise GraphError(f"node {node.name!r}: {server} needs a modelUri: a folder or an address", node=node.name)
    return _located(server, node.model_uri, folder, cache_dir)


def of_model(target: str, *, folder: Path, cache_dir: Path) -> Located:
    """The component that serves a model by itself, from a target such as `SKLEARN_SERVER:iris.joblib`.

    Args:
        folder: a relative path starts there.
        cache_dir: where downloaded models are kept.
    Raises: TargetError for a server that does not run in this process.
    """
    server, _, uri = target.partition(":")
    if server not in PACKAGED:
        raise TargetError(f"{target}: there is no packaged server {server}; known are {', '.join(PACKAGED)}")
    found = _located(server, uri, folder, cache_dir)
    return found._replace(arguments={**_OF_MODELS.get(server, {}), **found.arguments})


def _located(server: str, uri: str, folder: Path, cache_dir: Path) -> Located:
    if "://" not in uri:
        uri = str(folder / uri)
    return Located(PACKAGED[server], {"model_uri": uri, "cache_dir": str(cache_dir)})
