"""`infergraph serve`: serve a class or a graph."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from infergraph import settings
from infergraph.cli import options
from infergraph.cli.launch import serve_target

_EPILOG = (
    "Exit codes: 0 it was told to stop, and has answered everything first; 2 it cannot start (one line says why); "
    "3 load() of the component raised."
)


def add_to(app: typer.Typer) -> None:
    """Add the command to the program's."""
    app.command("serve", epilog=_EPILOG)(options.with_settings(serve))


def serve(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="What to serve: module:Class, path/to/file.py:Class, package.module.Class, MyModel, "
            "or a SeldonDeployment file (.yaml, .json).",
        ),
    ],
    given: options.Given,
    node: options.Nodes = None,
    predictor: options.Predictor = "",
    reload: Annotated[bool, typer.Option("--reload", help="Restart when a source file changes.")] = False,
) -> None:
    """Serve a class or a graph over REST and gRPC, and as a task endpoint.

    Example: infergraph serve mymodel.py:MyModel --workers 2
    """
    loaded = settings.load(os.environ, given)
    serve_target(target, loaded.settings, nodes=node or (), predictor=predictor, reload=reload)
