"""What is served: targets that are models, and those that are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from infergraph.errors import TargetError
from infergraph.unit_source import is_graph, named, server_of, with_server


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with one of each kind."""
    monkeypatch.chdir(tmp_path)
    files = ["iris.joblib", "a.pkl", "m.ubj", "m.bst", "m.onnx", "code.py", "graph.yaml", "weights.pt"]
    files += ["flow/MLmodel", "flow/model.pkl", "trees/model.ubj", "trees/metadata.yaml", "two/a.onnx", "two/b.pkl"]
    files += ["package/__init__.py", "nothing/readme.txt"]
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "trees.json").write_text('{"learner":{"attributes":{}},"version":[3,0,0]}')
    (tmp_path / "graph.json").write_text('{"kind": "SeldonDeployment"}')
    return tmp_path


@pytest.mark.parametrize(
    ("target", "server"),
    [
        ("iris.joblib", "SKLEARN_SERVER"),
        ("a.pkl", "SKLEARN_SERVER"),
        ("m.ubj", "XGBOOST_SERVER"),
        ("m.bst", "XGBOOST_SERVER"),
        ("trees.json", "XGBOOST_SERVER"),
        ("m.onnx", "ONNX_SERVER"),
        ("flow", "MLFLOW_SERVER"),
        ("trees/", "XGBOOST_SERVER"),
    ],
)
def test_a_model_is_known_by_ending_and_content(target: str, server: str) -> None:
    """A model's file or folder gets the server that loads it, and is no graph."""
    assert with_server(target) == f"{server}:{target}"
    assert server_of(with_server(target)) == server
    assert not is_graph(with_server(target))


@pytest.mark.parametrize(
    "target",
    [
        "code.py",
        "code.py:A",
        "code:A",
        "package",
        "graph.yaml",
        "graph.json",
        "graph.yaml#x",
        "nowhere",
        "package.onnx",
        "SKLEARN_SERVER:x",
    ],
)
def test_other_targets_stay_as_they_are(target: str) -> None:
    """Code, deployment files and what is not there are left to those who read them."""
    assert with_server(target) == target


@pytest.mark.parametrize(
    ("target", "words"),
    [("weights.pt", "file.py:Class"), ("nothing", "readme.txt"), ("two", "a.onnx"), ("no.joblib", "no such file")],
)
def test_what_is_no_model_is_said(target: str, words: str) -> None:
    """A file or folder that nothing here can load is refused with what could, and what a folder holds."""
    with pytest.raises(TargetError, match=words):
        with_server(target)


@pytest.mark.parametrize(
    ("text", "name", "target"),
    [
        ("simple=code.py:A", "simple", "code.py:A"),
        ("my-model.v2=graph.yaml", "my-model.v2", "graph.yaml"),
        ("code.py:A", "", "code.py:A"),
        ("a=b.onnx", "", "a=b.onnx"),
        ("s3://bucket/x?y=z", "", "s3://bucket/x?y=z"),
        ("=code.py", "", "=code.py"),
        ("simple=", "", "simple="),
    ],
)
def test_a_target_may_have_a_name(folder: Path, text: str, name: str, target: str) -> None:
    """NAME=TARGET is a name and a target; an equals sign in a path or an address is part of it."""
    (folder / "a=b.onnx").touch()
    assert named(text) == (name, target)
