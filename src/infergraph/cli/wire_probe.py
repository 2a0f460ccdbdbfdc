"""One HTTP request at a time, watched closely: for `doctor`, which must tell a person what an address really does."""

from __future__ import annotations

import http.client
import json
import shlex
import time
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from infergraph.errors import RemoteError, SettingsError

_READ_LIMIT_BYTES = 256 << 20


class Probe(NamedTuple):
    """One request, and how a person repeats it."""

    method: str
    path: str
    body: bytes
    headers: Mapping[str, str]
    curl: str


class Reply(NamedTuple):
    """What was answered, and in how many seconds."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        """The body as JSON. Raises: ValueError saying what it is instead."""
        kind = self.headers.get("content-type", "no content type")
        try:
            return json.loads(self.body)
        except ValueError:
            what = "a page of HTML" if b"<html" in self.body[:2000].lower() or "html" in kind else f"no JSON ({kind})"
            start = self.body[:80].decode("utf-8", "replace").replace("\n", " ")
            raise ValueError(f"the body is {what}: {start!r}") from None


class Address:
    """A server that is asked; `base` may have a path."""

    def __init__(self, base: str, timeout_s: float) -> None:
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"{base!r} is not an http or https URL")
        self.base = base.rstrip("/")
        self._parts = parts
        self._prefix = parts.path.rstrip("/")
        self._timeout_s = timeout_s

    def get(self, path: str, method: str = "GET") -> Probe:
        """A request without a body."""
        verb = "" if method == "GET" else f"-X {method} "
        return Probe(method, path, b"", {}, f"curl -i {verb}{shlex.quote(self.base + path)}")

    def post_json(self, path: str, document: Any) -> Probe:
        """A request with a JSON body."""
        body = json.dumps(document, ensure_ascii=False)
        curl = f"curl -i -H 'Content-Type: application/json' -d {shlex.quote(body)} {shlex.quote(self.base + path)}"
        return Probe("POST", path, body.encode(), {"Content-Type": "application/json"}, curl)

    def post_form(self, path: str, fields: Mapping[str, str], field: str, content: bytes) -> Probe:
        """A multipart form with one file in it, as gBuilder sends it."""
        boundary = uuid.uuid4().hex
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        ]
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="doctor.jsonl"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n".encode()
        )
        body = b"".join([*parts, content, f"\r\n--{boundary}--\r\n".encode()])
        told = " ".join(f"-F {shlex.quote(f'{name}={value}')}" for name, value in fields.items())
        curl = f"curl -i {told} -F {field}=@doctor.jsonl {shlex.quote(self.base + path)}"
        return Probe("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}, curl)

    def ask(self, probe: Probe, *, timeout_s: float | None = None) -> Reply:
        """The answer. Raises: RemoteError if there is none, in words."""
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=timeout_s or self._timeout_s)
        began = time.monotonic()
        try:
            connection.request(probe.method, self._prefix + probe.path, probe.body or None, dict(probe.headers))
            response = connection.getresponse()
            body = response.read(_READ_LIMIT_BYTES)
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, headers, body, time.monotonic() - began)
        except TimeoutError as error:
            raise RemoteError(f"no answer within {timeout_s or self._timeout_s:g} s") from error
        except ConnectionRefusedError as error:
            raise RemoteError(
                f"nobody listens at {self._parts.netloc}: is it running, on this port, and not on 127.0.0.1 alone?"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise RemoteError(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()
