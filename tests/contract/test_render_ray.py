"""`infergraph render ray`: the facts of its case, Ray's own schema, and what becomes of pods and autoscalers."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml

from infergraph.cli.main import run as run_command

CASES = Path(__file__).parent / "cases"
RUNS = json.loads((CASES / "kubernetes" / "08-groups.ray.json").read_text())["runs"]
PODS = CASES / "render" / "ray-pods.yaml"


def _rendered(file: Path, *options: str) -> tuple[Any, str, str]:
    """Exit code, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run_command(["render", "ray", str(file), *options])
    return ended.value.code, out.getvalue(), err.getvalue()


def _config(file: Path, *options: str) -> dict[str, Any]:
    code, text, said = _rendered(file, "--serve-config", *options)
    assert code == 0, said
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def _names(node: dict[str, Any]) -> list[str]:
    return [node["name"], *(name for child in node.get("children", ()) for name in _names(child))]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: " ".join([run["command"], *run["args"]][2:6]))
def test_the_facts_of_the_case_hold(run: dict[str, Any]) -> None:
    """The configuration, each Serve deployment and the RayService are as the case says; images are refused."""
    file = CASES / "kubernetes" / run.get("input", "08-groups.yaml")
    options = [word for word in run["command"].split() if word.startswith("--")]
    code, text, said = _rendered(file, *options, *run["args"])
    assert code == run["exit"], said
    assert all(each in said for each in run.get("says", ()))
    document = yaml.safe_load(text) or {}
    if "config" in run:
        _of_config(document, run)
    for name, facts in run.get("deployments", {}).items():
        (found,) = (each for each in document["applications"][0]["deployments"] if each["name"] == name)
        assert {key: found.get(key) for key in facts} == facts
    if "object" in run:
        _of_object(document, run["object"])


def _of_config(document: dict[str, Any], run: dict[str, Any]) -> None:
    wanted = run["config"]
    assert document["proxy_location"] == wanted["proxy_location"]
    assert document["http_options"] == wanted["http_options"]
    assert document["grpc_options"]["port"] == wanted["grpc_options"]["port"]
    assert len(document["grpc_options"]["grpc_servicer_functions"]) == 7
    (application,) = document["applications"]
    assert {key: application[key] for key in wanted["applications"][0]} == wanted["applications"][0]
    (predictor,) = application["args"]["graph"]["spec"]["predictors"]
    assert _names(predictor["graph"]) == run["args_graph_nodes"]
    assert {each["name"] for each in application["deployments"]} == set(run["deployments"])


def _of_object(document: dict[str, Any], wanted: dict[str, Any]) -> None:
    metadata, cluster = document["metadata"], document["spec"]["rayClusterConfig"]
    assert [document["apiVersion"], document["kind"]] == [wanted["apiVersion"], wanted["kind"]]
    assert [metadata["name"], metadata["namespace"]] == [wanted["name"], wanted["namespace"]]
    assert cluster["rayVersion"] == wanted["rayVersion"]
    assert cluster["enableInTreeAutoscaling"] == wanted["enableInTreeAutoscaling"]
    assert yaml.safe_load(document["spec"]["serveConfigV2"]) == _config(CASES / "kubernetes" / "08-groups.yaml")
    head = cluster["headGroupSpec"]
    (container,) = head["template"]["spec"]["containers"]
    assert [container["name"], container["image"]] == [wanted["head"]["container"], wanted["head"]["image"]]
    assert head["rayStartParams"] == wanted["head"]["rayStartParams"]
    groups = {each["groupName"]: each for each in cluster["workerGroupSpecs"]}
    assert groups.keys() == wanted["workers"].keys()
    for name, facts in wanted["workers"].items():
        (worker,) = groups[name]["template"]["spec"]["containers"]
        found = {**groups[name], "container": worker["name"], **worker["resources"]}
        assert {key: found.get(key) for key in facts} == facts


