"""The commands by name, each imported only when it is asked for: `serve` must not wait for what `show` needs."""

from __future__ import annotations

import importlib
from typing import Any

import typer

from infergraph.cli.program import Group, Program

MODULES = {
    "serve": "infergraph.cli.serve",
    "call": "infergraph.cli.call",
    "submit": "infergraph.cli.tasks",
    "tasks": "infergraph.cli.tasks",
    "batch": "infergraph.cli.batch",
    "doctor": "infergraph.cli.doctor",
    "check": "infergraph.cli.graphs",
    "show": "infergraph.cli.graphs",
    "init": "infergraph.cli.init",
    "export-triples": "infergraph.cli.triples",
    "knowledge": "infergraph.cli.knowledge",
    "settings": "infergraph.cli.show_settings",
    "microservice": "infergraph.cli.microservice",
}
"""The module of each command; its `add_to(app)` adds the command, and perhaps others."""


class LazyCommands(Group):
    """A group that imports the module of a command when the command is looked up."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands, in the order in which help shows them."""
        return list(MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or None for a name that is none."""
        if cmd_name not in MODULES:
            return None
        app = Program()
        app.callback()(lambda: None)  # keeps it a group, however few commands it has
        importlib.import_module(MODULES[cmd_name]).add_to(app)
        group: Any = typer.main.get_command(app)
        return group.commands[cmd_name]
