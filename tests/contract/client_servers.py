"""Servers for the client's contract that do what a good server would not: break off, refuse, redirect, speak TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc

MESSAGE = b'{"data":{"names":[],"ndarray":[[1]]},"meta":{}}'

# Of localhost and 127.0.0.1, made for these tests alone, valid until 2126.
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg0OkFIdjDr9EtMBBM
6o+7JOmwo9ytA+RyiMKMDIZi42ChRANCAAT9sQRKvuabnzTH4F09JPnbaj/VRf9k
5yNiXF1mZk0uyJnS6GnUMNahM+5q2wBxxtQjmi50QwSLdYr2jsxOKMw3
-----END PRIVATE KEY-----
"""
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUI3ZUe0UxSdHiblsQMh1jUdLBxJ4wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjAzMTQxMVoYDzIxMjYxMDI5
MDMxNDExWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAT9sQRKvuabnzTH4F09JPnbaj/VRf9k5yNiXF1mZk0uyJnS6GnUMNah
M+5q2wBxxtQjmi50QwSLdYr2jsxOKMw3o28wbTAdBgNVHQ4EFgQUk9cY5N8D8Qi3
RXtM78N5g5Sz05swHwYDVR0jBBgwFoAUk9cY5N8D8Qi3RXtM78N5g5Sz05swDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIhAPt7sPKo/sY/+zwT0SKYJdt5Uq756W94x6gmkHBY5HlmAiBM
m85glf3Wuvm0Rl5uusg10hS/cZ9dszAaynKApeFY9A==
-----END CERTIFICATE-----
"""


class Asked(NamedTuple):
    """One request that came in: on which connection, its first line, its headers, its body."""

    connection: int
    line: str
    headers: dict[str, str]
    body: bytes


def reply(status: int, body: bytes = MESSAGE, kind: str = "application/json", **headers: str) -> bytes:
    """An HTTP answer."""
    lines = [f"HTTP/1.1 {status} Status", f"content-type: {kind}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Scripted:
    """A server that answers each request with the next of its script, then with the last for ever.

    A step is the bytes to send, after which the connection is closed if they are empty or say so.
    """

    def __init__(self, steps: list[bytes]) -> None:
        self.steps = steps
        self.asked: list[Asked] = []
        self.connections = 0
        self._lock = threading.Lock()

    def serve(self, connection: socket.socket) -> None:
        """Answer the requests of one connection."""
        with self._lock:
            self.connections += 1
            number = self.connections
        with connection, connection.makefile("rb") as incoming, contextlib.suppress(OSError):
            while line := incoming.readline().decode("latin-1").strip():
                headers = {}
                while pair := incoming.readline().decode("utf-8").strip():
                    name, _, value = pair.partition(":")
                    headers[name.lower()] = value.strip()
                body = incoming.read(int(headers.get("content-length", 0)))
                with self._lock:
                    self.asked.append(Asked(number, line, headers, body))
                    step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
                if step:
                    connection.sendall(step)
                if not step or b"connection: close" in step:
                    return


@contextmanager
def scripted(*steps: bytes, tls: ssl.SSLContext | None = None) -> Iterator[tuple[Scripted, int]]:
    """Such a server, and its port."""
    server = Scripted(list(steps))
    threads = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                    if tls is not None:
                        connection = tls.wrap_socket(connection, server_side=True)
                except ssl.SSLError:
                    continue
                except OSError:
                    return
                threads.append(threading.Thread(target=server.serve, args=(connection,), daemon=True))
                threads[-1].start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield server, listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
    for thread in threads:
        thread.join()


def server_tls() -> ssl.SSLContext:
    """TLS as a server speaks it with the certificate above."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(KEY + CERTIFICATE)
        file.flush()
        context.load_cert_chain(file.name)
    return context


@contextmanager
def recording_grpc(answer: bytes, *, tls: bool = False) -> Iterator[tuple[list[tuple[str, dict[str, Any]]], int]]:
    """A gRPC server that answers every call alike; it gives the calls that it got, and its port."""
    asked: list[tuple[str, dict[str, Any]]] = []

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            asked.append((details.method, dict(details.invocation_metadata)))
            return grpc.unary_unary_rpc_method_handler(lambda request, context: answer)

    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Handler()])
    if tls:
        credentials = grpc.ssl_server_credentials([(KEY.encode(), CERTIFICATE.encode())])
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield asked, port
    finally:
        server.stop(None).wait()
