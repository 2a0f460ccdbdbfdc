"""`infergraph submit` and `infergraph tasks`: hand a JSONL file to a server, watch it, come back to it, fetch it."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import orjson
import typer
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

from infergraph.cli.exit_codes import ended
from infergraph.cli.program import Program
from infergraph.client import AsyncClient, Client
from infergraph.client.task import SubmitOptions, Task
from infergraph.errors import Fault, PayloadError, StartupFault
from infergraph.settings import RowMode

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_EPILOG = (
    "Exit codes: 0 finished; 1 the task failed or the server refused; 2 wrong usage; 3 nobody can be reached; "
    "4 no answer in time; 130 interrupted (the task goes on)."
)
_EPILOG_SHORT = "Exit codes: 0 done; 1 refused; 2 wrong usage; 3 nobody can be reached; 4 no answer in time."

_Url = Annotated[str, typer.Option("--url", "-u", metavar="URL", help="The server.")]
_Id = Annotated[str, typer.Argument(metavar="ID", help="The task.", show_default=False)]
_Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the answers there.", show_default=False)
]
_AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
_HERE = "http://127.0.0.1:9000"

tasks = Program(
    help="Look at the tasks of a server, and steer them.", epilog="Example: infergraph tasks --url http://myhost:9000"
)


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program's."""
    app.command("submit", epilog=_EPILOG)(submit)
    app.add_typer(tasks, name="tasks")


@contextmanager
def _asking(url: str) -> Iterator[Client]:
    """A client; faults become one line and an exit code."""
    try:
        with Client(url) as client:
            yield client
    except StartupFault:
        raise
    except Fault as fault:
        raise ended(fault, url) from fault


def submit(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A JSONL file; - for standard input.")],
    url: _Url = _HERE,
    output: _Output = None,
    id: Annotated[str, typer.Option("--id", metavar="ID", help="Its name; made up if not given.")] = "",
    priority: Annotated[int, typer.Option(metavar="N", help="Higher ones come first.")] = 0,
    rows: Annotated[RowMode, typer.Option(help="How a line reaches the component.")] = RowMode.AUTO,
    webhook: Annotated[str, typer.Option(metavar="URL", help="Where to send word of its end.")] = "",
    wait: Annotated[
        bool | None,
        typer.Option("--wait/--no-wait", help="Watch it to its end (default: on a terminal, or with --output)."),
    ] = None,
) -> None:
    """Submit a JSONL file as a task.

    Example: infergraph submit corpus.jsonl -o answers.jsonl
    """
    said = SubmitOptions(priority=priority, rows=rows.value)
    if id:
        said["id"] = id
    if webhook:
        said["webhook"] = webhook
    with _asking(url) as client:
        task = _upload(client, file, said)
        if wait or output is not None or (wait is None and sys.stderr.isatty()):
            _follow(client, task.id, url, output)
        else:
            typer.echo(task.id)


