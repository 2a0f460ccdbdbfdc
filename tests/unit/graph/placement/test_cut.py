"""The cut of a graph into places, and what the file asks for each."""

from __future__ import annotations

from typing import Any

import yaml

from infergraph.graph import spec
from infergraph.graph.placement import Place, PlaceKind, PredictorCut, Site, cut, file_of


def _cut(graph: str, *, overrides: dict[str, str] | None = None, **members: Any) -> PredictorCut:
    return _whole(graph, overrides=overrides, **members).predictors[0]


def _whole(graph: str, *, overrides: dict[str, str] | None = None, **members: Any):
    predictor = {"name": "p", "graph": yaml.safe_load(graph), **members}
    document = {"kind": "SeldonDeployment", "metadata": {"name": "d"}, "spec": {"predictors": [predictor]}}
    (deployment,) = spec.read(yaml.safe_dump(document), source="graph.yaml")
    return cut(deployment, overrides or {})


def _address(place: Place) -> spec.Endpoint:
    return spec.Endpoint(f"at-{place.name}", http_port=place.http_port, grpc_port=place.grpc_port)


def _file(found, place: Place) -> spec.Node:
    return file_of(found, place, _address).predictors[0].graph


def test_nodes_that_ask_for_nothing_stay_in_the_front() -> None:
    """A graph without placing members is one process."""
    found = _cut("{name: a, component: m:A, children: [{name: b, component: m:B}, {name: c, component: m:C}]}")
    assert found.served == (found.front,)
    assert found.front is not None
    assert found.front.nodes == ("a", "b", "c")
    assert set(found.sites.values()) == {Site.HERE}


def test_each_member_asks_for_a_group() -> None:
    """Each of the placing members starts a group, and place: parent starts none."""
    asking = ("place: own", "replicas: 0", "resources: {limits: {cpu: 1}}", "hpaSpec: {maxReplicas: 2}")
    for members in (*asking, "kedaSpec: {triggers: [{type: cpu}]}", "pdbSpec: {minAvailable: 1}", "place: parent"):
        found = _cut(f"{{name: a, component: m:A, children: [{{name: b, component: m:B, {members}}}]}}")
        assert [place.name for place in found.groups] == ([] if members == "place: parent" else ["b"])


def test_groups_end_at_nodes_that_ask_or_are_called() -> None:
    """A group is its node and all below it that asks for nothing; children of a called node stay with the caller."""
    found = _cut(
        "{name: a, component: m:A, children: [{name: b, component: m:B, place: own, children: ["
        "{name: c, component: m:C}, {name: far, type: MODEL, endpoint: {service_host: h, service_port: 1}, children: ["
        "{name: d, component: m:D}, {name: e, component: m:E, replicas: 2}]}]}]}"
    )
    assert [place.nodes for place in found.served] == [("a",), ("b", "c", "d"), ("e",)]
    assert found.sites["spec.predictors[0].graph[0][1]"] is Site.OUTSIDE
    assert found.homes["spec.predictors[0].graph[0][1]"] == "spec.predictors[0].graph[0]"


def test_root_in_a_pod_of_its_own_is_the_front() -> None:
    """A root that asks for a place is the front, whose numbers it gives; one that is called leaves an empty front."""
    found = _cut("{name: a, component: m:A, replicas: 3}", replicas=2)
    assert found.front is not None
    assert (found.front.asked.replicas, found.groups) == ((3, "spec.predictors[0].graph.replicas"), ())
    outside = _cut("{name: a, type: MODEL, endpoint: {service_host: h, service_port: 1}}").front
    assert outside is not None
    assert (outside.name, outside.nodes, outside.field) == ("", (), "spec.predictors[0]")


def test_foreign_root_without_engine_has_no_front() -> None:
    """With no-engine the image of the only node is the predictor's entrance."""
    pods = [{"spec": {"containers": [{"name": "m", "image": "m:1"}]}}]
    found = _cut("{name: m, type: MODEL}", componentSpecs=pods, annotations={"seldon.io/no-engine": "true"})
    assert (found.front, found.served) == (None, ())
    assert found.entrance.kind is PlaceKind.FOREIGN


