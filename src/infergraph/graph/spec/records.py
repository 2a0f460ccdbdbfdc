"""The records of a SeldonDeployment: frozen structs, whose wire names are those of a deployment file.

    Deployment ─▶ Predictor ─▶ Node ─▶ Node …

Wire names that differ from ours are set on the class (`rename`), and values at their default are left out when
a record is written, so that a graph reads back as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

UNKNOWN_IMPLEMENTATION = "UNKNOWN_IMPLEMENTATION"
BUILT_IN_IMPLEMENTATIONS = frozenset({"SIMPLE_MODEL", "SIMPLE_ROUTER", "RANDOM_ABTEST", "AVERAGE_COMBINER"})
TYPES = frozenset(
    {"UNKNOWN_TYPE", "MODEL", "ROUTER", "COMBINER", "TRANSFORMER", "OUTPUT_TRANSFORMER", "CHAIN"},
)
PLACING = {
    "place": "place",
    "replicas": "replicas",
    "resources": "resources",
    "hpa_spec": "hpaSpec",
    "keda_spec": "kedaSpec",
    "pdb_spec": "pdbSpec",
}
"""The members of a node that say where it runs, by our names of them."""

METHODS = frozenset({"TRANSFORM_INPUT", "TRANSFORM_OUTPUT", "ROUTE", "AGGREGATE", "SEND_FEEDBACK"})


class Parameter(msgspec.Struct, frozen=True):
    """One typed parameter of a node; the value is always text.

    Args:
        type: INT, FLOAT, DOUBLE, STRING or BOOL.
    """

    name: str
    value: str
    type: str


class Endpoint(
    msgspec.Struct, frozen=True, omit_defaults=True, rename={"http_port": "httpPort", "grpc_port": "grpcPort"}
):
    """Where a remote node listens. `type` is REST, GRPC or empty; ports are 0 where not given.

    Its host may resolve to several addresses. The members from `tls` on are ours, as `component` is.

    Args:
        tls: whether it is called by TLS.
        service_hosts: more hosts where it listens, each `host` or `host:port`.
        service_hosts_file: a file that lists more of them, one a line, and is read again as it changes.
        path: before the paths of the protocol, as for a node behind an ingress; empty for none.
    """

    service_host: str = ""
    service_port: int = 0
    type: str = ""
    http_port: int = 0
    grpc_port: int = 0
    tls: bool = False
    service_hosts: tuple[str, ...] = ()
    service_hosts_file: str = ""
    path: str = ""

    @property
    def has_host(self) -> bool:
        """Whether it says where the node listens."""
        return bool(self.service_host or self.service_hosts or self.service_hosts_file)


class Logger(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a node's payloads are logged. `mode` is all, request or response."""

    url: str = ""
    mode: str = ""


class Node(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={
        "model_uri": "modelUri",
        "service_account_name": "serviceAccountName",
        "env_secret_ref_name": "envSecretRefName",
        "storage_initializer_image": "storageInitializerImage",
        "hpa_spec": "hpaSpec",
        "keda_spec": "kedaSpec",
        "pdb_spec": "pdbSpec",
    },
):
    """A node of the inference graph.

    `type` and `implementation` are None where the file says nothing: `default` looks at the difference, so "" is
    kept apart from None. The members from `component` on are ours; each is off unless it is asked for.

    Args:
        type: UNKNOWN_TYPE, MODEL, ROUTER, COMBINER, TRANSFORMER, OUTPUT_TRANSFORMER, or our CHAIN, whose children
            run one after the other; any other name is kept and does nothing.
        implementation: a built-in, or the name of a packaged server.
        methods: of TRANSFORM_INPUT, TRANSFORM_OUTPUT, ROUTE, AGGREGATE, SEND_FEEDBACK.
        methods_written: an empty `methods` list stood in the file, which keeps the node from getting a default type.
        component: `module:Class` to run in this process.
        timeout_ms: time-out of one call; 0 for none of its own.
        retries: number of retries of a failed call.
        retry_backoff_ms: wait before the first retry; doubles with each.
        fallback: answers when the node fails: another node, or a constant answer as a message document.
        shadow: the answer is compared and logged, never returned.
        place: own or parent: whether it runs in a process of its own, or in its parent's, see `graph.placement`.
        replicas: how many of that process; None where the file says nothing.
        resources, hpa_spec, keda_spec, pdb_spec: plain documents just as they were written, in the shapes that a
            container and a componentSpec have.
    """

    name: str = ""
    type: str | None = None
    implementation: str | None = None
    methods: tuple[str, ...] = ()
    children: tuple[Node, ...] = ()
    endpoint: Endpoint | None = None
    parameters: tuple[Parameter, ...] = ()
    model_uri: str = ""
    logger: Logger | None = None
    service_account_name: str = ""
    env_secret_ref_name: str = ""
    storage_initializer_image: str = ""
    methods_written: bool = False
    component: str = ""
    timeout_ms: int = 0
    retries: int = 0
    retry_backoff_ms: int = 100
    fallback: Node | dict[str, Any] | None = None
    shadow: bool = False
    place: str = ""
    replicas: int | None = None
    resources: dict[str, Any] = {}
    hpa_spec: dict[str, Any] = {}
    keda_spec: dict[str, Any] = {}
    pdb_spec: dict[str, Any] = {}

    @property
    def packaged(self) -> str:
        """The name of the packaged server that the node asks for; empty if it asks for none."""
        name = self.implementation or ""
        return "" if name == UNKNOWN_IMPLEMENTATION or name in BUILT_IN_IMPLEMENTATIONS else name

    @property
    def built_in(self) -> str:
        """The name of the built-in implementation that the node asks for; empty if it asks for none."""
        return self.implementation if self.implementation in BUILT_IN_IMPLEMENTATIONS else ""

    @property
    def placing(self) -> list[str]:
        """The members that say where the node runs, of those that it has, by their names in the file."""
        return [name for field, name in PLACING.items() if getattr(self, field) not in ("", None, {})]

    def walk(self) -> Iterator[Node]:
        """This node and its descendants, parents first, children in order; without fallback nodes."""
        yield self
        for child in self.children:
            yield from child.walk()

    def walk_all(self) -> Iterator[Node]:
        """Like `walk`, with fallback nodes, each after its node."""
        yield self
        if isinstance(self.fallback, Node):
            yield from self.fallback.walk_all()
        for child in self.children:
            yield from child.walk_all()


