"""The pages “Try it” and “Feedback”: request form, reward form, and the state of learning routers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from infergraph.errors import Fault
from infergraph.graph.routers.bandits import FILE_NAME
from infergraph.message import Method
from infergraph.protocol import paths
from infergraph.protocol.paths import Protocol
from infergraph.protocol.services import CLIENT_CALLS, INFERENCE
from infergraph.serving.console.arms import Arm, belief, read_arms
from infergraph.serving.console.console import ConsoleParts
from infergraph.serving.console.forms import form_of
from infergraph.serving.console.graph_layout import shares_of
from infergraph.serving.console.live_figures import View
from infergraph.serving.console.rendering import Renderer, kind_class
from infergraph.topology import Topology, TopologyNode
from infergraph.wire.v2.tensors import Datatype

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

TONES = 6
PLOT_WIDTH, PLOT_HEIGHT, PLOT_TOP = 1000.0, 200.0, 6.0


class Asking(NamedTuple):
    """A method to call: its REST path, its gRPC method, the client's method (empty for none), and the protocol."""

    path: str
    grpc: str
    client: str
    protocol: Protocol = Protocol.SELDON


_HOOKS = (Method.PREDICT, Method.TRANSFORM_INPUT, Method.TRANSFORM_OUTPUT, Method.ROUTE)
COMPONENT = {
    **{method: Asking(paths.INTERNAL[method], CLIENT_CALLS[method], method.value) for method in _HOOKS},
    Method.AGGREGATE: Asking(paths.INTERNAL[Method.AGGREGATE], CLIENT_CALLS[Method.AGGREGATE], ""),
}
_UNKNOWN = (COMPONENT[Method.PREDICT],)
_PREDICT = CLIENT_CALLS[Method.PREDICT]


class ArmRow(NamedTuple):
    """A branch for display; `tone` is its colour, `path` its curve."""

    branch: int
    name: str
    tone: int
    visits: float | None
    share: float | None
    tries: float | None
    value: float | None
    low: float
    high: float
    path: str


class RouterRow(NamedTuple):
    """A router for display; `plot` if it learns."""

    name: str
    target: str
    plot: bool
    arms: list[ArmRow]


class AskPages:
    """The pages that send messages, and the live part with the routers' arms."""

    def __init__(self, parts: ConsoleParts, renderer: Renderer) -> None:
        self._parts = parts
        self._renderer = renderer

    def handlers(self) -> dict[str, Handler]:
        """By name."""
        return {"try": self.ask, "feedback": self.feedback, "arms": self.arms}

    async def ask(self, request: Request) -> Response:
        """The page “Try it”."""
        unit, trouble = await self._unit()
        values = {
            "unit": unit,
            "methods": self._methods(),
            "metadata_trouble": trouble,
            "grpc_port": self._parts.grpc_port,
        }
        return self._renderer.page(request, "try", values)

    async def feedback(self, request: Request) -> Response:
        """The page “Feedback”."""
        unit, _ = await self._unit()
        return self._renderer.page(request, "feedback", {"unit": unit, **await self._arms()})

    async def arms(self, request: Request) -> Response:
        """The live part with the routers' arms."""
        return self._renderer.part(request, "_arms.html", await self._arms())

    def _methods(self) -> tuple[Asking, ...]:
        """The methods in the protocol that the unit documents, then those in the open inference protocol."""
        name = quote(self._parts.model, safe="")
        asked = [Asking(f"/v2/models/{name}/infer", f"{INFERENCE}/ModelInfer", "", Protocol.V2)]
        if self._parts.unit.facts.streams:
            asked.append(Asking(f"/v2/models/{name}/infer_stream", f"{INFERENCE}/ModelStreamInfer", "", Protocol.V2))
        return (*(() if self._parts.topology.protocol == Protocol.V2.value else self._own_methods()), *asked)

    def _own_methods(self) -> tuple[Asking, ...]:
        topology = self._parts.topology
        if not topology.is_graph:
            known = self._parts.methods()
            return tuple(asking for method, asking in COMPONENT.items() if method in known) or _UNKNOWN
        protocol = Protocol.named(topology.protocol)
        if protocol is Protocol.SELDON:
            return (Asking(paths.EXTERNAL[Method.PREDICT], _PREDICT, Method.PREDICT.value),)
        return (Asking(paths.method_path(protocol, Method.PREDICT, topology.root.name), _PREDICT, "", protocol),)

    async def _unit(self) -> tuple[dict[str, Any], str]:
        """The data for the scripts, and why the metadata is not available."""
        topology, trouble, metadata = self._parts.topology, "", None
        try:
            metadata = await self._parts.unit.metadata()
        except Fault as fault:
            trouble = fault.text
        form = form_of(metadata, topology.protocol)
        known = {
            "name": topology.name,
            "model": self._parts.model,
            "start": form.start,
            "pane": form.pane.value,
            "textKey": form.text_key,
            "tensors": form_of(metadata, Protocol.V2.value).start,
            "datatypes": [kind.value for kind in Datatype],
            "topology": _tree(topology.root),
            "grpcPort": self._parts.grpc_port,
            "feedbackPath": "" if topology.protocol == "v2" else paths.EXTERNAL[Method.SEND_FEEDBACK],
            "mode": self._parts.settings.console.value,
        }
        return known, trouble

    async def _arms(self) -> dict[str, Any]:
        view = await asyncio.to_thread(self._parts.watch.look)
        try:
            known, trouble = await asyncio.to_thread(read_arms, self._parts.data_dir / FILE_NAME), ""
        except OSError as error:
            known, trouble = {}, str(error)
        return {"routers": list(_routers(self._parts.topology, view, known)), "trouble": trouble}


