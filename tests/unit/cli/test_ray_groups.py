"""The plan of a cut graph on a Ray cluster: what is sent there, what each replica asks for, and who calls whom."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infergraph.cli.launch import plan_of
from infergraph.cli.ray_groups import address_of, ray_plan_of
from infergraph.errors import StartupFault
from infergraph.graph import spec
from infergraph.process.groups import GroupsPlan
from infergraph.process.ray.plan import REPLICA_FOLDER, RayGroup
from infergraph.process.ray.scaling import Scaling
from infergraph.settings import Settings

Plan = Callable[..., GroupsPlan]

HEAD = "kind: SeldonDeployment\nmetadata: {name: d}\nspec:\n  predictors:\n"
ONE = HEAD + "  - name: p\n    graph: {name: a, component: m.py:A, type: TRANSFORMER, children: ["


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plan]:
    """Plans a graph file's groups; the folder is let go at the end."""
    monkeypatch.chdir(tmp_path)
    held: list[int] = []

    def made(graph: str, **settings: Any) -> GroupsPlan:
        while held:
            os.close(held.pop())
        (tmp_path / "d.yaml").write_text(graph)
        given = {"http_port": 0, "grpc_port": 0, "metrics_port": 0, **settings}
        found = ray_plan_of(plan_of("d.yaml", Settings(**given)), "d.yaml", "head:6379")
        held.extend(found.held)
        return found

    yield made
    for descriptor in held:
        os.close(descriptor)


def group(found: GroupsPlan) -> RayGroup:
    """The only group."""
    assert found.ray is not None
    (only,) = found.ray.groups
    return only


def read(text: str) -> spec.Node:
    """The graph of a file."""
    (deployment,) = spec.read(text, source="graph.yaml")
    return deployment.predictors[0].graph


def test_the_front_reads_where_a_group_is(plan: Plan, tmp_path: Path) -> None:
    """The front's leaf names the file that the controller writes, whose folder it knows."""
    found = plan(ONE + "{name: b, component: m.py:B, type: MODEL, replicas: 2}]}")
    front = read(Path(found.front.plan.source["target"]).read_text())
    assert found.ray is not None
    assert front.children[0].endpoint == spec.Endpoint(service_hosts_file=f"{found.ray.hosts}/b.hosts")
    assert found.front.plan.source["groups"] == ("b",)
    assert found.ray.hosts == str(tmp_path / ".infergraph/groups")


def test_a_group_that_calls_another_is_told_of_it(plan: Plan) -> None:
    """Its file names a file in the folder of the replica, and its plan the groups that are in it."""
    found = plan(
        ONE + "{name: b, component: m.py:B, type: TRANSFORMER, place: own, children: ["
        "{name: c, component: m.py:C, type: MODEL, place: own}]}]}"
    )
    assert found.ray is not None
    first, second = found.ray.groups
    assert (first.name, first.calls, second.name, second.calls) == ("b", ("c",), "c", ())
    leaf = read(first.graph).children[0]
    assert leaf.endpoint == spec.Endpoint(service_hosts_file=f"{REPLICA_FOLDER}/c.hosts")
    assert first.plan.source["groups"] == ("c",)


def test_resources_are_those_of_an_actor(plan: Plan) -> None:
    """Requests come before limits; without CPUs it is one; other extended resources keep their names."""
    resources = "{requests: {cpu: 500m, memory: 1Gi}, limits: {cpu: 2, nvidia.com/gpu: 1, example.org/tpu: 4}}"
    asks = group(plan(ONE + f"{{name: b, component: m.py:B, type: MODEL, resources: {resources}}}]}}")).asks
    assert asks.options == {"num_cpus": 0.5, "num_gpus": 1, "memory": 1 << 30, "resources": {"example.org/tpu": 4}}
    asks = group(plan(ONE + "{name: b, component: m.py:B, type: MODEL, place: own}]}")).asks
    assert asks.options == {"num_cpus": 1.0, "num_gpus": 0.0, "memory": None, "resources": None}


@pytest.mark.parametrize(
    ("asked", "scaling"),
    [
        ("replicas: 3", Scaling(least=3, most=3)),
        ("hpaSpec: {minReplicas: 2, maxReplicas: 5}", Scaling(least=2, most=5)),
        (
            "kedaSpec: {minReplicaCount: 0, maxReplicaCount: 4, triggers: [{type: cpu, metadata: {value: '50'}}]}",
            Scaling(least=1, most=4),
        ),
        (
            "hpaSpec: {maxReplicas: 5, metricsv2: [{type: Pods, pods: {metric: {name: infergraph_requests_in_flight}, "
            "target: {type: AverageValue, averageValue: '8'}}}]}",
            Scaling(least=1, most=5, target=8.0),
        ),
    ],
)
def test_replicas_and_autoscalers(plan: Plan, asked: str, scaling: Scaling) -> None:
    """The bounds are the file's, one at least, and the target that of the metric of requests in flight."""
    assert group(plan(ONE + f"{{name: b, component: m.py:B, type: MODEL, {asked}}}]}}")).scaling == scaling


def test_what_is_the_front_s_alone(plan: Plan, tmp_path: Path) -> None:
    """Replicas ask for no keys, have no tasks, and are sent no data folder."""
    (tmp_path / "keys.toml").write_text("")
    found = plan(ONE + "{name: b, component: m.py:B, type: MODEL, place: own}]}", keys="keys.toml")
    settings = msgspec.convert(group(found).plan.settings, Settings)
    assert (settings.keys, settings.tasks) == ("", False)
    assert msgspec.convert(found.front.plan.settings, Settings).keys == "keys.toml"
    assert found.ray is not None
    assert "/.infergraph/" in found.ray.excludes
    assert found.ray.ships == str(tmp_path)


def test_a_graph_in_one_piece_needs_no_cluster(plan: Plan) -> None:
    """Where no node asks for a place, nothing runs on the cluster, which is said."""
    found = plan(ONE + "{name: b, component: m.py:B, type: MODEL}]}")
    assert found.ray is None
    assert any("no node asks for a place" in line for line in found.warnings)


def test_no_replicas_are_refused(plan: Plan) -> None:
    """Before anything starts, one line says why."""
    with pytest.raises(StartupFault, match="b: 0 replicas on Ray"):
        plan(ONE + "{name: b, component: m.py:B, type: MODEL, replicas: 0}]}")


@pytest.mark.parametrize("on", ["rey", "http://head:8265", "ray://", "head:port"])
def test_an_address_that_is_none(on: str) -> None:
    """What is no address of a cluster is refused, with the forms that are."""
    with pytest.raises(StartupFault, match="write ray, ray://HOST:PORT or HOST:PORT"):
        address_of(on)
