"""The commands check and show."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from click.testing import CliRunner

from infergraph.cli import graphs
from infergraph.errors import GraphError

HEAD = "apiVersion: machinelearning.seldon.io/v1\nkind: SeldonDeployment\nmetadata: {name: d}\n"
GOOD = HEAD + "spec:\n  predictors:\n  - name: p\n    graph: {name: a, type: MODEL, component: m:A}\n"
TWO = HEAD + (
    "spec:\n  predictors:\n"
    "  - {name: p, traffic: 60, graph: {name: a, component: m:A}}\n"
    "  - {name: q, traffic: 40, graph: {name: b, component: m:B}}\n"
)
BAD = HEAD + (
    "spec:\n  protocol: odd\n  predictors:\n  - name: p\n    graph:\n      name: a\n      type: ROUTR\n"
    "      children:\n      - {name: b}\n"
)
EXAMPLES = sorted((Path(__file__).parents[3] / "examples" / "graphs").glob("*/deployment.yaml"))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command on a file of the given text; the fault, if it raises one, is in `exception`."""
    monkeypatch.chdir(tmp_path)

    def invoke(command, text, *options):
        if text is not None:
            Path("graph.yaml").write_text(text, encoding="utf-8")
        return CliRunner().invoke(getattr(graphs, command), ["graph.yaml", *options])

    return invoke


def test_a_good_file_is_ok(run):
    """A graph without problems gives one line that says how large it is, and exit code 0."""
    result = run("check", GOOD)
    assert (result.exit_code, result.output) == (0, "graph.yaml: ok (1 predictor, 1 node)\n")


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.parent.name)
def test_the_examples_are_ok(run, file):
    """Every example graph is valid and brings no hints."""
    result = run("check", file.read_text(encoding="utf-8"), "--json")
    assert result.exit_code == 0
    found = json.loads(result.output)
    assert (found["ok"], found["problems"], found["advice"]) == (True, [], [])


def test_there_are_six_examples():
    """The examples are where the test above looks for them."""
    assert len(EXAMPLES) == 6


def test_every_problem_is_printed_with_its_line_and_hint(run):
    """Problems and hints come in the order of the file, plain in a pipe, and the exit code is 2."""
    result = run("check", BAD)
    assert result.exit_code == 2
    assert result.output.splitlines() == [
        'graph.yaml:4: error: spec: Invalid value: "odd": Invalid protocol',
        "    one of seldon, tensorflow, kfserving, v2",
        'graph.yaml:8: error: spec.predictors[0].graph: Invalid value: "a": Can\'t find container for Predictive Unit',
        "    add `component: module:Class`, an endpoint with service_host, or a container of this name",
        "graph.yaml:8: hint: spec.predictors[0].graph: unknown type 'ROUTR': nothing acts on it",
        "    did you mean ROUTER?",
        'graph.yaml:12: error: spec.predictors[0].graph[0]: Invalid value: "b": '
        "Can't find container for Predictive Unit",
        "    add `component: module:Class`, an endpoint with service_host, or a container of this name",
        "graph.yaml: not valid (3 problems, 1 hint)",
    ]


def test_json_says_the_same(run):
    """With --json the same comes as one JSON object, problems in the reference's order."""
    result = run("check", BAD, "--json")
    assert result.exit_code == 2
    found = json.loads(result.output)
    assert found["ok"] is False
    assert found["deployments"] == [{"name": "d", "predictors": ["p"]}]
    assert [(each["line"], each["field"]) for each in found["problems"]] == [
        (4, "spec"),
        (8, "spec.predictors[0].graph"),
        (12, "spec.predictors[0].graph[0]"),
    ]
    assert found["advice"] == [
        {
            "line": 8,
            "document": 0,
            "field": "spec.predictors[0].graph",
            "message": "spec.predictors[0].graph: unknown type 'ROUTR': nothing acts on it",
            "hint": "did you mean ROUTER?",
        }
    ]


def test_wrong_types_are_problems_too(run):
    """Values of the wrong type are listed like any other problem, all of them, and unknown members as hints."""
    result = run("check", HEAD + "spec:\n  predictors:\n  - name: 1\n    traffic: x\n    grpah: {}\n")
    assert result.exit_code == 2
    assert [line.split(":")[1:3] for line in result.output.splitlines() if line.startswith("graph.yaml:")][:3] == [
        ["6", " error"],
        ["7", " error"],
        ["8", " hint"],
    ]


@pytest.mark.parametrize("text", ["a: [", "kind: Service"])
def test_a_text_that_is_no_graph(run, text):
    """A text without a graph is one fault; with --json it is told as JSON."""
    result = run("check", text)
    assert isinstance(result.exception, GraphError)
    result = run("check", text, "--json")
    assert result.exit_code == 2
    assert "graph.yaml" in json.loads(result.output)["problems"][0]["message"]


