"""Reported deployments whose nodes once got what belongs to another, nothing, or a refusal: each as it should be."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from infergraph import assembly
from infergraph.graph.inspection import inspect
from infergraph.graph.spec import text_of
from infergraph.local import LocalCalls
from infergraph.observe.shared_metrics import PrivateMetrics
from infergraph.settings import Settings
from infergraph.unit_source import UnitSource
from served import served

CASES = Path(__file__).parent / "cases" / "bugs"


@contextlib.contextmanager
def running(folder: Path, data_dir: Path, nodes: Mapping[str, str]) -> Iterator[Any]:
    """The graph of the folder's deployment file, started."""
    source = UnitSource(target="deployment.yaml", folder=str(folder), nodes=dict(nodes))
    unit = assembly.build(source, Settings(data_dir=str(data_dir)), PrivateMetrics())
    assert isinstance(unit, LocalCalls)
    with unit:
        yield unit


def rows(answer: Any) -> list[list[Any]]:
    """An answer's rows, an array's or a list's."""
    return [list(row) for row in answer]


def test_each_node_has_its_own_containers_environment(tmp_path: Path) -> None:
    """Two nodes of one class read what their own containers set."""
    nodes = dict.fromkeys(("first", "second"), "stages.py:Stage")
    with running(CASES / "b01-container-env", tmp_path, nodes) as unit:
        assert rows(unit([[1, 2]])) == [["1", "2", "clean", "score"]]


def test_a_custom_server_name_may_be_a_component(tmp_path: Path) -> None:
    """A node with the name of somebody's own server is the component that the command line gives it."""
    with running(CASES / "b18-own-server-name", tmp_path, {"model": "mine.py:Mine"}) as unit:
        assert rows(unit([[1, 2]])) == [[1, 2]]


def test_the_hint_at_a_custom_server_name_says_how() -> None:
    """Without a component the problem names the way to give one."""
    path = CASES / "b18-own-server-name" / "deployment.yaml"
    (problem,) = inspect(text_of(path, path.name), path.name, {}).problems
    assert "--node model=file.py:Class" in problem.problem.hint


@pytest.mark.parametrize("encoding", ["as it came", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_a_deployment_may_be_in_any_unicode(tmp_path: Path, encoding: str) -> None:
    """A deployment file is read in each of YAML's encodings, and checked alike."""
    folder = tmp_path / "case"
    shutil.copytree(CASES / "b24-utf16-yaml", folder)
    path = folder / "deployment.yaml"
    if encoding != "as it came":
        path.write_text(path.read_text("utf-16"), encoding=encoding)
    assert inspect(text_of(path, path.name), path.name, {}).problems == []
    with running(folder, tmp_path / "data", {}) as unit:
        assert rows(unit([[1, 2]])) == [[1, 2]]


def test_whole_numbers_for_float_columns(tmp_path: Path) -> None:
    """A model whose columns are doubles takes JSON's whole numbers and nulls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns while it is imported, which is its own to mend
        pytest.importorskip("mlflow.pyfunc")
    folder = tmp_path / "case"
    shutil.copytree(CASES / "b25-mlflow-whole-number", folder)
    subprocess.run([sys.executable, "make_model.py"], cwd=folder, check=True, capture_output=True)
    answers = []
    with served("deployment.yaml", folder=folder, data_dir=str(tmp_path / "data")) as there:
        for row in ([1.5, 2.5], [1, 2], [1, None]):
            reply = there.ask("POST", "/api/v1.0/predictions", {"data": {"names": ["a", "b"], "ndarray": [row]}})
            answers.append(reply.json["data"]["ndarray"])
    assert answers == [[4.0], [3.0], [1.0]]


@pytest.mark.parametrize("cwd", ["elsewhere", "left"])
def test_each_node_opens_the_files_of_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cwd: str) -> None:
    """Relative files are those beside the component, from wherever the command was given."""
    folder = CASES / "c6-relative-files"
    monkeypatch.chdir(tmp_path if cwd == "elsewhere" else folder / "left")
    nodes = {"left": "left/Model.py:Model", "right": "right/Model.py:Model"}
    with running(folder, tmp_path / "data", nodes) as unit:
        assert rows(unit([[1]])) == [["1", "left", "right"]]


def test_the_start_names_what_has_no_effect_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log of a start has a line for what each node's environment does not give, with the way out."""
    caplog.set_level("INFO")
    nodes = dict.fromkeys(("first", "second"), "stages.py:Stage")
    with served("deployment.yaml", folder=CASES / "b01-container-env", nodes=nodes, data_dir=str(tmp_path)) as there:
        assert there.ask("GET", "/ready").status == 200
    lines = [record.getMessage() for record in caplog.records if "env STEP" in record.getMessage()]
    assert len(lines) == 1
    assert all(words in lines[0] for words in ("STEP of first", "STEP of second", "--node NAME=http://HOST:PORT"))
