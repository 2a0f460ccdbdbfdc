"""New projects: every kind works as it was written, whatever it is called."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from infergraph import component
from infergraph.cli import init, projects
from infergraph.cli.init import Language, Names, locale_language, write_project
from infergraph.cli.project_texts import CHINESE
from infergraph.errors import SettingsError
from infergraph.graph import spec
from infergraph_knowledge import projects as knowledge_projects

KINDS = projects.names()
RECORD_KINDS = ["ner", "re", "je"]


@pytest.fixture(params=KINDS)
def project(request, tmp_path):
    """A project of each kind, called Town-finder 2."""
    write_project(request.param, "Town-finder 2", tmp_path / "p")
    return request.param, tmp_path / "p"


def test_a_project_is_whole(project):
    """A project has a component, a test, a README, a Dockerfile and what they need, and no placeholder is left."""
    kind, folder = project
    there = {path.name for path in folder.iterdir()}
    common = {
        "README.md",
        "Dockerfile",
        ".dockerignore",
        "requirements.txt",
        "town_finder_2.py",
        "test_town_finder_2.py",
    }
    assert there >= common | ({"rows.jsonl"} if kind in RECORD_KINDS else {"request.json"})
    for path in folder.iterdir():
        assert "${" not in path.read_text(encoding="utf-8"), path


def test_it_is_served_by_the_name_that_it_tells(project):
    """The target in the README and the Dockerfile is one that is found, constructed and has the kind's method."""
    kind, folder = project
    for file_name in ("README.md", "Dockerfile"):
        assert "town_finder_2.py:TownFinder2" in (folder / file_name).read_text(encoding="utf-8")
    made = component.construct(component.find("town_finder_2.py:TownFinder2", folder), {}, "target")
    sys.modules.pop("town_finder_2")
    method = {"router": "route", "combiner": "aggregate", "transformer": "transform_input"}.get(kind, "predict")
    assert callable(getattr(made, method))


@pytest.fixture(scope="module", params=Language)
def all_projects(request, tmp_path_factory):
    """A folder with a project of every kind, each of another name, in each language."""
    folder = tmp_path_factory.mktemp("projects")
    for kind in KINDS:
        write_project(kind, f"town-{kind}", folder / kind, request.param)
    return folder