class Predictor(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={
        "component_specs": "componentSpecs",
        "svc_orch_spec": "svcOrchSpec",
        "engine_resources": "engineResources",
        "progress_deadline_seconds": "progressDeadlineSeconds",
    },
):
    """One graph with its share of the traffic.

    Args:
        component_specs: the pods, as plain documents just as they were written.
        traffic: percent of the requests among the predictors of a deployment.
        shadow: gets a copy of the traffic; its answers are dropped.
    """

    name: str = ""
    graph: Node = Node()
    component_specs: tuple[dict[str, Any], ...] = ()
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}
    traffic: int = 0
    shadow: bool = False
    replicas: int | None = None
    explainer: dict[str, Any] = {}
    svc_orch_spec: dict[str, Any] = {}
    engine_resources: dict[str, Any] = {}
    ssl: dict[str, Any] = {}
    progress_deadline_seconds: int | None = None


class Problem(msgspec.Struct, frozen=True):
    """One error or warning about a deployment.

    `str()` gives the line that the reference prints: `field: Invalid value: "v": text`.

    Args:
        field: path of the place in the document, such as `spec.predictors[0].graph[1]` (children are indices).
        text: what is wrong.
        hint: how to fix it.
        value: the value found there; None where the reference has no such line.
    """

    field: str
    text: str
    hint: str = ""
    value: str | None = None

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.field}: {self.text}"
        return f"{self.field}: Invalid value: {json.dumps(self.value, ensure_ascii=False)}: {self.text}"


class Deployment(msgspec.Struct, frozen=True):
    """A SeldonDeployment: one or more predictors behind one address.

    Args:
        name: `metadata.name`.
        spec_name: `spec.name`, deprecated.
        namespace: `metadata.namespace`.
        annotations: `spec.annotations`, the ones that a graph obeys.
        metadata_annotations, labels: those of `metadata`.
        protocol, transport, server_type: empty where the file says nothing.
        advice: warnings from reading (unknown members), see `advise`.
        bare: the document was a predictor alone, as the orchestrator itself is given it: taken as it is written.
        source, document: the file and the number of the document in it, from 0.
        at: the path of the deployment in that document, where it is one of a list: `items[1]`.
    """

    api_version: str = "machinelearning.seldon.io/v1"
    kind: str = "SeldonDeployment"
    name: str = ""
    spec_name: str = ""
    namespace: str = ""
    annotations: dict[str, str] = {}
    metadata_annotations: dict[str, str] = {}
    labels: dict[str, str] = {}
    protocol: str = ""
    transport: str = ""
    server_type: str = ""
    replicas: int | None = None
    oauth_key: str = ""
    oauth_secret: str = ""
    predictors: tuple[Predictor, ...] = ()
    bare: bool = False
    advice: tuple[Problem, ...] = ()
    source: str = ""
    document: int = 0
    at: str = ""

    def walk_all(self) -> Iterator[Node]:
        """The nodes of all predictors, parents first, including fallback nodes."""
        for predictor in self.predictors:
            yield from predictor.graph.walk_all()

    def field(self, path: str) -> str:
        """The path in the file's document of `path`, which is one in the deployment."""
        return path if self.at and path.startswith(self.at) else f"{self.at}.{path}".strip(".")
