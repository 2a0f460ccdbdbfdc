"""`infergraph keys`: make, list and revoke the keys that a server asks for."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec
import orjson

from infergraph.auth.keys import Key, create, read, revoke
from infergraph.cli.command import Group, argument, option
from infergraph.cli.tasks import read_duration
from infergraph.errors import SettingsError
from infergraph.protocol.callers import Limits, Scope, read_scopes

_EPILOG = "Exit codes: 0 done; 2 wrong usage, or a file that cannot be used."
_SCOPES = ", ".join(scope.value for scope in Scope)
_file = option(
    "--file",
    type=click.Path(path_type=Path),
    default=Path("keys.toml"),
    envvar="INFERGRAPH_KEYS",
    metavar="FILE",
    help="The file of keys, as the setting keys names it.",
)


@click.group("keys", cls=Group, epilog="Example: infergraph keys create colleague --scopes predict,tasks")
def keys() -> None:
    """Make, list and revoke the keys that a server asks for (`infergraph serve --keys keys.toml`)."""


@keys.command("create", epilog=_EPILOG)
@argument("name", about="Who gets it; a second key of the same name is for changing over from the first.")
@option("--scopes", default="predict,feedback,tasks", metavar="A,B", help=f"What it allows: {_SCOPES}.")
@option("--expires", default="", metavar="AGE", help="How long it is valid, such as 12h or 90d; for good by default.")
@option("--rate", default="", metavar="N/m", help="Requests a minute; no limit by default.")
@option("--rows", default="", metavar="N/m", help="Rows a minute, of requests and tasks; no limit by default.")
@option("--upload-rate", default="", metavar="BYTES/m", help="Bytes of task files a minute; no limit by default.")
@option("--tasks", type=click.IntRange(0), default=0, metavar="N", help="Tasks waiting or running; 0 for no limit.")
@_file
def create_key(
    name: str, *, scopes: str, expires: str, rate: str, rows: str, upload_rate: str, tasks: int, file: Path
) -> None:
    """Make a key, and print it: this once, only its hash is kept.

    Example: infergraph keys create colleague --scopes predict,tasks --expires 90d
    """
    limits = Limits(
        requests_per_minute=_rate(rate, "--rate"),
        rows_per_minute=_rate(rows, "--rows"),
        upload_bytes_per_minute=_rate(upload_rate, "--upload-rate"),
        tasks_at_once=tasks,
    )
    click.echo(create(file, name, _scopes(scopes), expires=_time(expires), limits=limits))
    click.echo(f"the key is shown only now; {file} has its hash, for `infergraph serve --keys {file}`", err=True)


@keys.command("list", epilog=_EPILOG)
@_file
@option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_keys(*, file: Path, as_json: bool) -> None:
    """List the keys: name, id, scopes, expiry. The keys themselves are kept nowhere.

    Example: infergraph keys list
    """
    found = read(file)
    if as_json:
        click.echo(orjson.dumps([_document(key) for key in found]).decode())
        return
    for key in found:
        click.echo(f"{key.name}\t{key.id}\t{_listed(key)}\t{_ending(key)}")


@keys.command("revoke", epilog=_EPILOG)
@argument("which", metavar="NAME|ID", about="All keys of a name, or the one with an id.")
@_file
def revoke_key(which: str, *, file: Path) -> None:
    """Revoke keys; a running server refuses them from the next request on.

    Example: infergraph keys revoke colleague
    """
    for key in revoke(file, which):
        click.echo(f"revoked {key.name} {key.id}", err=True)


def _scopes(text: str) -> frozenset[Scope]:
    try:
        found = read_scopes(text)
    except ValueError as error:
        raise SettingsError(f"--scopes: {error}") from error
    if not found:
        raise SettingsError(f"--scopes: name at least one of {_SCOPES}")
    return found


def _rate(text: str, name: str) -> int:
    """A number a minute, as `100/m` or `5/s`; 0 for none."""
    if not text:
        return 0
    found = re.fullmatch(r"(\d{1,15})(?:/(s|m|min))?", text.strip())
    if found is None or not int(found[1]):
        raise SettingsError(f"{name}: {text!r} is not a rate, such as 100/m or 5/s")
    return int(found[1]) * (60 if found[2] == "s" else 1)


def _time(age: str) -> datetime | None:
    if not age:
        return None
    try:
        return datetime.now(UTC) + timedelta(seconds=read_duration(age))
    except (ValueError, OverflowError) as error:
        raise SettingsError(f"--expires: {error}") from error


def _listed(key: Key) -> str:
    return ",".join(scope.value for scope in Scope if scope in key.scopes)


def _ending(key: Key) -> str:
    if key.expires is None:
        return "does not expire"
    told = key.expires.astimezone().strftime("%Y-%m-%d %H:%M")
    return f"expired {told}" if key.is_expired(time.time()) else f"expires {told}"


def _document(key: Key) -> dict[str, object]:
    return {
        "name": key.name,
        "id": key.id,
        "scopes": [scope.value for scope in Scope if scope in key.scopes],
        "created": key.created,
        "expires": key.expires,
        **{name: limit or None for name, limit in msgspec.structs.asdict(key.limits).items()},
    }
