"""Nodes of one process have what their containers would have: modules, environment, working folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import joblib
import pytest
import yaml

from infergraph import assembly
from infergraph.errors import TargetError
from infergraph.local import LocalCalls
from infergraph.observe.shared_metrics import PrivateMetrics
from infergraph.settings import Execution, Settings
from infergraph.unit_source import UnitSource

TAGGING = """
class Node:
    def predict(self, X, names=None):
        return [[*map(str, row), {tag}] for row in X]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a deployment, which is not the working folder; the process is as before afterwards."""
    finders, path = list(sys.meta_path), list(sys.path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (tmp_path / "deployment").mkdir()
    yield tmp_path / "deployment"
    sys.meta_path[:], sys.path[:] = finders, path
    for name, module in list(sys.modules.items()):
        if str(tmp_path) in str(getattr(module, "__spec__", "")):
            del sys.modules[name]


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write files by relative path."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def graph(
    folder: Path,
    nodes: Mapping[str, str],
    env: Mapping[str, Mapping[str, str]] | None = None,
    parameters: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Any:
    """A line of nodes, each a target, with the environment of each one's container."""
    tree: dict[str, Any] = {}
    for name in reversed(nodes):
        given = [{"name": key, "value": value, "type": "STRING"} for key, value in (parameters or {}).items()]
        tree = {"name": name, "type": "MODEL", "children": [tree] if tree else [], "parameters": given}
    containers = [
        {
            "name": name,
            "image": f"example/{name}:1",
            "env": [{"name": key, "value": value} for key, value in own.items()],
        }
        for name, own in ((name, (env or {}).get(name, {})) for name in nodes)
    ]
    predictor = {"name": "main", "componentSpecs": [{"spec": {"containers": containers}}], "graph": tree}
    document = {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": "mill"},
        "spec": {"predictors": [predictor]},
    }
    (folder / "deployment.yaml").write_text(yaml.safe_dump(document))
    source = UnitSource(target="deployment.yaml", folder=str(folder), nodes=dict(nodes))
    unit = assembly.build(source, Settings(data_dir=str(folder / "data"), **settings), PrivateMetrics())
    assert isinstance(unit, LocalCalls)
    return unit


def tags(unit: Any, times: int = 1) -> list[str]:
    """What the nodes appended to a row of one number."""
    with unit:
        for _ in range(times):
            answer = unit([[1]])
    return list(answer[0][1:])


def test_helpers_of_one_name_are_each_nodes_own(folder: Path) -> None:
    """A module that both folders have is each node's own: at import, from methods, by `from`, and in a package."""
    code = """
import helper
from helper import WHO
from pack import inner
from pack.deep.leaf import leaf_who

class Node:
    def predict(self, X, names=None):
        import helper as later
        import pack.late
        from pack import lazy
        found = [helper.WHO, WHO, inner.who(), leaf_who(), later.WHO, pack.late.WHO, lazy.WHO]
        return [[*map(str, row), "/".join(found)] for row in X]
"""
    for side in ("left", "right"):
        write(
            folder,
            {
                f"{side}/Model.py": code,
                f"{side}/helper.py": f"WHO = {side!r}\n",
                f"{side}/pack/__init__.py": "",
                f"{side}/pack/base.py": f"WHO = {side!r}\n",
                f"{side}/pack/inner.py": "from . import base\nimport helper\n\ndef who():\n    from .base import WHO\n"
                "    assert helper.WHO == WHO\n    return WHO\n",
                f"{side}/pack/deep/__init__.py": "",
                f"{side}/pack/deep/leaf.py": "from ..base import WHO\n\ndef leaf_who():\n    return WHO\n",
                f"{side}/pack/late.py": "from helper import WHO\n",
                f"{side}/pack/lazy.py": "from .base import WHO\n",
            },
        )
    unit = graph(folder, {"left": "left/Model.py:Node", "right": "right/Model.py:Node"})
    assert tags(unit) == ["/".join(["left"] * 7), "/".join(["right"] * 7)]


def test_a_module_that_another_node_has_is_not_found(folder: Path) -> None:
    """A node without a module of its own does not get another node's; an installed one of the name it does get."""
    write(
        folder,
        {
            "left/Model.py": "import extra\nimport colorsys\n" + TAGGING.format(tag="extra.WHO + colorsys.WHO"),
            "left/extra.py": "WHO = 'left'\n",
            "left/colorsys.py": "WHO = '!'\n",
            "right/Model.py": "import colorsys\ntry:\n    import extra\nexcept ImportError:\n    extra = None\n"
            + TAGGING.format(tag="str(extra) + colorsys.rgb_to_hsv.__name__"),
        },
    )
    sys.modules.pop("colorsys", None)
    unit = graph(folder, {"left": "left/Model.py:Node", "right": "right/Model.py:Node"})
    assert tags(unit) == ["left!", "Nonergb_to_hsv"]


