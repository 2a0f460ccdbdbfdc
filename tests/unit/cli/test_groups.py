"""The plan of a cut graph's servers: ports, graph files, settings, and what each may use of the machine."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infergraph.cli.groups import groups_plan_of
from infergraph.cli.launch import plan_of
from infergraph.errors import StartupFault
from infergraph.graph import spec
from infergraph.process.groups import GroupsPlan, Member
from infergraph.settings import Settings
from infergraph.worker_environment import DEVICES, THREAD_VARIABLES, processors

Plan = Callable[..., GroupsPlan]

HEAD = "kind: SeldonDeployment\nmetadata: {name: d}\nspec:\n  predictors:\n"
ONE = HEAD + "  - name: p\n    graph: {name: a, component: m.py:A, type: TRANSFORMER, children: ["


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plan]:
    """Plans a graph file's groups; the ports are let go at the end."""
    monkeypatch.chdir(tmp_path)
    for name in (DEVICES, *THREAD_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    held: list[int] = []

    def made(graph: str, *, nodes: tuple[str, ...] = (), predictor: str = "", **settings: Any) -> GroupsPlan:
        while held:
            os.close(held.pop())
        (tmp_path / "d.yaml").write_text(graph)
        given = {"http_port": 0, "grpc_port": 0, "metrics_port": 0, **settings}
        whole = plan_of("d.yaml", Settings(**given), nodes=nodes, predictor=predictor)
        found = groups_plan_of(whole, "d.yaml", nodes=nodes, predictor=predictor)
        held.extend(found.held)
        return found

    yield made
    for descriptor in held:
        os.close(descriptor)


def _names(found: GroupsPlan) -> list[str]:
    return [member.name for member in found.groups]


def _graph(member: Member) -> spec.Deployment:
    file = member.plan.source["target"]
    (deployment,) = spec.read(Path(file).read_text(), source=file)
    return deployment


def test_servers_are_the_replicas_of_groups(plan: Plan) -> None:
    """A group has the replicas that it asks for, or the fewest of its autoscaler; none asked for is one."""
    found = plan(
        ONE + "{name: b, component: m.py:B, replicas: 2}, {name: c, component: m.py:C, place: own},"
        "{name: e, component: m.py:E, replicas: 0}, {name: d, component: m.py:D, replicas: 5,"
        "hpaSpec: {minReplicas: 3, maxReplicas: 6}}]}"
    )
    assert _names(found) == ["b.0", "b.1", "c", "d.0", "d.1", "d.2"]
    assert found.warnings == ("e has 0 replicas: calls of it fail",)


def test_replicas_have_addresses_of_their_own(plan: Plan) -> None:
    """Replicas listen on loopback addresses of their own, with the same ports, at which the front calls them."""
    found = plan(ONE + "{name: b, component: m.py:B, replicas: 2}]}")
    first, second = (member.plan.settings for member in found.groups)
    assert (first["host"], second["host"]) == ("127.0.0.1", "127.0.0.2")
    assert (first["http_port"], first["grpc_port"]) == (second["http_port"], second["grpc_port"])
    (leaf,) = _graph(found.front).predictors[0].graph.children
    ports = {"http_port": first["http_port"], "grpc_port": first["grpc_port"], "service_port": first["http_port"]}
    assert leaf.endpoint == spec.Endpoint("127.0.0.1", service_hosts=("127.0.0.2",), **ports)
    assert found.front.plan.source["groups"] == ("b",)
    assert found.front.plan.source["files"] == os.getcwd()


def test_groups_have_the_settings_but_for_what_clients_need(plan: Plan, tmp_path: Path) -> None:
    """Groups take no keys, tasks or console from the front; all else is the same, each in a data folder of its own."""
    found = plan(ONE + "{name: b, component: m.py:B, place: own}]}", base_path="/k", workers=2, host="::1")
    (group,) = found.groups
    assert (group.plan.settings["base_path"], group.plan.settings["tasks"], group.plan.settings["workers"]) == (
        "", False, 2,
    )  # fmt: skip
    assert (found.front.plan.settings["base_path"], found.front.plan.settings["tasks"]) == ("/k", True)
    assert group.plan.settings["data_dir"] != found.front.plan.settings["data_dir"]
    assert (group.plan.owner, group.plan.banner) == (None, "")
    assert found.front.plan.owner is not None
    (target,) = json.loads((tmp_path / ".infergraph/groups/targets.json").read_text())
    assert target["targets"] == [f"127.0.0.1:{group.plan.settings['http_port']}"]


def test_several_predictors_are_groups_of_a_split(plan: Plan) -> None:
    """With several predictors the front of each is a group, and what clients call chooses among them."""
    predictor = "  - {{name: {}, traffic: 50, graph: {{name: a, component: m.py:A, children: [{}]}}}}\n"
    child = "{name: b, component: m.py:B, place: own}"
    graph = HEAD + predictor.format("old", child) + predictor.format("new", "")
    found = plan(graph)
    assert _names(found) == ["old", "old.b", "new"]
    split = _graph(found.front)
    assert [(each.name, each.traffic) for each in split.predictors] == [("old", 50), ("new", 50)]
    assert found.front.plan.source["groups"] == ("a",)
    assert _names(plan(graph, predictor="old")) == ["b"]


def test_names_that_are_no_file_names_have_files(plan: Plan) -> None:
    """Whatever a node is called, its graph file is one of its own in the folder."""
    names = ["../up", "-..-up", "front", "a b"]
    nodes = ", ".join(f"{{name: {name!r}, component: m.py:B, place: own}}" for name in names)
    found = plan(ONE + nodes + "]}")
    files = [Path(member.plan.source["target"]) for member in (*found.groups, found.front)]
    assert len(set(files)) == 5
    assert len({file.parent for file in files}) == 1
    assert len({member.plan.settings["data_dir"] for member in found.groups}) == 4


def test_containers_give_their_environment(plan: Plan) -> None:
    """A group whose node has a container has the variables that it would have there."""
    pods = "  - name: p\n    componentSpecs: [{spec: {containers: [{name: b, env: [{name: X, value: y}]}]}}]\n"
    graph = "    graph: {name: a, component: m.py:A, children: [{name: b, component: m.py:B}]}\n"
    (group,) = plan(HEAD + pods + graph).groups
    assert (group.environment["X"], group.environment["PREDICTIVE_UNIT_ID"]) == ("y", "b")


def test_gpus_are_dealt_out_by_limits(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each replica gets as many of the visible devices as its limit says, the others none, and what lacks is told."""
    monkeypatch.setenv(DEVICES, "3,5,7")
    limit = "resources: {limits: {nvidia.com/gpu: %s}}"
    nodes = "{name: b, component: m.py:B, replicas: 2, %s}, {name: c, component: m.py:C, %s}]}" % (limit % 1, limit % 2)  # noqa: UP031
    found = plan(ONE + nodes)
    assert [member.environment[DEVICES] for member in (*found.groups, found.front)] == ["3", "5", "7", ""]
    assert found.warnings == ("c asks for more GPUs (2) than are left here (1)",)
    dealt = plan(ONE + nodes, gpus="1+2")
    assert [member.environment[DEVICES] for member in dealt.groups] == ["5", "7", ""]


def test_gpus_are_left_alone_where_no_node_asks(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit in the graph every server does as the setting says."""
    monkeypatch.setenv(DEVICES, "3,5")
    found = plan(ONE + "{name: b, component: m.py:B, place: own}]}", gpus="0,1")
    assert all(DEVICES not in member.environment for member in (*found.groups, found.front))
    assert {member.plan.settings["gpus"] for member in (*found.groups, found.front)} == {"0,1"}


def test_threads_are_divided(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of a group get the threads of its CPUs, others an equal share, and a wish is left alone."""
    graph = ONE + "{name: b, component: m.py:B, resources: {requests: {cpu: 6500m}}}]}"
    found = plan(graph, workers=2)
    threads = [member.environment[THREAD_VARIABLES[0]] for member in (*found.groups, found.front)]
    assert threads == ["3", str(max(1, processors() // 4))]
    monkeypatch.setenv(THREAD_VARIABLES[0], "9")
    assert all(THREAD_VARIABLES[0] not in member.environment for member in plan(graph).groups)


def test_graph_that_asks_for_nothing_is_one_process(plan: Plan) -> None:
    """Without a node that asks there is a front alone, and it says so."""
    found = plan(ONE + "]}")
    assert found.groups == ()
    assert "no node asks for a place of its own" in found.warnings[0]


@pytest.mark.parametrize(
    ("node", "more", "text"),
    [
        ("{name: b, implementation: TRITON_SERVER, modelUri: gs://m}", {}, "image of its own (TRITON_SERVER), and"),
        ("{name: b, implementation: TRITON_SERVER, modelUri: gs://m}", {}, "--node b=file.py:Class"),
        ("{name: b, component: m.py:B}", {"predictor": "q"}, "no predictor 'q'"),
        ("{name: b, component: m.py:B}", {"nodes": ("c=m.py:C",)}, "no node 'c'"),
        ("{name: b, component: m.py:B, place: moon}", {}, "'moon' is no place"),
        ("{name: b, component: m.py:B, replicas: 1000}", {}, "b: 1000 replicas on one machine; at most"),
    ],
)
def test_what_cannot_run_here_is_refused(plan: Plan, node: str, more: dict[str, Any], text: str) -> None:
    """Before anything starts, one line says what to do."""
    with pytest.raises(StartupFault) as caught:
        plan(f"{ONE}{node}]}}", **more)
    assert text in str(caught.value)


def test_folder_has_one_user(plan: Plan, tmp_path: Path) -> None:
    """The files of a running cut are not overwritten by another start, and those of earlier runs are gone."""
    graph = ONE + "{name: b, component: m.py:B, place: own}]}"
    plan(graph.replace("name: b", "name: old"))
    plan(graph)
    assert sorted(path.name for path in (tmp_path / ".infergraph/groups").glob("*.yaml")) == ["b.yaml", "front.yaml"]
    with pytest.raises(StartupFault, match="in use by another serve --groups"):
        groups_plan_of(plan_of("d.yaml", Settings(http_port=0, grpc_port=0, metrics_port=0)), "d.yaml")


def test_ports_that_are_taken_are_told_before_anything_starts(plan: Plan) -> None:
    """A front whose port is taken does not wait for its groups."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(StartupFault, match="http_port"):
        plan(ONE + "{name: b, component: m.py:B, place: own}]}", http_port=taken.getsockname()[1])


def test_packaged_servers_of_ours_run_here_in_any_protocol(plan: Plan) -> None:
    """Where there are no images, a packaged server that is ours runs as a component, also in protocol v2."""
    graph = ONE.replace("spec:\n", "spec:\n  protocol: v2\n")
    (group,) = plan(graph + "{name: b, implementation: SKLEARN_SERVER, modelUri: models/b, place: own}]}").groups
    assert _graph(group).predictors[0].graph.model_uri == "models/b"


def test_only_graphs_have_groups(plan: Plan, tmp_path: Path) -> None:
    """A class has no nodes."""
    (tmp_path / "m.py").write_text("class A: pass\n")
    with pytest.raises(StartupFault, match="graph file"):
        groups_plan_of(plan_of("m.py:A", Settings()), "m.py:A")
