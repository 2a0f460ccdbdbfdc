"""`infergraph`: the command line."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from infergraph import __version__
from infergraph.cli.commands import LazyCommands
from infergraph.errors import StartupFault

app = typer.Typer(
    name="infergraph",
    cls=LazyCommands,
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


def run(arguments: list[str] | None = None) -> Any:
    """The entry point: faults at start-up become one line and exit code 2."""
    try:
        return app(arguments)
    except StartupFault as fault:
        typer.echo(f"infergraph: {fault}", err=True)
        sys.exit(2)
