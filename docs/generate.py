"""Write the reference pages from the code, and the README's figures from the benchmark's results.

    python docs/generate.py            write them
    python docs/generate.py --check    exit code 1 if one of them is not what the code says

What the code declares is printed; nothing is described here twice.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import click

import infergraph
from infergraph import errors, settings
from infergraph.cli import microservice, options
from infergraph.cli.command import Argument
from infergraph.cli.main import infergraph as program
from infergraph.cli.options import SettingOption
from infergraph.errors import Fault
from infergraph.message import Context, Message, Method, PredictiveUnit, Request
from infergraph.protocol import services
from infergraph.protocol.status import codes_of
from infergraph.serving.http.dialects import Cors, InternalDialect
from infergraph.serving.openapi import description
from infergraph.serving.openapi.inference import Inference
from infergraph.serving.seldon.rest import RestOptions, SeldonRest
from infergraph.serving.v2.dialect import V2Dialect
from infergraph.serving.v2.kserve import KServe
from infergraph.serving.v2.model import Model
from infergraph.serving.v2.rest import V2Parts, V2Rest
from infergraph.settings import Settings
from infergraph.tasks.metrics import FIGURES
from infergraph.wire.v2.metadata import metadata_of

FOLDER = Path(__file__).parent / "reference"
_SOURCE = Path(infergraph.__file__).parent
_NOTE = "<!-- Written by docs/generate.py from the code: change the code, then run it. -->\n\n"

Rows = Iterable[tuple[object, ...]]


def table(heads: tuple[str, ...], rows: Rows) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = (" ".join(str(cell).split()).replace("|", "\\|") for cell in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def first_line(thing: Any) -> str:
    """The first sentence of a docstring, as one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


# ── settings ────────────────────────────────────────────────────────────────────────────────────────────────────────

_SETTINGS = """# Settings

Each setting is an option of `infergraph serve`, `--name-with-dashes`, and an environment variable `INFERGRAPH_NAME`.
The command line wins over the environment, the environment over the default. `infergraph settings` shows what is in
force and where it came from. An `INFERGRAPH_` variable that is no setting, or a value that does not fit, stops the
start with exit code 2 and one line that names it. Booleans are `on` or `off`; true, 1 and yes, and their opposites, are
understood as well.
"""


def settings_page() -> str:
    """Every setting, by group."""
    groups: dict[str, list[settings.Described]] = {}
    for row in settings.describe():
        groups.setdefault(row.group, []).append(row)
    parts = [_SETTINGS]
    for group, rows in groups.items():
        heads = ("setting", "type", "default", "meaning")
        parts.append(f"\n## {group}\n\n{table(heads, map(_setting, rows))}")
    also = [(f"`{name}`", f"`{row.name}`") for row in settings.describe() for name in row.env[1:]]
    parts.append(
        "\n## Variables of existing deployments\n\nThese are read where the `INFERGRAPH_` variable is not set.\n\n"
        + table(("variable", "setting"), also)
    )
    return "".join(parts)


def _setting(row: settings.Described) -> tuple[object, ...]:
    default = options.shown(row.default)
    shown = f"`{default}`" if default != "" else "empty"
    return f"`{row.name}`", row.type.replace("|", ", "), f"{shown} {row.unit}".strip(), row.help


# ── routes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_ROUTES = """# Routes

What a server answers at. `/docs` of a running server shows the same for what it serves, from `/openapi.json`.
"""

_TITLES = {
    "seldon": "A graph",
    "v2": "A graph with `protocol: v2`",
    "tensorflow": "A graph with `protocol: tensorflow`",
}
_TASK_TITLES = {"Tasks (gBuilder)": "Tasks: gBuilder's contract", "Tasks": "Tasks: more"}


class _Nobody(PredictiveUnit):
    """A unit that nobody asks: an edge wants one for its table of paths."""

    name = ""

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """Nothing to answer."""
        raise NotImplementedError

    async def metadata(self, node: str | None = None) -> Mapping[str, Any]:
        """Nothing to tell."""
        return {}


def routes_page() -> str:
    """Every route of each edge, from the documents that servers give of themselves."""
    rest = SeldonRest(_Nobody(), RestOptions(), cast(Any, None))
    component = description.Served(name="", paths=rest.microservice_paths(), has_tasks=True)
    parts = [_ROUTES, "\n## A component\n\n", _operations(component, {"Ask", "Look"})]
    for protocol, title in _TITLES.items():
        graph = description.Served(name="", paths=rest.external_paths(protocol), is_graph=True, protocol=protocol)
        parts += [f"\n## {title}\n\n", _operations(graph, {"Ask", "Look"})]
    for tag, title in _TASK_TITLES.items():
        parts += [f"\n## {title}\n\n", _operations(component, {tag})]
    parts += [_INFERENCE, table(("method", "path", "what it does"), _inference())]
    parts += ["\n## Beside them\n\n", table(("method", "path", "what it does"), _pages())]
    parts.append("\n## gRPC\n\nPackage `seldon.protos`; beside these, reflection and `grpc.health.v1.Health`.\n\n")
    parts.append(table(("call", "what it does"), _calls()))
    parts.append(f"\nThe open inference protocol, service `{services.INFERENCE}`:\n\n")
    parts.append(table(("call", "what it does"), _INFERENCE_CALLS.items()))
    return "".join(parts)


_INFERENCE = """
## The open inference protocol

