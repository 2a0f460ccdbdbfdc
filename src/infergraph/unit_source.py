"""The source of a unit (target, environment, folder) as plain values that are passed between processes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from infergraph.errors import SettingsError, TargetError

GRAPH_ENDINGS = (".yaml", ".yml", ".json")
_MODEL_ENDINGS = {
    ".joblib": "SKLEARN_SERVER",
    ".pkl": "SKLEARN_SERVER",
    ".pickle": "SKLEARN_SERVER",
    ".bst": "XGBOOST_SERVER",
    ".ubj": "XGBOOST_SERVER",
    ".onnx": "ONNX_SERVER",
}
_MODEL_START_BYTES = 4096
_NAME = re.compile(r"[\w][\w.~-]*")

ENVIRONMENT = (
    "PREDICTIVE_UNIT_ID",
    "PREDICTIVE_UNIT_IMAGE",
    "SELDON_DEPLOYMENT_ID",
    "PREDICTOR_ID",
    "PREDICTOR_LABELS",
    "SELDON_EXECUTOR_ENABLED",
    "SELDON_ENABLE_ROUTING_INJECTION",
)
"""The environment variables that identify a unit within its deployment."""


class UnitSource(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be served.

    Args:
        target: "module:Class", "file.py:Class", "deployment.yaml", "deployment.yaml#name", "SKLEARN_SERVER:path", …
        environment: the protocol's own variables (`ENVIRONMENT`).
        folder: base of relative targets and modules; empty for the working directory.
        nodes: targets or addresses for nodes of a graph, by node name.
        predictor: which predictor of a graph file; empty for all.
        name: under which it is served; empty for its own.
        files: folder where relative paths of a graph file start; empty for the file's own.
        groups: nodes of a graph file that are served by groups of the same cut: whether they are ready is asked.
    """

    target: str
    environment: dict[str, str] = {}
    folder: str = ""
    nodes: dict[str, str] = {}
    predictor: str = ""
    name: str = ""
    files: str = ""
    groups: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The folder as a path."""
        return Path(self.folder) if self.folder else Path.cwd()


def source_of(target: str, *, nodes: dict[str, str] | None = None, predictor: str = "", name: str = "") -> UnitSource:
    """The source of `target` in this process's environment and working directory."""
    return UnitSource(
        target=target,
        environment={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        folder=os.getcwd(),
        nodes=nodes or {},
        predictor=predictor,
        name=name,
    )


def named(text: str) -> tuple[str, str]:
    """Name and target of `NAME=TARGET`; an empty name where there is none, as in the path of a file with `=`."""
    name, equals, target = text.partition("=")
    if not equals or not target or not _NAME.fullmatch(name) or Path(text).exists():
        return "", text
    return name, target


def is_graph(target: str) -> bool:
    """Whether a target names a graph file."""
    return target.partition("#")[0].endswith(GRAPH_ENDINGS) and not server_of(target)


def server_of(target: str) -> str:
    """The packaged server of a target such as `SKLEARN_SERVER:iris.joblib`; empty for any other."""
    server, colon, _ = target.partition(":")
    return server if colon and server.isupper() and server.endswith("_SERVER") else ""


def with_server(target: str) -> str:
    """The target with its packaged server, if it is a model's file or folder; any other target unchanged.

    `iris.joblib` becomes `SKLEARN_SERVER:iris.joblib`. A file is recognized by its extension, XGBoost's JSON by its
    content, and a folder by its files.

    Raises: TargetError for a file or folder that is neither a model, nor code, nor a deployment file, and for a
        file of a model that is not there.
    """
    path = Path(target)
    if path.is_dir():
        server = _server_of_folder(path)
        is_code = path.name.isidentifier() and "/" not in target and any(path.glob("*.py"))
    elif path.is_file():
        server = _server_of_file(path)
        is_code = path.suffix in (".py", *GRAPH_ENDINGS)
    elif path.suffix in _MODEL_ENDINGS and not path.with_suffix("").is_dir():  # a package may have a module `onnx`
        raise TargetError(f"{target}: there is no such file (looked for in {Path.cwd()})")
    else:
        return target
    if server:
        return f"{server}:{target}"
    if is_code:
        return target
    here = f": it holds {', '.join(sorted(each.name for each in path.iterdir())) or 'nothing'}" if path.is_dir() else ""
    raise TargetError(
        f"{target} is not a model that is served without code{here}; those are a folder with MLmodel, and files in "
        f"{', '.join(_MODEL_ENDINGS)}. Load it in a class of your own, and serve that: file.py:Class"
    )


def _server_of_file(path: Path) -> str:
    if path.suffix != ".json":
        return _MODEL_ENDINGS.get(path.suffix, "")
    with path.open("rb") as file:
        return "XGBOOST_SERVER" if b'"learner"' in file.read(_MODEL_START_BYTES) else ""


def _server_of_folder(folder: Path) -> str:
    """The server of a folder: MLflow's own format, or the kind of its only model."""
    if (folder / "MLmodel").is_file():
        return "MLFLOW_SERVER"
    found = {server for path in folder.iterdir() if path.is_file() and (server := _server_of_file(path))}
    return found.pop() if len(found) == 1 else ""


def read_overrides(given: Sequence[str]) -> dict[str, str]:
    """Parse `NAME=TARGET` texts to targets by node name.

    Raises: SettingsError for malformed text.
    """
    overrides = {}
    for text in given:
        name, equals, target = text.partition("=")
        if not (name and equals and target):
            raise SettingsError(f"--node {text!r} must be NAME=TARGET, such as classifier=mymodels:Classifier")
        overrides[name] = target
    return overrides


def service_of(source: UnitSource) -> str:
    """The service name in traces."""
    environment = source.environment
    given = environment.get("PREDICTIVE_UNIT_ID") or environment.get("SELDON_DEPLOYMENT_ID")
    if is_graph(source.target):
        return given or source.target.partition("#")[2] or Path(source.target).stem
    return given or source.target.rpartition(":")[2].rpartition(".")[2] or source.target
