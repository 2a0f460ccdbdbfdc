"""Exit codes of commands that call a server: one for each kind of fault, with a message that says what to do.

0 answered ┊ 1 refused ┊ 2 wrong usage, or data that cannot be sent ┊ 3 not reachable, or not ready ┊ 4 timed out
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import click

from infergraph.errors import (
    DeadlinePassed,
    Fault,
    NotReady,
    Overloaded,
    RemoteError,
    UnknownModel,
    UnknownTask,
    remote_error_of,
)

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_LATE = 4
_UNAVAILABLE = 14


def exit_code(fault: Fault) -> int:
    """The exit code for a fault."""
    if isinstance(fault, DeadlinePassed):
        return EXIT_LATE
    if isinstance(fault, NotReady | Overloaded):
        return EXIT_UNREACHABLE
    error = remote_error_of(fault)
    if error is None:
        return EXIT_USAGE
    return EXIT_UNREACHABLE if _is_lost(error) else EXIT_REFUSED


def ended(fault: Fault, url: str) -> click.exceptions.Exit:
    """Print one line about a fault of a request to `url`; the exception that ends the command."""
    click.echo(f"infergraph: {text_of(fault, url)}", err=True)
    return click.exceptions.Exit(exit_code(fault))


def text_of(fault: Fault, url: str) -> str:
    """The message for a fault of a request to `url`: what happened, where, and what to do about it."""
    url = _without_credentials(url)
    error = remote_error_of(fault)
    if error is not None and _is_lost(error) and not isinstance(fault, DeadlinePassed | NotReady | Overloaded):
        return _unreachable(error, url)
    where = f" (node {fault.node})" if fault.node else ""
    if error is not None and error.status in (404, 405) and not isinstance(fault, UnknownTask | UnknownModel):
        return f"{url} has no such path: {fault.text}; is it an infergraph server with tasks enabled?"
    if isinstance(fault, NotReady):
        where += "; it may be loading: try again, or wait for it with --wait SECONDS"
    if error is None and exit_code(fault) == EXIT_USAGE:  # raised before any server was asked
        return fault.text
    return f"{fault.text}{where} [{fault.reason}]"


def _without_credentials(url: str) -> str:
    """A URL as it may be shown."""
    scheme, separator, rest = url.rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def _is_lost(error: RemoteError) -> bool:
    return error.status is None and error.body is None and error.grpc_code in (None, _UNAVAILABLE)


def _unreachable(error: RemoteError, url: str) -> str:
    """Why there was no answer; the client's message if the cause is unknown."""
    causes = list(_causes(error))
    text = error.text.lower()
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes) or "connection refused" in text:
        way = "start a server there with `infergraph serve TARGET`, or give another address"
        return f"nothing is listening at {url}: {way}"
    if "failed parsing http/2" in text or "trying to connect an http1.x server" in text:
        return f"the server at {url} does not speak gRPC: is it the HTTP port?"
    unresolved = any(isinstance(cause, socket.gaierror) for cause in causes) or any(
        word in text for word in ("resolution failed", "errors resolving")
    )
    if unresolved:
        return f"the host of {url} is not known: check its spelling"
    if any(isinstance(cause, ssl.SSLError) for cause in causes) or "handshake" in text:
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
            return f"the certificate of {url} is not trusted: set SSL_CERT_FILE for your own certificate authority"
        reason = next((cause.reason for cause in causes if isinstance(cause, ssl.SSLError)), "") or "no handshake"
        return f"no TLS connection to {url} ({str(reason).replace('_', ' ').lower()}): is it plain http?"
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return f"{url} cannot be reached in time: is the address right, and does a firewall block it?"
    known = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), None)
    return f"no answer from {url}: {known or error.text}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__
