"""`infergraph settings`: shows every setting and the origin of its value."""

from __future__ import annotations

import os
import sys
from typing import Any

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from infergraph.cli.command import Command, option
from infergraph.cli.options import shown
from infergraph.settings import HIDDEN, Described, Loaded, describe, load

_TABLE_COLUMNS = 100


@click.command("settings", cls=Command, epilog="Exit codes: 0 shown; 2 the environment sets an unknown setting.")
@option("--json", "as_json", is_flag=True, help="Print JSON.")
def settings(as_json: bool) -> None:
    """Show every setting: its value, where it came from, and what it means.

    Example: infergraph settings --json
    """
    loaded = load(os.environ, {})
    rows = describe()
    values = {row.name: _shown(row, getattr(loaded.settings, row.name)) for row in rows}
    if as_json:
        Console(soft_wrap=True).print_json(data=[_as_json(row, values, loaded) for row in rows])
    elif not sys.stdout.isatty():
        for row in rows:
            click.echo(f"{row.name}={values[row.name]}\t{loaded.origins[row.name]}\t{row.help}")
    else:
        _print_table(rows, values, loaded)


def _shown(row: Described, value: Any) -> Any:
    return HIDDEN if row.is_secret and value else shown(value)


def _as_json(row: Described, values: dict[str, Any], loaded: Loaded) -> dict[str, Any]:
    return {
        "name": row.name,
        "value": values[row.name],
        "origin": loaded.origins[row.name],
        "type": row.type,
        "unit": row.unit,
        "environment": list(row.env),
        "help": row.help,
    }


def _print_table(rows: list[Described], values: dict[str, Any], loaded: Loaded) -> None:
    console = Console()
    if console.width < _TABLE_COLUMNS:
        _print_list(console, rows, values, loaded)
        return
    table = Table("setting", "value", "from", "meaning", box=None, pad_edge=False)
    for row in rows:
        origin = loaded.origins[row.name]
        value = f"{values[row.name]} {row.unit}".strip()
        table.add_row(row.name, Text(value), origin, Text(row.help), style=None if origin == "default" else "bold")
    console.print(table)


def _print_list(console: Console, rows: list[Described], values: dict[str, Any], loaded: Loaded) -> None:
    """The same for a narrow terminal: the meaning of a setting is below it."""
    for row in rows:
        origin = loaded.origins[row.name]
        told = "" if origin == "default" else f" (from {origin})"
        value = f"{values[row.name]} {row.unit}".strip()
        console.print(Text.assemble((row.name, "bold"), f" = {value}{told}"))
        console.print(Padding(Text(row.help, "dim"), (0, 0, 0, 4)))
