"""The commands by name, each imported only when it is asked for: `serve` must not wait for what `show` needs.

Another distribution adds commands by entry points of the group `infergraph.commands`.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

import click

from infergraph.cli.command import Group

ENTRY_POINTS = "infergraph.commands"
COMMANDS = {
    "serve": "infergraph.cli.serve:serve",
    "call": "infergraph.cli.call:call",
    "submit": "infergraph.cli.tasks:submit",
    "tasks": "infergraph.cli.tasks:tasks",
    "batch": "infergraph.cli.batch:batch",
    "doctor": "infergraph.cli.doctor:doctor",
    "check": "infergraph.cli.graphs:check",
    "show": "infergraph.cli.graphs:show",
    "init": "infergraph.cli.init:init",
    "settings": "infergraph.cli.show_settings:settings",
    "completion": "infergraph.cli.completion:completion",
    "microservice": "infergraph.cli.microservice:microservice",
}
"""Where each command of our own is: `module:name`."""


class Commands(Group):
    """A group that imports the module of a command when the command is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, in the order in which help shows them."""
        return [*COMMANDS, *(entry.name for entry in entry_points(group=ENTRY_POINTS))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None for a name that is none."""
        if cmd_name in COMMANDS:
            entry = EntryPoint(cmd_name, COMMANDS[cmd_name], ENTRY_POINTS)
        else:
            added = list(entry_points(group=ENTRY_POINTS, name=cmd_name))
            if not added:
                return None
            entry = added[0]
        command = entry.load()
        assert isinstance(command, click.Command)
        return command
