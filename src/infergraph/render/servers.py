"""Packaged model servers of others: their images, arguments and variables.

Source: section A10 of the Kubernetes notes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import msgspec

from infergraph.graph.spec import Node, Parameter
from infergraph.render.models import NO_INITIALIZER
from infergraph.render.scene import Scene

_VERSION = "1.17.1"
_MLSERVER = "seldonio/mlserver:1.3.5"
_SELDON: Mapping[str, str] = {
    "SKLEARN_SERVER": f"seldonio/sklearnserver:{_VERSION}",
    "XGBOOST_SERVER": f"seldonio/xgboostserver:{_VERSION}",
    "MLFLOW_SERVER": f"seldonio/mlflowserver:{_VERSION}",
    "TENSORFLOW_SERVER": f"seldonio/tfserving-proxy:{_VERSION}",
}
_OPEN: Mapping[str, str] = {
    "SKLEARN_SERVER": f"{_MLSERVER}-sklearn",
    "XGBOOST_SERVER": f"{_MLSERVER}-xgboost",
    "MLFLOW_SERVER": f"{_MLSERVER}-mlflow",
    "HUGGINGFACE_SERVER": f"{_MLSERVER}-huggingface",
    "TEMPO_SERVER": f"{_MLSERVER}-slim",
    "TRITON_SERVER": "nvcr.io/nvidia/tritonserver:21.08-py3",
}
TENSORFLOW_IMAGE = "tensorflow/serving:2.1.0"
_IMPLEMENTATIONS: Mapping[str, str] = {
    "SKLEARN_SERVER": "mlserver_sklearn.SKLearnModel",
    "XGBOOST_SERVER": "mlserver_xgboost.XGBoostModel",
    "MLFLOW_SERVER": "mlserver_mlflow.MLflowRuntime",
    "HUGGINGFACE_SERVER": "mlserver_huggingface.HuggingFaceRuntime",
    "TEMPO_SERVER": "tempo.mlserver.InferenceRuntime",
}
_TRITON_FLAGS = ("model_control_mode", "load_model", "strict_model_config")


class Kind(Enum):
    """How a packaged server is started."""

    SELDON = "seldon"
    MLSERVER = "mlserver"
    TRITON = "triton"
    TENSORFLOW = "tensorflow"
    PROXY = "proxy"


class Packaged(msgspec.Struct, frozen=True, kw_only=True):
    """What a packaged server adds to its container, where the user has none.

    Args:
        parameters: of the node, as the server reads them.
        environment: variables by name.
        has_health: it answers GET /v2/health/live and /ready.
    """

    args: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    environment: Mapping[str, str] = {}
    has_health: bool = False


def image_of(scene: Scene, node: Node) -> tuple[str, str]:
    """The image of a packaged server, and where it comes from; empty where there is none for the protocol."""
    server, protocol = node.packaged, scene.deployment.protocol
    given = scene.options.server_images.get(server)
    if given:
        return given, f"--server-image {server}"
    if server == "TENSORFLOW_SERVER" and protocol == "tensorflow":
        return TENSORFLOW_IMAGE, "default"
    images = _OPEN if scene.is_v2 else _SELDON if protocol in ("", "seldon") else {}
    return images.get(server, ""), "default"


def kind_of(scene: Scene, node: Node) -> Kind:
    """How a node's server is started."""
    if node.packaged == "TENSORFLOW_SERVER":
        return Kind.TENSORFLOW if scene.deployment.protocol == "tensorflow" else Kind.PROXY
    if node.packaged == "TRITON_SERVER":
        return Kind.TRITON
    return Kind.MLSERVER if scene.is_v2 else Kind.SELDON


def packaged(scene: Scene, node: Node, folder: str, ports: tuple[int, int], proxied: tuple[int, int]) -> Packaged:
    """What the server of a node adds to its container.

    Args:
        folder: where it finds its model.
        ports: HTTP and gRPC, where the node listens.
        proxied: HTTP and gRPC of the TensorFlow Serving behind the proxy.
    """
    match kind_of(scene, node):
        case Kind.TENSORFLOW:
            return Packaged(args=tensorflow_args(node.name, folder, ports), parameters=node.parameters)
        case Kind.PROXY:
            return Packaged(parameters=_proxy_parameters(node, proxied))
        case Kind.TRITON:
            args = tuple(_triton_args(scene, node, folder, ports))
            return Packaged(args=args, parameters=node.parameters, has_health=True)
        case Kind.MLSERVER:
            environment = _mlserver_environment(node)
            return Packaged(parameters=node.parameters, environment=environment, has_health=True)
    uri = Parameter(name="model_uri", value=folder, type="STRING")
    return Packaged(parameters=(*node.parameters, uri))


def tensorflow_args(model: str, folder: str, ports: tuple[int, int]) -> tuple[str, ...]:
    """The arguments of TensorFlow Serving."""
    http, grpc = ports
    return f"--port={grpc}", f"--rest_api_port={http}", f"--model_name={model}", f"--model_base_path={folder}"


def _proxy_parameters(node: Node, proxied: tuple[int, int]) -> tuple[Parameter, ...]:
    http, grpc = proxied
    given = {parameter.name for parameter in node.parameters}
    found = list(node.parameters)
    if not given & {"rest_endpoint", "grpc_endpoint"}:
        found.append(Parameter("rest_endpoint", f"http://0.0.0.0:{http}", "STRING"))
        found.append(Parameter("grpc_endpoint", f"0.0.0.0:{grpc}", "STRING"))
    if "model_name" not in given:
        found.append(Parameter("model_name", node.name, "STRING"))
    return tuple(found)


def _triton_args(scene: Scene, node: Node, folder: str, ports: tuple[int, int]) -> Sequence[str]:
    http, grpc = ports
    fetches = scene.deployment.annotations.get(NO_INITIALIZER) == "true"
    flags = {"strict_model_config": "false"}
    if fetches:
        flags |= {each.name: each.value for each in node.parameters if each.name in _TRITON_FLAGS}
    return [
        "/opt/tritonserver/bin/tritonserver",
        f"--grpc-port={grpc}",
        f"--http-port={http}",
        f"--model-repository={folder}",
        *(f"--{name.replace('_', '-')}={value}" for name, value in flags.items()),
    ]


def _mlserver_environment(node: Node) -> dict[str, str]:
    found = {}
    if node.packaged in _IMPLEMENTATIONS:
        found["MLSERVER_MODEL_IMPLEMENTATION"] = _IMPLEMENTATIONS[node.packaged]
    found["MLSERVER_MODEL_VERSION"] = "v1"
    if node.packaged == "HUGGINGFACE_SERVER":
        found |= {"MLSERVER_PARALLEL_WORKERS": "0", "XDG_CACHE_HOME": "/opt/mlserver"}
    return found


def parameters_text(parameters: Sequence[Parameter]) -> str:
    """Parameters as the variable PREDICTIVE_UNIT_PARAMETERS holds them."""
    rows: list[dict[str, Any]] = [{"name": each.name, "value": each.value, "type": each.type} for each in parameters]
    return msgspec.json.encode(rows).decode()
