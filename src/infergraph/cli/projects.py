"""The kinds of projects that `infergraph init` creates: built-in ones, and those of other packages.

Another package adds a kind by an entry point of the group `infergraph.projects` that names a `Project`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from importlib.metadata import entry_points
from importlib.resources.abc import Traversable

import msgspec

from infergraph.errors import TargetError
from infergraph.message import Method
from infergraph.protocol.paths import INTERNAL

ENTRY_POINTS = "infergraph.projects"
TEMPLATES = resources.files("infergraph.cli") / "templates"
COMMON = TEMPLATES / "common"


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of project.

    Args:
        task: what the project does, for its README.
        method: the method to edit.
        templates: the folder of its files, each with `.template` after its name.
        readme: the template of its README.
        path: the REST path of the README's example request.
        more: more text for its README.
        chinese: the sentences of its templates with their translations.
    """

    task: str
    method: str
    templates: Traversable
    readme: Traversable = COMMON / "README.unit.template"
    path: str = ""
    more: str = ""
    chinese: Mapping[str, str] = {}


_TASK = """
Submit a file as a task, one feature row a line:

```bash
curl -s http://127.0.0.1:9000/tasks -F task_id=first -F task_file=@rows.jsonl -F immediate=false
curl -s http://127.0.0.1:9000/tasks/first/results
```

Check whether it does all that is asked of such an endpoint:

```bash
infergraph doctor http://127.0.0.1:9000
```
"""

_GRAPH = """
Serve it in a graph, over models:

```bash
infergraph serve graph.yaml
```

Ask the graph:

```bash
curl -s http://127.0.0.1:9000/api/v1.0/predictions -d '{"data": {"ndarray": [[1, 2]]}}'
```

Check whether it does all that tasks need, and whether it answers as a Seldon deployment does:

```bash
infergraph doctor http://127.0.0.1:9000
infergraph doctor http://127.0.0.1:9000 --seldon
```
"""


def _own(task: str, method: Method, more: str) -> Project:
    return Project(task=task, method=method.value, path=INTERNAL[method], more=more, templates=TEMPLATES / task)


OWN: Mapping[str, Project] = {
    "model": _own("model", Method.PREDICT, _TASK),
    "router": _own("router", Method.ROUTE, _GRAPH),
    "combiner": _own("combiner", Method.AGGREGATE, _GRAPH),
    "transformer": _own("transformer", Method.TRANSFORM_INPUT, _GRAPH),
}


def names() -> list[str]:
    """The names of all kinds: the built-in ones, then those of other packages by name."""
    return list(dict.fromkeys([*OWN, *sorted(entry.name for entry in entry_points(group=ENTRY_POINTS))]))


def project_of(kind: str) -> Project:
    """The project of a kind.

    Raises: TargetError for an unknown kind, or one that cannot be loaded.
    """
    if kind in OWN:
        return OWN[kind]
    entry = next(iter(entry_points(group=ENTRY_POINTS, name=kind)), None)
    if entry is None:
        raise TargetError(f"unknown kind of project {kind!r}; known kinds are {', '.join(names())}")
    try:
        project = entry.load()
    except Exception as error:
        raise TargetError(f"the project {kind} ({entry.value}) cannot be loaded: {error}") from error
    if not isinstance(project, Project):
        raise TargetError(f"the project {kind} ({entry.value}) is not an infergraph.cli.projects.Project")
    return project
