"""Every setting as a command-line option, from the one declaration in `infergraph.settings`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from infergraph import settings
from infergraph.cli.command import Option, option

Given = Mapping[str, str | None]
"""The settings given on a command line, by name; None if not given."""


def settings_options(names: Iterable[str] | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare an option for each setting; the command gets them as a mapping, `given`.

    Args:
        names: which settings; all by default.
    """
    rows = [row for row in settings.describe() if names is None or row.name in set(names)]

    def declare(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(**arguments: Any) -> Any:
            given = {row.name: arguments.pop(row.name) for row in rows}
            return command(given=given, **arguments)

        declared: Callable[..., Any] = run
        for row in reversed(rows):
            declared = click.option("--" + row.name.replace("_", "-"), cls=SettingOption, row=row)(declared)
        return declared

    return declare


class SettingOption(Option):
    """The option of one setting.

    Its value remains text, even for numbers: `settings.load` parses it like an environment variable, with the same
    error messages.
    """

    def __init__(self, param_decls: list[str], *, row: settings.Described, **more: Any) -> None:
        choices = ["on", "off"] if row.type == "bool" else row.type.split("|")
        default = f"{shown(row.default)} {row.unit}".strip()
        super().__init__(
            param_decls,
            section=row.group,
            metavar="|".join(choices) if len(choices) > 1 else row.type.upper(),
            help=f"{row.help} [default: {default}]" if row.default != "" else row.help,
            shell_complete=_completion(choices) if len(choices) > 1 else None,
            **more,
        )


def _completion(choices: list[str]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    return lambda ctx, param, incomplete: [choice for choice in choices if choice.startswith(incomplete)]


def shown(value: Any) -> Any:
    """A setting's value for display."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return getattr(value, "value", value)


key_option = option(
    "--key",
    default="",
    envvar=settings.KEY_VARIABLE,
    metavar="KEY",
    help=f"The key of a server that asks for one; better in the environment variable {settings.KEY_VARIABLE}.",
)
nodes_option = option(
    "--node",
    "nodes",
    multiple=True,
    metavar="NAME=TARGET",
    help="Run this target as the node, instead of what the file says. May be repeated.",
)
predictor_option = option("--predictor", default="", metavar="NAME", help="The predictor of the graph file to use.")