def test_two_nodes_of_one_file_share_nothing(folder: Path) -> None:
    """State of a module and of a class belongs to one node, though both nodes come from one file."""
    write(
        folder,
        {
            "stages.py": """
import os

STEP = os.environ["STEP"]
seen = []

class Node:
    made = 0

    def __init__(self):
        type(self).made += 1

    def predict(self, X, names=None):
        seen.append(1)
        return [[*map(str, row), f"{STEP} {self.made} {len(seen)}"] for row in X]
"""
        },
    )
    env = {"first": {"STEP": "clean"}, "second": {"STEP": "score"}}
    unit = graph(folder, {"first": "stages.py:Node", "second": "stages.py:Node"}, env)
    assert tags(unit, times=2) == ["clean 1 2", "score 1 2"]


@pytest.mark.parametrize("place", ["__init__", "load"])
def test_the_environment_of_a_container_is_its_nodes(folder: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Constructor and load see their own container's variables and the platform's, and nobody sees them afterwards."""
    monkeypatch.setenv("STEP", "outside")
    write(
        folder,
        {
            "stages.py": f"""
import os

class Node:
    def __init__(self, rate="0"):
        pass

    def {place}(self{', rate="0"' if place == "__init__" else ""}):
        names = ("STEP", "PREDICTIVE_UNIT_ID", "PREDICTIVE_UNIT_IMAGE", "PREDICTOR_ID", "SELDON_DEPLOYMENT_ID",
                 "PREDICTIVE_UNIT_PARAMETERS", "PREDICTOR_LABELS")
        self.seen = " ".join(os.environ[name] for name in names)

    def predict(self, X, names=None):
        return [[*map(str, row), self.seen] for row in X]
"""
        },
    )
    env = {"first": {"BASE": "a", "STEP": "$(BASE)b$$(BASE)"}, "second": {"STEP": "score"}}
    unit = graph(folder, {"first": "stages.py:Node", "second": "stages.py:Node"}, env, parameters={"rate": "2"})
    rate = '[{"name":"rate","value":"2","type":"STRING"}] {"version":"main"}'
    assert tags(unit) == [
        f"ab$(BASE) first example/first:1 main mill {rate}",
        f"score second example/second:1 main mill {rate}",
    ]
    assert os.environ["STEP"] == "outside"
    assert "PREDICTIVE_UNIT_ID" not in os.environ


def test_the_only_node_has_the_process(folder: Path) -> None:
    """The environment and the working folder of the only node hold during its requests, and end with it."""
    before = os.getcwd()
    write(
        folder,
        {
            "own/stages.py": "import os\nfrom pathlib import Path\n"
            + TAGGING.format(tag="os.environ['STEP'] + Path('labels.txt').read_text()"),
            "own/labels.txt": "!",
        },
    )
    for execution in (Execution.INLINE, Execution.THREAD):
        unit = graph(folder, {"only": "own/stages.py:Node"}, {"only": {"STEP": "clean"}}, execution=execution)
        assert tags(unit) == ["clean!"]
    assert "STEP" not in os.environ
    assert os.getcwd() == before


@pytest.mark.parametrize("place", ["import", "constructor", "load", "predict"])
def test_relative_files_are_the_nodes_own(folder: Path, place: str) -> None:
    """A file that is opened relative to the component's folder is found there, at whichever time."""
    reading = "pathlib.Path('model.txt').read_text()"
    code = {
        "import": f"WHO = {reading}\n" + TAGGING.format(tag="WHO"),
        "constructor": TAGGING.format(tag="self.who") + f"    def __init__(self):\n        self.who = {reading}\n",
        "load": TAGGING.format(tag="self.who") + f"    def load(self):\n        self.who = {reading}\n",
        "predict": TAGGING.format(tag=reading),
    }[place]
    for side in ("left", "right"):
        write(folder, {f"{side}/Model.py": "import pathlib\n" + code, f"{side}/model.txt": side})
    unit = graph(
        folder, {"left": "left/Model.py:Node", "right": "right/Model.py:Node"}, execution=Execution.THREAD, threads=2
    )
    assert tags(unit, times=4) == ["left", "right"]


def test_pickles_name_the_nodes_own_classes(folder: Path) -> None:
    """A model that was pickled by the class of a helper is loaded with the helper of the node that loads it."""
    code = """
import importlib
import joblib

class Node:
    def load(self):
        self.model = joblib.load("model.joblib")
        self.plain = importlib.import_module("helper").WHO

    def predict(self, X, names=None):
        return [[*map(str, row), self.model.who() + self.plain] for row in X]
"""
    for side in ("left", "right"):
        helper = f"WHO = {side!r}\n\nclass Scaler:\n    def who(self):\n        return {side!r}\n"
        write(folder, {f"{side}/Model.py": code, f"{side}/helper.py": helper})
    sys.path.insert(0, str(folder / "left"))
    import helper

    for side in ("left", "right"):
        joblib.dump(helper.Scaler(), folder / side / "model.joblib")
    del sys.path[0], sys.modules["helper"]
    unit = graph(folder, {"left": "left/Model.py:Node", "right": "right/Model.py:Node"})
    assert tags(unit) == ["leftleft", "rightright"]


def test_folders_that_a_node_puts_on_the_path_are_its_own(folder: Path) -> None:
    """A folder that a component adds to sys.path serves that node alone, in front or behind."""
    for side, add in (("left", "sys.path.insert(0, LIB)"), ("right", "sys.path.append(LIB)")):
        write(
            folder,
            {
                f"{side}/Model.py": f"import os, sys\nLIB = os.path.join(os.path.dirname(__file__), 'lib')\n{add}\n"
                "import helper\n" + TAGGING.format(tag="helper.WHO"),
                f"{side}/lib/helper.py": f"WHO = {side!r}\n",
            },
        )
    unit = graph(folder, {"left": "left/Model.py:Node", "right": "right/Model.py:Node"})
    assert tags(unit) == ["left", "right"]


def test_targets_of_every_form_are_each_nodes_own(folder: Path) -> None:
    """Modules named without a file, packages and dotted classes come from the deployment's folder, for each node."""
    write(
        folder,
        {
            "every_form/__init__.py": "count = 0\n",
            "every_form/model.py": "from . import count\n"
            + TAGGING.format(tag="str(count)")
            + "    def load(self):\n        global count\n        count += 1\n",
            "Node.py": TAGGING.format(tag="'bare'"),
            "json.py": TAGGING.format(tag="'file'"),
        },
    )
    nodes = {"a": "every_form.model:Node", "b": "every_form.model.Node", "c": "Node", "d": "json.py:Node"}
    assert tags(graph(folder, nodes)) == ["1", "1", "bare", "file"]


def test_shared_libraries_are_shared(folder: Path) -> None:
    """Installed packages are imported once, and pass between nodes as what they are."""
    code = "import numpy\nimport json\n" + TAGGING.format(tag="str(id(numpy)) + str(id(json))")
    write(folder, {"left/Model.py": code, "right/Model.py": code})
    found = tags(graph(folder, {"left": "left/Model.py:Node", "right": "right/Model.py:Node"}))
    assert found[0] == found[1]


def test_what_a_node_cannot_have_during_requests_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A node whose modules bear another's names, or whose code runs on the event loop, is named with the way out."""
    caplog.set_level("INFO")
    slow = TAGGING.format(tag="'x'").replace("def", "async def")
    write(folder, {"left/Model.py": TAGGING.format(tag="''"), "right/Model.py": slow})
    tags(graph(folder, {"left": "left/Model.py:Node", "right": "right/Model.py:Node"}, execution=Execution.THREAD))
    said = [record.getMessage() for record in caplog.records if "shares its process" in record.getMessage()]
    assert len(said) == 1
    assert all(word in said[0] for word in ("right", "Model", str(folder / "right"), "--node right=http://"))


def test_graphs_of_one_process_are_apart(folder: Path, tmp_path: Path) -> None:
    """Two graphs with nodes and modules of the same names have their own, side by side and one after the other."""
    units = []
    for number in range(2):
        place = folder / str(number)
        for side in ("left", "right"):
            code = "import helper\n" + TAGGING.format(tag="helper.WHO")
            write(place, {f"{side}/Model.py": code, f"{side}/helper.py": f"WHO = '{side} {number}'\n"})
        units.append(graph(place, {"left": "left/Model.py:Node", "right": "right/Model.py:Node"}))
    with units[0] as first, units[1] as second:
        assert list(second([[1]])[0][1:]) == ["left 1", "right 1"]
        assert list(first([[1]])[0][1:]) == ["left 0", "right 0"]
    before = list(sys.path), list(sys.meta_path)
    assert tags(graph(folder / "1", {"left": "left/Model.py:Node", "right": "right/Model.py:Node"})) == [
        "left 1",
        "right 1",
    ]
    assert (sys.path, sys.meta_path) == before
    assert "helper" not in sys.modules


@pytest.mark.parametrize("place", ["__init__", "load"])
def test_a_relative_file_that_is_missing_is_told_with_its_folder(folder: Path, place: str) -> None:
    """A file that a component looks for in vain is named with the folder where it was looked for."""
    code = TAGGING.format(tag="''") + f"    def {place}(self):\n        open('model.bin')\n"
    write(folder, {"own/Model.py": code})
    with pytest.raises((TargetError, FileNotFoundError)) as caught:
        graph(folder, {"only": "own/Model.py:Node"}).__enter__()
    said = f"{caught.value} {getattr(caught.value, '__notes__', '')}"
    assert f"looked for in {folder / 'own'}" in said
