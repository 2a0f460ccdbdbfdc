"""`infergraph`: the command line."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from infergraph import __version__, settings
from infergraph.cli import graphs, init, knowledge, microservice, options, triples
from infergraph.cli.serving import serve_target
from infergraph.errors import StartupFault

app = typer.Typer(
    name="infergraph",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Serve any Python class over REST and gRPC, run inference graphs, and work on JSONL tasks.",
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"infergraph {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Options that come before the command."""


def serve(
    target: Annotated[
        str,
        typer.Argument(
            help="What to serve: module:Class, path/to/file.py:Class, package.module.Class, MyModel, "
            "or a SeldonDeployment file (.yaml, .json).",
        ),
    ],
    node: Annotated[
        list[str] | None,
        typer.Option("--node", metavar="NAME=TARGET", help="Run this node of a graph in process.", show_default=False),
    ] = None,
    predictor: Annotated[
        str, typer.Option("--predictor", metavar="NAME", help="Which predictor of a graph file.", show_default=False)
    ] = "",
    reload: Annotated[bool, typer.Option("--reload", help="Restart when a source file changes.")] = False,
    given: options.Given = {},  # noqa: B006 - never changed
) -> None:
    """Serve a class or a graph over REST and gRPC, and as a task endpoint.

    Example: infergraph serve mymodel.py:MyModel --workers 2
    """
    loaded = settings.load(os.environ, given)
    serve_target(target, loaded.settings, nodes=node or (), predictor=predictor, reload=reload)


app.command("serve")(options.with_settings(serve))


@app.command("settings")
def show_settings(
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Every setting, its value, where it came from, and what it means."""
    loaded = settings.load(os.environ, {})
    rows = settings.describe()
    values = {row.name: options.shown(getattr(loaded.settings, row.name)) for row in rows}
    if json:
        Console(soft_wrap=True).print_json(
            data=[
                {"name": row.name, "value": values[row.name], "origin": loaded.origins[row.name], "type": row.type,
                 "unit": row.unit, "environment": list(row.env), "help": row.help}
                for row in rows
            ]
        )  # fmt: skip
        return
    if not sys.stdout.isatty():
        for row in rows:
            typer.echo(f"{row.name}={values[row.name]}\t{loaded.origins[row.name]}\t{row.help}")
        return
    table = Table("setting", "value", "from", "meaning", box=None, pad_edge=False)
    for row in rows:
        origin = loaded.origins[row.name]
        style = None if origin == "default" else "bold"
        table.add_row(row.name, f"{values[row.name]} {row.unit}".strip(), origin, row.help, style=style)
    Console(width=max(100, shutil.get_terminal_size().columns)).print(table)


for module in (graphs, init, knowledge, triples):
    module.add_to(app)


@app.command(
    "microservice",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
def run_microservice(context: typer.Context) -> None:
    """Serve with the flags and environment of seldon-core-microservice, for existing images and manifests."""
    microservice.run(context.args, os.environ)


def run(arguments: list[str] | None = None) -> Any:
    """The entry point: faults at start-up become one line and exit code 2."""
    try:
        return app(arguments)
    except StartupFault as fault:
        typer.echo(f"infergraph: {fault}", err=True)
        sys.exit(2)
