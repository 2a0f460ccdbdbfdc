"""A Ray cluster: whether it can be joined, said in one line, and joining it.

address ──trouble──▶ "connection refused" ┊ "it asks for a token: …" ┊ "" ──joining──▶ a driver of it

Ray itself waits for minutes for a cluster that does not answer or does not accept the token, writes warnings of its
own, and ends the process where RAY_AUTH_MODE asks for a token that is not there. So both are found out beforehand.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from infergraph.errors import MissingExtra, RemoteError
from infergraph.net.address import Address
from infergraph.net.grpc_client import GrpcClient
from infergraph.protocol.status import GrpcStatus

LOCAL = "local"
"""The address that starts a cluster on this machine."""

_CLIENT_SCHEME = "ray://"
_CLIENT_PORT = 10001
_REACH_LIMIT_S = 3.0
_ANSWER_LIMIT_BYTES = 1 << 20
_HEAD_CALL = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_CLIENT_CALL = "/ray.rpc.RayletDriver/ClusterInfo"
_WAY = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, where infergraph is started"
_WRONG = "it does not accept our token: see RAY_AUTH_TOKEN and RAY_AUTH_TOKEN_PATH"


def package(asker: str) -> Any:
    """The package `ray`, imported when it is asked for.

    Args:
        asker: what needs it, for the message.
    Raises: MissingExtra where it is not installed.
    """
    lines = logging.getLogger("ray")
    level = lines.level
    try:
        import ray
    except ImportError as error:
        raise MissingExtra.of("ray", "ray", asker) from error
    lines.handlers.clear()  # it has just given itself one, and a level: its lines shall be written like all others
    lines.propagate = True
    lines.setLevel(level)
    return ray


def is_address(text: str) -> bool:
    """Whether it is the address of a cluster: HOST:PORT, ray://HOST or ray://HOST:PORT."""
    return _located(text) is not None


def trouble(address: str) -> str:
    """Why a cluster cannot be joined; empty if it can, or its address has to be resolved by Ray. Blocks for seconds.

    Args:
        address: HOST:PORT of its head, ray://HOST:PORT of Ray Client, or anything that Ray resolves by itself.
    """
    found = _located(address)
    if _asks_by_token() and not _token():
        return f"RAY_AUTH_MODE is token, but there is no token: {_WAY}"
    if found is None:
        return ""
    try:
        socket.create_connection((found.host, found.port), timeout=_REACH_LIMIT_S).close()
    except (OSError, OverflowError) as error:
        return str(error)
    return asyncio.run(_refusal(found, _CLIENT_CALL if address.startswith(_CLIENT_SCHEME) else _HEAD_CALL))


def joining(ray: Any, address: str, **options: Any) -> Future[None]:
    """Make this process a driver of the cluster, in a thread: Ray may block for minutes while a cluster is dying.

    Args:
        options: of `ray.init`.
    Returns: what is done once the cluster is joined, after which `take_signals_back` is due; its exception is of many
        types.
    """
    if address == LOCAL:
        options |= {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
    future: Future[None] = Future()
    threading.Thread(target=_join, args=(future, ray, address, options), name="ray-join", daemon=True).start()
    return future


def _join(future: Future[None], ray: Any, address: str, options: dict[str, Any]) -> None:
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False, **options)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is for the one who waits
        ray.shutdown()
        future.set_exception(error)
    else:
        future.set_result(None)
        threading.Event().wait()  # the processes of a cluster that was started here end with this thread


def take_signals_back() -> None:
    """Install our handlers again, in the main thread: Ray has put others in their place, below the interpreter."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.getsignal(number))


def said(error: BaseException) -> str:
    """The first line of an error of Ray's, and the last one where that only begins; or its type."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{lines[0]} {lines[-1].strip()}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]


def _located(address: str) -> Address | None:
    """Host and port of an address that has both; the port of Ray Client has a default."""
    host_port = address.removeprefix(_CLIENT_SCHEME)
    if "/" in host_port:
        return None
    host, _, port = host_port.rpartition(":")
    if not host and address.startswith(_CLIENT_SCHEME):
        host, port = host_port, str(_CLIENT_PORT)
    return Address(host.strip("[]"), int(port)) if host and port.isdecimal() else None


async def _refusal(address: Address, path: str) -> str:
    """What the cluster says against our token, or against having none; empty if it takes it, or says nothing."""
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return ""
    token = _token() if _asks_by_token() else ""
    client = GrpcClient(address, message_limit_bytes=_ANSWER_LIMIT_BYTES)
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    try:
        await client.call(path, b"", metadata=metadata, timeout_s=_REACH_LIMIT_S)
    except RemoteError as fault:
        if fault.grpc_code == GrpcStatus.UNAUTHENTICATED:
            return _WRONG if token else f"it asks for a token: {_WAY}"
        if fault.grpc_code == GrpcStatus.DEADLINE_EXCEEDED:
            return f"no answer within {_REACH_LIMIT_S:g} s"
    finally:
        await client.close()
    return ""  # it answered, if only that it is something else: what that means is Ray's to say


def _asks_by_token() -> bool:
    return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"


def _token() -> str:
    """The token that Ray finds, in its order; empty if there is none."""
    if given := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return given
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
