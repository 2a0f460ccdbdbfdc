"""Reading and writing deployment files."""

import base64
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infergraph.errors import GraphError
from infergraph.graph import spec
from infergraph.graph.spec.records import Deployment, Endpoint, Logger, Node, Parameter, Predictor

HEAD = "apiVersion: machinelearning.seldon.io/v1\nkind: SeldonDeployment\nmetadata: {name: d}\n"


def _read(text, source="graph.yaml"):
    (deployment,) = spec.read(text, source=source)
    return deployment


def _graph(text):
    """The root of a predictor whose graph is the given flow of YAML."""
    return _read(f"{HEAD}spec: {{predictors: [{{name: p, graph: {text}}}]}}").predictors[0].graph


# ── round trips ─────────────────────────────────────────────────────────────────────────────────────────────────

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
MAPS = st.dictionaries(WORDS, WORDS, max_size=2)
COUNTS = st.integers(0, 2**31 - 1)
DOCUMENTS = st.dictionaries(
    st.sampled_from(["strData", "data", "meta"]),
    st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | WORDS, lambda inner: st.lists(inner, max_size=2)),
    min_size=1,
).filter(lambda document: "data" in document or "strData" in document)
ENDPOINTS = st.builds(
    Endpoint, st.sampled_from(["", "10.0.0.1"]), COUNTS, st.sampled_from(["", "REST", "GRPC", "x"]), COUNTS, COUNTS
)


def _nodes(children, fallbacks):
    return st.builds(
        Node,
        name=WORDS | st.just(""),
        type=st.sampled_from([None, "", *sorted(spec.TYPES), "BOGUS"]),
        implementation=st.sampled_from([None, "", "RANDOM_ABTEST", "SKLEARN_SERVER", "UNKNOWN_IMPLEMENTATION"]),
        methods=st.lists(st.sampled_from(sorted(spec.METHODS)), max_size=2).map(tuple),
        children=children,
        endpoint=st.none() | ENDPOINTS,
        parameters=st.lists(st.builds(Parameter, WORDS, WORDS, st.sampled_from(["INT", "x"])), max_size=2).map(tuple),
        model_uri=WORDS,
        logger=st.none() | st.builds(Logger, WORDS, st.sampled_from(["", "all"])),
        component=WORDS | st.just(""),
        timeout_ms=COUNTS,
        retries=COUNTS,
        retry_backoff_ms=COUNTS,
        fallback=fallbacks,
        shadow=st.booleans(),
    )


LEAVES = _nodes(st.just(()), st.none() | DOCUMENTS)
NODES = st.recursive(
    LEAVES,
    lambda inner: _nodes(st.lists(inner, max_size=3).map(tuple), st.none() | DOCUMENTS | inner),
    max_leaves=6,
)
PODS = st.builds(
    lambda names: {"spec": {"containers": [{"name": name, "image": "i"} for name in names]}},
    st.lists(WORDS, max_size=2),
)
PREDICTORS = st.builds(
    Predictor,
    name=WORDS,
    graph=NODES,
    component_specs=st.lists(PODS, max_size=2).map(tuple),
    annotations=MAPS,
    labels=MAPS,
    traffic=st.integers(-5, 120),
    shadow=st.booleans(),
    replicas=st.none() | COUNTS,
)
DEPLOYMENTS = st.builds(
    Deployment,
    api_version=st.sampled_from([f"machinelearning.seldon.io/{version}" for version in ("v1", "v1alpha2", "v1alpha3")]),
    name=WORDS,
    namespace=WORDS | st.just(""),
    annotations=MAPS,
    metadata_annotations=MAPS,
    labels=MAPS,
    protocol=st.sampled_from(["", "seldon", "v2", "nope"]),
    transport=st.sampled_from(["", "rest", "grpc"]),
    replicas=st.none() | COUNTS,
    predictors=st.lists(PREDICTORS, max_size=3).map(tuple),
    source=st.just("graph.yaml"),
)


@given(DEPLOYMENTS)
def test_what_is_written_reads_back(deployment):
    """Any deployment written as YAML or as JSON reads back as the same deployment, without advice."""
    for text in (spec.to_yaml(deployment), json.dumps(spec.deployment_document(deployment))):
        assert _read(text) == deployment


