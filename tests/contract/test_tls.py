"""TLS of all ports: versions, client certificates, renewal."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from certificates import Authority
from e2e.process_run import wait_for
from infergraph.auth import keys
from infergraph.auth.tls import ServerTls, server_tls, subject_of
from infergraph.cli.checkup import Verdict, run_steps, tls_steps
from infergraph.cli.wire_probe import Address
from infergraph.client import Client
from infergraph.client.connection import Connection
from infergraph.errors import Fault, Forbidden, RemoteError, SettingsError
from infergraph.protocol.callers import Scope
from infergraph.settings import Settings
from served import Served, served

CODE = """
class Doubler:
    def predict(self, X, names=None):
        return X * 2
"""
PATHS = ("/live", "/metrics", "/console/", "/api/v1.0/tasks", "/status", "/v2", "/openapi.json")


class House:
    """A server with a certificate, and one that asks clients for theirs."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        (folder / "tls_parts.py").write_text(CODE)
        self.folder = folder
        self.authority = Authority(folder)
        self.cert, self.key = self.authority.issue("server")
        self.client = self.authority.issue("colleague")
        self.settings: dict[str, Any] = {"folder": folder, "tls_cert": str(self.cert), "tls_key": str(self.key)}
        self.plain = stack.enter_context(self.serve(tasks=True, data_dir=str(folder / "data")))
        mutual = {"tls_client_ca": str(self.authority.ca), "tls_client_scopes": "predict"}
        self.mutual = stack.enter_context(self.serve(**mutual))
        self.admin_key = keys.create(folder / "keys.toml", "boss", [Scope.ADMIN])
        optional = {**mutual, "tls_client_certificates": "optional", "keys": str(folder / "keys.toml")}
        self.optional = stack.enter_context(self.serve(**optional))

    def serve(self, **more: Any) -> Any:
        return served("tls_parts.py:Doubler", **self.settings, **more)

    def connection(self, *, with_certificate: bool = False) -> Connection:
        """A client's connection that trusts the authority."""
        cert, key = self.client
        if not with_certificate:
            return Connection(tls=self.authority.trusting(), tls_roots=self.authority.ca.read_bytes())
        return Connection(
            tls=self.authority.trusting(cert, key),
            tls_roots=self.authority.ca.read_bytes(),
            tls_key=key.read_bytes(),
            tls_chain=cert.read_bytes(),
        )


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The servers, running."""
    with ExitStack() as stack:
        yield House(tmp_path_factory.mktemp("tls"), stack)


def get(server: Served, context: ssl.SSLContext, path: str, port: int = 0) -> int:
    """The status of a request over TLS."""
    connection = http.client.HTTPSConnection("127.0.0.1", port or server.http_port, timeout=30, context=context)
    with closing(connection):
        connection.request("GET", path)
        return connection.getresponse().status


def urls(server: Served) -> tuple[str, str]:
    return f"https://127.0.0.1:{server.http_port}", f"grpcs://127.0.0.1:{server.grpc_port}"


def test_every_port_and_page_is_served_over_tls(house: House) -> None:
    """REST, gRPC, tasks, console, metrics and documents answer over TLS."""
    context = house.authority.trusting()
    assert [get(house.plain, context, path) for path in PATHS] == [200] * len(PATHS)
    assert get(house.plain, context, "/metrics", house.plain.metrics_port) == 200
    for url in urls(house.plain):
        with Client(url, connection=house.connection()) as client:
            assert client.predict([[1.5]]).tolist() == [[3.0]]
            assert client.ready()


def test_large_messages_and_pipelined_requests_pass(house: House) -> None:
    """Bodies of many TLS records, and several requests in one, are answered as without TLS."""
    rows = [[float(number)] for number in range(200_000)]
    with Client(urls(house.plain)[0], connection=house.connection()) as client:
        assert client.predict(rows)[-1].tolist() == [399_998.0]
    request = b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n"
    address = ("127.0.0.1", house.plain.http_port)
    with (
        socket.create_connection(address) as raw,
        house.authority.trusting().wrap_socket(raw, server_hostname="localhost") as wire,
    ):
        wire.sendall(request * 2 + request.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        assert b"".join(iter(lambda: wire.recv(65536), b"")).count(b"HTTP/1.1 200") == 3


@pytest.mark.parametrize(
    ("limit", "accepted"),
    [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)],
)
def test_versions_before_1_2_are_refused(house: House, limit: str, accepted: bool) -> None:
    """TLS 1.2 and 1.3 are spoken, nothing older, on the HTTP and the gRPC port."""
    for port in (house.plain.http_port, house.plain.grpc_port):
        context = house.authority.trusting()
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1") if limit == "TLSv1_1" else ExitStack():
            context.minimum_version = context.maximum_version = ssl.TLSVersion[limit]
        assert _handshakes(port, context) is accepted


@pytest.mark.parametrize("ciphers", ["aNULL:@SECLEVEL=0", "eNULL:@SECLEVEL=0", "RC4:3DES:DES:@SECLEVEL=0", "MD5"])
def test_weak_ciphers_are_refused(house: House, ciphers: str) -> None:
    """A client that knows none but weak ciphers gets no connection."""
    context = house.authority.trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError:
        return  # not even in this library
    assert not any(_handshakes(port, context) for port in (house.plain.http_port, house.plain.grpc_port))


def _handshakes(port: int, context: ssl.SSLContext) -> bool:
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
            context.wrap_socket(raw, server_hostname="localhost").close()
    except (ssl.SSLError, OSError):
        return False
    return True


def test_a_plain_request_is_closed_and_harms_nobody(house: House) -> None:
    """Somebody who speaks HTTP to a TLS port gets no answer; the next client does."""
    connection = http.client.HTTPConnection("127.0.0.1", house.plain.http_port, timeout=30)
    with closing(connection):
        connection.request("GET", "/live")
        with pytest.raises((http.client.HTTPException, OSError)):
            connection.getresponse()
    assert get(house.plain, house.authority.trusting(), "/live") == 200


@pytest.mark.parametrize("is_rest", [True, False])
def test_a_client_certificate_names_the_caller(house: House, is_rest: bool) -> None:
    """Without one no request comes through; with one the scopes of certificates hold, over both protocols."""
    url = urls(house.mutual)[0 if is_rest else 1]
    with Client(url, connection=house.connection(), retries=0) as client, pytest.raises(RemoteError):
        client.predict([[1.0]])
    with Client(url, connection=house.connection(with_certificate=True)) as client:
        assert client.predict([[1.0]]).tolist() == [[2.0]]
        with pytest.raises(Forbidden, match="colleague may not"):
            client.feedback(1.0)


def test_a_certificate_of_another_authority_is_refused(house: House, tmp_path: Path) -> None:
    """A stranger may have a certificate, too."""
    stranger = Authority(tmp_path).issue("colleague")
    with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
        get(house.mutual, house.authority.trusting(*stranger), "/live")


def test_certificates_may_be_optional(house: House) -> None:
    """Probes then need nothing, requests a certificate or a key; a key goes before the certificate."""
    url = urls(house.optional)[0]
    assert get(house.optional, house.authority.trusting(), "/ready") == 200
    assert get(house.optional, house.authority.trusting(), "/metadata") == 401
    assert get(house.optional, house.authority.trusting(*house.client), "/metadata") == 200
    with Client(url, connection=house.connection(with_certificate=True), key=house.admin_key) as client:
        client.feedback(1.0)
    with Client(urls(house.optional)[1], connection=house.connection(), key=house.admin_key) as client:
        assert client.predict([[1.0]]).tolist() == [[2.0]]


def test_a_renewed_certificate_is_served_and_no_connection_is_lost(house: House, tmp_path: Path) -> None:
    """New connections see the new certificate, on both ports; one that was open goes on."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(house.cert, cert)
    shutil.copy(house.key, key)
    with served("tls_parts.py:Doubler", folder=house.folder, tls_cert=str(cert), tls_key=str(key)) as server:
        ports = (server.http_port, server.grpc_port)
        first = [_serial(port, house) for port in ports]
        with Client(urls(server)[0], connection=house.connection()) as client:
            client.predict([[1.0]])
            new_cert, new_key = house.authority.issue("renewed")
            cert.write_bytes(new_cert.read_bytes())  # the key does not fit yet
            key.write_bytes(new_key.read_bytes())
            for port, serial in zip(ports, first, strict=True):
                wait_for("the new certificate", _changed(port, serial, house))
            assert client.predict([[1.0]]).tolist() == [[2.0]]


