"""The listening sockets: opened once by the supervisor, before anything is loaded, and inherited by the workers."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from infergraph.errors import PortInUse, SettingsError
from infergraph.settings import Settings

BACKLOG = 2048
_PORT_TRIES = 100


@dataclass(frozen=True, slots=True)
class Ports:
    """The supervisor's sockets.

    Args:
        http: listening.
        metrics: listening; None where metrics are served on the HTTP port alone.
        grpc: reserved, not listening; None without gRPC.
    """

    http: socket.socket
    metrics: socket.socket | None
    grpc: socket.socket | None

    def numbers(self) -> dict[str, int | None]:
        """The actual port number by setting; None where there is no such socket."""
        named = {"http_port": self.http, "grpc_port": self.grpc, "metrics_port": self.metrics}
        return {name: None if bound is None else port_of(bound) for name, bound in named.items()}

    def close(self) -> None:
        """Close all sockets. Idempotent."""
        for bound in (self.http, self.metrics, self.grpc):
            if bound is not None:
                bound.close()


def open_ports(settings: Settings) -> Ports:
    """Open all ports that the settings name, or none. A metrics port equal to the HTTP port needs no socket.

    Raises: as `listen`.
    """
    taken: list[socket.socket] = []
    host, metrics, grpc = settings.host, None, None
    try:
        taken.append(http := listen(host, settings.http_port, "http_port"))
        if settings.metrics_port == 0 or settings.metrics_port != settings.http_port:
            taken.append(metrics := listen(host, settings.metrics_port, "metrics_port"))
        if settings.grpc:
            taken.append(grpc := reserve(host, settings.grpc_port, "grpc_port"))
    except BaseException:
        for bound in taken:
            bound.close()
        raise
    return Ports(http, metrics, grpc)


def listen(host: str, port: int, setting: str) -> socket.socket:
    """A listening TCP socket.

    Args:
        host: a name or address.
        port: 0 for any free one.
        setting: the name of the setting that gave the port.
    Raises:
        PortInUse: it is taken, or not permitted.
        SettingsError: the host is not an address of this machine.
    """
    ours = _bind(host, port, setting, shared=False)
    ours.listen(BACKLOG)
    ours.setblocking(False)
    return ours


def reserve(host: str, port: int, setting: str) -> socket.socket:
    """A TCP socket that holds a port without listening, so that workers can listen on it with SO_REUSEPORT.

    SO_REUSEPORT alone would let another service of the same user share the port, so it is first bound exclusively.

    Raises: as `listen`.
    """
    alone = _bind(host, port, setting, shared=False)
    try:
        alone.listen(1)  # a port that another process reserves in this way fails only here
    except OSError as error:
        alone.close()
        raise _fault(error, host, port, setting) from error
    actual = port_of(alone)
    alone.close()
    try:  # without SO_REUSEADDR no other process's check passes before the workers listen
        return _bind(host, actual, setting, shared=True, reuse_address=False)
    except PortInUse:  # connections of an earlier service linger on the port
        return _bind(host, actual, setting, shared=True)


def hold(hosts: Sequence[str]) -> tuple[int, list[int]]:
    """A port that is free on all `hosts`, and inheritable descriptors of sockets that hold it without listening.

    Connections are refused until a server opens it with `listen` or `reserve`; meanwhile nobody else binds it, and no
    connection to it starts from it.

    Raises: SettingsError for a host that this machine lacks.
    """
    for _ in range(_PORT_TRIES):
        with ExitStack() as stack:
            port = 0
            held = []
            with suppress(PortInUse):  # free on some of them only: another one
                for host in hosts:
                    held.append(stack.enter_context(_bind(host, port, "port", shared=False, reuse_address=False)))
                    port = port_of(held[0])
            if len(held) < len(hosts):
                continue
            stack.pop_all()
        for each in held:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            each.set_inheritable(True)
        return port, [each.detach() for each in held]
    raise PortInUse(f"no port is free on all of {', '.join(hosts)}")


def port_of(bound: socket.socket) -> int:
    """The number of the port."""
    return int(bound.getsockname()[1])


def _bind(host: str, port: int, setting: str, *, shared: bool, reuse_address: bool = True) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise SettingsError(f"host {host!r}: this machine has no such address ({error.strerror})") from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse_address))
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _fault(error, host, port, setting) from error
    return bound


def _fault(error: OSError, host: str, port: int, setting: str) -> PortInUse | SettingsError:
    option = "--" + setting.replace("_", "-")
    if error.errno == errno.EADDRINUSE:
        return PortInUse(
            f"port {port} ({setting}) on {host} is in use; choose another with {option} (0 for any free one)"
        )
    if error.errno == errno.EACCES:
        return PortInUse(
            f"port {port} ({setting}) on {host} may not be used by this user; choose one above 1023 with {option}"
        )
    return SettingsError(f"host {host!r}, port {port} ({setting}): {error.strerror}")