@given(PREDICTORS)
def test_a_predictor_reads_back_in_each_of_its_forms(predictor):
    """A predictor reads back from JSON, from YAML, and from base64 of its JSON."""
    text = json.dumps(spec.predictor_document(predictor))
    for form in (text, yaml.safe_dump(json.loads(text)), base64.b64encode(text.encode()).decode()):
        assert spec.read_predictor(form) == predictor


@given(DEPLOYMENTS)
def test_any_readable_graph_can_be_filled_in_and_checked(deployment):
    """Defaulting, validation and advice take any graph that can be read, and defaulting keeps every node."""
    defaulted = spec.default(deployment)
    for each in (deployment, defaulted):
        assert all(str(problem) for problem in (*spec.validate(each), *spec.advise(each)))
    for before, after in zip(deployment.predictors, defaulted.predictors, strict=True):
        assert [node.name for node in before.graph.walk()] == [node.name for node in after.graph.walk()]
        assert None not in [node.implementation for node in after.graph.walk()]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["spec", "predictors", "graph", "name", "children", "componentSpecs", "containers", "endpoint",
                         "traffic", "fallback", "methods", "kind", "apiVersion", "metadata", "env", "svcOrchSpec"])
        | WORDS,
        inner,
        max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


def _read_or_refused(text):
    """The deployments in `text`, or why there are none."""
    try:
        return spec.read(text, source="some.yaml"), ""
    except GraphError as fault:
        return [], str(fault)


@given(JSON)
def test_any_document_is_read_or_refused(document):
    """Any JSON document either reads as deployments or is refused with a GraphError that names the file."""
    deployments, said = _read_or_refused(json.dumps(document))
    assert deployments or "some.yaml" in said
    for deployment in deployments:
        spec.validate(spec.default(deployment))


@given(st.text())
def test_any_text_is_read_or_refused(text):
    """Any text at all is read or refused with a GraphError, and nothing else."""
    deployments, said = _read_or_refused(text)
    assert deployments or said.startswith("some.yaml")


# ── names, types, duplicates ────────────────────────────────────────────────────────────────────────────────────


def test_names_match_in_any_case():
    """Members are found in any case, at every depth."""
    graph = _graph("{NAME: a, Children: [{nAme: b, MODELURI: u, Endpoint: {HTTPPORT: 1}}]}")
    assert graph.children[0] == Node(name="b", model_uri="u", endpoint=Endpoint(http_port=1))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"name": "a", "Name": "b"}', "b"),
        ('{"Name": "b", "name": "a"}', "a"),
        ('{"name": "a", "Name": "b", "name": "c"}', "c"),
        ('{"NAME": "a", "name": null}', ""),
    ],
)
def test_the_later_spelling_wins(text, name):
    """Of two spellings of a member the later one counts, in JSON and in YAML."""
    assert _graph(text).name == name
    document = f'{{"spec": {{"predictors": [{{"graph": {text}}}]}}}}'
    assert _read(document).predictors[0].graph.name == name


def test_null_is_as_if_not_there():
    """A null member reads as a member that is not there, wherever it stands."""
    graph = _graph("{name: ~, type: ~, children: ~, endpoint: ~, parameters: [~], methods: ~, timeout_ms: ~}")
    assert graph == Node(parameters=(Parameter("", "", ""),))


def test_an_empty_list_of_methods_is_not_no_list():
    """`methods: []` keeps the node from getting a default type, as in the reference, and is written back."""
    node = _graph("{name: a, methods: []}")
    assert spec.node_document(node) == {"name": "a", "methods": []}
    assert spec.default(Deployment(predictors=(Predictor(graph=node),))).predictors[0].graph.type is None


