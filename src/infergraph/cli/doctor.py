"""`infergraph doctor`: checks whether an endpoint works with gBuilder, or with a Seldon orchestrator."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console

from infergraph.cli import example_requests
from infergraph.cli.checkup import Step, Verdict, run_steps, tls_steps
from infergraph.cli.checkup_seldon import SeldonCheckup
from infergraph.cli.checkup_tasks import TaskCheckup
from infergraph.cli.checkup_v2 import V2Checkup
from infergraph.cli.command import Command, argument, option
from infergraph.cli.options import key_option
from infergraph.cli.wire_probe import Address
from infergraph.errors import SettingsError
from infergraph.settings import Settings

_GRPC_PORT = Settings().grpc_port
_SIGNS = {Verdict.GOOD: ("✓", "green"), Verdict.DOUBTFUL: ("?", "yellow"), Verdict.BAD: ("✗", "red")}
_EPILOG = "Exit codes: 0 all passed; 1 a step failed (printed with a curl line that repeats it); 2 wrong usage."


@click.command("doctor", cls=Command, epilog=_EPILOG)
@argument("url", about="URL of the endpoint, as registered with gBuilder.")
@option("--seldon", is_flag=True, help="Check it as a Seldon orchestrator calls it instead.")
@option("--v2", is_flag=True, help="Check it as a client of the open inference protocol asks it instead.")
@option(
    "--grpc", default="", metavar="HOST:PORT", help="With --v2: where gRPC is; port 5000 of the same host if not given."
)
@option("--rows", type=click.Path(path_type=Path), metavar="FILE", help="JSONL rows to send instead of examples.")
@option("--row", multiple=True, metavar="JSON", help='A row to send: [1, 2], "text" or {…}. May be repeated.')
@option("--data", default="", metavar="JSON", help="A message to send with --seldon.")
@key_option
@option("--timeout", type=float, default=30.0, metavar="SECONDS", help="Time limit of one request.")
@option("--task-timeout", type=float, default=60.0, metavar="SECONDS", help="Time limit of a small task.")
@option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(
    url: str,
    *,
    seldon: bool,
    v2: bool,
    grpc: str,
    rows: Path | None,
    row: tuple[str, ...],
    data: str,
    key: str,
    timeout: float,
    task_timeout: float,
    as_json: bool,
) -> None:
    """Check an endpoint as gBuilder uses it: register, submit, poll, fetch, stop; name what fails.

    The kind of rows is taken from the endpoint's metadata, or found by trying records, lists of numbers, and messages.

    Example: infergraph doctor http://myhost:9000 --row '[5.1, 3.5, 1.4, 0.2]'
    """
    address = Address(url, timeout, key=key)
    given = [example_requests.read_json(each, "--row") for each in row] + _rows(rows)
    if v2 and (seldon or given):
        raise SettingsError("--v2 sends a request made from the metadata, or that of --data; no rows, and not --seldon")
    if v2:
        request = example_requests.read_json(data, "--data") if data else None
        steps = V2Checkup(address, grpc=grpc or f"{address.host}:{_GRPC_PORT}", request=request).steps()
    elif seldon:
        steps = SeldonCheckup(address, _message(data, given)).steps()
    elif data:
        raise SettingsError("--data is a message for --seldon or --v2; give --row or --rows for a task")
    else:
        chosen = example_requests.given_rows(given * (5 if len(given) == 1 else 1)) if given else None
        steps = TaskCheckup(address, rows=chosen, task_timeout_s=task_timeout).steps()
    if not _tell([*tls_steps(address, time.time()), *steps], as_json):
        raise click.exceptions.Exit(1)


def _tell(steps: list[Step], as_json: bool) -> bool:
    """Print the findings as they come; returns whether none is bad."""
    console = Console(highlight=False, soft_wrap=True)
    findings = []
    for finding in run_steps(steps):
        findings.append(finding)
        if not as_json:
            sign, colour = _SIGNS[finding.verdict]
            console.print(f"[{colour}]{sign}[/] {finding.step:18} ", end="")
            console.print(finding.text, markup=False)
            for line in finding.curl.splitlines():
                console.print(f"  {'':18} {line}", markup=False)
    missing = [name for name, _, _ in steps[len(findings) :]]
    if as_json:
        told = [{"step": f.step, "verdict": f.verdict.value, "text": f.text, "curl": f.curl} for f in findings]
        click.echo(orjson.dumps({"findings": told, "not_tried": missing}).decode())
    elif missing:
        console.print(f"  not tried: {', '.join(missing)}", markup=False)
    return all(finding.verdict is not Verdict.BAD for finding in findings)


def _message(data: str, rows: list[Any]) -> Any:
    """The message given as --data or --row, if any."""
    if data:
        return example_requests.read_json(data, "--data")
    return example_requests.message_of(rows[0]) if rows else None


def _rows(path: Path | None) -> list[Any]:
    if path is None:
        return []
    try:
        rows = [json.loads(line) for line in path.read_bytes().split(b"\n") if line.strip()]
    except OSError as error:
        raise SettingsError(f"--rows {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise SettingsError(f"--rows {path}: {error}") from error
    if not rows:
        raise SettingsError(f"--rows {path}: the file has no rows")
    return rows
