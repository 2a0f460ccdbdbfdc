"""Keys, certificates and quotas of the installed command, with two workers."""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

from certificates import Authority
from e2e.process_run import Supervised, wait_for
from e2e.test_process_served import served
from infergraph.auth import keys
from infergraph.protocol.callers import Limits, Scope

BODY = json.dumps({"data": {"ndarray": [[1, 2]]}})


def ask(
    running: Supervised, context: ssl.SSLContext, key: str, *, wire: http.client.HTTPSConnection | None = None
) -> int:
    """The status of a prediction, on a connection of its own unless one is given."""
    port = running.ports["http_port"]
    connection = wire or http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
    connection.request("POST", "/predict", BODY, {"Content-Type": "application/json", "X-API-Key": key})
    reply = connection.getresponse()
    reply.read()
    if wire is None:
        connection.close()
    return reply.status


def test_two_workers_share_keys_certificates_and_quotas(tmp_path: Path) -> None:
    """Both know a new key and forget a revoked one; a quota is one; a certificate is renewed in both."""
    authority = Authority(tmp_path)
    issued, private = authority.issue("server")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(issued, cert)
    shutil.copy(private, key)
    file = tmp_path / "keys.toml"
    mine = keys.create(file, "me", [Scope.PREDICT])
    slow = keys.create(file, "slow", [Scope.PREDICT], limits=Limits(requests_per_minute=5))
    context = authority.trusting()
    options = ("--workers", "2", "--keys", str(file), "--tls-cert", str(cert), "--tls-key", str(key))
    with served(tmp_path, *options) as running:
        running.wait_event("ready")
        port = running.ports["http_port"]
        assert {ask(running, context, mine) for _ in range(20)} == {200}
        told = Counter(ask(running, context, slow) for _ in range(24))  # over the turn of a minute, too
        assert told.keys() == {200, 429}
        assert told[200] <= 2 * (5 + 1)
        with closing(http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)) as wire:
            assert ask(running, context, mine, wire=wire) == 200
            new_cert, new_key = authority.issue("renewed")
            cert.write_bytes(new_cert.read_bytes())
            key.write_bytes(new_key.read_bytes())
            seen = [0]

            def is_renewed() -> bool:
                seen[0] = seen[0] + 1 if _name(port, context) == "renewed" else 0
                return seen[0] == 16  # of two workers each has answered, but for one in thirty thousand

            wait_for("the certificate in both workers", is_renewed)
            assert ask(running, context, mine, wire=wire) == 200
            keys.revoke(file, "me")
            assert ask(running, context, mine, wire=wire) == 401
        assert {ask(running, context, mine) for _ in range(20)} == {401}


def test_a_key_is_changed_over_under_load(tmp_path: Path) -> None:
    """Callers go from the former key to the new one while they ask, then the former is revoked: nobody is refused."""
    file = tmp_path / "keys.toml"
    current = [keys.create(file, "me", [Scope.PREDICT])]
    using = ["", ""]
    statuses: Counter[int] = Counter()
    done = threading.Event()
    with served(tmp_path, "--workers", "2", "--keys", str(file)) as running:
        running.wait_event("ready")

        def load(place: int) -> None:
            with closing(running.connect()) as wire:
                while not done.is_set():
                    key = current[0]
                    wire.request("POST", "/predict", BODY, {"Content-Type": "application/json", "X-API-Key": key})
                    reply = wire.getresponse()
                    reply.read()
                    statuses[reply.status] += 1
                    using[place] = key

        threads = [threading.Thread(target=load, args=(place,)) for place in range(len(using))]
        for thread in threads:
            thread.start()
        try:
            for _ in range(5):
                former = keys.read(file)[0].id
                current[0] = keys.create(file, "me", [Scope.PREDICT])
                wait_for("all callers to use the new key", lambda: set(using) == {current[0]})
                keys.revoke(file, former)
        finally:
            done.set()
            for thread in threads:
                thread.join()
    assert set(statuses) == {200}


def _name(port: int, context: ssl.SSLContext) -> str:
    with closing(http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)) as wire:
        wire.connect()
        found = wire.sock.getpeercert()
    return str(dict(part[0] for part in found["subject"])["commonName"])
