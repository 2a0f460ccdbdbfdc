"""`infergraph render kubernetes`, held against the cases' facts and the schemas of the newest Kubernetes."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import kubernetes_validate
import pytest
import yaml

from infergraph.cli.main import run as run_command
from infergraph.graph.inspection import inspect
from kubernetes_facts import called, facts, graphs, objects

CASES = Path(__file__).parent / "cases" / "kubernetes"
_EXTENSIONS = frozenset({"ScaledObject", "HTTPRoute", "ServiceMonitor"})
_AMONG_OTHERS = frozenset({"podLabels", "podAnnotations", "env"})


class Result(NamedTuple):
    """What the command gave."""

    exit_code: Any
    stdout: str
    stderr: str


def _rendered(file: Path, *options: str) -> Result:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run_command(["render", "kubernetes", str(file), *options])
    return Result(ended.value.code, out.getvalue(), err.getvalue())


def _runs() -> list[Any]:
    found = []
    for path in sorted(CASES.glob("[0-9]*.json")):
        if "ray" in path.name:
            continue
        case = json.loads(path.read_text())
        for number, run in enumerate(case["runs"]):
            found.append(pytest.param(CASES / case["input"], run, id=f"{path.stem}-{number}"))
    return found


RUNS = _runs()
REFUSED = json.loads((CASES / "refused.json").read_text())["cases"]


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
            assert list(found) == list(wanted) or sorted(found) == sorted(wanted)
            for each, members in wanted.items():
                for member, value in members.items():
                    _holds(found[each].get(member), value, member)
        case "spec":
            assert found["parentRefs"] == wanted["parentRefs"]
            assert found["rules"][: len(wanted["rules"])] == wanted["rules"]
        case member if member in _AMONG_OTHERS:
            assert {key: found.get(key) for key in wanted} == wanted
        case _:
            assert found == wanted, name


@pytest.mark.parametrize(("file", "run"), RUNS)
def test_every_object_has_the_shape_of_kubernetes(file: Path, run: dict[str, Any]) -> None:
    """Each object is valid by the schema of the newest Kubernetes, and each selector takes pods of its own."""
    documents = objects(_rendered(file, *run["args"]).stdout)
    for document in documents:
        if document["kind"] not in _EXTENSIONS:
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize(("file", "run"), RUNS)
def test_every_graph_file_passes_the_check(file: Path, run: dict[str, Any]) -> None:
    """What a ConfigMap holds is a deployment file without a problem or an unknown member."""
    for name, text in graphs(objects(_rendered(file, *run["args"]).stdout)).items():
        checked = inspect(text, name, {})
        assert checked.problems == []
        assert not any("unknown member" in found.problem.text for found in checked.advice)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["title"])
def test_what_is_refused(case: dict[str, Any], tmp_path: Path) -> None:
    """A file that cannot be rendered is refused with the words of the case, and nothing on the standard output."""
    file = CASES / case["input"] if isinstance(case["input"], str) else tmp_path / "deployment.yaml"
    if not isinstance(case["input"], str):
        documents = case["input"] if isinstance(case["input"], list) else [case["input"]]
        file.write_text(yaml.safe_dump_all(documents))
    result = _rendered(file, *case["args"])
    assert all(text in result.stderr for text in case["says"]), result.stderr
    assert result.exit_code == case.get("exit", 2)
    assert bool(result.stdout) == (result.exit_code == 0)