@pytest.mark.parametrize("command", ["check", "show"])
def test_a_file_that_cannot_be_read(run, command):
    """A file that is missing, or no text, is named with the reason."""
    assert "graph.yaml cannot be read: No such file" in str(run(command, None).exception)
    Path("graph.yaml").write_bytes(b"name: \xff")
    assert "graph.yaml is not UTF-8 text (byte 6, line 1)" in str(run(command, None).exception)


def test_a_byte_order_mark_is_no_problem(run):
    """A file that begins with a byte order mark reads as one without."""
    assert run("check", "\ufeff" + GOOD).exit_code == 0


def test_nodes_told_on_the_command_line_need_no_container(run):
    """--node makes a node valid; one of a node that is not there is refused."""
    text = GOOD.replace(", component: m:A", "")
    assert run("check", text).exit_code == 2
    assert run("check", text, "--node", "a=m:A").exit_code == 0
    assert "no node 'b'" in str(run("check", text, "--node", "b=m:A").exception)


def test_addressed_nodes_are_for_laptops(run):
    """A node with an address of its own is valid here, and with --cluster is what the operator says of it."""
    text = GOOD.replace("component: m:A", "endpoint: {service_host: h, service_port: 1}")
    assert run("check", text).exit_code == 0
    result = run("check", text, "--cluster")
    assert result.exit_code == 2
    assert "Can't find container" in result.output


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (
            "type: MODEL, component: m:A",
            "does not read `component`: add a container of this name whose image serves m:A",
        ),
        ("name: b, type: MODEL, component: m:A", "The container of Predictive Unit has no image"),
        ("type: CHAIN", "A cluster has no CHAIN"),
        ("type: MODEL, implementation: ONNX_SERVER, modelUri: u", "No entry in predictors map for ONNX_SERVER"),
        (
            "type: MODEL, component: m:A, children: [{name: c, type: MODEL}, {name: d, type: MODEL, component: m:B}]",
            "serves m:B",
        ),
    ],
)
def test_what_a_cluster_cannot_run_is_told(run, node, told):
    """A node that has no image, or is of a kind of ours, is valid here, and an error with --cluster."""
    pods = "componentSpecs: [{spec: {containers: [{name: b}, {name: c, image: i}]}}]\n    "
    text = GOOD.replace("type: MODEL, component: m:A", node).replace("graph:", f"{pods}graph:")
    text = text.replace("name: a, name: b", "name: b")
    assert run("check", text).exit_code == 0
    result = run("check", text, "--cluster")
    assert (result.exit_code, told in result.output) == (2, True), result.output


def test_a_container_with_an_image_is_what_a_cluster_runs(run):
    """Also where the node has a component for a server without containers."""
    pods = "componentSpecs: [{spec: {containers: [{name: a, image: i}]}}]\n    "
    assert run("check", GOOD.replace("graph:", f"{pods}graph:"), "--cluster").exit_code == 0


def test_servers_of_other_processes_are_hinted_at(run):
    """A packaged server that does not run in process is valid, and the hint says what to write to serve it here."""
    text = GOOD.replace("component: m:A", "implementation: TRITON_SERVER, modelUri: u")
    result = run("check", text)
    assert result.exit_code == 0
    assert "TRITON_SERVER runs in a process of its own" in result.output
    assert "TRITON" not in run("check", text, "--node", "a=http://h:1").output


def test_show_draws_all_predictors(run):
    """Show draws each predictor with what answers at its nodes; --predictor draws one."""
    result = run("show", TWO, "--node", "b=http://h:1")
    assert result.exit_code == 0
    assert [line.rstrip() for line in result.output.splitlines()] == [
        "p  predictor  60 % of the traffic",
        "└── a  MODEL  → m:A",
        "q  predictor  40 % of the traffic",
        "└── b  MODEL  → http://h:1",
    ]
    assert "m:A" not in run("show", TWO, "--predictor", "q").output


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("service_hosts: [a, 'b:2'], service_port: 1", "http://a:1, http://b:2"),
        ("service_host: '::1', service_port: 1, path: /x/, type: GRPC", "grpc://[::1]:1/x"),
        ("service_hosts: ['a:1'], service_hosts_file: hosts.txt, tls: true", "https://a:1, https+file://hosts.txt"),
    ],
)
def test_show_names_all_addresses_of_a_node(run, endpoint, shown):
    """A node that is called at several addresses is valid, and shown with all of them."""
    text = GOOD.replace("component: m:A", f"endpoint: {{{endpoint}}}")
    assert run("check", text).output == "graph.yaml: ok (1 predictor, 1 node)\n"
    assert f"a  MODEL  → {shown}\n" in run("show", text).output


def test_a_port_of_a_host_is_for_one_transport(run):
    """An endpoint of both transports with a host that has a port is a hint; serving it is refused."""
    text = GOOD.replace("component: m:A", "endpoint: {service_hosts: [a, 'b:2'], httpPort: 1, grpcPort: 3}")
    assert "the port of 'b:2' is for one transport, and the endpoint has two" in run("check", text).output
    assert "ok (1 predictor, 1 node)\n" in run("check", text.replace("grpcPort", "type: REST, grpcPort")).output