def _changed(port: int, former: str, house: House) -> Callable[[], bool]:
    return lambda: _serial(port, house) != former


def _serial(port: int, house: House) -> str:
    context = house.authority.trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as wire,
    ):
        found = wire.getpeercert()
    assert found is not None
    return str(found["serialNumber"])


def test_the_doctor_looks_at_chain_and_expiry(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not trusted is bad, ending soon is doubtful, and otherwise it says until when the certificate is valid."""
    address = Address(urls(house.plain)[0], 10)
    (untrusted,) = run_steps(tls_steps(address, time.time()))
    assert (untrusted.verdict, "not trusted" in untrusted.text) == (Verdict.BAD, True)
    monkeypatch.setenv("SSL_CERT_FILE", str(house.authority.ca))
    (good,) = run_steps(tls_steps(address, time.time()))
    assert (good.verdict, "server, valid for 2" in good.text) == (Verdict.GOOD, True)
    (soon,) = run_steps(tls_steps(address, time.time() + 25 * 86400))
    assert (soon.verdict, "ends in 4 days" in soon.text) == (Verdict.DOUBTFUL, True)
    assert tls_steps(Address("http://127.0.0.1:1", 1), 0) == []


def test_the_commands_trust_what_the_environment_names(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSL_CERT_FILE holds for gRPC as it does for https."""
    monkeypatch.setenv("SSL_CERT_FILE", str(house.authority.ca))
    for url in urls(house.plain):
        with Client(url) as client:
            assert client.predict([[1.0]]).tolist() == [[2.0]]


def deployment_of(graph: dict[str, Any]) -> str:
    return json.dumps({"spec": {"name": "g", "predictors": [{"name": "p", "graph": graph}]}})


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_a_graph_calls_its_nodes_by_tls(house: House, tmp_path: Path, scheme: str) -> None:
    """With our authorities, our certificate, and the name that the node has; without them it is not called."""
    port = house.mutual.http_port if scheme == "https" else house.mutual.grpc_port
    graph = {"name": "node", "type": "MODEL"}
    (tmp_path / "graph.json").write_text(deployment_of(graph))
    cert, key = house.client
    settings = {"node_tls_ca": str(house.authority.ca), "node_tls_cert": str(cert), "node_tls_key": str(key)}
    asked = {"data": {"ndarray": [[1.5]]}}

    def answer(host: str, **more: str) -> int:
        nodes = {"node": f"{scheme}://{host}:{port}"}
        with served(str(tmp_path / "graph.json"), folder=tmp_path, nodes=nodes, wait=False, **more) as server:
            reply = server.post("/api/v1.0/predictions", asked)
            return reply.json["data"]["ndarray"][0][0] if reply.status == 200 else reply.status

    assert answer("127.0.0.1", **settings) == 3.0
    assert answer("127.0.0.1") >= 500
    assert answer("127.0.0.1", **settings, node_tls_name="localhost") == 3.0
    assert answer("127.0.0.1", **settings, node_tls_name="another.example") >= 500


def test_an_endpoint_in_a_graph_file_may_say_tls(house: House, tmp_path: Path) -> None:
    """`tls: true` beside host and port."""
    endpoint = {"type": "REST", "service_host": "127.0.0.1", "service_port": house.plain.http_port, "tls": True}
    graph = {"name": "node", "type": "MODEL", "endpoint": endpoint}
    (tmp_path / "graph.json").write_text(deployment_of(graph))
    with served(str(tmp_path / "graph.json"), folder=tmp_path, node_tls_ca=str(house.authority.ca)) as server:
        assert server.post("/api/v1.0/predictions", {"data": {"ndarray": [[1.5]]}}).json["data"]["ndarray"] == [[3.0]]


def test_files_that_do_not_fit_are_refused_at_the_start_and_kept_out_later(tmp_path: Path) -> None:
    """The one line names the setting and the file; a running server goes on with what it has."""
    authority = Authority(tmp_path)
    cert, key = authority.issue("one")
    other, _ = authority.issue("other")
    for wrong in (
        Settings(tls_cert=str(other), tls_key=str(key)),
        Settings(tls_cert=str(cert), tls_key=str(tmp_path / "none")),
        Settings(tls_cert=str(cert), tls_key=str(key), tls_client_ca=str(key)),
        Settings(tls_key=str(key)),
        Settings(tls_client_ca=str(cert)),
    ):
        with pytest.raises(SettingsError, match="tls_") as refused:
            server_tls(wrong)
        assert isinstance(refused.value, Fault)
    tls = ServerTls(cert, key).open()
    version = tls.version()
    cert.write_bytes(other.read_bytes())
    tls.renew()
    assert tls.version() == version


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        (None, ""),
        ({}, ""),
        ({"subject": ((("commonName", "me"),),)}, "me"),
        ({"subject": (), "subjectAltName": (("URI", "spiffe://cluster/ns/me"),)}, "spiffe://cluster/ns/me"),
        ({"subject": ((("organizationName", "us"),),)}, "certificate"),
    ],
)
def test_the_name_in_a_certificate(certificate: Any, name: str) -> None:
    """The common name, else the first alternative name; never empty for a certificate."""
    assert subject_of(certificate) == name