At every component and every graph. The paths of a model are also there with its version:
`/v2/models/{model}/versions/{version}/…`.

"""


def _inference() -> Rows:
    """The operations of the open inference protocol, and of KServe's first one."""
    dialect = V2Dialect(InternalDialect(Cors()))
    parts = V2Parts(Model(cast(Any, None), "{model}"), *[cast(Any, None)] * 5)
    paths = V2Rest(parts, dialect, cast(Any, None)).paths().joined(KServe(parts, dialect).paths())
    for path, operations in Inference(paths, metadata_of("{model}", {})).paths().items():
        for verb, operation in operations.items():
            yield verb.upper(), f"`{unquote(path)}`", operation["summary"]


_INFERENCE_CALLS = {
    "`ServerLive`, `ServerReady`, `ModelReady`": "Whether the process runs, the server can answer, the model can",
    "`ServerMetadata`, `ModelMetadata`": "The metadata of the server and of the model",
    "`ModelInfer`, `ModelStreamInfer`": "Infer: tensors to tensors",
    "`ModelConfig`, `ModelStatistics`": "The configuration and the statistics of the model",
    "`RepositoryIndex`": "The models and their states",
    "`RepositoryModelLoad`, `RepositoryModelUnload`": "Load and unload the model (setting `model_control`)",
}


def _operations(served: description.Served, tags: set[str]) -> str:
    """The operations with one of these tags."""
    rows = []
    for path, operations in description.document(served, None)["paths"].items():
        for verb, operation in operations.items():
            if isinstance(operation, dict) and tags & set(operation.get("tags", ())):
                rows.append((verb.upper(), f"`{path}`", operation["summary"]))
    return table(("method", "path", "what it does"), rows)


def _pages() -> Rows:
    yield "GET", "`/openapi.json`", "The OpenAPI document of what is served"
    yield "GET", "`/docs`", "The same as a page"
    yield "GET", "`/console/`", "The web console"
    yield "GET", f"`{Settings().metrics_path}`", "Prometheus metrics of all workers; also on the metrics port"


_ASKING = {
    Method.PREDICT: "Ask for a prediction",
    Method.TRANSFORM_INPUT: "Transform an input",
    Method.TRANSFORM_OUTPUT: "Transform an output",
    Method.ROUTE: "Ask which child to call",
    Method.AGGREGATE: "Combine several messages into one",
    Method.SEND_FEEDBACK: "Reward an answer",
}


def _calls() -> Rows:
    for call, method in services.METHODS.items():
        yield f"`{call}`", _ASKING[method]
    for call in (services.NODE_METADATA, services.MODEL_METADATA, services.GRAPH_METADATA):
        yield f"`{call}`", "The metadata of a component, of a node, of a graph"


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_ERRORS = """# Errors

Every error has a sentence for a person, a reason that stays the same, and in a graph the name of the node. Over REST:

```json
{"status": {"code": -1, "info": "data.ndarray: …", "reason": "MICROSERVICE_BAD_DATA", "status": 1}}
```

A graph answers as Seldon's orchestrator does, with the HTTP status as `code`:

```json
{"status": {"code": 400, "info": "data.ndarray: …", "status": "FAILURE"}}
```

The header `infergraph-node` names the node, or the component; a graph's `infergraph-reason` has the reason. Over gRPC
the sentence is the status text; the trailing metadata `infergraph-reason` and `infergraph-node-bin` carry the others.
In Python each is a class of `infergraph.errors`, in a program that serves and in one that asks.

"""

_ERRORS_END = """
A component may choose: an exception with a `status_code` sets the HTTP status, and its error handler the whole answer.
What a remote node answers passes through with its own status. Any other exception is answered with 500 (INTERNAL) and
one neutral sentence; the traceback is in the log under the request's puid.

A path that is not served is answered with 404, and a method that it does not take with 405.

The last five stop a start: exit code 2 and one line on the standard error.
"""


