"""`infergraph render kubernetes`: the facts of the cases, the schemas of Kubernetes, and what holds of any file."""

from __future__ import annotations

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from infergraph.cli.main import run as run_command
from infergraph.graph.spec import text_of
from kubernetes_checks import check, valid
from kubernetes_facts import called, facts, graphs, objects
from random_deployments import deployment

CASES = Path(__file__).parent / "cases"
KUBERNETES = CASES / "kubernetes"
EXAMPLES = Path(__file__).parents[2] / "examples"
IMAGE = ("--image", "example/infergraph:1")
_AMONG_OTHERS = frozenset({"podLabels", "podAnnotations", "env"})


class Result(NamedTuple):
    """What the command gave."""

    exit_code: Any
    stdout: str
    stderr: str


@cache
def _rendered(file: Path, *options: str) -> Result:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run_command(["render", "kubernetes", str(file), *options])
    return Result(ended.value.code, out.getvalue(), err.getvalue())


def _written(folder: Path, document: Any) -> Path:
    """A deployment file of one document or several."""
    folder.mkdir(exist_ok=True)
    file = folder / "deployment.yaml"
    file.write_text(yaml.safe_dump_all(document if isinstance(document, list) else [document]))
    return file


def _runs() -> list[Any]:
    found = []
    for path in sorted(KUBERNETES.glob("[0-9]*.json")):
        if "ray" not in path.name:
            case = json.loads(path.read_text())
            for number, run in enumerate(case["runs"]):
                found.append(pytest.param(KUBERNETES / case["input"], run, id=f"{path.stem}-{number}"))
    return found


RUNS = _runs()
REFUSED = json.loads((KUBERNETES / "refused.json").read_text())["cases"]
OTHERS = [*sorted((CASES / "render").iterdir()), *sorted(EXAMPLES.rglob("deployment.yaml"))]
OTHERS += [
    file for file in sorted((CASES / "bugs").rglob("deployment.yaml")) if "b18-" not in str(file)
]  # no such server
OBSERVED = [case["spec"] for case in json.loads((CASES / "validation.json").read_text())]
SEEDS = range(24)


@pytest.mark.parametrize(("file", "run"), RUNS)
def test_the_facts_of_a_case_hold(file: Path, run: dict[str, Any]) -> None:
    """Exactly the objects of a case are rendered, each as the case says, with its warnings."""
    result = _rendered(file, *run["args"])
    assert result.exit_code == run["exit"], result.stderr
    for text in run["warns"]:
        assert text in result.stderr
    documents = objects(result.stdout)
    assert sorted(map(called, documents)) == run["all"]
    by_name = {called(each): each for each in documents}
    for fact in run["objects"]:
        found = facts(by_name[f"{fact['kind']} {fact['name']}"], documents)
        for name, value in fact.items():
            _holds(found.get(name), value, name)


def _holds(found: Any, wanted: Any, name: str) -> None:
    match name:
        case "containers" | "initContainers":
            assert sorted(found) == sorted(wanted)
            for each, members in wanted.items():
                for member, value in members.items():
                    _holds(found[each].get(member), value, member)
        case "spec":  # of a route: an explainer has a rule of its own after these
            assert found["parentRefs"] == wanted["parentRefs"]
            assert found["rules"][: len(wanted["rules"])] == wanted["rules"]
        case member if member in _AMONG_OTHERS:
            assert {key: found.get(key) for key in wanted} == wanted
        case _:
            assert found == wanted, name


@pytest.mark.parametrize(("file", "run"), RUNS)
def test_what_holds_of_any_file_holds_of_a_case(file: Path, run: dict[str, Any]) -> None:
    """Schemas, names, selectors, ports, hosts and the joined tree are right; a node that is replaced has no pod."""
    documents = objects(_rendered(file, *run["args"]).stdout)
    if "--node" in run["args"]:
        for document in documents:
            valid(document)
    else:
        check(file.read_text(), documents)


@pytest.mark.parametrize("file", OTHERS, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_what_holds_of_any_file(file: Path) -> None:
    """Files of other people are rendered whole: nothing that the checks look at is lost."""
    result = _rendered(file, *IMAGE)
    assert result.exit_code == 0, result.stderr
    check(text_of(file, file.name), objects(result.stdout))


def test_what_holds_of_the_graphs_that_the_reference_was_observed_with(tmp_path: Path) -> None:
    """Each of them is rendered, or refused with an exit code of 2; no file ends in a traceback."""
    rendered = 0
    for number, document in enumerate(OBSERVED):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(document))
        result = _rendered(file, *IMAGE)
        assert result.exit_code in (0, 2)
        if result.exit_code == 0:
            rendered += 1
            check(file.read_text(), objects(result.stdout))
    assert rendered > 10