def test_show_cuts_nothing_off_in_a_pipe(run, monkeypatch):
    """However narrow the terminal that a script was started from, the whole target is there, on one line."""
    monkeypatch.setenv("COLUMNS", "30")
    target = "a_package.with_a_long_name.and_a_module:AndAComponent"
    assert f"a  MODEL  → {target}\n" in run("show", GOOD.replace("m:A", target)).output


def test_show_writes_a_picture(run):
    """--svg writes the picture of one predictor; with several it has to be said which."""
    assert run("show", TWO, "--svg", "graph.svg", "--predictor", "q").exit_code == 0
    assert ElementTree.parse("graph.svg").getroot().get("aria-label") == "Inference graph q"
    fault = run("show", TWO, "--svg", "other.svg").exception
    assert "choose it with --predictor (it has p, q)" in str(fault)
    assert not Path("other.svg").exists()
    fault = run("show", GOOD, "--svg", "nowhere/other.svg").exception
    assert "nowhere/other.svg cannot be written: No such file" in str(fault)


def test_show_of_a_predictor_that_is_not_there(run):
    """A predictor that the file does not have is refused, and those it has are named."""
    assert "no predictor 'x'; it has p, q" in str(run("show", TWO, "--predictor", "x").exception)
    assert str(run("show", HEAD + "spec: {predictors: []}").exception) == "graph.yaml has no predictor"


def test_show_as_json(run):
    """--json answers with the nodes of each predictor and what answers at them, and draws nothing."""
    result = run("show", TWO, "--json", "--predictor", "p")
    assert result.exit_code == 0
    [shown] = json.loads(result.output)
    assert shown["predictor"] == "p"
    assert shown["graph"]["name"] == "a"
    assert shown["answers"] == {"a": "m:A"}


CUT = HEAD + (
    "spec:\n  predictors:\n  - name: p\n    graph:\n      name: a\n      component: m:A\n      children:\n"
    "      - {name: b, component: m:B, replicas: 2, pdbSpec: {minAvailable: 1}}\n"
    "      - {name: c, component: m:C, hpaSpec: {maxReplicas: 3}, resources: {limits: {cpu: 2}}}\n"
)


def test_show_draws_the_cut(run):
    """Each node that asks for a place says for what, each group names its nodes, each member where it has an effect."""
    lines = run("show", CUT).output.splitlines()
    assert lines[2].endswith("b  MODEL  → m:B  [group: 2 replicas]")
    assert lines[3].endswith("c  MODEL  → m:C  [group: 1 to 3 replicas, 2 cpu (limits)]")
    assert lines[4:7] == ["front: a", "group b: b", "group c: c"]
    assert lines[7].endswith("replicas, pdbSpec, resources, hpaSpec")
    assert "pdbSpec on Kubernetes" in lines[8]
    (drawn,) = json.loads(run("show", CUT, "--json").output)
    assert drawn["places"] == [
        {"name": "a", "kind": "front", "nodes": ["a"]},
        {"name": "b", "kind": "group", "nodes": ["b"], "replicas": 2, "pdbSpec": {"minAvailable": 1}},
        {
            "name": "c",
            "kind": "group",
            "nodes": ["c"],
            "resources": {"limits": {"cpu": 2}},
            "hpaSpec": {"maxReplicas": 3},
        },
    ]


def test_picture_says_which_nodes_ask_for_a_place(run):
    """The picture names what each node asks for, too."""
    run("show", CUT, "--svg", "out.svg")
    text = Path("out.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert "MODEL · group: 2 replicas" in text


def test_check_says_where_a_placing_member_has_an_effect(run):
    """Members that one process passes over are hints, which name what does not."""
    result = run("check", CUT)
    assert result.exit_code == 0
    assert "graph.yaml:11: hint: spec.predictors[0].graph[0]: without effect here: replicas, pdbSpec" in result.output
    assert "replicas with serve --groups, on Ray, on Kubernetes; pdbSpec on Kubernetes" in result.output
    refused = run("check", CUT.replace("replicas: 2", "place: moon"))
    assert refused.exit_code == 2
    assert "graph.yaml:11: error: spec.predictors[0].graph[0].place: 'moon' is no place" in refused.output


def test_a_saved_model_is_ok(tmp_path, monkeypatch):
    """A file that `serve` takes as a model is no deployment file that cannot be read."""
    monkeypatch.chdir(tmp_path)
    Path("iris.joblib").touch()
    result = CliRunner().invoke(graphs.check, ["iris.joblib"])
    assert (result.exit_code, result.output) == (0, "iris.joblib: ok (a model, served by SKLEARN_SERVER)\n")
    assert json.loads(CliRunner().invoke(graphs.check, ["iris.joblib", "--json"]).output)["ok"] is True
