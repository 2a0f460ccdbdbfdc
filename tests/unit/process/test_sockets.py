from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from infergraph.errors import PortInUse, SettingsError
from infergraph.process.sockets import hold, listen, open_ports, port_of, reserve
from infergraph.settings import Settings


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Closes what is put in."""
    with ExitStack() as stack:
        yield stack


def test_port_0_is_any_free_port(opened: ExitStack) -> None:
    """Two sockets for port 0 have two ports, and accept connections."""
    one, two = (opened.enter_context(listen("127.0.0.1", 0, "http_port")) for _ in range(2))
    assert port_of(one) != port_of(two)
    opened.enter_context(socket.create_connection(("127.0.0.1", port_of(one))))


def test_a_taken_port_is_named_with_its_setting(opened: ExitStack) -> None:
    """The fault's one line holds the port, the setting and the option to change it."""
    port = port_of(opened.enter_context(listen("127.0.0.1", 0, "http_port")))
    with pytest.raises(PortInUse, match=rf"port {port} \(http_port\).*--http-port"):
        listen("127.0.0.1", port, "http_port")


def test_a_reserved_port_refuses_others_and_admits_workers(opened: ExitStack) -> None:
    """Nobody can listen on or reserve a reserved port, also before a worker listens; workers share it."""
    port = port_of(opened.enter_context(reserve("127.0.0.1", 0, "grpc_port")))
    for take in (listen, reserve):
        with pytest.raises(PortInUse):
            take("127.0.0.1", port, "grpc_port")
    for _ in range(2):
        worker = opened.enter_context(socket.socket())
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        worker.bind(("127.0.0.1", port))
        worker.listen()
    with pytest.raises(PortInUse):
        reserve("127.0.0.1", port, "grpc_port")


def test_a_foreign_service_that_shares_its_port_is_not_joined(opened: ExitStack) -> None:
    """A port on which somebody listens with SO_REUSEPORT counts as taken."""
    foreign = opened.enter_context(socket.socket())
    foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    foreign.bind(("127.0.0.1", 0))
    foreign.listen()
    with pytest.raises(PortInUse):
        reserve("127.0.0.1", port_of(foreign), "grpc_port")


def test_lingering_connections_do_not_block_a_port(opened: ExitStack) -> None:
    """A port whose last service closed its connections a moment ago can be reserved and listened on again."""
    for take in (reserve, listen):
        old = listen("127.0.0.1", 0, "http_port")
        old.setblocking(True)
        client = socket.create_connection(("127.0.0.1", port_of(old)))
        server, _ = old.accept()
        port = port_of(old)
        server.close()
        old.close()
        assert client.recv(1) == b""
        client.close()
        opened.enter_context(take("127.0.0.1", port, "grpc_port"))


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_ours_is_a_settings_error(host: str) -> None:
    """The fault names the host."""
    with pytest.raises(SettingsError, match=host):
        listen(host, 0, "http_port")


def test_all_ports_are_taken_or_none(opened: ExitStack) -> None:
    """When the last port is taken, the first ones are let go."""
    taken = port_of(opened.enter_context(listen("127.0.0.1", 0, "grpc_port")))
    free = listen("127.0.0.1", 0, "http_port")
    http_port = port_of(free)
    free.close()
    settings = Settings(http_port=http_port, metrics_port=0, grpc_port=taken)
    with pytest.raises(PortInUse, match="grpc_port"):
        open_ports(settings)
    opened.enter_context(listen("127.0.0.1", http_port, "http_port"))


def test_metrics_on_the_http_port_need_no_socket() -> None:
    """Equal ports for HTTP and metrics are one socket; gRPC off is none."""
    probe = listen("127.0.0.1", 0, "http_port")
    port = port_of(probe)
    probe.close()
    ports = open_ports(Settings(http_port=port, metrics_port=port, grpc=False))
    assert ports.numbers() == {"http_port": port, "grpc_port": None, "metrics_port": None}
    ports.close()


def test_held_port_is_refused_until_it_is_opened(opened: ExitStack) -> None:
    """A held port is closed to callers and to others, on all its hosts; its server opens it, again and again."""
    hosts = ["127.0.0.1", "127.0.0.2"]
    port, held = hold(hosts)
    for descriptor in held:
        opened.callback(os.close, descriptor)
    for host in hosts:
        caller = opened.enter_context(socket.socket())
        assert caller.connect_ex((host, port)) != 0
        with pytest.raises(OSError, match="in use"), socket.socket() as other:
            other.bind((host, port))
        for _ in range(2):
            with listen(host, port, "http_port"), socket.socket() as caller:
                caller.connect((host, port))


def test_held_port_is_reserved_for_workers(opened: ExitStack) -> None:
    """A held port can be reserved for gRPC workers, which then listen on it."""
    port, held = hold(["127.0.0.1"])
    opened.callback(os.close, held[0])
    for _ in range(2):
        with reserve("127.0.0.1", port, "grpc_port"), socket.socket() as worker:
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.bind(("127.0.0.1", port))
            worker.listen(1)
            with socket.socket() as caller:
                caller.connect(("127.0.0.1", port))


def test_host_that_cannot_be_held_is_a_settings_error() -> None:
    """A host that this machine lacks is named."""
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1"):
        hold(["127.0.0.1", "192.0.2.1"])