def test_what_holds_of_files_of_any_shape(tmp_path: Path) -> None:
    """The same of files made at random, with tasks, behind a gateway or neither; some are refused."""
    rendered = 0
    for seed in SEEDS:
        file = _written(tmp_path / str(seed), deployment(seed))
        more = (("--tasks", "5Gi"), ("--gateway", "web"), ("--service-monitor",))[seed % 3]
        result = _rendered(file, *IMAGE, *more)
        assert result.exit_code in (0, 2), seed
        if result.exit_code == 0:
            rendered += 1
            check(file.read_text(), objects(result.stdout))
    assert rendered > 5


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["title"])
def test_what_is_refused(case: dict[str, Any], tmp_path: Path) -> None:
    """A file that cannot be rendered is refused with the words of the case, and nothing on the standard output."""
    given = case["input"]
    result = _rendered(KUBERNETES / given if isinstance(given, str) else _written(tmp_path, given), *case["args"])
    assert all(text in result.stderr for text in case["says"]), result.stderr
    assert result.exit_code == case.get("exit", 2)
    assert bool(result.stdout) == (result.exit_code == 0)


def test_all_reasons_to_refuse_come_at_once(tmp_path: Path) -> None:
    """Each reason is a line with the file, the line in it, the field and what is wrong."""
    pods = [
        {"pdbSpec": {"minAvailable": 1, "maxUnavailable": 1}, "spec": {"containers": [{"name": "m", "image": "i"}]}},
        {"spec": {"containers": [{"name": "s"}]}},
    ]
    graph = {"name": "m", "type": "MODEL"}
    spec = {"predictors": [{"name": "p", "graph": graph, "componentSpecs": pods}]}
    head = {"apiVersion": "machinelearning.seldon.io/v1", "kind": "SeldonDeployment", "metadata": {"name": "No.No_"}}
    file = _written(tmp_path, {**head, "spec": spec})
    lines = _rendered(file).stderr.splitlines()
    fields = ["metadata.name", "--image", "spec.predictors[0].componentSpecs[1]"]
    fields.append("spec.predictors[0].componentSpecs[0].pdbSpec")
    assert len(lines) == len(fields)
    for field in fields:
        assert any(line.startswith(f"{file}:") and f": {field}: " in line for line in lines), field