@pytest.mark.filterwarnings("ignore")  # of Ray's own
def test_the_configuration_has_the_shape_that_ray_wants() -> None:
    """Ray's own schema takes what is written, where Ray is installed."""
    schema = pytest.importorskip("ray.serve.schema")
    for file in (CASES / "kubernetes" / "08-groups.yaml", PODS):
        schema.ServeDeploySchema.model_validate(_config(file))


def test_what_a_pod_of_the_file_becomes() -> None:
    """A group's pod goes to its worker group, its plain variables to the actors, and what is lost is said."""
    code, text, said = _rendered(PODS, "--image", "i")
    assert code == 0
    service = yaml.safe_load(text)
    groups = {each["groupName"]: each for each in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]}
    pod = groups["a-big"]["template"]["spec"]
    (container,) = pod["containers"]
    assert [pod["nodeSelector"], pod["volumes"]] == [{"gpu": "yes"}, [{"name": "cache", "emptyDir": {}}]]
    assert [variable["name"] for variable in container["env"]] == ["KEY"]
    assert container["volumeMounts"] == [{"name": "cache", "mountPath": "/cache"}]
    for lost in ("hostNetwork", "pdbSpec", "Resource cpu", "envSecretRefName", "svcOrchSpec.replicas", "triggers"):
        assert lost in said, lost


def test_what_is_lost_of_a_container_is_named_in_the_order_of_the_file(tmp_path: Path) -> None:
    """The warnings are the same in every run."""
    lost = ("tty", "stdin", "args", "lifecycle", "startupProbe", "command", "livenessProbe")
    file = tmp_path / "deployment.yaml"
    members = "".join(f"          {name}: {{}}\n" for name in lost)
    file.write_text(PODS.read_text().replace("        - name: big\n", f"        - name: big\n{members}"))
    _, _, said = _rendered(file, "--serve-config")
    found = [line.split(": ")[-2].rpartition(".")[2] for line in said.splitlines() if ".containers." in line]
    assert found == [*lost]


def test_what_a_replica_reserves() -> None:
    """Resources of Kubernetes are Ray's, requests in progress its target, and KEDA's bounds those of its autoscaler."""
    found = {each["name"]: each for each in _config(PODS, "--target-in-flight", "5")["applications"][0]["deployments"]}
    assert found["a.big"]["ray_actor_options"] == {
        "num_cpus": 1.5,
        "num_gpus": 2,
        "memory": 2 * 1024**3,
        "resources": {"example.com/fpga": 1},
        "runtime_env": {"env_vars": {"PLAIN": "1"}},
    }
    assert found["a.big"]["autoscaling_config"] == {"min_replicas": 1, "max_replicas": 3, "target_ongoing_requests": 8}
    assert found["b.side"]["autoscaling_config"] == {
        "min_replicas": 0,
        "max_replicas": 100,
        "target_ongoing_requests": 5,
        "downscale_to_zero_delay_s": 60,
    }
    assert found["front"]["num_replicas"] == 2


def test_no_replicas_are_refused(tmp_path: Path) -> None:
    """Ray Serve has no deployment of 0 replicas, so a file that asks for none is refused."""
    file = tmp_path / "deployment.yaml"
    file.write_text((CASES / "kubernetes" / "08-groups.yaml").read_text().replace("replicas: 2", "replicas: 0"))
    code, text, said = _rendered(file, "--serve-config")
    assert [code, text] == [2, ""]
    assert "spec.predictors[0].graph[0].replicas: 0 is refused by Ray Serve" in said


def test_a_file_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    """What stands in the way of the output and was not rendered stays; what was rendered is replaced."""
    target = tmp_path / "serve.yaml"
    options = ("--serve-config", "--output", str(target))
    assert _rendered(PODS, *options)[:2] == (0, "")
    assert _rendered(PODS, *options)[0] == 0
    target.write_text("mine: 1\n")
    assert _rendered(PODS, *options)[0] == 2
    assert target.read_text() == "mine: 1\n"
