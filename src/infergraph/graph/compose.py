"""Compose units into a graph in Python, without files.

    classify = model("classify", Classifier())
    flow = transformer("clean", component(Cleaner, lower=True), classify)
    flow = router("choose", component(EpsilonGreedy, n_branches=2), model("a", A), remote_model)
    print(flow.to_yaml("my-graph"))

A flow is a tree of nodes with the objects behind them; it runs nothing itself. Behind a node is one of: an object, a
class, `component(...)` (a class or target with its arguments), `remote(...)` (an address), `packaged(...)` (a model
server), or a ready predictive unit.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from infergraph.errors import GraphError
from infergraph.graph.spec import writing
from infergraph.graph.spec.records import (
    BUILT_IN_IMPLEMENTATIONS,
    Deployment,
    Endpoint,
    Logger,
    Node,
    Parameter,
    Predictor,
)
from infergraph.net.address import bracketed

_SCHEMES = {"http": "REST", "https": "REST", "grpc": "GRPC", "grpcs": "GRPC"}


class Made(msgspec.Struct, frozen=True):
    """A class, or any factory, with the arguments to call it with."""

    found: Callable[..., object]
    arguments: Mapping[str, Any]


class Target(msgspec.Struct, frozen=True):
    """A component by name, imported when the graph starts: `module:Class` or `file.py:Class`."""

    name: str
    arguments: Mapping[str, Any]


class Packaged(msgspec.Struct, frozen=True):
    """A packaged server such as SKLEARN_SERVER, with the address of its model."""

    server: str
    model_uri: str
    arguments: Mapping[str, Any]


Unit: TypeAlias = object
"""What may be behind a node: see the module."""


class Flow(msgspec.Struct, frozen=True):
    """A composed graph, or a part of one.

    Args:
        node: its root.
        units: by node name, for nodes in this process: an object, a `Made`, or a predictive unit. Nodes that are
            remote, packaged, built in or given by target are not in it.
    """

    node: Node
    units: Mapping[str, Unit] = {}

    @property
    def makers(self) -> dict[str, Callable[[], object]]:
        """By node name, a factory of its object; nothing is constructed before the call."""
        return {name: _maker(unit) for name, unit in self.units.items()}

    def resilient(
        self,
        *,
        timeout_ms: int = 0,
        retries: int = 0,
        retry_backoff_ms: int = 100,
        fallback: Flow | Mapping[str, Any] | None = None,
    ) -> Flow:
        """The same flow, its root with a time-out, retries and a fallback.

        Args:
            timeout_ms: time-out of one call; 0 for none.
            retries: number of retries of a failed call, if it may be retried.
            retry_backoff_ms: wait before the first retry; doubles with each.
            fallback: another flow, or a constant answer as a JSON message, such as `{"strData": "none"}`.
        Raises: GraphError for a negative number, or a node name that is in the flow already.
        """
        if min(timeout_ms, retries, retry_backoff_ms) < 0:
            raise GraphError(f"node {self.node.name!r}: timeout_ms, retries and retry_backoff_ms must be 0 or more")
        answer: Node | dict[str, Any] | None
        if isinstance(fallback, Flow):
            _only_new(_names(self.node), fallback.node)
            answer, units = fallback.node, {**self.units, **fallback.units}
        else:
            answer, units = None if fallback is None else dict(fallback), dict(self.units)
        node = replace(
            self.node, timeout_ms=timeout_ms, retries=retries, retry_backoff_ms=retry_backoff_ms, fallback=answer
        )
        return Flow(node, units)

    def shadowed(self) -> Flow:
        """The same flow as a shadow: its answer is compared and logged, and never returned."""
        return Flow(replace(self.node, shadow=True), self.units)

    def logged(self, mode: str = "all", url: str = "") -> Flow:
        """The same flow, the payloads of its root logged; `mode` is all, request or response."""
        return Flow(replace(self.node, logger=Logger(url=url, mode=mode)), self.units)

    def to_deployment(self, name: str = "") -> Deployment:
        """The graph as a deployment of one predictor, with classes as `component: module:Class`.

        Args:
            name: of the deployment; the root's name by default.
        Raises:
            GraphError: a unit cannot be written: its class cannot be imported by name, or it is an object with
                unknown arguments; the text says what to use instead.
        """
        predictor = Predictor(name="default", graph=_written(self.node, self.units))
        return Deployment(name=name or self.node.name, predictors=(predictor,))

    def to_yaml(self, name: str = "") -> str:
        """The text of a deployment file (see `to_deployment`)."""
        return writing.to_yaml(self.to_deployment(name))


def component(found: Callable[..., object] | str, /, **arguments: Any) -> Made | Target:
    """A class with its constructor arguments, constructed when the graph starts.

    Args:
        found: the class itself, or its name as `module:Class`.
        arguments: of the constructor; only text, integers, floats and booleans can be written to a file.
    """
    return Target(found, arguments) if isinstance(found, str) else Made(found, arguments)


def packaged(server: str, model_uri: str, /, **arguments: Any) -> Packaged:
    """A packaged server, such as `packaged("SKLEARN_SERVER", "file:///models/iris", method="predict")`."""
    return Packaged(server, model_uri, arguments)


def remote(address: str) -> Endpoint:
    """A remote node: `http://host:port` for REST, `grpc://host:port` for gRPC, https and grpcs for TLS.

    A path may follow, for a node behind an ingress; several addresses are separated by commas. `http+file:///FILE` is
    a file that lists them, a `host:port` a line; it stands first.

    Raises: GraphError for any other form.
    """
    first, *others = map(_endpoint, address.split(","))
    for other in others:
        if (other.type, other.tls, other.path) != (first.type, first.tls, first.path):
            raise GraphError(f"{address!r}: the addresses of a node differ in host and port only")
        if other.service_hosts_file:
            raise GraphError(f"{address!r}: a file that lists addresses stands before all others, and there is one")
    hosts = tuple(f"{bracketed(other.service_host)}:{other.service_port}" for other in others)
    return replace(first, service_hosts=hosts)


def _endpoint(address: str) -> Endpoint:
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise GraphError(f"{address!r} is not an address: {error}") from error
    scheme, is_listed, _ = parts.scheme.partition("+file")
    kind, is_secure, path = _SCHEMES.get(scheme), scheme.endswith("s"), parts.path.rstrip("/")
    if kind is not None and is_listed and path and not parts.netloc:
        return Endpoint(service_hosts_file=path, type=kind, tls=is_secure)
    if kind is None or is_listed or not parts.hostname or port is None or parts.query or parts.fragment:
        raise GraphError(f"{address!r} is not an address; write http://host:port or grpc://host:port")
    host = parts.hostname
    if kind == "REST":
        return Endpoint(service_host=host, service_port=port, type=kind, http_port=port, tls=is_secure, path=path)
    return Endpoint(service_host=host, service_port=port, type=kind, grpc_port=port, tls=is_secure, path=path)


def model(name: str, unit: Unit, *children: Flow) -> Flow:
    """A node that predicts; children, if any, are called with its answer."""
    return _flow(Node(name=name, type="MODEL"), unit, children)


def transformer(name: str, unit: Unit, *children: Flow) -> Flow:
    """A node that transforms its input, and passes it to its child."""
    return _flow(Node(name=name, type="TRANSFORMER"), unit, children)


def output_transformer(name: str, unit: Unit, *children: Flow) -> Flow:
    """A node that transforms the answer of its child."""
    return _flow(Node(name=name, type="OUTPUT_TRANSFORMER"), unit, children)


def router(name: str, unit: Unit, *children: Flow) -> Flow:
    """A node that chooses which of its children answers.

    Raises: GraphError if it has no children.
    """
    return _flow(Node(name=name, type="ROUTER"), unit, _some(name, children))


def combiner(name: str, unit: Unit, *children: Flow) -> Flow:
    """A node that combines the answers of all its children, which run concurrently.

    Raises: GraphError if it has no children.
    """
    return _flow(Node(name=name, type="COMBINER"), unit, _some(name, children))


def chain(name: str, *children: Flow) -> Flow:
    """A node that runs its children in sequence, each called with the answer of the one before.

    Raises: GraphError if it has no children.
    """
    return _flow(Node(name=name, type="CHAIN"), None, _some(name, children))


def built_in(name: str, implementation: str, /, *children: Flow, **parameters: Any) -> Flow:
    """A built-in node: SIMPLE_MODEL, SIMPLE_ROUTER, RANDOM_ABTEST or AVERAGE_COMBINER.

    Args:
        parameters: of the implementation, such as `ratioA=0.9` of RANDOM_ABTEST.
    """
    if implementation not in BUILT_IN_IMPLEMENTATIONS:
        known = ", ".join(sorted(BUILT_IN_IMPLEMENTATIONS))
        raise GraphError(f"node {name!r}: {implementation!r} is not built in; known are {known}")
    node = Node(name=name, implementation=implementation, parameters=_parameters(name, parameters))
    return _flow(node, None, children)


def _flow(node: Node, unit: Unit, children: tuple[Flow, ...]) -> Flow:
    if not node.name:
        raise GraphError(f"a {node.type or node.implementation} needs a name: routes and feedback go by it")
    names = {node.name}
    units: dict[str, Unit] = {}
    for child in children:
        if not isinstance(child, Flow):
            raise GraphError(f"node {node.name!r}: a child must be a flow such as model(...), not {child!r:.80}")
        names |= _only_new(names, child.node)
        units |= child.units
    node = replace(node, children=tuple(child.node for child in children))
    match unit:
        case None:
            if node.type != "CHAIN" and not node.built_in:
                raise GraphError(
                    f"node {node.name!r} has nothing to answer with: give it a class, an object or an address"
                )
        case Endpoint():
            node = replace(node, endpoint=unit)
        case Packaged(server=server, model_uri=uri, arguments=arguments):
            parameters = _parameters(node.name, arguments)
            node = replace(node, implementation=server, model_uri=uri, parameters=parameters)
        case Target(name=target, arguments=arguments):
            node = replace(node, component=target, parameters=_parameters(node.name, arguments))
        case _:
            units[node.name] = Made(unit, {}) if inspect.isclass(unit) else unit
    return Flow(node, units)


def _maker(unit: Unit) -> Callable[[], object]:
    if isinstance(unit, Made):
        return lambda: unit.found(**unit.arguments)
    return lambda: unit


def _some(name: str, children: tuple[Flow, ...]) -> tuple[Flow, ...]:
    if not children:
        raise GraphError(f"node {name!r} needs children")
    return children


def _names(node: Node) -> set[str]:
    names = {node.name}
    for below in (*node.children, node.fallback):
        if isinstance(below, Node):
            names |= _names(below)
    return names


def _only_new(names: set[str], node: Node) -> set[str]:
    """The names in `node`; GraphError if one of them is among `names`."""
    found = _names(node)
    for name in sorted(found & names):
        raise GraphError(f"two nodes are called {name!r}: routes and feedback go by the name, so give each its own")
    return found


def _written(node: Node, units: Mapping[str, Unit]) -> Node:
    children = tuple(_written(child, units) for child in node.children)
    fallback = _written(node.fallback, units) if isinstance(node.fallback, Node) else node.fallback
    node = replace(node, children=children, fallback=fallback)
    if node.name not in units:
        return node
    unit = units[node.name]
    if not isinstance(unit, Made):
        unit = _as_made(node.name, unit)
    parameters = _parameters(node.name, unit.arguments)
    return replace(node, component=_importable(node.name, unit.found), parameters=parameters)


def _as_made(name: str, unit: Unit) -> Made:
    """An object as its class, if the constructor needs no arguments."""
    found = type(unit)
    try:
        if found.__init__ is object.__init__ or not inspect.signature(found).parameters:
            return Made(found, {})
    except ValueError:
        pass  # a class written in C has no signature
    raise GraphError(
        f"node {name!r}: the arguments that this {found.__name__} was constructed with are not known; "
        f"give component({found.__name__}, ...) to be able to write it"
    )


def _importable(name: str, found: Callable[..., object]) -> str:
    module = getattr(found, "__module__", "")
    path = getattr(found, "__qualname__", "")
    place: Any = sys.modules.get(module)
    for part in path.split("."):
        place = getattr(place, part, None)
    if place is not found or module == "__main__":
        where = "a script" if module == "__main__" else "a function"
        raise GraphError(
            f"node {name!r}: {path or found!r} lives in {where}; move it to a module to be able to write it"
        )
    return f"{module}:{path}"


def _parameters(name: str, arguments: Mapping[str, Any]) -> tuple[Parameter, ...]:
    return tuple(_parameter(name, key, value) for key, value in arguments.items())


def _parameter(name: str, key: str, value: Any) -> Parameter:
    match value:
        case bool():
            return Parameter(key, "true" if value else "false", "BOOL")
        case int():
            return Parameter(key, str(value), "INT")
        case float():
            return Parameter(key, repr(value), "DOUBLE")
        case str():
            return Parameter(key, value, "STRING")
    raise GraphError(
        f"node {name!r}: {key}={value!r:.80} is not text, a number or a boolean, and cannot be a parameter"
    )