def test_the_same_bytes_wherever_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text depends on the file and the options alone, not on the folder that the command runs in."""
    source = KUBERNETES / "08-groups.yaml"
    copy = tmp_path / source.name
    copy.write_text(source.read_text())
    monkeypatch.chdir(tmp_path)
    assert _rendered(Path(source.name), *IMAGE).stdout == _rendered(source, *IMAGE).stdout


def test_a_folder_holds_what_is_rendered_now(tmp_path: Path) -> None:
    """A file for each object; ours that are not rendered any more go, and those of others stay as they are."""
    folder = tmp_path / "new" / "out"
    file = KUBERNETES / "01-one-model.yaml"
    options = (*IMAGE, "--output", str(folder), "--kustomize")
    _rendered(file, *options)
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert kustomization["resources"] == sorted(set(os.listdir(folder)) - {"kustomization.yaml"})
    assert len(kustomization["resources"]) == 5
    (folder / "mine.yaml").write_text("a: 1\n")
    assert _rendered(file, *options, "--node", "rank=ranks.py:Rank").exit_code == 0
    assert sorted(os.listdir(folder)) == [
        "configmap-shop-main-graph.yaml",
        "deployment-shop-main.yaml",
        "kustomization.yaml",
        "mine.yaml",
        "service-shop-main.yaml",
    ]


def test_a_file_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    """A file of one of the names that was not rendered is a reason to refuse, and nothing is written."""
    theirs = tmp_path / "service-shop-main.yaml"
    theirs.write_text("theirs: 1\n")
    result = _rendered(KUBERNETES / "01-one-model.yaml", *IMAGE, "--output", str(tmp_path))
    assert result.exit_code == 2
    assert f"{theirs} exists and was not written by infergraph render" in result.stderr
    assert os.listdir(tmp_path) == [theirs.name]


def test_objects_say_where_they_come_from() -> None:
    """The first line is the command; each object, and each value that was chosen, has its field beside it."""
    text = _rendered(KUBERNETES / "03-replicas-and-canary.yaml", *IMAGE).stdout
    assert text.startswith("# infergraph render kubernetes 03-replicas-and-canary.yaml\n---\n# spec.")
    for line in (
        "\n# spec.predictors[0].componentSpecs[1]\napiVersion: apps/v1\nkind: Deployment\n",
        "  replicas: 4  # spec.predictors[0].replicas\n",
        "containerPort: 9001  # second container\n",
        "image: example/infergraph:1  # --image\n",
    ):
        assert line in text, line


def test_objects_of_a_document_that_is_a_predictor_say_so_too() -> None:
    """The path of a member of such a document is its name."""
    text = _rendered(CASES / "render" / "bare.yaml", *IMAGE).stdout
    origins = [part.splitlines()[0] for part in text.split("---\n")[1:]]
    assert origins == ["# graph", "# graph", "# graph", "# componentSpecs[0]", "# graph"]


def test_an_explainer_has_a_rule_of_the_route() -> None:
    """Behind a gateway an explainer is found by the path that it has under the operator."""
    documents = objects(_rendered(KUBERNETES / "09-shadow-and-explainer.yaml", *IMAGE, "--gateway", "web.infra").stdout)
    (route,) = (each["spec"] for each in documents if each["kind"] == "HTTPRoute")
    assert route["parentRefs"] == [{"name": "web", "namespace": "infra"}]
    last = route["rules"][-1]
    assert last["matches"] == [{"path": {"type": "PathPrefix", "value": "/seldon/default/risk-explainer/live"}}]
    assert last["backendRefs"] == [{"name": "risk-live-explainer", "port": 9000}]


def test_monitors_find_the_services_of_their_kind() -> None:
    """One monitor takes the Services of infergraph, the other those of nodes with an image of their own."""
    documents = objects(_rendered(KUBERNETES / "02-pods-and-ports.yaml", *IMAGE, "--service-monitor").stdout)
    services = [each for each in documents if each["kind"] == "Service"]
    found = {}
    for monitor in (each for each in documents if each["kind"] == "ServiceMonitor"):
        selector = monitor["spec"]["selector"]
        (chosen,) = selector["matchExpressions"]
        found[monitor["metadata"]["name"], monitor["spec"]["endpoints"][0]["path"]] = sorted(
            service["metadata"]["name"]
            for service in services
            if selector["matchLabels"].items() <= service["metadata"]["labels"].items()
            and service["metadata"]["labels"][chosen["key"]] in chosen["values"]
        )
    assert found == {
        ("fraud", "/metrics"): ["fraud-p1"],
        ("fraud-nodes", "/prometheus"): ["fraud-p1-choose", "fraud-p1-clean", "fraud-p1-fast", "fraud-p1-slow"],
    }


def test_a_document_of_another_kind_is_named(tmp_path: Path) -> None:
    """What is no deployment stays the user's to apply, in a list as well, and its line is said."""
    result = _rendered(CASES / "render" / "list.json", *IMAGE)
    assert "list.json:1: warning: items[0]: ConfigMap other is not rendered: apply it yourself" in result.stderr
    assert "list.json:2: warning: items[1].spec.zzz: unknown member 'zzz'" in result.stderr


def test_the_old_metrics_of_an_autoscaler_become_new_ones() -> None:
    """Metrics as autoscaling/v2beta1 spelt them are spelt as v2 does."""
    documents = objects(_rendered(CASES / "render" / "old-metrics.yaml", *IMAGE).stdout)
    (metrics,) = (each["spec"]["metrics"] for each in documents if each["kind"] == "HorizontalPodAutoscaler")
    described = {"kind": "Ingress", "name": "i", "apiVersion": "networking.k8s.io/v1"}
    chosen = {"matchLabels": {"a": "b"}}
    assert [next(value for key, value in metric.items() if key != "type") for metric in metrics] == [
        {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "500m"}},
        {"name": "cpu", "container": "m", "target": {"type": "Utilization", "averageUtilization": 50}},
        {"metric": {"name": "q", "selector": chosen}, "target": {"type": "Value", "value": "10"}},
        {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "10"}},
        {"metric": {"name": "r"}, "describedObject": described, "target": {"type": "Value", "value": "10k"}},
        {
            "metric": {"name": "r", "selector": chosen},
            "describedObject": described,
            "target": {"type": "AverageValue", "averageValue": "1k"},
        },
        {"metric": {"name": "x", "selector": chosen}, "target": {"type": "AverageValue", "averageValue": 5}},
    ]