def _tree(node: TopologyNode) -> dict[str, Any]:
    return {
        "name": node.name,
        "kind": node.kind,
        "css": kind_class(node.kind),
        "role": node.role.value,
        "routes": node.routes,
        "children": [_tree(child) for child in node.children],
    }


def _routers(topology: Topology, view: View, known: dict[str, list[Arm]]) -> list[RouterRow]:
    """The served routers, then others in the file."""
    rows, left = [], dict(known)
    for node in topology.root.walk():
        if not node.routes or node.kind == "SPLIT":
            continue
        key = next((key for key in left if key.startswith(f"{topology.name}/") and key.endswith(f"/{node.name}")), "")
        rows.append(_served(node, view, left.pop(key, None)))
    for key, arms in left.items():
        names = {arm.branch: f"branch {arm.branch}" for arm in arms}
        if not topology.is_graph or not rows:
            rows.append(RouterRow(key, "", True, _arm_rows(arms, names, {}, {})))
    return rows


def _served(node: TopologyNode, view: View, arms: list[Arm] | None) -> RouterRow:
    branches = node.branches()
    shares = dict(zip((id(child) for child in node.children), shares_of(node, view), strict=True))
    names = {place: child.name for place, child in enumerate(branches)}
    visits = {place: view.visits(child.name) for place, child in enumerate(branches)}
    parts = {place: shares[id(child)] for place, child in enumerate(branches)}
    learnt = {arm.branch: arm for arm in arms or ()}
    every = [learnt.get(place, Arm(place, 0.0, 0.0)) for place in names]
    is_learning = arms is not None or ".bandit:" in node.target
    return RouterRow(node.name, node.target, is_learning, _arm_rows(every, names, visits, parts))


def _arm_rows(
    arms: list[Arm], names: dict[int, str], visits: dict[int, float], shares: dict[int, float | None]
) -> list[ArmRow]:
    beliefs = [belief(arm) for arm in arms]
    top = max((each.peak for each in beliefs), default=1.0)
    rows = []
    for arm, believed in zip(arms, beliefs, strict=True):
        scale = (PLOT_HEIGHT - PLOT_TOP) / top
        points = [f"{PLOT_WIDTH * place:.1f} {PLOT_HEIGHT - scale * height:.1f}" for place, height in believed.curve]
        ends = [
            f"{PLOT_WIDTH * place:.1f} {PLOT_HEIGHT:.1f}" for place in (believed.curve[0][0], believed.curve[-1][0])
        ]
        rows.append(
            ArmRow(
                branch=arm.branch,
                name=names.get(arm.branch, str(arm.branch)),
                tone=arm.branch % TONES,
                visits=visits.get(arm.branch),
                share=shares.get(arm.branch),
                tries=arm.tries,
                value=arm.value,
                low=believed.low,
                high=believed.high,
                path="M" + "L".join([ends[0], *points, ends[1]]),
            )
        )
    return rows
