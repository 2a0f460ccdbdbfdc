"""`infergraph export-triples`: the results of RE and JE tasks for a graph database."""

from __future__ import annotations

from pathlib import Path

import click

from infergraph.cli.command import Command, argument, option
from infergraph.errors import PayloadError
from infergraph_knowledge import triples


@click.command(
    "export-triples", cls=Command, epilog="Exit codes: 0 written; 1 a file cannot be read or written; 2 wrong usage."
)
@argument(
    "results",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    about="The result file of an RE or JE task.",
)
@option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The output; its name ends in .nt (N-Triples), .ttl (Turtle) or .csv.",
)
@option("--task", default="", metavar="ID", help="The id of the task, for provenance. [default: the file's name]")
@option("--base", default=triples.DEFAULT_BASE, metavar="IRI", help="What every IRI begins with.")
@option("--provenance/--no-provenance", default=True, help="Also write the task and line of each triple.")
def export_triples(results: Path, out: Path, task: str, base: str, provenance: bool) -> None:
    """Write the triples in task results as RDF or CSV, with stable IRIs and where each was found.

    Example: infergraph export-triples results.jsonl -o out.ttl --base https://example.org/kg/
    """
    try:
        done = triples.export(results, out, task=task, base=base, provenance=provenance)
    except (PayloadError, OSError) as fault:
        click.echo(f"infergraph: {results}: {fault}", err=True)
        raise click.exceptions.Exit(1) from fault
    left_out = [f"{done.errors} error lines"] if done.errors else []
    left_out += [f"{done.unrelated} pairs without a relation"] if done.unrelated else []
    without = f" (left out: {', '.join(left_out)})" if left_out else ""
    click.echo(f"{out}: {done.triples} triples of {done.rows} rows{without}")
