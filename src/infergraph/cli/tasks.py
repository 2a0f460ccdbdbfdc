"""`infergraph submit` and `infergraph tasks`: submit a JSONL file to a server, watch it, and manage its tasks."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
import orjson
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from infergraph import settings
from infergraph.cli.command import Command, Group, Member, argument, option
from infergraph.cli.exit_codes import ended
from infergraph.cli.options import Given, key_option, settings_options
from infergraph.client import AsyncClient, Client
from infergraph.client.task import SubmitOptions, Task
from infergraph.errors import Fault, PayloadError, StartupFault, TaskFault
from infergraph.output_file import OutputPlace
from infergraph.settings import RowMode
from infergraph.tasks import migration
from infergraph.wire import file_kind
from infergraph.wire.file_kind import FileKind

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_EPILOG = (
    "Exit codes: 0 finished; 1 the task failed or the server refused; 2 wrong usage; 3 the server cannot be reached; "
    "4 no answer in time; 130 interrupted (the task continues)."
)
_EPILOG_SHORT = "Exit codes: 0 done; 1 refused; 2 wrong usage; 3 the server cannot be reached; 4 no answer in time."

_HERE = "http://127.0.0.1:9000"
_url = option("--url", "-u", default=_HERE, metavar="URL", help="The server.")
_id = argument("id", about="The task.")
_output = option(
    "--output", "-o", type=click.Path(path_type=Path), metavar="FILE", help="Write the answers to this file."
)
encoding_option = option(
    "--encoding", default="", metavar="NAME", help="The encoding of the file, if it is not UTF-8, such as gb18030."
)


def _kind(context: click.Context, parameter: click.Parameter, value: str) -> FileKind | None:
    if not value:
        return None
    of = file_kind.answer_kind if parameter.name == "output_format" else file_kind.of_word
    try:
        return of(value, parameter.opts[0])
    except PayloadError as fault:
        raise click.UsageError(fault.text, context) from fault


format_option = option(
    "--format",
    default="",
    metavar="NAME",
    callback=_kind,
    help="The format of the file: jsonl, csv or parquet, by default as its name ends; .gz or .zst may follow.",
)
output_format_option = option(
    "--output-format",
    default="",
    metavar="NAME",
    callback=_kind,
    help="The format of the answers; by default as the output's name ends, else that of the file.",
)
_as_json = option("--json", "as_json", is_flag=True, help="Print JSON.")


@contextmanager
def _asking(url: str, key: str) -> Iterator[Client]:
    """A client whose faults end the command with one line and an exit code."""
    try:
        with Client(url, key=key) as client:
            yield client
    except StartupFault:
        raise
    except Fault as fault:
        raise ended(fault, url) from fault


@click.command("submit", cls=Command, epilog=_EPILOG)
@argument("file", about="A file of JSON lines, CSV or Parquet, or its address (s3://…); - for standard input.")
@_url
@key_option
@option(
    "--output",
    "-o",
    metavar="FILE",
    help="Write the answers to this file; or have the server copy them to this address (s3://…).",
)
@option("--id", default="", metavar="ID", help="The id of the task; generated if not given.")
@option("--priority", type=int, default=0, metavar="N", help="Tasks of a higher priority are processed first.")
@option(
    "--rows",
    type=Member(RowMode),
    default=None,
    help="How a line reaches the component; by default the server's setting.",
)
@encoding_option
@format_option
@output_format_option
@option("--webhook", default="", metavar="URL", help="A URL to notify when the task has ended.")
@option(
    "--webhook-events",
    default="",
    metavar="LIST",
    help="What it is told of: task.finished, task.failed, task.stopped; the first two if not given.",
)
@option(
    "--wait/--no-wait", default=None, help="Wait until the task has ended (default: on a terminal, or with --output)."
)
def submit(
    file: str,
    *,
    url: str,
    key: str,
    output: str | None,
    id: str,
    priority: int,
    rows: RowMode | None,
    encoding: str,
    format: FileKind | None,
    output_format: FileKind | None,
    webhook: str,
    webhook_events: str,
    wait: bool | None,
) -> None:
    """Submit a file of rows as a task.

    Example: infergraph submit corpus.jsonl -o answers.jsonl
    """
    said = SubmitOptions()
    if rows is not None:
        said["rows"] = rows.value
    if priority:
        said["priority"] = priority
    if id:
        said["id"] = id
    if encoding:
        said["encoding"] = encoding
    if webhook:
        said["webhook"] = webhook
    if webhook_events:
        said["webhook_events"] = webhook_events
    if format is not None:
        said["format"] = format.name
    wanted = output_format or file_kind.of_name(output or "")
    if wanted is not None:
        said["output_format"] = file_kind.answer_kind(wanted.name, output or "--output-format").name
    target = None if output is None or "://" in output else Path(output)
    with _asking(url, key) as client:
        if target is not None:
            OutputPlace.at(target, source=Path(file))  # an output that cannot be written is reported before the work
        elif output is not None:
            said["output_uri"] = output
        task = client.tasks.submit(file, **said) if "://" in file else _upload(client, file, said)
        if wait or output is not None or (wait is None and sys.stderr.isatty()):
            _follow(client, task.id, url=url, key=key, output=target)
        else:
            click.echo(task.id)


def _upload(client: Client, file: str, said: SubmitOptions) -> Task:
    source: Any = sys.stdin.buffer if file == "-" else Path(file)
    size = Path(file).stat().st_size if Path(file).is_file() else None
    columns = (TextColumn("sending  "), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    try:
        with bars_of(*columns) as bars:
            bar = bars.add_task("", total=size)
            return client.tasks.submit(source, on_sent=lambda sent: bars.update(bar, completed=sent), **said)
    except KeyboardInterrupt:
        click.echo("interrupted while sending; nothing was accepted", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None


def bars_of(*columns: ProgressColumn) -> Progress:
    """Progress bars on a terminal; nothing otherwise."""
    console = Console(stderr=True)
    console.quiet = not console.is_terminal
    return Progress(*columns, console=console, transient=True, refresh_per_second=4, disable=console.quiet)


def _follow(client: Client, id: str, *, url: str, key: str, output: Path | None) -> None:
    """Watch a task to its end, and fetch its answers."""
    try:
        last = asyncio.run(_watch(url, key, id))
    except KeyboardInterrupt:
        more = f" -o {output}" if output is not None else ""
        again = f"infergraph tasks watch {_quoted(id)} --url {client.server}{more}"
        click.echo(f"\ntask {id} continues; resume with: {again}", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    _tell_end(last)
    if last.state == "failed":
        raise click.exceptions.Exit(EXIT_FAILED)
    if output is not None:
        size = client.tasks.download(id, output)
        click.echo(f"wrote {output} ({size} bytes)", err=True)
    else:
        click.echo(id)


async def _watch(url: str, key: str, id: str) -> Task:
    """Show a task until it has ended."""
    columns = (TextColumn("{task.description:9}"), BarColumn(), TextColumn("{task.fields[told]}"))
    last: Task | None = None
    with bars_of(*columns) as bars:
        bar = bars.add_task("", total=None, told="")
        async with AsyncClient(url, key=key) as client, aclosing(client.tasks.watch(id)) as seen:
            async for last in seen:
                total = last.total if last.state != "waiting" else None
                bars.update(bar, description=last.state, total=total, completed=last.done, told=progress_text(last))
    assert last is not None
    return last


def progress_text(task: Task) -> str:
    """The progress of a task: lines, failures, rate, remaining time, queue position."""
    if task.state == "waiting":
        return f"position {task.queue_position} in the queue" if task.queue_position else "waiting"
    parts = [f"{task.done}/{task.total} lines"]
    if task.failed:
        parts.append(f"{task.failed} failed")
    if task.paused:
        parts.append(f"paused: {task.paused}")
    elif task.rate:
        parts.append(f"{task.rate:.4g} lines/s")
    if task.eta_s is not None and not task.paused:
        parts.append(f"{duration_text(task.eta_s)} left")
    return ", ".join(parts)


def duration_text(seconds: float) -> str:
    """A duration for display."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def read_duration(text: str) -> float:
    """Seconds from `90`, `90s`, `15m`, `12h` or `7d`. Raises: ValueError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration; use 90s, 15m, 12h or 7d")
    return float(match[1]) * _UNITS[match[2]]


def _tell_end(task: Task) -> None:
    if task.state == "failed":
        click.echo(f"task {task.id} failed: {task.error}", err=True)
        return
    told = f"task {task.id} is finished: {task.total} lines in {duration_text(task.worked_s)}"
    if task.failed:
        told += f", {task.failed} of them failed (infergraph tasks errors {_quoted(task.id)})"
    click.echo(told, err=True)


def _quoted(id: str) -> str:
    return id if re.fullmatch(r"[\w.:-]+", id) else "'" + id.replace("'", "'\\''") + "'"


# ── tasks … ─────────────────────────────────────────────────────────────────────────────────────────────────────────


_state = option("--state", default="", metavar="STATE", help="Only tasks in these states, separated by commas.")
_prefix = option("--prefix", default="", metavar="TEXT", help="Only tasks whose id begins with this text.")
_limit = option("--limit", type=int, default=50, metavar="N", help="Maximum number of tasks to list.")


@click.group(
    "tasks", cls=Group, invoke_without_command=True, epilog="Example: infergraph tasks --url http://myhost:9000"
)
@_url
@key_option
@_state
@_prefix
@_limit
@_as_json
@click.pass_context
def tasks(context: click.Context, /, **listing: Any) -> None:
    """List the tasks of a server; a command inspects or controls one of them."""
    if context.invoked_subcommand is None:
        context.invoke(show_list, **listing)
    else:  # an option before the command also applies to the command
        context.default_map = {context.invoked_subcommand: listing}


@tasks.command("list", epilog=_EPILOG_SHORT)
@_url
@key_option
@_state
@_prefix
@_limit
@_as_json
def show_list(*, url: str, key: str, state: str, prefix: str, limit: int, as_json: bool) -> None:
    """List tasks, newest first.

    Example: infergraph tasks list --state running,waiting
    """
    with _asking(url, key) as client:
        found = list(client.tasks.list(state=state, prefix=prefix, limit=limit))
    if as_json:
        click.echo(orjson.dumps([msgspec.to_builtins(task) for task in found]).decode())
        return
    rows = [(task.id, task.state, progress_text(task), _created(task)) for task in found]
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(row))
        return
    table = Table("id", "state", "progress", "created", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _created(task: Task) -> str:
    return task.created.astimezone().strftime("%Y-%m-%d %H:%M:%S") if task.created else ""


@tasks.command(epilog=_EPILOG_SHORT)
@_id
@_url
@key_option
@_as_json
def show(id: str, *, url: str, key: str, as_json: bool) -> None:
    """Show everything about a task.

    Example: infergraph tasks show corpus-1 --json
    """
    with _asking(url, key) as client:
        task = client.tasks.show(id)
    document = msgspec.to_builtins(task)
    if as_json:
        click.echo(orjson.dumps(document).decode())
        return
    for name, value in document.items():
        if value not in (None, "", 0) or name in ("done", "failed"):
            click.echo(f"{name:15} {value}")


@tasks.command(epilog=_EPILOG)
@_id
@_url
@key_option
@_output
def watch(id: str, *, url: str, key: str, output: Path | None) -> None:
    """Watch a task to its end; with --output, fetch its answers then.

    Example: infergraph tasks watch corpus-1 -o answers.jsonl
    """
    with _asking(url, key) as client:
        client.tasks.show(id)  # report a missing task or server now, instead of waiting for it
        _follow(client, id, url=url, key=key, output=output)


@tasks.command(epilog=_EPILOG_SHORT)
@_id
@_url
@key_option
@_output
@option("--partial", is_flag=True, help="Accept partial results of a task that is still running.")
def results(id: str, *, url: str, key: str, output: Path | None, partial: bool) -> None:
    """Fetch the answers of a task.

    Example: infergraph tasks results corpus-1 -o answers.jsonl
    """
    with _asking(url, key) as client:
        client.tasks.download(id, output if output is not None else sys.stdout.buffer, partial=partial)


@tasks.command(epilog=_EPILOG_SHORT)
@_id
@_url
@key_option
def errors(id: str, *, url: str, key: str) -> None:
    """Print the failed lines of a task, each with its number and reason.

    Example: infergraph tasks errors corpus-1
    """
    with _asking(url, key) as client:
        for row in client.tasks.errors(id):
            click.echo(orjson.dumps(row).decode())


@tasks.command(epilog=_EPILOG_SHORT)
@_id
@_url
@key_option
def cancel(id: str, *, url: str, key: str) -> None:
    """Stop a task; returns when no work is done on it.

    Example: infergraph tasks cancel corpus-1
    """
    with _asking(url, key) as client:
        client.tasks.cancel(id)
    click.echo(f"task {id} is stopped", err=True)


@tasks.command(epilog=_EPILOG_SHORT)
@_id
@_url
@key_option
def retry(id: str, *, url: str, key: str) -> None:
    """Retry the failed lines of a task.

    Example: infergraph tasks retry corpus-1
    """
    with _asking(url, key) as client:
        client.tasks.retry(id)
    click.echo(f"the failed lines of task {id} are retried", err=True)


@tasks.command(epilog=_EPILOG_SHORT)
@_id
@_url
@key_option
def delete(id: str, *, url: str, key: str) -> None:
    """Delete a task in any state.

    Example: infergraph tasks delete corpus-1
    """
    with _asking(url, key) as client:
        client.tasks.delete(id)
    click.echo(f"task {id} is deleted", err=True)


@tasks.command(epilog=_EPILOG_SHORT)
@option(
    "--older-than",
    required=True,
    metavar="AGE",
    help="Minimum age, such as 90s, 15m, 12h or 7d; 0 for all tasks that have ended.",
)
@_url
@key_option
def prune(older_than: str, *, url: str, key: str) -> None:
    """Delete tasks that ended long ago.

    Example: infergraph tasks prune --older-than 7d
    """
    with _asking(url, key) as client:
        try:
            seconds = read_duration(older_than)
        except ValueError as error:
            raise PayloadError(f"--older-than: {error}") from error
        click.echo(f"{client.tasks.prune(older_than_s=seconds)} tasks pruned", err=True)


@tasks.command(epilog="Exit codes: 0 moved; 1 it failed, or some tasks stay, since their ids are taken; 2 wrong usage.")
@argument("data_dir", type=click.Path(path_type=Path), about="The data folder of a server, which must not run.")
@settings_options(("task_store", "task_files"))
def migrate(data_dir: Path, *, given: Given) -> None:
    """Move the tasks of a data folder to a task store that machines share.

    Ended tasks keep their results, waiting ones wait there, and those that were in work go on where they were. The data
    folder stays as it is; run again after an interruption.

    Example: infergraph tasks migrate .infergraph --task-store postgresql://me@db/tasks --task-files /mnt/tasks
    """
    try:
        moved = migration.migrate(data_dir, settings.load(os.environ, given).settings)
    except TaskFault as fault:
        click.echo(f"infergraph: {fault.text} [{fault.reason}]", err=True)
        raise click.exceptions.Exit(EXIT_FAILED) from fault
    click.echo(f"moved: tasks {moved.tasks}, files and batches {moved.records}")
    if moved.webhooks:
        click.echo(f"{moved.webhooks} webhooks were not delivered, and stay", err=True)
    for id in moved.refused:
        click.echo(f"task {id} stays: its id or its idempotency key is taken", err=True)
    if moved.refused:
        raise click.exceptions.Exit(EXIT_FAILED)
