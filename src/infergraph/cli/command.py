"""Declaration of commands: arguments and options with help in sections, suggestions, usage errors of one line.

terminal ─▶ colours ┊ pipe, NO_COLOR ─▶ plain text ┊ wrong usage ─▶ one line on standard error, exit code 2
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

import click

from infergraph.errors import did_you_mean

_WIDEST_COLUMNS = 100
_SENTENCE_CHARACTERS = 200

Function = TypeVar("Function", bound=Callable[..., Any])


class _Formatter(click.HelpFormatter):
    """Help in colours, which `click.echo` removes again where the output is not a terminal."""

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        width = width or min(shutil.get_terminal_size().columns, max_width or _WIDEST_COLUMNS)
        super().__init__(indent_increment, width, max_width)

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write the usage line."""
        super().write_usage(prog, args, click.style("Usage: ", bold=True))

    def write_heading(self, heading: str) -> None:
        """Write the heading of a section."""
        self.write(" " * self.current_indent + click.style(f"{heading}:", bold=True) + "\n")

    def write_dl(self, rows: Any, col_max: int = 30, col_spacing: int = 2) -> None:
        """Write terms and their meaning, in two columns."""
        coloured = [(click.style(term, bold=True, fg="cyan"), meaning) for term, meaning in rows]
        super().write_dl(coloured, col_max, col_spacing)


class _Context(click.Context):
    formatter_class = _Formatter

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        if os.environ.get("NO_COLOR"):
            self.color = False


class Argument(click.Argument):
    """An argument with a help text, which click has only since version 8.5."""

    def __init__(self, param_decls: list[str], *, about: str, **more: Any) -> None:
        super().__init__(param_decls, **more)
        self.about = about

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """The argument and its meaning."""
        return self.make_metavar(ctx), self.about


class Option(click.Option):
    """An option in a section of the help, which shows its default unless that is empty or a flag's."""

    def __init__(self, param_decls: list[str], *, section: str = "Options", **more: Any) -> None:
        more.setdefault("show_default", more.get("default") not in (None, "", False, True))
        if isinstance(kind := more.get("type"), click.Choice):
            more.setdefault("metavar", max(param_decls, key=len).lstrip("-").upper())
            more["help"] += f" One of {', '.join(kind.choices)}."
        super().__init__(param_decls, **more)
        self.section = section


class Word(click.Choice[str]):
    """One of several words; the error for another word suggests similar ones."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The word."""
        if value not in self.choices:
            near = did_you_mean(value, self.choices)
            self.fail(f"{value!r} is not one of {', '.join(self.choices)}{near}", param, ctx)
        return value


class Member(Word):
    """A member of an enumeration, given by its value."""

    def __init__(self, kind: type[Enum]) -> None:
        super().__init__([str(each.value) for each in kind])
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The member with this value."""
        return value if isinstance(value, self._kind) else self._kind(super().convert(value, param, ctx))


class Command(click.Command):
    """A command whose help has a section for its arguments and one for each group of options."""

    context_class = _Context

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the arguments and options, section by section."""
        _write_sections(self.get_params(ctx), ctx, formatter)

    def get_short_help_str(self, limit: int = 0) -> str:
        """The first sentence for a list of commands, uncut: the list wraps it."""
        return super().get_short_help_str(max(limit, _SENTENCE_CHARACTERS))


class Group(click.Group):
    """A command with subcommands. Without one it shows its help, unless it is invokable without command."""

    context_class = _Context
    command_class = Command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options and the commands."""
        _write_sections(self.get_params(ctx), ctx, formatter)
        self.format_commands(ctx, formatter)

    def get_short_help_str(self, limit: int = 0) -> str:
        """The first sentence for a list of commands, uncut: the list wraps it."""
        return super().get_short_help_str(max(limit, _SENTENCE_CHARACTERS))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in the order of declaration."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; without any, show the help and exit with code 2, since a script wants no help."""
        if not args and not self.invoke_without_command and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of this name; the error for an unknown name suggests similar ones."""
        asked = args[0] if args and not args[0].startswith("-") else ""
        if asked and not ctx.resilient_parsing and self.get_command(ctx, asked) is None:
            ctx.fail(f"There is no command {asked!r}{did_you_mean(asked, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


def _write_sections(params: list[click.Parameter], ctx: click.Context, formatter: click.HelpFormatter) -> None:
    sections: dict[str, list[tuple[str, str]]] = {}
    for param in params:
        record = param.get_help_record(ctx)
        title = "Arguments" if isinstance(param, Argument) else getattr(param, "section", "Options")
        if record is not None:
            sections.setdefault(title, []).append(record)
    for title, rows in sections.items():
        with formatter.section(title):
            formatter.write_dl(rows)


def argument(name: str, *, about: str, **more: Any) -> Callable[[Function], Function]:
    """Declares an argument of a command."""
    return click.argument(name, cls=Argument, about=about, **more)


def option(*names: str, **more: Any) -> Callable[[Function], Function]:
    """Declares an option of a command."""
    return click.option(*names, cls=Option, **more)


def usage_text(error: click.ClickException) -> str:
    """A usage error as one line: the command, what is wrong, and where to find help."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "infergraph"
    text = " ".join(error.format_message().split()).rstrip(".")
    return f"{command}: {text[:1].lower()}{text[1:]} (see {command} --help)"
