"""`infergraph`: the command line."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from infergraph import __version__
from infergraph.cli.commands import LazyCommands
from infergraph.cli.program import USAGE_ERROR, Program, usage_text
from infergraph.errors import StartupFault

EXIT_FAILED = 1
EXIT_STARTUP = 2
EXIT_INTERRUPTED = 130
EXIT_NOBODY_READS = 141
app = Program(
    name="infergraph",
    cls=LazyCommands,
    help="Serve any Python class over REST and gRPC, run inference graphs, and work on JSONL tasks.",
    epilog="Example: infergraph serve mymodel.py:MyModel — infergraph COMMAND --help tells more, with an example.",
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
    """The entry point. The process ends with an exit code, and with one line where it could not do what was asked."""
    sys.exit(_code(arguments))


def _code(arguments: list[str] | None) -> int:
    try:
        code = app(arguments, prog_name="infergraph", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except StartupFault as fault:
        typer.echo(f"infergraph: {fault}", err=True)
        return EXIT_STARTUP
    except USAGE_ERROR as error:
        typer.echo(usage_text(error), err=True)
        return EXIT_STARTUP
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain at its exit
        return EXIT_NOBODY_READS
    except OSError as error:  # a file that cannot be read or written
        where = f"{error.filename}: " if error.filename else ""
        typer.echo(f"infergraph: {where}{error.strerror or error}", err=True)
        return EXIT_FAILED
