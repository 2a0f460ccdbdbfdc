"""`infergraph completion`: shell completion of commands, options and their values."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from infergraph.cli.command import Command, argument

_SHELLS = ("bash", "zsh", "fish")


@click.command("completion", cls=Command, epilog="Exit codes: 0 printed; 2 wrong usage.")
@argument("shell", type=click.Choice(_SHELLS), metavar="SHELL", about="bash, zsh or fish.")
def completion(shell: str) -> None:
    """Print the completion script of a shell, for its start-up file.

    Example: infergraph completion bash >> ~/.bashrc
    """
    root = click.get_current_context().find_root().command
    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(root, {}, "infergraph", "_INFERGRAPH_COMPLETE").source())
