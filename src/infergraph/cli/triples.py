"""`infergraph export-triples`: the results of RE and JE tasks for a graph database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infergraph.errors import PayloadError
from infergraph.knowledge import triples


def export_triples(
    results: Annotated[
        Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="The result file of an RE or JE task.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Where to: a name that ends in .nt (N-Triples), .ttl (Turtle) or .csv."
        ),
    ],
    task: Annotated[
        str, typer.Option(metavar="ID", help="The id of the task, for provenance.", show_default="the file's name")
    ] = "",
    base: Annotated[str, typer.Option(metavar="IRI", help="What every IRI begins with.")] = triples.DEFAULT_BASE,
    provenance: Annotated[bool, typer.Option(help="Also write the task and line of each triple.")] = True,
) -> None:
    """Write the triples in task results as RDF or CSV, with stable IRIs and where each was found.

    Example: infergraph export-triples results.jsonl -o out.ttl --base https://example.org/kg/
    """
    try:
        done = triples.export(results, out, task=task, base=base, provenance=provenance)
    except (PayloadError, OSError) as fault:
        typer.echo(f"infergraph: {results}: {fault}", err=True)
        raise typer.Exit(1) from fault
    left_out = [f"{done.errors} error lines"] if done.errors else []
    left_out += [f"{done.unrelated} pairs without a relation"] if done.unrelated else []
    without = f" (left out: {', '.join(left_out)})" if left_out else ""
    typer.echo(f"{out}: {done.triples} triples of {done.rows} rows{without}")


def add_to(app: typer.Typer) -> None:
    """Add the command to the program's."""
    app.command("export-triples", epilog="Exit codes: 0 written; 1 a file cannot be read or written; 2 wrong usage.")(
        export_triples
    )