def _upload(client: Client, file: str, said: SubmitOptions) -> Task:
    source: Any = sys.stdin.buffer if file == "-" else Path(file)
    size = Path(file).stat().st_size if file != "-" and Path(file).exists() else None
    columns = (TextColumn("sending  "), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    try:
        with bars_of(*columns) as bars:
            bar = bars.add_task("", total=size)
            return client.tasks.submit(source, on_sent=lambda sent: bars.update(bar, completed=sent), **said)
    except KeyboardInterrupt:
        typer.echo("interrupted while sending; nothing was accepted", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def bars_of(*columns: ProgressColumn) -> Progress:
    """Progress bars on a terminal; nothing at all elsewhere."""
    console = Console(stderr=True)
    console.quiet = not console.is_terminal
    return Progress(*columns, console=console, transient=True, refresh_per_second=4, disable=console.quiet)


def _follow(client: Client, id: str, url: str, output: Path | None) -> None:
    """Watch a task to its end, and fetch its answers."""
    try:
        last = asyncio.run(_watch(url, id))
    except KeyboardInterrupt:
        more = f" -o {output}" if output is not None else ""
        typer.echo(
            f"\ntask {id} goes on; come back with: infergraph tasks watch {_quoted(id)} --url {url}{more}", err=True
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    _tell_end(last)
    if last.state == "failed":
        raise typer.Exit(EXIT_FAILED)
    if output is not None:
        size = client.tasks.download(id, output)
        typer.echo(f"wrote {output} ({size} bytes)", err=True)
    else:
        typer.echo(id)


async def _watch(url: str, id: str) -> Task:
    """Show a task until it has ended."""
    columns = (TextColumn("{task.description:9}"), BarColumn(), TextColumn("{task.fields[told]}"))
    last: Task | None = None
    with bars_of(*columns) as bars:
        bar = bars.add_task("", total=None, told="")
        async with AsyncClient(url) as client, aclosing(client.tasks.watch(id)) as seen:
            async for last in seen:
                total = last.total if last.state != "waiting" else None
                bars.update(bar, description=last.state, total=total, completed=last.done, told=progress_text(last))
    assert last is not None
    return last


def progress_text(task: Task) -> str:
    """How far a task is: lines, failures, rate, time left, place in the queue."""
    if task.state == "waiting":
        return f"place {task.queue_position} in the queue" if task.queue_position else "waiting"
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
    """A duration as people read it."""
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
        raise ValueError(f"{text!r} is no duration; say 90s, 15m, 12h or 7d")
    return float(match[1]) * _UNITS[match[2]]


def _tell_end(task: Task) -> None:
    if task.state == "failed":
        typer.echo(f"task {task.id} failed: {task.error}", err=True)
        return
    told = f"task {task.id} is finished: {task.total} lines in {duration_text(task.worked_s)}"
    if task.failed:
        told += f", {task.failed} of them failed (infergraph tasks errors {_quoted(task.id)})"
    typer.echo(told, err=True)


def _quoted(id: str) -> str:
    return id if re.fullmatch(r"[\w.:-]+", id) else "'" + id.replace("'", "'\\''") + "'"


# ── tasks … ─────────────────────────────────────────────────────────────────────────────────────────────────────────


_State = Annotated[str, typer.Option(metavar="STATE", help="Only these, separated by commas.", show_default=False)]
_Prefix = Annotated[str, typer.Option(metavar="TEXT", help="Only ids that begin so.", show_default=False)]
_Limit = Annotated[int, typer.Option(metavar="N", help="At most so many.")]


@tasks.callback(invoke_without_command=True)
def _default(
    context: typer.Context,
    url: _Url = _HERE,
    state: _State = "",
    prefix: _Prefix = "",
    limit: _Limit = 50,
    as_json: _AsJson = False,
) -> None:
    """Without a command: list. With one, what is said before it holds for it, too."""
    if context.invoked_subcommand is None:
        show_list(url, state, prefix, limit, as_json)
    else:
        context.default_map = {context.invoked_subcommand: {"url": url, "as_json": as_json}}


@tasks.command("list", epilog=_EPILOG_SHORT)
def show_list(
    url: _Url = _HERE, state: _State = "", prefix: _Prefix = "", limit: _Limit = 50, as_json: _AsJson = False
) -> None:
    """List tasks, newest first.

    Example: infergraph tasks list --state running,waiting
    """
    with _asking(url) as client:
        found = list(client.tasks.list(state=state, prefix=prefix, limit=limit))
    if as_json:
        typer.echo(orjson.dumps([msgspec.to_builtins(task) for task in found]).decode())
        return
    rows = [(task.id, task.state, progress_text(task), _created(task)) for task in found]
    if not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(row))
        return
    table = Table("id", "state", "progress", "created", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _created(task: Task) -> str:
    return task.created.astimezone().strftime("%Y-%m-%d %H:%M:%S") if task.created else ""


@tasks.command(epilog=_EPILOG_SHORT)
def show(id: _Id, url: _Url = _HERE, as_json: _AsJson = False) -> None:
    """Show everything about a task.

    Example: infergraph tasks show corpus-1 --json
    """
    with _asking(url) as client:
        task = client.tasks.show(id)
    document = msgspec.to_builtins(task)
    if as_json:
        typer.echo(orjson.dumps(document).decode())
        return
    for name, value in document.items():
        if value not in (None, "", 0) or name in ("done", "failed"):
            typer.echo(f"{name:15} {value}")


@tasks.command(epilog=_EPILOG)
def watch(id: _Id, url: _Url = _HERE, output: _Output = None) -> None:
    """Watch a task to its end; with --output, fetch its answers then.

    Example: infergraph tasks watch corpus-1 -o answers.jsonl
    """
    with _asking(url) as client:
        client.tasks.show(id)  # a task or server that is not there is told now; later it would be waited for
        _follow(client, id, url, output)


@tasks.command(epilog=_EPILOG_SHORT)
def results(
    id: _Id,
    url: _Url = _HERE,
    output: _Output = None,
    partial: Annotated[bool, typer.Option("--partial", help="What there is so far will do.")] = False,
) -> None:
    """Fetch the answers of a task.

    Example: infergraph tasks results corpus-1 -o answers.jsonl
    """
    with _asking(url) as client:
        client.tasks.download(id, output if output is not None else sys.stdout.buffer, partial=partial)


@tasks.command(epilog=_EPILOG_SHORT)
def errors(id: _Id, url: _Url = _HERE) -> None:
    """Print the failed lines of a task, each with its number, its reason and the line.

    Example: infergraph tasks errors corpus-1
    """
    with _asking(url) as client:
        for row in client.tasks.errors(id):
            typer.echo(orjson.dumps(row).decode())


@tasks.command(epilog=_EPILOG_SHORT)
def cancel(id: _Id, url: _Url = _HERE) -> None:
    """Stop a task; when this returns its work is dead.

    Example: infergraph tasks cancel corpus-1
    """
    with _asking(url) as client:
        client.tasks.cancel(id)
    typer.echo(f"task {id} is stopped", err=True)


@tasks.command(epilog=_EPILOG_SHORT)
def retry(id: _Id, url: _Url = _HERE) -> None:
    """Work the failed lines of a task again.

    Example: infergraph tasks retry corpus-1
    """
    with _asking(url) as client:
        client.tasks.retry(id)
    typer.echo(f"the failed lines of task {id} are worked again", err=True)


@tasks.command(epilog=_EPILOG_SHORT)
def delete(id: _Id, url: _Url = _HERE) -> None:
    """Forget a task, whatever its state.

    Example: infergraph tasks delete corpus-1
    """
    with _asking(url) as client:
        client.tasks.delete(id)
    typer.echo(f"task {id} is deleted", err=True)


@tasks.command(epilog=_EPILOG_SHORT)
def prune(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Such as 90s, 15m, 12h, 7d; 0 for all that ended.")
    ],
    url: _Url = _HERE,
) -> None:
    """Forget tasks that ended long ago.

    Example: infergraph tasks prune --older-than 7d
    """
    with _asking(url) as client:
        try:
            seconds = read_duration(older_than)
        except ValueError as error:
            raise PayloadError(f"--older-than: {error}") from error
        typer.echo(f"{client.tasks.prune(older_than_s=seconds)} tasks pruned", err=True)