@pytest.mark.parametrize(
    ("graph", "line"),
    [
        ("{name: 5}", "spec.predictors[0].graph.name: expected text, found the number 5; put it in quotes"),
        ("{name: a, type: true}", "spec.predictors[0].graph.type: expected text, found true; put it in quotes"),
        ("{children: {name: x}}", "spec.predictors[0].graph.children: expected a list, found an object"),
        ("{children: [x]}", "spec.predictors[0].graph.children[0]: expected an object, found the text 'x'"),
        ("[]", "spec.predictors[0].graph: expected an object, found a list"),
        ("{endpoint: {service_port: '9'}}", "graph.endpoint.service_port: expected an integer, found the text '9'"),
        ("{endpoint: {service_hosts: [a, 'b:x']}}", "service_hosts[1]: 'b:x' is not a host or host:port"),
        ("{endpoint: {service_hosts: a}}", "graph.endpoint.service_hosts: expected a list, found the text 'a'"),
        ("{endpoint: {path: model}}", "graph.endpoint.path: 'model' is not a path"),
        ("{endpoint: {path: /a b}}", "graph.endpoint.path: '/a b' is not a path"),
        ("{endpoint: {httpPort: 1.5}}", "graph.endpoint.httpPort: expected an integer, found the number 1.5"),
        ("{endpoint: {httpPort: true}}", "graph.endpoint.httpPort: expected an integer, found true"),
        ("{endpoint: {httpPort: 3000000000}}", "graph.endpoint.httpPort: 3000000000 does not fit in 32 bits"),
        ("{shadow: 1}", "graph.shadow: expected true or false, found the number 1"),
        ("{retries: -1}", "graph.retries: must be 0 or more, not -1"),
        ("{methods: [1]}", "graph.methods[0]: expected text, found the number 1"),
        ("{fallback: 7}", "graph.fallback: expected an object, found the number 7"),
        ("{fallback: {name: 7}}", "graph.fallback.name: expected text, found the number 7"),
    ],
)
def test_wrong_types_are_faults_with_their_path(graph, line):
    """A value of the wrong type is a fault that names file, line, path, and what was found."""
    with pytest.raises(GraphError) as caught:
        _graph(graph)
    assert str(caught.value).startswith("graph.yaml:4: ")
    assert line in str(caught.value)


@pytest.mark.parametrize(
    ("predictor", "path"),
    [
        ("componentSpecs: {}", "componentSpecs"),
        ("componentSpecs: [{spec: {containers: {}}}]", "componentSpecs[0].spec.containers"),
        ("componentSpecs: [{spec: {containers: [{name: 1}]}}]", "componentSpecs[0].spec.containers[0].name"),
        (
            "componentSpecs: [{spec: {containers: [{ports: [{containerPort: x}]}]}}]",
            "componentSpecs[0].spec.containers[0].ports[0].containerPort",
        ),
        ("svcOrchSpec: {env: [{name: 1}]}", "svcOrchSpec.env[0].name"),
        ("explainer: {type: 1}", "explainer.type"),
        ("labels: {a: 1}", "labels.a"),
        ("annotations: []", "annotations"),
        ("traffic: '5'", "traffic"),
    ],
)
def test_the_rest_of_a_predictor_is_checked_too(predictor, path):
    """What is kept as written is checked for the types that the reference looks at."""
    with pytest.raises(GraphError, match="expected") as caught:
        _read(f"{HEAD}spec: {{predictors: [{{name: p, graph: {{}}, {predictor}}}]}}")
    assert f": spec.predictors[0].{path}: " in str(caught.value)


def test_every_fault_is_told_at_once():
    """All wrong values of a file are named in one go, a line for each, with the line they stand at."""
    text = HEAD + "spec:\n  predictors:\n  - name: 1\n    graph:\n      name: 2\n      children:\n      - name: 3\n"
    with pytest.raises(GraphError) as caught:
        _read(text)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["graph.yaml:6", "graph.yaml:8", "graph.yaml:10"]


def test_a_whole_float_is_an_integer_in_yaml_alone():
    """YAML's 50.0 is 50 by the time the reference sees it; JSON's 50.0 is no integer."""
    predictor = {"name": "p", "traffic": 50.0, "graph": {}}
    assert _read(yaml.safe_dump(predictor)).predictors[0].traffic == 50
    with pytest.raises(GraphError, match="traffic: expected an integer"):
        _read(json.dumps(predictor))