def _run_in(folder, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_their_own_tests_pass(all_projects):
    """The tests that come with projects pass as they are, run as their authors would run them."""
    done = _run_in(all_projects, "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(KINDS) + 1} passed" in done.stdout, "the router has two"


def test_their_code_is_tidy(all_projects):
    """What an author starts from passes the checks that this project's own code passes."""
    for command in (["check", "--select", "E,F,W,I,B,UP,SIM"], ["format", "--check"]):
        done = _run_in(all_projects, "ruff", *command, "--line-length", "120", "--no-cache", ".")
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["router", "combiner", "transformer"])
def test_its_graph_is_valid(kind, tmp_path):
    """The graph that comes with a unit is read without a problem."""
    write_project(kind, "mine", tmp_path / "p")
    text = (tmp_path / "p" / "graph.yaml").read_text(encoding="utf-8")
    (deployment,) = spec.read(text, source="graph.yaml")
    assert spec.validate(deployment, in_process=spec.addressed(deployment)) == []


@pytest.mark.parametrize("kind", RECORD_KINDS)
def test_the_readmes_sample_is_json(kind, tmp_path):
    """The request that the README shows is one that can be sent."""
    write_project(kind, "mine", tmp_path / "p")
    shown = re.search(r"-d '(.*)'", (tmp_path / "p" / "README.md").read_text(encoding="utf-8"))
    assert "data" in json.loads(shown[1])["jsonData"]


@pytest.mark.parametrize(
    ("name", "module", "class_"),
    [
        ("town-finder", "town_finder", "TownFinder"),
        ("TownFinder", "town_finder", "TownFinder"),
        ("my_NER2", "my_ner_2", "MyNER2"),
        ("x", "x", "X"),
        ("HTTPModel", "http_model", "HTTPModel"),
        ("My  first model ", "my_first_model", "MyFirstModel"),
    ],
)
def test_names(name, module, class_):
    """A name makes a module and a class by Python's habits."""
    assert Names.of(name)[1:3] == (module, class_)


@pytest.mark.parametrize(
    "name", ["", "2x", "-x", "../evil", "a/b", "城市", "class", "json", "infergraph", "numpy", "a.b", "a\n"]
)
def test_names_that_are_none(name, tmp_path):
    """A name that makes no module, leaves its folder, or hides a module of Python is refused and writes nothing."""
    with pytest.raises(SettingsError, match="is not a valid project name"):
        write_project("ner", name, tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    """A folder with something in it is left as it is."""
    (tmp_path / "mine.py").write_text("work", encoding="utf-8")
    with pytest.raises(SettingsError, match="already exists and is not empty"):
        write_project("ner", "mine", tmp_path)
    assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == ["work"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    """A place where no folder can be is one sentence, not a traceback."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(SettingsError, match="cannot be written: Not a directory"):
        write_project("ner", "mine", tmp_path / "file" / "p")


@pytest.mark.parametrize("kind", KINDS)
def test_its_dockerfile_is_careful(kind, tmp_path):
    """A fixed base, no root, one layer of packages before the code, an exec-form command, a health check, a volume."""
    write_project(kind, "mine", tmp_path / "p")
    lines = (tmp_path / "p" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    words = [line.split()[0] for line in lines if not line.startswith("#")]
    assert lines[0] == "FROM python:3.12-slim"
    assert words.index("USER") < words.index("CMD")
    assert "USER root" not in lines
    copies = [place for place, line in enumerate(lines) if line.startswith("COPY")]
    installed = next(place for place, line in enumerate(lines) if "pip install --no-cache-dir" in line)
    assert copies[0] < installed < copies[1], "packages are installed again only when they change"
    command = next(line for line in lines if line.startswith("CMD"))
    assert json.loads(command.removeprefix("CMD ")) == ["infergraph", "serve", "mine.py:Mine"]
    assert any(line.startswith("HEALTHCHECK") and "/ready" in line for line in lines)
    ignored = (tmp_path / "p" / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {".git", ".infergraph", ".venv"} <= set(ignored)


def test_the_command_says_what_comes_next(tmp_path, monkeypatch):
    """The command lists the files and the command that serves them."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(init.init, ["ner", "town finder", "--lang", "en"])
    assert done.exit_code == 0
    assert done.output.endswith("Now: cd town-finder && infergraph serve town_finder.py:TownFinder\n")
    assert (tmp_path / "town-finder" / "town_finder.py").is_file()


def test_a_chinese_locale_gets_chinese_text(tmp_path, monkeypatch):
    """Under a Chinese locale comments, README and the command's last line are Chinese; --lang overrides it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    done = CliRunner().invoke(init.init, ["ner", "town"])
    assert "接下来：cd town && infergraph serve town.py:Town" in done.output
    assert "## 运行" in (tmp_path / "town" / "README.md").read_text(encoding="utf-8")
    assert "Now:" in CliRunner().invoke(init.init, ["ner", "other", "--lang", "en"]).output


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, Language.ENGLISH),
        ({"LANG": "C.UTF-8"}, Language.ENGLISH),
        ({"LANG": "zh_TW.UTF-8"}, Language.CHINESE),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "en_US.UTF-8"}, Language.ENGLISH),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_CN", "LC_ALL": ""}, Language.CHINESE),
    ],
)
def test_the_locale_decides_as_posix_says(environment, language):
    """LC_ALL is asked before LC_MESSAGES, and that before LANG; an empty one is as none."""
    assert locale_language(environment) is language


def test_a_chinese_project_has_no_english_sentence_left(tmp_path):
    """Every docstring, comment and line of prose of a Chinese project is Chinese, and no translation is unused."""
    written = []
    for kind in KINDS:
        for path in write_project(kind, f"town-{kind}", tmp_path / kind, Language.CHINESE):
            text = path.read_text(encoding="utf-8")
            written.append(text)
            for line in prose(path, text):
                assert re.search("[\u4e00-\u9fff]", line), f"{kind}/{path.name}: {line}"
    for sentence, chinese in {**CHINESE, **knowledge_projects.CHINESE}.items():
        spelled = re.escape(chinese.partition("\n")[0]).replace(r"\$\{", "${")
        pattern = re.sub(r"\$\{\w+\\\}", ".*", spelled)
        assert "{command}" in chinese or any(re.search(pattern, text) for text in written), sentence


def prose(path, text):
    """What a person reads in a file: headings and sentences of Markdown, comments, docstrings."""
    if path.suffix == ".md":
        plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        return [line for line in plain.splitlines() if line.strip() and not line.startswith("# ")]
    if path.suffix == ".py":
        docstrings = re.findall(r'"""(.*?)"""', text, flags=re.DOTALL)
        lines = [line for docstring in docstrings for line in docstring.splitlines() if line.strip(" :Args")]
        return lines + re.findall(r"(?<=  )#.*", text)
    return [line for line in text.splitlines() if line.startswith("#")]