def test_a_certificate_is_served_where_clients_call_it() -> None:
    """The one predictor of a file serves by its certificate, and is probed so; behind a split it is only mounted."""
    for name, secure in (("render/any-case.yaml", True), ("kubernetes/09-shadow-and-explainer.yaml", False)):
        documents = objects(_rendered(CASES / name, *IMAGE).stdout)
        fronts = [each for each in documents if each["kind"] == "Deployment" and _mounts_certificate(each)]
        (container,) = fronts[0]["spec"]["template"]["spec"]["containers"]
        assert ("INFERGRAPH_TLS_CERT" in {each["name"] for each in container["env"]}) == secure
        assert (container["readinessProbe"]["httpGet"].get("scheme") == "HTTPS") == secure


def _mounts_certificate(deployment: dict[str, Any]) -> bool:
    return any("secret" in volume for volume in deployment["spec"]["template"]["spec"].get("volumes", ()))


def test_two_groups_of_one_pod_do_not_share_a_folder() -> None:
    """Each process of infergraph in a pod has its own file, ports and folders; the user's volumes keep their names."""
    documents = objects(_rendered(CASES / "render" / "names-in-use.yaml", *IMAGE).stdout)
    assert sorted(graphs(documents)) == ["vol-p-graph", "vol-p-second-graph"]
    (deployment,) = (each for each in documents if each["kind"] == "Deployment")
    containers = {each["name"]: each for each in deployment["spec"]["template"]["spec"]["containers"]}
    mounts = {
        name: {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        for name, container in containers.items()
    }
    assert mounts["root"] == {"/data": "data", "/srv/graph.yaml": "infergraph-graph", "/tmp": "infergraph-tmp"}
    assert mounts["second"]["/data"] == "data-second"


def test_the_volume_of_tasks_is_mounted_beside_a_volume_of_that_name(tmp_path: Path) -> None:
    """The claim has another name where the user's pod has a volume `data`, which stays."""
    file = tmp_path / "deployment.yaml"
    text = (CASES / "render" / "names-in-use.yaml").read_text().replace("mountPath: /data}", "mountPath: /theirs}")
    file.write_text(text.replace("replicas: 2, ", ""))
    documents = objects(_rendered(file, *IMAGE, "--tasks", "5Gi").stdout)
    check(file.read_text(), documents)
    (front,) = (each["spec"] for each in documents if each["kind"] == "StatefulSet")
    assert front["volumeClaimTemplates"][0]["metadata"]["name"] == "infergraph-data"
    mounts = {each["mountPath"]: each["name"] for each in front["template"]["spec"]["containers"][0]["volumeMounts"]}
    assert [mounts["/data"], mounts["/theirs"]] == ["infergraph-data", "data"]


def test_labels_of_the_document_go_on_its_objects(tmp_path: Path) -> None:
    """They do not go into pods; there the user's label app wins, and one that selects is ours, with a warning."""
    document = yaml.safe_load((KUBERNETES / "01-one-model.yaml").read_text())
    document["metadata"]["labels"] = {"app": "mine", "team": "red", "app.kubernetes.io/instance": "mine"}
    result = _rendered(_written(tmp_path, document), *IMAGE)
    assert "metadata.labels.app.kubernetes.io/instance" in result.stderr
    for each in objects(result.stdout):
        labels = each["metadata"]["labels"]
        assert [labels["app"], labels["team"]] == ["mine", "red"]
        assert labels["app.kubernetes.io/instance"] != "mine"
        if each["kind"] == "Deployment":
            assert "team" not in each["spec"]["template"]["metadata"]["labels"]


def test_a_name_of_no_namespace_is_refused() -> None:
    """A namespace is a DNS label."""
    result = _rendered(KUBERNETES / "01-one-model.yaml", *IMAGE, "--namespace", "a.b")
    assert result.exit_code == 2
    assert "--namespace: 'a.b' is no name of a namespace" in result.stderr


def test_what_another_member_beats_is_named(tmp_path: Path) -> None:
    """Of two members for one thing the one that does not hold is a warning, and so is a number beside an autoscaler."""
    pod = {"replicas": 2, "spec": {"containers": [{"name": "m", "resources": {"requests": {"cpu": 1}}}]}}
    graph = {"name": "m", "component": "a.py:B", "replicas": 3, "hpaSpec": {"maxReplicas": 3}}
    orchestrator = {"replicas": 4, "resources": {"limits": {"cpu": 1}}}
    predictor = {"name": "p", "svcOrchSpec": orchestrator, "componentSpecs": [pod], "graph": graph}
    head = {"kind": "SeldonDeployment", "metadata": {"name": "d"}}
    said = _rendered(_written(tmp_path, {**head, "spec": {"predictors": [predictor]}}), *IMAGE).stderr
    fields = ("svcOrchSpec.replicas", "svcOrchSpec.resources", "componentSpecs[0].replicas", "graph.replicas")
    assert all(f"warning: spec.predictors[0].{field}: " in said for field in fields), said
