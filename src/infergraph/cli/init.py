"""`infergraph init`: creates a small working project to edit.

kind, name ──▶ rendered templates ──▶ a folder: component, sample rows, test, README, Dockerfile
"""

from __future__ import annotations

import functools
import json
import keyword
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from enum import Enum
from importlib.machinery import PathFinder
from importlib.metadata import distribution
from pathlib import Path
from string import Template
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import click

from infergraph import __version__
from infergraph.cli import projects
from infergraph.cli.command import Command, Member, Word, argument, option
from infergraph.cli.project_texts import in_chinese
from infergraph.cli.projects import Project
from infergraph.errors import SettingsError


class Language(Enum):
    """The language of a new project's comments and README."""

    ENGLISH = "en"
    CHINESE = "zh"


class Names(NamedTuple):
    """A project's name as given, as a module, as a class, and as a Kubernetes resource."""

    name: str
    module: str
    class_: str
    slug: str

    @classmethod
    def of(cls, name: str) -> Names:
        """The forms of `name`.

        Raises: SettingsError if it cannot name a module and a class.
        """
        name = re.sub(" +", " ", name.strip(" "))
        words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_ -]*", name) or not words:
            raise SettingsError(
                f"{name!r} is not a valid project name: use letters, digits, -, _ and spaces, a letter first, as "
                "its module is named after it; its folder may have any name: --folder FOLDER"
            )
        module = "_".join(word.lower() for word in words)
        if keyword.iskeyword(module) or module in sys.stdlib_module_names or module == "infergraph":
            raise SettingsError(f"{name!r} is not a valid project name: {module}.py would hide Python's own {module}")
        if _is_installed(module):
            raise SettingsError(f"{name!r} is not a valid project name: {module}.py would hide the package {module}")
        return cls(name, module, "".join(word[:1].upper() + word[1:] for word in words), module.replace("_", "-"))


def _is_installed(module: str) -> bool:
    """Whether an installed package has a module of this name."""
    places = [entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]
    return PathFinder.find_spec(module, places) is not None


def write_project(kind: str, name: str, folder: Path, language: Language = Language.ENGLISH) -> list[Path]:
    """Write a project of `kind` into `folder`; returns its files.

    Raises: TargetError for an unknown kind; SettingsError for an invalid name, or a folder that is not empty. Nothing
        is written then.
    """
    names = Names.of(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder} already exists and is not empty")
    files = _files(projects.project_of(kind), names, language)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file_name, text in files.items():
            (folder / file_name).write_text(text, encoding="utf-8")
        wheels = [shutil.copy(wheel, folder) for wheel in _installed_wheels()]
    except OSError as error:
        raise SettingsError(f"{folder} cannot be written: {error.strerror or error}") from error
    return [*(folder / file_name for file_name in files), *map(Path, wheels)]


def _installed_wheels() -> list[Path]:
    """The wheel that this package was installed from, if it is a local file: perhaps no package index has it."""
    origin = json.loads(distribution("infergraph").read_text("direct_url.json") or "{}")
    url = urlsplit(origin.get("url", ""))
    wheel = Path(unquote(url.path))
    return [wheel] if url.scheme == "file" and wheel.suffix == ".whl" and wheel.is_file() else []


def _files(project: Project, names: Names, language: Language) -> Mapping[str, str]:
    translated = functools.partial(in_chinese, more=project.chinese) if language is Language.CHINESE else str
    sources = {file.name.removesuffix(".template"): file for file in project.templates.iterdir()}
    values = {
        "name": names.name,
        "module": names.module,
        "Class": names.class_,
        "slug": names.slug,
        "version": __version__,
        "task": translated(project.task),
        "method": project.method,
        "path": project.path,
        "more": translated(project.more),
    }
    if "rows.jsonl" in sources:
        values["sample"] = sources["rows.jsonl"].read_text("utf-8").splitlines()[0]
    sources["README.md"] = project.readme
    for file_name in ("Dockerfile", ".dockerignore", "requirements.txt"):
        sources[file_name] = projects.COMMON / f"{file_name.removeprefix('.')}.template"
    renamed = {"component.py": f"{names.module}.py", "test_component.py": f"test_{names.module}.py"}
    return {
        renamed.get(file_name, file_name): Template(translated(source.read_text("utf-8"))).substitute(values)
        for file_name, source in sorted(sources.items())
    }


@click.command("init", cls=Command, epilog="Exit codes: 0 written; 2 the name or the folder cannot be used.")
@argument(
    "kind",
    type=Word(projects.names()),
    metavar="KIND",
    about=f"The kind of project: {', '.join(projects.names())}.",
)
@argument("name", about="Name of the project and its folder.")
@option("--folder", type=click.Path(path_type=Path), metavar="FOLDER", help="The folder to write to. [default: ./NAME]")
@option("--lang", type=Member(Language), help="Language of comments and README; by default that of the locale.")
def init(kind: str, name: str, folder: Path | None, lang: Language | None) -> None:
    """Write a small working project: a component, sample rows, a test, a README and a Dockerfile.

    Example: infergraph init ner town-finder
    """
    names = Names.of(name)
    target = folder or Path(names.name.replace(" ", "-"))
    language = lang or locale_language(os.environ)
    for path in write_project(kind, name, target, language):
        click.echo(f"  {path}")
    served = "graph.yaml" if (target / "graph.yaml").exists() else f"{names.module}.py:{names.class_}"
    following = "Now: {command}"
    told = in_chinese(following) if language is Language.CHINESE else following
    click.echo(told.format(command=f"cd {shlex.quote(str(target))} && infergraph serve {served}"))


def locale_language(environment: Mapping[str, str]) -> Language:
    """The language of the locale's environment variables, in POSIX order; English for any but Chinese."""
    locale = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "")
    return Language.CHINESE if locale.lower().startswith("zh") else Language.ENGLISH