def test_yaml_is_read_as_json_would_be():
    """Dates stay text, and keys that are numbers or booleans become text."""
    predictor = _read("name: 2024-01-02\ngraph: {name: x}\nlabels: {1: a, true: b, ~: c}").predictors[0]
    assert predictor.name == "2024-01-02"
    assert predictor.labels == {"1": "a", "true": "b", "null": "c"}


def test_a_byte_order_mark_is_passed_over():
    """A text that begins with a byte order mark reads as one without, YAML and JSON."""
    for text in ("name: p\ngraph: {name: x}", '{"name": "p", "graph": {"name": "x"}}'):
        assert _read(f"\ufeff{text}") == _read(text)


def test_anchors_and_merges_are_followed():
    """YAML's anchors, aliases and merge keys say what they stand for."""
    graph = _graph("{name: a, children: [&m {name: b, type: MODEL}, {<<: *m, name: c}]}")
    assert [(child.name, child.type) for child in graph.children] == [("b", "MODEL"), ("c", "MODEL")]


def test_json_keeps_signs_outside_the_basic_plane():
    """A name escaped as a surrogate pair reads as the sign that it stands for."""
    assert _read('{"name": "p", "graph": {"name": "\\ud83d\\ude00"}}').predictors[0].graph.name == "😀"


# ── documents ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["v1", "v1alpha2", "v1alpha3"])
def test_all_api_versions_are_one(version):
    """The three API versions are read alike."""
    text = f"apiVersion: machinelearning.seldon.io/{version}\nkind: SeldonDeployment\nspec: {{predictors: []}}"
    assert _read(text).api_version == f"machinelearning.seldon.io/{version}"


def test_another_api_version_is_refused():
    """A version that nobody knows is refused, and the known ones are named."""
    with pytest.raises(GraphError, match=r"graph\.yaml:1: apiVersion: 'apps/v1' is not supported; use one of machine"):
        _read("apiVersion: apps/v1\nkind: SeldonDeployment\nspec: {}")


def test_a_file_may_hold_several_documents():
    """Deployments come in the order of the file; documents of other kinds and empty ones are passed over."""
    text = (
        "kind: Secret\nmetadata: {name: s}\n---\n---\n" + HEAD + "spec: {predictors: []}\n---\n"
        "kind: SeldonDeployment\nmetadata: {name: e}\nspec: {predictors: []}\n"
    )
    found = spec.read(text, source="all.yaml")
    assert [(deployment.name, deployment.document) for deployment in found] == [("d", 2), ("e", 3)]


def test_a_fault_names_its_document():
    """In a file of several documents a fault says in which one it is, and counts lines from the top of the file."""
    with pytest.raises(GraphError) as caught:
        spec.read(f"kind: Secret\n---\n{HEAD}spec: {{predictors: 5}}\n", source="all.yaml")
    assert str(caught.value).startswith("all.yaml:6 (document 2): spec.predictors: expected a list")


def test_a_kubernetes_list_is_its_items():
    """A List holds deployments like a file of several documents."""
    item = yaml.safe_load(HEAD) | {"spec": {"predictors": [{"name": "p", "graph": {"name": "x", "oops": 1}}]}}
    deployment = _read(json.dumps({"kind": "List", "apiVersion": "v1", "items": [{"kind": "Service"}, item]}))
    assert deployment.name == "d"
    assert deployment.advice[0].field == "items[1].spec.predictors[0].graph.oops"


