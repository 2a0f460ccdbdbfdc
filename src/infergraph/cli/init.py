"""`infergraph init`: write a small project that works at once, for its author to edit.

kind, name ──▶ templates with the names put in ──▶ a folder: component, sample rows, test, README, Dockerfile
"""

from __future__ import annotations

import keyword
import re
import shlex
import sys
from collections.abc import Mapping
from enum import Enum
from importlib import resources
from importlib.metadata import packages_distributions
from pathlib import Path
from string import Template
from typing import Annotated, NamedTuple

import typer

from infergraph import __version__
from infergraph.errors import SettingsError
from infergraph.message import Method
from infergraph.protocol.paths import INTERNAL

_TEMPLATES = resources.files("infergraph.cli") / "templates"


class ProjectKind(Enum):
    """What a new project is."""

    NER = "ner"
    RE = "re"
    JE = "je"
    MODEL = "model"
    ROUTER = "router"
    COMBINER = "combiner"
    TRANSFORMER = "transformer"


class _Outline(NamedTuple):
    """What distinguishes the README of a kind: its name, the method to edit, the REST path to try, more text."""

    task: str
    method: str
    path: str = ""
    more: str = ""


_TASK = """
Hand it a file as a task, one feature row a line:

```bash
curl -s http://127.0.0.1:9000/tasks -F task_id=first -F task_file=@rows.jsonl -F immediate=false
curl -s http://127.0.0.1:9000/tasks/first/results
```

See whether it does all that is asked of such an endpoint:

```bash
infergraph doctor http://127.0.0.1:9000
```
"""

_GRAPH = """
In a graph, over models:

```bash
infergraph serve graph.yaml
```

Ask the graph:

```bash
curl -s http://127.0.0.1:9000/api/v1.0/predictions -d '{"data": {"ndarray": [[1, 2]]}}'
```

See whether it does all that is asked of an endpoint for tasks, and whether it answers as a Seldon deployment does:

```bash
infergraph doctor http://127.0.0.1:9000
infergraph doctor http://127.0.0.1:9000 --seldon
```
"""

_OUTLINES = {
    ProjectKind.NER: _Outline("named entity recognition (NER)", "extract"),
    ProjectKind.RE: _Outline("relation extraction (RE)", "relate"),
    ProjectKind.JE: _Outline("joint extraction (JE)", "extract_relations"),
    ProjectKind.MODEL: _Outline("model", "predict", INTERNAL[Method.PREDICT], more=_TASK),
    ProjectKind.ROUTER: _Outline("router", "route", INTERNAL[Method.ROUTE], more=_GRAPH),
    ProjectKind.COMBINER: _Outline("combiner", "aggregate", INTERNAL[Method.AGGREGATE], more=_GRAPH),
    ProjectKind.TRANSFORMER: _Outline("transformer", "transform_input", INTERNAL[Method.TRANSFORM_INPUT], more=_GRAPH),
}


class Names(NamedTuple):
    """The spellings of a project's name: as given, as a module, as a class, and as a resource."""

    name: str
    module: str
    class_: str
    slug: str

    @classmethod
    def of(cls, name: str) -> Names:
        """The spellings of `name`.

        Raises: SettingsError where no module or class can be called so.
        """
        words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_ -]*", name) or not words:
            raise SettingsError(f"{name!r} is no name for a project: it takes letters, digits, - and _, a letter first")
        module = "_".join(word.lower() for word in words)
        if keyword.iskeyword(module) or module in sys.stdlib_module_names or module == "infergraph":
            raise SettingsError(f"{name!r} is no name for a project: {module}.py would hide Python's own {module}")
        if module in packages_distributions():
            raise SettingsError(f"{name!r} is no name for a project: {module}.py would hide the package {module}")
        return cls(name, module, "".join(word[:1].upper() + word[1:] for word in words), module.replace("_", "-"))


def write_project(kind: ProjectKind, name: str, folder: Path) -> list[Path]:
    """Write a project of `kind` into `folder`, and tell its files.

    Raises: SettingsError for a name that is none, or a folder that has something in it; nothing is written then.
    """
    names = Names.of(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder} is there already and not empty")
    files = _files(kind, names)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file_name, text in files.items():
            (folder / file_name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{folder} cannot be written: {error.strerror or error}") from error
    return [folder / file_name for file_name in files]


def _files(kind: ProjectKind, names: Names) -> Mapping[str, str]:
    outline = _OUTLINES[kind]
    sources = {file.name.removesuffix(".template"): file for file in (_TEMPLATES / kind.value).iterdir()}
    values = {
        "name": names.name,
        "module": names.module,
        "Class": names.class_,
        "slug": names.slug,
        "version": __version__,
        "task": outline.task,
        "method": outline.method,
        "path": outline.path,
        "more": outline.more,
    }
    values["sample"] = sources["rows.jsonl"].read_text("utf-8").splitlines()[0] if not outline.path else ""
    readme = "README.unit" if outline.path else "README.records"
    for file_name, template in (
        ("README.md", readme),
        ("Dockerfile", "Dockerfile"),
        (".dockerignore", "dockerignore"),
        ("requirements.txt", "requirements.txt"),
    ):
        sources[file_name] = _TEMPLATES / "common" / f"{template}.template"
    renamed = {"component.py": f"{names.module}.py", "test_component.py": f"test_{names.module}.py"}
    return {
        renamed.get(file_name, file_name): Template(source.read_text("utf-8")).substitute(values)
        for file_name, source in sorted(sources.items())
    }


def init(
    kind: Annotated[ProjectKind, typer.Argument(metavar="KIND", help="What it is.", show_default=False)],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, and that of its folder.", show_default=False)],
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="FOLDER", help="Write it here.", show_default="./NAME")
    ] = None,
) -> None:
    """Write a small working project: a component, sample rows, a test, a README and a Dockerfile.

    Example: infergraph init ner town-finder
    """
    target = folder or Path(name)
    for path in write_project(kind, name, target):
        typer.echo(f"  {path}")
    names = Names.of(name)
    served = "graph.yaml" if (target / "graph.yaml").exists() else f"{names.module}.py:{names.class_}"
    typer.echo(f"Now: cd {shlex.quote(str(target))} && infergraph serve {served}")


def add_to(app: typer.Typer) -> None:
    """Add the command to the program's."""
    app.command("init", epilog="Exit codes: 0 written; 2 the name or the folder will not do; nothing is written.")(init)
