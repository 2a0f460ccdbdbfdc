"""`infergraph settings`: what is set, and where it came from."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from infergraph import settings
from infergraph.cli import options

_TABLE_COLUMNS = 100


def add_to(app: typer.Typer) -> None:
    """Add the command to the program's."""
    app.command("settings", epilog="Exit codes: 0 shown; 2 the environment sets something that is no setting.")(
        show_settings
    )


def show_settings(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Every setting, its value, where it came from, and what it means.

    Example: infergraph settings --json
    """
    loaded = settings.load(os.environ, {})
    rows = settings.describe()
    values = {row.name: options.shown(getattr(loaded.settings, row.name)) for row in rows}
    if as_json:
        Console(soft_wrap=True).print_json(data=[_as_json(row, values, loaded) for row in rows])
    elif not sys.stdout.isatty():
        for row in rows:
            typer.echo(f"{row.name}={values[row.name]}\t{loaded.origins[row.name]}\t{row.help}")
    else:
        _print_table(rows, values, loaded)


def _as_json(row: settings.Described, values: dict[str, Any], loaded: settings.Loaded) -> dict[str, Any]:
    return {
        "name": row.name,
        "value": values[row.name],
        "origin": loaded.origins[row.name],
        "type": row.type,
        "unit": row.unit,
        "environment": list(row.env),
        "help": row.help,
    }


def _print_table(rows: list[settings.Described], values: dict[str, Any], loaded: settings.Loaded) -> None:
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


def _print_list(
    console: Console, rows: list[settings.Described], values: dict[str, Any], loaded: settings.Loaded
) -> None:
    """The same for a narrow terminal: what a setting means stands below it."""
    for row in rows:
        origin = loaded.origins[row.name]
        told = "" if origin == "default" else f" (from {origin})"
        value = f"{values[row.name]} {row.unit}".strip()
        console.print(Text.assemble((row.name, "bold"), f" = {value}{told}"))
        console.print(Padding(Text(row.help, "dim"), (0, 0, 0, 4)))
