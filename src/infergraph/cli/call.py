"""`infergraph call`: send one request to a server, from a shell.

DATA, @file, standard input ─▶ message ─▶ Client ─▶ answer on standard output, exit code
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import orjson
from rich.console import Console

from infergraph.cli.command import Command, Member, argument, option
from infergraph.cli.exit_codes import ended, exit_code, text_of
from infergraph.cli.options import key_option
from infergraph.cli.tables import Table, read_csv
from infergraph.client import CallOptions, Client
from infergraph.client.connection import Protocol
from infergraph.client.python_values import branch_of, value_for
from infergraph.errors import Fault, NotReady, PayloadError, RemoteError, StartupFault, remote_error_of
from infergraph.message import Encoding, Message, Method, Transport
from infergraph.wire import json_codec, json_text
from infergraph.wire.v2 import json as v2_json
from infergraph.wire.v2.hook_values import CONTENT_TYPE, single
from infergraph.wire.v2.messages import InferMessage
from infergraph.wire.v2.records import TensorSet
from infergraph.wire.v2.remote import document_of

_PAYLOADS = frozenset({"data", "jsonData", "strData", "binData"})
_EPILOG = (
    "Exit codes: 0 answered; 1 the server or its component answered an error; 2 wrong usage or data that cannot be "
    "sent; 3 the server cannot be reached, or is not ready; 4 no answer in time."
)


class Asked(StrEnum):
    """The methods that can be called from the shell."""

    PREDICT = "predict"
    TRANSFORM_INPUT = "transform-input"
    TRANSFORM_OUTPUT = "transform-output"
    ROUTE = "route"
    AGGREGATE = "aggregate"
    FEEDBACK = "feedback"
    METADATA = "metadata"
    HEALTH = "health"
    READY = "ready"


_METHODS = {
    Asked.PREDICT: Method.PREDICT,
    Asked.TRANSFORM_INPUT: Method.TRANSFORM_INPUT,
    Asked.TRANSFORM_OUTPUT: Method.TRANSFORM_OUTPUT,
    Asked.ROUTE: Method.ROUTE,
}
_WITHOUT_DATA = frozenset({Asked.METADATA, Asked.HEALTH, Asked.READY})


class _Request(NamedTuple):
    """The request given on the command line."""

    method: Asked
    data: Any
    whole: bool
    options: CallOptions


@click.command("call", cls=Command, epilog=_EPILOG)
@argument("url", about="http://host:port, grpc://host:port, or http://gateway/seldon/namespace/deployment.")
@argument(
    "data",
    required=False,
    metavar="[DATA|@FILE|-]",
    about="JSON (a message, rows, or any value) or text; @FILE for a file of it, a .csv table, a .npy array or "
    "a .npz file of several; - for standard input.",
)
@option("--method", "-m", type=Member(Asked), default=Asked.PREDICT.value, help="Which method to call.")
@option("--grpc", is_flag=True, help="Use gRPC, whatever the scheme of the address.")
@option(
    "--protocol",
    type=Member(Protocol),
    default=Protocol.SELDON.value,
    help="Seldon's, or v2 for the open inference protocol.",
)
@option("--model", default="", metavar="NAME[/VERSION]", help="With --protocol v2: the model, if there are several.")
@option("--stream", is_flag=True, help="Print each answer of a stream on a line of its own, as it comes.")
@option("--names", default="", metavar="A,B", help="Column names.")
@option("--text", is_flag=True, help="Send DATA as text even if it is JSON.")
@option("--json", "as_json", is_flag=True, help="Print the complete answer as JSON, with names and meta.")
@option("--header", "-H", "headers", multiple=True, metavar="NAME:VALUE", help="An additional header. May be repeated.")
@key_option
@option("--timeout", type=float, default=60.0, metavar="SECONDS", help="Time limit of the call.")
@option("--wait", type=float, default=0.0, metavar="SECONDS", help="How long to wait for the server to be ready.")
@option("--retries", type=int, default=2, metavar="N", help="Further attempts if one fails without an answer.")
def call(
    url: str,
    data: str | None,
    *,
    method: Asked,
    grpc: bool,
    protocol: Protocol,
    model: str,
    stream: bool,
    names: str,
    text: bool,
    as_json: bool,
    headers: tuple[str, ...],
    key: str,
    timeout: float,
    wait: float,
    retries: int,
) -> None:
    """Send a request to a component, a graph or a deployment, and print the answer.

    Example: infergraph call http://127.0.0.1:9000 '[[1.0, 2.0]]'
    """
    options = CallOptions(headers=_headers(headers))
    try:
        given = None if method in _WITHOUT_DATA else _data(data, is_text=text)
        if isinstance(given, Table) and protocol is Protocol.V2 and not given.is_numeric:
            given = _columns(given)
        elif isinstance(given, Table):
            options["names"], given = given
        if names:
            options["names"] = [name.strip() for name in names.split(",")]
        name, _, version = model.partition("/")
        transport = Transport.GRPC if grpc else None
        with Client(
            url,
            transport=transport,
            protocol=protocol,
            model=name,
            version=version,
            key=key,
            timeout_s=timeout,
            retries=retries,
        ) as client:
            if wait:
                client.wait_ready(timeout_s=wait)
            asked = _Request(method, given, as_json, options)
            if not stream:
                _print(_ask(client, asked))
            else:
                _print_stream(client, asked)
    except StartupFault:
        raise
    except Fault as fault:
        raise (_ended_as_json(fault, url) if as_json else ended(fault, url)) from fault


def _print_stream(client: Client, asked: _Request) -> None:
    """Print the answers one by one."""
    if asked.method is not Asked.PREDICT:
        raise PayloadError(f"--stream is for predict alone, not for {asked.method.value}")
    for answer in client.ask_stream(_message(asked.data), **asked.options):
        _print(_document(answer) if asked.whole else _shown(value_for(asked.data, answer)))


def _ask(client: Client, asked: _Request) -> Any:
    """The text to print."""
    options = asked.options
    match asked.method:
        case Asked.METADATA:
            return dict(client.metadata(**options))
        case Asked.HEALTH:
            return client.health(**options)
        case Asked.READY:
            if not client.ready(**options):
                raise NotReady(f"{client.server} is not ready")
            return "ready"
        case Asked.FEEDBACK:
            answer = _feedback(client, asked)
        case Asked.AGGREGATE:
            answer = client.ask_all([_message(each) for each in _list(asked.data)], **options)
        case _:
            answer = client.ask(_message(asked.data), _METHODS[asked.method], **options)
    if asked.whole:
        return _document(answer)
    return branch_of(answer) if asked.method is Asked.ROUTE else _shown(value_for(asked.data, answer))


def _document(answer: Message) -> Any:
    """A complete answer as a JSON value."""
    return document_of(answer) if answer.holds_tensors else json_codec.document_of(answer)


def _feedback(client: Client, asked: _Request) -> Message:
    document = asked.data
    if not isinstance(document, dict):
        raise PayloadError("feedback must be an object with request, response, reward and truth")
    parts = {name: _message(document[name]) for name in ("request", "response", "truth") if document.get(name)}
    try:
        reward = float(document.get("reward", 0.0))
    except (TypeError, ValueError) as error:
        raise PayloadError(f"reward: {document['reward']!r} is not a number") from error
    return client.feedback(reward, **parts, **asked.options)


def _list(data: Any) -> list[Any]:
    several = data.get("seldonMessages") if isinstance(data, dict) else data
    if not isinstance(several, list):
        raise PayloadError('aggregate takes a JSON list of messages or of data, or {"seldonMessages": [...]}')
    return several


def _message(data: Any) -> Any:
    """A message unchanged; any other value as the payload of one, including a record with text under `data`."""
    if isinstance(data, dict) and _are_inputs(data.get("inputs")):
        return InferMessage(json_text.write(data), v2_json.decode)
    if not isinstance(data, dict) or not (data.keys() & _PAYLOADS or data.keys() == {"meta"}):
        return data
    is_record = isinstance(data.get("data"), str) and not data.keys() & (_PAYLOADS - {"data"})
    return data if is_record else json_codec.of_document(data)


def _are_inputs(value: Any) -> bool:
    """Whether a value is the `inputs` of a request of the open inference protocol."""
    return isinstance(value, list) and all(isinstance(each, dict) and "datatype" in each for each in value)


def _columns(table: Table) -> Message:
    """A table of numbers and texts as a request in columns."""
    columns = zip(table.names or map(str, range(len(table.rows[0]))), zip(*table.rows, strict=True), strict=True)
    tensors = [single(name, np.array(column).reshape(-1, 1)) for name, column in columns]
    return Message.of(TensorSet(tensors, {CONTENT_TYPE: "pd"}), Encoding.TENSORS)


def _shown(value: Any) -> Any:
    """A data frame as a list for each column."""
    return value.to_dict("list") if hasattr(value, "to_dict") else value


def _data(given: str | None, *, is_text: bool) -> Any:
    """The value of the argument DATA. Raises: PayloadError if it is missing or unreadable."""
    if given is None:
        raise PayloadError("DATA is missing: give JSON or text, @FILE, or - for standard input")
    if given == "-":
        return _value(sys.stdin.buffer.read(), is_text=is_text)
    if not given.startswith("@"):
        return _value(given.encode("utf-8", "surrogateescape"), is_text=is_text)
    path = Path(given[1:])
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        if path.suffix == ".csv" and not is_text:
            return read_csv(path)
        return _value(path.read_bytes(), is_text=is_text)
    except OSError as error:
        raise PayloadError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise PayloadError(f"{path}: {error}") from error


def _value(raw: bytes, *, is_text: bool) -> Any:
    """JSON if it is valid JSON, otherwise text if it is UTF-8, otherwise bytes."""
    if not is_text:
        try:
            return json_text.read(raw)
        except PayloadError:
            pass
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _headers(given: tuple[str, ...]) -> dict[str, str]:
    headers = {}
    for each in given:
        name, colon, value = each.partition(":")
        if not colon:
            raise click.BadParameter(f"{each!r} is not NAME:VALUE", param_hint="--header")
        headers[name.strip()] = value.strip()
    return headers


def _print(value: Any) -> None:
    if isinstance(value, bytes):
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
    elif isinstance(value, str):
        click.echo(value)
    elif isinstance(value, dict) and sys.stdout.isatty():
        Console().print_json(json_text.write(value).decode())
    else:
        click.echo(json_text.write(value).decode())


def _ended_as_json(fault: Fault, url: str) -> click.exceptions.Exit:
    told: dict[str, Any] = {"info": text_of(fault, url), "reason": fault.reason}
    if fault.node:
        told["node"] = fault.node
    error = remote_error_of(fault)
    if isinstance(error, RemoteError) and error.status is not None:
        told["info"], told["status"] = fault.text, error.status
    click.echo(orjson.dumps({"error": told}).decode(), err=True)
    return click.exceptions.Exit(exit_code(fault))
