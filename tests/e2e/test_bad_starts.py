"""The installed command where it cannot start as asked: the exit code, and how much it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from page_runner import free_ports

COMMAND = str(Path(sys.executable).with_name("infergraph"))
MODELS = """
import sys

class Fine:
    def predict(self, X, names):
        return X

class Leaves:
    def load(self):
        sys.exit(7)

class Refuses:
    def __init__(self):
        raise ValueError("not like this")

class Raises:
    def load(self):
        raise AttributeError("no weights")
"""


def started(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error of the command with these arguments, on free ports."""
    given = "".join(arguments)
    ports = [f"--{name}-port=0" for name in ("http", "grpc", "metrics") if f"--{name}-port" not in given]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INFERGRAPH_")}
    ended = subprocess.run(
        [COMMAND, *arguments, *ports],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return ended.returncode, ended.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models.py").write_text(MODELS)
    return tmp_path


@pytest.mark.parametrize("data_dir", ["models.py", "/proc/nowhere/data"])
def test_a_data_folder_that_cannot_be_had_is_one_line(folder: Path, data_dir: str) -> None:
    """Without a folder for tasks the command ends with 2 and one line that says how to go on."""
    code, said = started(folder, "serve", "models.py:Fine", "--data-dir", data_dir)
    assert code == 2
    assert said.count("\n") == 1
    assert "--data-dir" in said
    assert "--tasks off" in said


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["serve", "nowhere:Model"], "there is no module 'nowhere'"),
        (["serve", "models.py:Nobody"], "its classes are: Fine, Leaves, Raises, Refuses"),
        (["serve", "models.py:Fine", "--parameters", "{"], "not valid JSON"),
        (["serve", "models.py:Fine", "--parameters", '[{"name":"n","value":"1","type":"INT"}]'], "unexpected keyword"),
    ],
)
def test_a_start_that_cannot_be_is_2_without_a_traceback(folder: Path, arguments: list[str], text: str) -> None:
    """What is wrong with the command itself is said in a sentence."""
    code, said = started(folder, *arguments)
    assert code == 2
    assert text in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nowhere"], "there is no module 'nowhere'"),
        (["models.Fine", "--parameters", "{"], "not valid JSON"),
        (["models.Fine", "--parameters", '[{"name":"n","value":"x","type":"INT"}]'], "can't be parsed as a INT"),
        (["models.Fine", "--parameters", '[{"name":"n","value":"1","type":"INT"}]'], "unexpected keyword"),
        (["models.Refuses"], "Refuses cannot be constructed: ValueError: not like this"),
        (["broken"], "cannot be constructed: SyntaxError"),
    ],
)
def test_microservice_ends_with_1_as_the_original(folder: Path, arguments: list[str], text: str) -> None:
    """What cannot be found, imported or constructed is exit code 1 under the original's flags."""
    (folder / "broken.py").write_text("class broken(:")
    code, said = started(folder, "microservice", *arguments)
    assert code == 1
    assert text in said


def test_a_constructor_that_raises_is_shown_once(folder: Path) -> None:
    """What a constructor raises is a target that cannot be had: exit code 2, with the place in its source."""
    code, said = started(folder, "serve", "models.py:Refuses")
    assert code == 2
    assert "Refuses cannot be constructed: ValueError: not like this" in said
    assert said.count("Traceback") == 1
    assert "models.py" in said


@pytest.mark.parametrize(("name", "text"), [("Leaves", "SystemExit: 7"), ("Raises", "AttributeError: no weights")])
@pytest.mark.parametrize("command", ["serve", "microservice"])
def test_a_load_that_fails_is_3_with_one_traceback(folder: Path, command: str, name: str, text: str) -> None:
    """What is wrong with the component is shown once, with the place in its source, in both forms of the command."""
    target = f"models.py:{name}" if command == "serve" else f"models.{name}"
    code, said = started(folder, command, target)
    assert code == 3
    assert text in said
    assert said.count("Traceback") == 1
    assert "models.py" in said


def test_a_node_at_the_servers_own_address_is_refused(folder: Path) -> None:
    """A deployment without a class for its container would call itself: the start says what to give it instead."""
    (port,) = free_ports(1)
    (folder / "deployment.yaml").write_text(
        "apiVersion: machinelearning.seldon.io/v1\nkind: SeldonDeployment\nmetadata: {name: mill}\nspec:\n"
        "  predictors:\n  - name: main\n    componentSpecs:\n    - spec:\n        containers:\n"
        f"        - {{name: first, ports: [{{name: http, containerPort: {port}}}]}}\n"
        "    graph: {name: first, type: MODEL}\n"
    )
    code, said = started(folder, "serve", "deployment.yaml", f"--http-port={port}")
    assert code == 2
    assert "node 'first' would be called at" in said
    assert "--node first=file.py:Class" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("text", ["a: [\n b: }", "a: *nothing", "\x07", "- {kind: SeldonDeployment, spec: [}"])
def test_a_broken_deployment_file_is_one_sentence(folder: Path, text: str) -> None:
    """YAML that cannot be read is told with its place, and without our own code's."""
    (folder / "broken.yaml").write_text(text)
    code, said = started(folder, "serve", "broken.yaml")
    assert code == 2
    assert "broken.yaml" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("target", "content", "words"),
    [
        ("broken.yaml", "metadata:\n  name: [x\n", "broken.yaml:3:1: while parsing a flow sequence"),
        ("broken.json", '{"a": ', "broken.json"),
        ("odd.py:X", "def x(:\n", "invalid syntax (odd.py, line 1)"),
        ("raises.py:X", "import gone_for_good\n", "No module named 'gone_for_good'"),
    ],
)
def test_a_broken_file_is_named_and_shows_none_of_our_code(
    target: str, content: str, words: str, tmp_path: Path
) -> None:
    """What cannot be read is exit code 2 and a line with its place; a traceback has lines of the user's files alone."""
    (tmp_path / target.partition(":")[0]).write_text(content)
    code, errors = started(tmp_path, "serve", target, "--tasks", "off", "--log-format", "human")
    assert code == 2
    assert words in errors
    frames = re.findall(r'File "([^"]*)"', errors)
    assert all(str(tmp_path) in frame for frame in frames), errors
    assert not (frames and target.startswith("broken"))