def errors_page() -> str:
    """The tree of faults with their codes."""
    tree = re.search(r"(?ms)^    Fault\n.*?(?=\n\n)", errors.__doc__ or "")
    assert tree is not None
    drawn = "\n".join(line[4:] for line in tree[0].splitlines())
    heads = ("error", "when", "reason", "REST", "gRPC")
    rows = [_fault(kind) for kind in _faults(Fault)]
    return f"{_ERRORS}{table(heads, rows)}{_ERRORS_END}\n```text\n{drawn}\n```\n"


def _faults(kind: type[Fault]) -> Iterator[type[Fault]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from _faults(child)


def _fault(kind: type[Fault]) -> tuple[object, ...]:
    codes = codes_of(kind)
    rest, code = ("", "") if issubclass(kind, errors.StartupFault) else (codes.http, codes.grpc.name)
    return f"`{kind.__name__}`", first_line(kind), f"`{kind.reason}`", rest, code


# ── metrics ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_METRICS = """# Metrics

`GET /metrics` on the HTTP port, and on a port of its own for existing scrapers. One scrape shows the sum over all
workers, those that are gone included. Those of the tasks are the data folder's, whichever worker is asked: servers that
share a folder show the same. How to use them: [metrics and dashboards](../guides/metrics.md).

"""

_METRICS_END = """
Beside these come the component's own, from its `metrics()` hook, with the labels of the protocol (`deployment_name`,
`predictor_name`, `model_name`, …), and of rewards `seldon_api_model_feedback_total`,
`seldon_api_model_feedback_reward_total` and `seldon_api_model_feedback_penalty_total`.
"""


def metrics_page() -> str:
    """Every metric of our own that the source declares."""
    found = {row[0]: row for path in sorted(_SOURCE.rglob("*.py")) for row in _declared(path)}
    found |= {f"`{row.name}`": (f"`{row.name}`", row.kind, row.label, row.help) for row in FIGURES}
    heads = ("metric", "kind", "labels", "meaning")
    return _METRICS + table(heads, (found[name] for name in sorted(found))) + _METRICS_END


def _declared(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """The metrics that calls in a module declare: `ledger.counter("name", "help", labels)` and its siblings."""
    tree = ast.parse(path.read_text("utf-8"))
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        dicts = {
            node.targets[0].id: node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Dict)
        }
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and len(call.args) >= 2:
                kind, (name, help, *more) = call.func.attr, call.args
                if kind in ("counter", "gauge", "live", "histogram") and isinstance(name, ast.Constant):
                    labels = sorted(_labels(more[0], dicts)) if more else []
                    shown = f"`{name.value}_total`" if kind == "counter" else f"`{name.value}`"
                    text = help.value if isinstance(help, ast.Constant) else ""
                    yield shown, "gauge" if kind == "live" else kind, ", ".join(labels), str(text)


def _labels(node: ast.expr, dicts: Mapping[str, ast.Dict]) -> Iterator[str]:
    if isinstance(node, ast.Name) and node.id in dicts:
        node = dicts[node.id]
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                yield from _labels(value, dicts)
            elif isinstance(key, ast.Constant):
                yield str(key.value)


# ── commands ────────────────────────────────────────────────────────────────────────────────────────────────────────

_CLI = """# Commands

Lists and objects are tables on a terminal, plain lines in a pipe, and JSON with `--json`. Messages go to the standard
error, so that a pipe holds data alone. `NO_COLOR` turns colours off.

## Exit codes

| code | means |
|---|---|
| 0 | done; a server that was told to stop has answered everything first |
| 1 | it ran, and what it found or did is not well; its text says what |
| 2 | it could not start: an unknown option, a setting, a graph, a target that cannot be found; one line says which |
| 3 | `serve`, `microservice`: `load()` of the component raised; the traceback is in the log |
| 3 | commands that ask a server: the server cannot be reached, or is not ready |
| 4 | commands that ask a server: no answer in time |
| 130 | interrupted with Ctrl-C |
| 1 | `microservice`: a component that cannot be found, imported or constructed, as in the original |
| 255 | `microservice`: an unknown argument, as in the original |

## Shell completion