def test_a_bare_predictor_is_a_deployment_of_its_name():
    """A document of name and graph alone is taken for a deployment with that one predictor."""
    deployment = _read("name: p\ngraph: {name: x}\n")
    assert (deployment.name, deployment.predictors) == ("p", (Predictor(name="p", graph=Node(name="x")),))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "graph.yaml: no document of kind SeldonDeployment: it is empty"),
        ("kind: Service\n---\n[]", "no document of kind SeldonDeployment; it holds: Service, a list"),
        ("a: [", "graph.yaml:1:5: "),
        ('{"a": 1,\n "b" 2}', "graph.yaml:2:6: neither JSON nor YAML: Expecting ':'"),
        ("spec: &a\n  predictors: *a", "graph.yaml:1:7: found unconstructable recursive node"),
        ("a: !!python/object:os.system x", "graph.yaml:1:4: could not determine a constructor"),
        ("? [1]\n: x", "graph.yaml:1:3: a key must be plain text"),
        ("[" * 5000, "graph.yaml: nested too deeply"),
        ("a: " + "[" * 5000, "graph.yaml: nested too deeply"),
    ],
)
def test_unreadable_files_are_refused_with_the_place(text, said):
    """A text that holds no graph is refused in one line with the place and the reason."""
    with pytest.raises(GraphError) as caught:
        spec.read(text, source="graph.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_graph_nested_without_end_is_refused():
    """A tree deeper than any sensible one is refused instead of overflowing the stack."""
    graph = {"name": "leaf"}
    for _ in range(150):
        graph = {"name": "n", "children": [graph]}
    with pytest.raises(GraphError, match="nested more than"):
        spec.read(json.dumps({"name": "p", "graph": graph}), source="deep.json")


def test_aliases_on_aliases_do_not_unfold_without_end():
    """A small file whose aliases stand for billions of nodes is refused soon."""
    lines = ["a0: &a0 {name: x}"]
    lines += [f"a{n}: &a{n} {{name: n, children: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    with pytest.raises(GraphError, match="unfolds without end"):
        spec.read("\n".join([*lines, "name: p", "graph: *a11"]), source="bomb.yaml")


@pytest.mark.parametrize("text", ["", "  ", "[]", "!!!", base64.b64encode(b"[1]").decode(), '{"graph": 5}', "a: ["])
def test_a_predictor_that_is_none_is_refused(text):
    """ENGINE_PREDICTOR without a readable predictor is refused by name, an empty one too (it crashed the reference)."""
    with pytest.raises(GraphError, match="ENGINE_PREDICTOR"):
        spec.read_predictor(text)


# ── unknown members ─────────────────────────────────────────────────────────────────────────────────────────────


def test_unknown_members_are_passed_over_and_told():
    """A member that nobody reads changes nothing, and is told with the name that was probably meant."""
    deployment = _read(
        f"{HEAD}spec: {{protocl: v2, predictors: [{{name: p, grpah: {{}}, graph: {{name: x, chidlren: [], zzz: 1, "
        "endpoint: {http_port: 1}}}]}"
    )
    assert deployment.predictors[0].graph == Node(name="x", endpoint=Endpoint())
    told = {problem.field.rpartition(".")[2]: problem.hint for problem in deployment.advice}
    assert {name: told[name] for name in ("protocl", "grpah", "chidlren", "http_port")} == {
        "protocl": "did you mean 'protocol'?",
        "grpah": "did you mean 'graph'?",
        "chidlren": "did you mean 'children'?",
        "http_port": "did you mean 'httpPort'?",
    }
    assert told["zzz"].startswith("it is ignored; known are: name, type,")


def test_members_of_kubernetes_are_not_told():
    """What belongs to Kubernetes (status, metadata, pods) is none of our business."""
    text = HEAD.replace("{name: d}", "{name: d, uid: x, generation: 1}") + (
        "status: {state: Available}\nspec: {predictors: [{name: p, graph: {name: x}, componentSpecs: "
        "[{hpaSpec: {}, spec: {volumes: [], containers: [{name: x, command: [a]}]}}]}]}"
    )
    assert _read(text).advice == ()


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("spec.predictors[0].graph", 6),
        ("spec.predictors[0].graph[1]", 10),
        ("spec.predictors[0].graph.children[1].type", 11),
        ("spec.predictors[0].graph[1].gone.further", 10),
        ("SPEC.Predictors", 5),
        ("nowhere", 1),
    ],
)
def test_the_line_of_a_place(field, line):
    """A place is found in the text by its path, with or without the word children, or else the last part that is."""
    text = HEAD + (
        "spec:\n  predictors:\n  - graph:\n      name: a\n      children:\n      - name: b\n      - name: c\n"
        "        type: MODEL\n"
    )
    assert spec.Lines(text).of(0, field) == line


def test_no_line_where_there_is_no_document():
    """A document that is not there, or no YAML, has no lines."""
    assert spec.Lines("a: 1").of(3, "a") == 0
    assert spec.Lines("a: [").of(0, "a") == 0
