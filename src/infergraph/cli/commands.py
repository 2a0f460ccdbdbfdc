"""The commands by name, each imported only when it is used: `serve` must not load what `show` needs.

Another distribution adds commands by entry points of the group `infergraph.commands`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from infergraph.cli.command import Group
from infergraph.errors import TargetError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS = "infergraph.commands"
COMMANDS = {
    "serve": "infergraph.cli.serve:serve",
    "call": "infergraph.cli.call:call",
    "submit": "infergraph.cli.tasks:submit",
    "tasks": "infergraph.cli.tasks:tasks",
    "batch": "infergraph.cli.batch:batch",
    "keys": "infergraph.cli.keys:keys",
    "doctor": "infergraph.cli.doctor:doctor",
    "check": "infergraph.cli.graphs:check",
    "show": "infergraph.cli.graphs:show",
    "render": "infergraph.cli.render:render",
    "init": "infergraph.cli.init:init",
    "settings": "infergraph.cli.show_settings:settings",
    "completion": "infergraph.cli.completion:completion",
    "microservice": "infergraph.cli.microservice:microservice",
}
"""The built-in commands: `module:name` for each."""


def names() -> list[str]:
    """The names of all commands, in the order of the help; a built-in one hides another of the same name."""
    return list(dict.fromkeys([*COMMANDS, *(entry.name for entry in _entries())]))


class Commands(Group):
    """A group that imports the module of a command when the command is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None for an unknown name."""
        if cmd_name in COMMANDS:
            module, _, name = COMMANDS[cmd_name].partition(":")
            own: click.Command = getattr(importlib.import_module(module), name)
            return own
        added = next((entry for entry in _entries() if entry.name == cmd_name), None)
        return None if added is None else _added(added)


def _entries() -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points  # importing and calling it takes longer than importing `serve`

    return entry_points(group=ENTRY_POINTS)


def _added(entry: EntryPoint) -> click.Command:
    """The command of another distribution; if it cannot be loaded, one that reports why, so that help still works."""
    try:
        command = entry.load()
    except Exception as error:  # noqa: BLE001 - third-party code runs at import
        return _unusable(entry, f"{type(error).__name__}: {error}")
    return command if isinstance(command, click.Command) else _unusable(entry, "not a click.Command")


def _unusable(entry: EntryPoint, reason: str) -> click.Command:
    text = f"the command {entry.name} ({entry.value}) cannot be loaded: {reason}"

    def refuse(arguments: tuple[str, ...]) -> None:
        raise TargetError(text)

    arguments = click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)
    options = {"ignore_unknown_options": True}
    return click.Command(entry.name, options, refuse, [arguments], help=f"{text[:1].upper()}{text[1:]}.")