`infergraph completion bash` (or `zsh`, `fish`) prints what makes a shell complete commands, options and their values;
`eval "$(infergraph completion bash)"` in its start-up file turns it on.
"""


def cli_page() -> str:
    """Every command with its arguments, options and examples."""
    return _CLI + "".join(_commands(click.Context(program, info_name="infergraph")))


def _commands(context: click.Context) -> Iterator[str]:
    """The commands of a group, and theirs."""
    group = context.command
    assert isinstance(group, click.Group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        yield f"\n## {inner.command_path}\n\n{_prose(command.help or '')}\n"
        yield from _options(inner)
        if isinstance(command, click.Group):
            yield from _commands(inner)
        elif command.epilog:
            yield f"\n{command.epilog}\n"


def _options(context: click.Context) -> Iterator[str]:
    """The arguments and options of a command."""
    command = context.command
    if command is microservice.microservice:
        yield "\n" + table(("argument or option", "meaning"), _originals_options())
        return
    of_settings = [param for param in command.params if isinstance(param, SettingOption)]
    if len(of_settings) == len(Settings.__struct_fields__):
        yield "\nEvery [setting](settings.md) is an option as well.\n"
    elif of_settings:
        named = ", ".join(f"`{param.name}`" for param in of_settings)
        yield f"\nThese [settings](settings.md) are options as well: {named}.\n"
    rows = [_parameter(param, context) for param in command.params if not isinstance(param, SettingOption)]
    if rows:
        yield "\n" + table(("argument or option", "meaning"), rows)


def _prose(help: str) -> str:
    """The help text, its example as code."""
    text, _, example = help.partition("Example:")
    paragraphs = [" ".join(part.split()) for part in text.strip().split("\n\n")]
    lines = [line.strip() for line in example.strip().split("\n") if line.strip()]
    return "\n\n".join(paragraphs + ([f"Example: `{' '.join(lines)}`"] if lines else []))


def _parameter(param: click.Parameter, context: click.Context) -> tuple[object, ...]:
    """An argument or option: its spelling, and its help with choices and default."""
    if isinstance(param, Argument):
        return f"`{param.make_metavar(context)}`", param.about
    assert isinstance(param, click.Option)
    spelled = ", ".join([*param.opts, *param.secondary_opts]) + ("" if param.is_flag else f" {param.metavar}")
    default = f"Default: `{param.default}`." if param.show_default else ""
    return f"`{spelled}`", " ".join(filter(None, (param.help, default)))


def _originals_options() -> Rows:
    """The options of `infergraph microservice`, which has a parser of its own."""
    for action in microservice._parser()._actions:
        is_flag = action.nargs == 0 or not action.option_strings
        value = "" if is_flag else action.dest.upper()
        spelled = ", ".join(action.option_strings) or action.dest.upper()
        choices = "One of " + ", ".join(f"`{each}`" for each in action.choices) + "." if action.choices else ""
        shown = f"{spelled} {f'[{value}]' if action.nargs == '?' else value}".strip()
        yield f"`{shown}`", " ".join(filter(None, (action.help, choices)))


# ── speed, in the README ────────────────────────────────────────────────────────────────────────────────────────────

_RESULTS = FOLDER.parents[1] / "benchmarks" / "RESULTS.json"
_READMES = [FOLDER.parents[1] / "README.md", FOLDER.parents[1] / "README.zh.md"]
_SPEED = re.compile(r"(<!-- speed[^>]*-->\n).*?(<!-- /speed -->)", re.DOTALL)
_SERVERS = ("infergraph", "Seldon wrapper", "MLServer", "FastAPI by hand", "floor")
_ASKED = {
    "rest-small": "REST, 2×2",
    "rest-large": "REST, 1,000×784",
    "grpc-small": "gRPC, 2×2",
    "grpc-large": "gRPC, 1,000×400",
}


def speed_table() -> str:
    """CPU microseconds for one request, of the whole server, as the benchmark measured them last."""
    cells = json.loads(_RESULTS.read_text("utf-8"))["cells"]
    rows = [
        (words, *(_microseconds(cells[row].get(server, {}).get("rounds", [])) for server in _SERVERS))
        for row, words in _ASKED.items()
    ]
    return table(("CPU µs", *_SERVERS), rows).strip()


def _microseconds(rounds: list[dict[str, Any]]) -> str:
    measured = [each for one in rounds for each in one.get("cpu_us", ())]
    if not measured:
        return "–"
    median = statistics.median(measured)
    return f"{median:,.0f}"


def with_speed(readme: str) -> str:
    """A README with the table as it is now."""
    return _SPEED.sub(lambda found: f"{found[1]}\n{speed_table()}\n\n{found[2]}", readme)


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "routes.md": routes_page,
    "errors.md": errors_page,
    "metrics.md": metrics_page,
    "cli.md": cli_page,
}
"""The pages by file name."""


def stale() -> list[str]:
    """The pages that are not what the code says."""
    found = {name: FOLDER / name for name in PAGES}
    pages = [
        name for name, path in found.items() if not path.is_file() or path.read_text("utf-8") != _NOTE + PAGES[name]()
    ]
    return pages + [path.name for path in _READMES if with_speed(text := path.read_text("utf-8")) != text]


def main() -> int:
    """Write the pages, or check them."""
    if "--check" in sys.argv[1:]:
        names = stale()
        for name in names:
            print(f"{name} is not what the code says: run python docs/generate.py", file=sys.stderr)
        return 1 if names else 0
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(_NOTE + page(), "utf-8")
    for path in _READMES:
        path.write_text(with_speed(path.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
