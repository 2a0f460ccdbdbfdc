"""What all commands have in common: help that fits a terminal or a pipe, usage errors of one line, suggestions.

terminal ─▶ panels and colours ┊ pipe ─▶ plain text ┊ wrong usage ─▶ one line on the standard error, exit code 2
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from enum import Enum
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""What typer raises for wrong usage. Older versions take it from click, newer ones have their own."""


class _Shown:
    """Help as panels on a terminal, as plain text in a pipe; a flag shows no type."""

    params: list[Any]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        for parameter in self.params:
            if getattr(parameter, "is_flag", False) and parameter.metavar is None:
                parameter.metavar = ""
        if sys.stdout.isatty():
            super().format_help(ctx, formatter)  # type: ignore[misc]
            return
        plain = next(kind for kind in type(self).__mro__ if "click" in kind.__module__ and "format_help" in vars(kind))
        plain.format_help(self, ctx, formatter)  # type: ignore[attr-defined]

    def get_help_option(self, ctx: Any) -> Any:
        """The option `--help`."""
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.metavar = ""
        return option

    def get_short_help_str(self, limit: int = 0) -> str:
        """The first sentence for a list of commands, uncut: the list wraps it."""
        return str(super().get_short_help_str(max(limit, 200)))  # type: ignore[misc]


class Command(_Shown, TyperCommand):
    """A command."""


class Group(_Shown, TyperGroup):
    """A command that has commands. Without one it shows its help, unless it says otherwise."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; none at all shows the help, which is not what a script wanted: exit code 2."""
        if not args and not self.invoke_without_command and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            raise typer.Exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is asked for; an unknown name is told with those it resembles."""
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"There is no command {args[0]!r}{did_you_mean(args[0], names)}")
        return super().resolve_command(ctx, args)


class Program(typer.Typer):
    """A typer whose commands and groups are ours."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**{"cls": Group, "pretty_exceptions_enable": False, **more})

    def command(self, name: str | None = None, **more: Any) -> Callable[[Any], Any]:
        """Declares a command."""
        return super().command(name, **{"cls": Command, **more})


def did_you_mean(given: str, known: Sequence[str]) -> str:
    """`; did you mean 'serve'?` where a known word is near."""
    near = get_close_matches(given, known, n=3)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def usage_text(error: Any) -> str:
    """A usage error as one line: the command, what is wrong, where to read on."""
    command = getattr(getattr(error, "ctx", None), "command_path", "") or "infergraph"
    text = " ".join(str(error.format_message()).replace("Value error, ", "").split()).rstrip(".")
    return f"{command}: {text[:1].lower()}{text[1:]} (see {command} --help)"


def completion(choices: Sequence[str] | type[Enum]) -> Callable[[str], list[str]]:
    """What offers these values to the shell."""
    values = [str(each.value) if isinstance(each, Enum) else each for each in choices]
    return lambda incomplete: [value for value in values if value.startswith(incomplete)]
