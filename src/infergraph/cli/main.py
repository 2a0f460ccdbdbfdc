"""`infergraph`: the command line."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from infergraph import __version__
from infergraph.cli.command import usage_text
from infergraph.cli.commands import Commands
from infergraph.errors import StartupFault

EXIT_FAILED = 1
EXIT_STARTUP = 2
EXIT_INTERRUPTED = 130
EXIT_NOBODY_READS = 141


@click.group(
    "infergraph",
    cls=Commands,
    epilog="Example: infergraph serve mymodel.py:MyModel — see infergraph COMMAND --help for details and an example.",
)
@click.version_option(__version__, message="infergraph %(version)s", help="Show the version.")
def infergraph() -> None:
    """Serve any Python class over REST and gRPC, run inference graphs, and process JSONL tasks."""


def run(arguments: list[str] | None = None) -> NoReturn:
    """The entry point. Exits the process with a code, and prints one line for an error."""
    sys.exit(_code(arguments))


def _code(arguments: list[str] | None) -> int:
    try:
        code = infergraph(arguments, prog_name="infergraph", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except StartupFault as fault:
        click.echo(f"infergraph: {fault}", err=True)
        return EXIT_STARTUP
    except click.ClickException as error:
        click.echo(usage_text(error), err=True)
        return EXIT_STARTUP
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain at its exit
        return EXIT_NOBODY_READS
    except OSError as error:  # a file that cannot be read or written
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"infergraph: {where}{error.strerror or error}", err=True)
        return EXIT_FAILED
