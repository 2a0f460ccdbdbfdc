"""The graphs on which the reference was observed: what it fills in and what it refuses, in its own words."""

import json
from pathlib import Path

import pytest
import yaml

from infergraph.errors import GraphError
from infergraph.graph import spec

CASES = json.loads((Path(__file__).parent / "cases" / "validation.json").read_text())
READABLE = [case for case in CASES if "decode_error" not in case]
UNREADABLE = [case for case in CASES if "decode_error" in case]


def _read(case):
    (deployment,) = spec.read(json.dumps(case["spec"]), source="case.json")
    return deployment


@pytest.mark.parametrize("case", READABLE, ids=lambda case: case["id"])
def test_defaulting(case):
    """A graph is filled in exactly as the reference's operator fills it in."""
    deployment = spec.default(_read(case))
    found = [
        {"graph": spec.node_document(predictor.graph), "labels": predictor.labels, "predictor": predictor.name}
        for predictor in deployment.predictors
    ]
    assert found == case["defaulted_graphs"]


@pytest.mark.parametrize("case", READABLE, ids=lambda case: case["id"])
def test_ports_of_containers(case):
    """The ports of containers by name are those that the nodes of these names are given."""
    read = _read(case)
    for predictor, ports in zip(spec.default(read).predictors, spec.ports_of(read), strict=True):
        seen = set()
        for node in predictor.graph.walk():
            contained = len([one for pod in spec.containers(predictor) for one in pod if one.name == node.name])
            if contained == 1 and node.name not in seen:
                assert ports[node.name] == (node.endpoint.http_port, node.endpoint.grpc_port)
            seen.add(node.name)


@pytest.mark.parametrize("case", READABLE, ids=lambda case: case["id"])
def test_validation_of_the_raw_graph(case):
    """A graph as written has exactly the reference's problems, in its order."""
    assert [str(problem) for problem in spec.validate(_read(case))] == case["validate_raw"]


@pytest.mark.parametrize("case", READABLE, ids=lambda case: case["id"])
def test_validation_of_the_defaulted_graph(case):
    """A graph that was filled in has exactly the reference's problems, in its order."""
    problems = spec.validate(spec.default(_read(case)))
    assert [str(problem) for problem in problems] == case["validate_after_default"]


@pytest.mark.parametrize("case", READABLE, ids=lambda case: case["id"])
def test_what_is_written_reads_back(case):
    """A deployment written as YAML reads back as the same deployment, raw and filled in."""
    for deployment in (_read(case), spec.default(_read(case))):
        (again,) = spec.read(spec.to_yaml(deployment), source=deployment.source)
        assert again == deployment


@pytest.mark.parametrize("case", UNREADABLE, ids=lambda case: case["id"])
def test_wrong_types_are_refused_with_their_path(case):
    """A value of the wrong JSON type is refused at the path that the reference names, YAML and JSON alike."""
    path = case["decode_error"].split("struct field ")[1].split(".", 1)[1].split(" ")[0]
    for text in (json.dumps(case["spec"]), yaml.safe_dump(case["spec"])):
        with pytest.raises(GraphError) as caught:
            spec.read(text, source="case.json")
        place = str(caught.value).split(": ")[1]
        assert [part.split("[")[0] for part in place.split(".")] == path.split(".")


def test_every_case_is_run():
    """None of the 41 observed graphs is left out."""
    assert len(READABLE) + len(UNREADABLE) == 41
    assert len(UNREADABLE) == 2