def test_numbers_come_from_the_nearest_that_has_them() -> None:
    """Replicas come from the node, its pod, the predictor; resources from the node, its container, svcOrchSpec."""
    pods = [
        {"replicas": 5, "spec": {"containers": [{"name": "b", "resources": {"limits": {"cpu": "1"}}}]}},
        {"replicas": 6, "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}}}]}},
    ]
    orchestrator = {"replicas": 7, "resources": {"limits": {"cpu": "3"}}}
    found = _cut(
        "{name: a, component: m:A, children: [{name: b, component: m:B}, "
        "{name: c, component: m:C, replicas: 1, resources: {limits: {cpu: 4}}},"
        "{name: d, component: m:D, place: own}]}",
        componentSpecs=pods,
        svcOrchSpec=orchestrator,
        replicas=8,
    )
    asked = [place.asked for place in found.served]
    path = "spec.predictors[0]"
    assert [each.replicas for each in asked] == [
        (7, f"{path}.svcOrchSpec.replicas"),
        (5, f"{path}.componentSpecs[0].replicas"),
        (1, f"{path}.graph[1].replicas"),
        (8, f"{path}.replicas"),
    ]
    assert [each.resources for each in asked] == [
        ({"limits": {"cpu": "3"}}, f"{path}.svcOrchSpec.resources"),
        ({"limits": {"cpu": "1"}}, f"{path}.componentSpecs[0].spec.containers[0].resources"),
        ({"limits": {"cpu": 4}}, f"{path}.graph[1].resources"),
        None,
    ]
    assert [place.pod for place in found.served] == [None, 0, 1, None]


def test_autoscaler_bounds() -> None:
    """The bounds of an autoscaler are those of its spec, kedaSpec before hpaSpec, with their defaults."""
    both = "kedaSpec: {triggers: [{type: cpu}]}, hpaSpec: {maxReplicas: 3}"
    for members, bounds in ((both, (0, 100)), ("hpaSpec: {maxReplicas: 3}", (1, 3)), ("place: own", None)):
        found = _cut(f"{{name: a, component: m:A, children: [{{name: b, component: m:B, {members}}}]}}")
        assert found.groups[0].asked.bounds == bounds


def test_shadows_and_fallbacks_are_cut_like_children() -> None:
    """A shadow stays one where its group is called, and a fallback may be a group, which also stands in for one."""
    found = _whole(
        "{name: a, component: m:A, children: [{name: s, component: m:S, shadow: true, place: own},"
        "{name: b, component: m:B, place: own, fallback: {name: f, component: m:F, place: own}},"
        "{name: c, component: m:C, place: own, fallback: {strData: none}},"
        "{name: d, component: m:D, place: own, fallback: {name: g, component: m:G}},"
        "{name: e, type: ROUTER, component: m:E, place: own, fallback: {data: {ndarray: [[0]]}}, children: ["
        "{name: h, component: m:H}]}]}"
    )
    predictor = found.predictors[0]
    nodes = [("a",), ("s",), ("b",), ("f",), ("c",), ("d", "g"), ("e", "h")]
    assert [place.nodes for place in predictor.served] == nodes
    front, _, group, *_ = (_file(found, place) for place in predictor.served)
    shadow, with_group, with_constant, with_code, router = front.children
    called = spec.Node("f", "MODEL", endpoint=spec.Endpoint("at-f", 9000, http_port=9000, grpc_port=9500))
    assert shadow.shadow
    assert with_group.fallback == group.fallback == called
    assert with_constant.fallback == {"strData": "none"}
    assert (with_code.fallback, router.fallback) == (None, None)


def test_overrides_replace_containers() -> None:
    """A target for a node runs it here without its container; an address leaves it outside."""
    pods = [{"spec": {"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]}}]
    graph = "{name: a, type: MODEL, children: [{name: b, implementation: TRITON_SERVER, modelUri: gs://m}]}"
    found = _whole(graph, overrides={"a": "m:A", "b": "grpc://h:1"}, componentSpecs=pods)
    predictor = found.predictors[0]
    assert predictor.dropped == ("a", "b")
    assert (predictor.groups, predictor.foreign) == ((), ())
    assert predictor.front is not None
    written = _file(found, predictor.front)
    assert written.component == "m:A"
    assert written.children[0] == spec.Node("b", "MODEL", endpoint=spec.Endpoint("h", 1, "GRPC", grpc_port=1))


def test_files_keep_what_guards_a_called_node() -> None:
    """A foreign node keeps type, methods, logger, time-out, retries, fallback; it loses what its image has."""
    pods = [{"spec": {"containers": [{"name": "a", "image": "a:1"}]}}]
    graph = (
        "{name: a, type: TRANSFORMER, methods: [TRANSFORM_INPUT], logger: {mode: all}, timeout_ms: 5, retries: 2,"
        "retry_backoff_ms: 7, fallback: {strData: x}, parameters: [{name: n, value: v, type: STRING}], modelUri: gs://m,"
        "serviceAccountName: s, replicas: 2, endpoint: {type: GRPC}, children: [{name: b, component: m:B}]}"
    )
    found = _whole(graph, componentSpecs=pods)
    assert found.predictors[0].front is not None
    assert spec.node_document(_file(found, found.predictors[0].front)) == {
        "name": "a",
        "type": "TRANSFORMER",
        "methods": ["TRANSFORM_INPUT"],
        "endpoint": {
            "service_host": "at-a", "service_port": 9500, "type": "GRPC", "httpPort": 9000, "grpcPort": 9500,
        },
        "logger": {"mode": "all"},
        "timeout_ms": 5,
        "retries": 2,
        "retry_backoff_ms": 7,
        "fallback": {"strData": "x"},
        "children": [{"name": "b", "component": "m:B"}],
    }  # fmt: skip
