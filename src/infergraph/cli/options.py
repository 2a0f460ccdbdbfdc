"""Every setting as a command-line option, from the one declaration in `infergraph.settings`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import typer

from infergraph import settings
from infergraph.cli.program import completion

_PANELS = {
    "Listening": ("host", "http_port", "grpc_port", "grpc", "grpc_engine", "metrics_port", "metrics_path", "console"),
    "Component": ("parameters", "model_metadata", "threads", "execution", "annotations_file"),
    "Process": ("workers", "max_requests", "max_requests_jitter", "rss_limit_bytes", "grace_s", "drain_delay_s",
                "load_failure", "keepalive_s", "watchdog_s", "data_dir"),
    "Logs": ("log_level", "log_format", "access_log"),
}  # fmt: skip


def _panel(name: str) -> str:
    if name.startswith("task"):
        return "Tasks"
    return next((panel for panel, names in _PANELS.items() if name in names), "Limits and answers")


def option(row: settings.Described) -> inspect.Parameter:
    """The option of one setting: `--name-with-dashes`, not given by default."""
    metavar = "on|off" if row.type == "bool" else row.type.upper() if row.type in ("int", "float", "str") else row.type
    shown = {True: "on", False: "off"}.get(row.default, row.default) if isinstance(row.default, bool) else row.default
    unit = f" {row.unit}" if row.unit else ""
    declared = typer.Option(
        "--" + row.name.replace("_", "-"),
        metavar=metavar,
        help=f"{row.help} (default: {shown}{unit})" if shown != "" else row.help,
        rich_help_panel=_panel(row.name),
        show_default=False,
        autocompletion=completion(choices) if (choices := _choices(row)) else None,
    )
    # Texts, numbers too: `settings.load` reads them as it reads the environment, and says what is wrong in one way.
    return inspect.Parameter(
        row.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, declared]
    )


def _choices(row: settings.Described) -> list[str]:
    return ["on", "off"] if row.type == "bool" else row.type.split("|") if "|" in row.type else []


def with_settings(command: Callable[..., Any], names: Iterable[str] | None = None) -> Callable[..., Any]:
    """`command(..., given=...)` as a function that has one option for each setting and gets them as a mapping.

    Args:
        names: which settings; all by default.
    """
    rows = [row for row in settings.describe() if names is None or row.name in set(names)]
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "given"]

    def run(**arguments: Any) -> Any:
        given = {row.name: arguments.pop(row.name) for row in rows}
        return command(**arguments, given=given)

    keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    run.__signature__ = signature.replace(parameters=[*keyword_only, *map(option, rows)])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *map(option, rows))}
    run.__doc__ = command.__doc__
    run.__name__ = command.__name__
    return run


def shown(value: Any) -> Any:
    """A setting's value as a person reads it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return getattr(value, "value", value)


Given = Mapping[str, Any]
Nodes = Annotated[
    list[str] | None,
    typer.Option(
        "--node",
        metavar="NAME=TARGET",
        help="Run this node as told here, not as in the file.",
        show_default=False,
    ),
]
Predictor = Annotated[
    str, typer.Option("--predictor", metavar="NAME", help="Which predictor of a graph file.", show_default=False)
]
