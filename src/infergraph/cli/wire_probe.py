"""HTTP requests of `doctor`, one at a time, with error messages for the user and a curl line that repeats each."""

from __future__ import annotations

import http.client
import json
import shlex
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from infergraph.auth.tls import subject_of
from infergraph.errors import RemoteError, SettingsError
from infergraph.net.form import Form
from infergraph.settings import KEY_VARIABLE

_READ_LIMIT_BYTES = 256 << 20
_BLOCK_BYTES = 1 << 16
_SHOWN_LINES = 12
_FORMATS = {"\\": "\\\\", "%": "%%", "\n": "\\n", "\r": "\\r"}


class Probe(NamedTuple):
    """A request, and the curl line that repeats it."""

    method: str
    path: str
    body: bytes
    headers: Mapping[str, str]
    curl: str


class Reply(NamedTuple):
    """The answer, and how many seconds it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        """The body as JSON. Raises: ValueError that says what it is instead."""
        kind = self.headers.get("content-type", "no content type")
        try:
            return json.loads(self.body)
        except ValueError:
            what = "a page of HTML" if b"<html" in self.body[:2000].lower() or "html" in kind else f"no JSON ({kind})"
            start = self.body[:80].decode("utf-8", "replace").replace("\n", " ")
            raise ValueError(f"the body is {what}: {start!r}") from None


class Certificate(NamedTuple):
    """A server's certificate: its name, when it ends in seconds since 1970, and the version of TLS."""

    name: str
    ends_s: float
    tls: str


class Address:
    """A server; `base` may have a path, and a key as its user or password: `https://KEY:@host/`.

    Args:
        key: of a server that asks for one; the curl lines, which all begin with `curl`, take it from the environment.
    """

    def __init__(self, base: str, timeout_s: float, *, key: str = "") -> None:
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"{base!r} is not an http or https URL")
        key = key or unquote(parts.password or parts.username or "")
        parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        self.key = key
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.curl = f'curl -i -H "Authorization: Bearer ${KEY_VARIABLE}"' if key else "curl -i"
        self.base = parts.geturl().rstrip("/")
        self.is_secure = parts.scheme == "https"
        self._parts = parts
        self._prefix = parts.path.rstrip("/")
        self._timeout_s = timeout_s

    @property
    def host(self) -> str:
        """The host, as an address spells it."""
        host = self._parts.hostname or ""
        return f"[{host}]" if ":" in host else host

    def get(self, path: str, method: str = "GET") -> Probe:
        """A request without a body."""
        verb = "" if method == "GET" else f"-X {method} "
        return Probe(method, path, b"", {}, f"{self.curl} {verb}{shlex.quote(self.base + path)}")

    def post_json(self, path: str, document: Any) -> Probe:
        """A request with a JSON body."""
        body = json.dumps(document, ensure_ascii=False)
        curl = f"{self.curl} -H 'Content-Type: application/json' -d {shlex.quote(body)} {shlex.quote(self.base + path)}"
        return Probe("POST", path, body.encode(), {"Content-Type": "application/json"}, curl)

    def post_bytes(self, path: str, body: bytes, headers: Mapping[str, str]) -> Probe:
        """A request with a body of any bytes."""
        told = " ".join(f"-H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items())
        curl = f"printf -- {_escaped(body)} | {self.curl} {told} --data-binary @- {shlex.quote(self.base + path)}"
        return Probe("POST", path, body, headers, curl)

    def post_form(self, path: str, fields: Mapping[str, str], field: str, content: bytes) -> Probe:
        """A multipart form with one file in it, as gBuilder sends it."""
        form = Form.of(fields, file_field=field, file_name="doctor.jsonl", file_type="application/octet-stream")
        told = " ".join(f"-F {shlex.quote(f'{name}={value}')}" for name, value in fields.items())
        file = f"-F '{field}=@-;filename=doctor.jsonl'"
        curl = f"{_printed(content)} | {self.curl} {told} {file} {shlex.quote(self.base + path)}"
        return Probe("POST", path, form.head + content + form.tail, {"Content-Type": form.content_type}, curl)

    def ask(self, probe: Probe, *, timeout_s: float | None = None) -> Reply:
        """Send a request, without following redirects. Raises: RemoteError if there is no answer, saying why."""
        timeout_s = timeout_s or self._timeout_s
        began = time.monotonic()
        with self._connection(timeout_s) as connection:
            headers = {**probe.headers, **self._headers}
            connection.request(probe.method, self._prefix + probe.path, probe.body or None, headers)
            response = connection.getresponse()
            body = _read(response, began + timeout_s)
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, headers, body, time.monotonic() - began)

    def certificate(self) -> Certificate:
        """The certificate of an https address, trusted. Raises: RemoteError if it is not trusted, saying why."""
        with self._connection(self._timeout_s) as connection:
            connection.connect()
            wire: Any = connection.sock
            found = wire.getpeercert()
            return Certificate(subject_of(found), ssl.cert_time_to_seconds(found["notAfter"]), wire.version())

    @contextmanager
    def _connection(self, timeout_s: float) -> Iterator[http.client.HTTPConnection]:
        """A connection whose errors are explained. Raises: RemoteError."""
        kind = http.client.HTTPSConnection if self.is_secure else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=timeout_s)
        try:
            yield connection
        except TimeoutError as error:
            raise RemoteError(f"no complete answer within {timeout_s:g} s") from error
        except socket.gaierror as error:
            raise RemoteError(f"the host {self._parts.hostname} is not known") from error
        except ssl.SSLCertVerificationError as error:
            raise RemoteError(f"its certificate is not trusted: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise RemoteError(f"no TLS connection: {error.reason or error}; is it plain http?") from error
        except http.client.BadStatusLine as error:
            raise RemoteError("the server does not speak HTTP") from error
        except ConnectionRefusedError as error:
            raise RemoteError(
                f"nothing is listening at {self._parts.netloc}: is it running, on this port, and not only on 127.0.0.1?"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise RemoteError(f"the connection broke: {error or type(error).__name__}") from error
        finally:
            connection.close()


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The body. Raises: TimeoutError at the deadline."""
    blocks, size = [], 0
    while size < _READ_LIMIT_BYTES and (block := response.read1(_BLOCK_BYTES)):
        blocks.append(block)
        size += len(block)
        if time.monotonic() > deadline:
            raise TimeoutError
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(blocks)


def _printed(content: bytes) -> str:
    """A shell command that prints the content; a block that is repeated many times is printed once."""
    lines = content.splitlines(keepends=True)
    if len(lines) <= _SHOWN_LINES:
        return f"printf -- {_escaped(content)}"
    block = next(size for size in range(1, len(lines) + 1) if lines[:size] * (len(lines) // size) == lines)
    if block > _SHOWN_LINES:
        return f"printf -- {_escaped(b''.join(lines[:_SHOWN_LINES]))}"
    return f'yes "$(printf -- {_escaped(b"".join(lines[:block]).rstrip())})" | head -n {len(lines)}'


def _escaped(content: bytes) -> str:
    """The `printf` format that prints these bytes."""
    return shlex.quote("".join(map(_format, content.decode("utf-8", "surrogateescape"))))


def _format(character: str) -> str:
    if character in _FORMATS:
        return _FORMATS[character]
    if character.isprintable():
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))
