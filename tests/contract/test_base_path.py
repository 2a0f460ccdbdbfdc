"""Everything is served under the base path, nothing elsewhere, and nobody is told where that is."""

from __future__ import annotations

import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from infergraph.auth.base_path import kept
from infergraph.cli.launch import plan_of
from infergraph.cli.main import infergraph
from infergraph.client import Client
from infergraph.errors import SettingsError
from infergraph.process.supervisor import fill
from infergraph.settings import Settings, load
from served import Served, served

CODE = """
class Doubler:
    def predict(self, X, names=None):
        return X * 2
"""
BASE = "/k/5e1f0c"
PATHS = ("/live", "/ready", "/status", "/metrics", "/console/", "/console", "/docs", "/openapi.json", "/v2/health/live",
         "/api/v1.0/tasks", "/tasks/none")  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with a base path."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "base_parts.py").write_text(CODE)
    data_dir = str(folder / "data")
    with served(
        "base_parts.py:Doubler", folder=folder, base_path=BASE, tasks=True, data_dir=data_dir, access_log=True
    ) as there:
        yield there


@pytest.mark.parametrize("path", PATHS)
def test_all_is_served_below_it_and_nothing_elsewhere(server: Served, path: str) -> None:
    """Below the base path each page answers; elsewhere each is 404, without a hint."""
    assert server.get(BASE + path).status in (200, 308)
    assert (server.get(path).status, server.get(path).body) == (404, b"404 Not Found\n")
    assert server.get(BASE + "x" + path).status == 404


@pytest.mark.parametrize(
    "target", ["/", "", "/k", "/k/", "/K/5e1f0c/live", "/k/5e1f0", "//k/5e1f0c/live", "/%6b/5e1f0c/live", "*"]
)
def test_what_only_resembles_it_is_elsewhere(server: Served, target: str) -> None:
    """No part of it, no other spelling, no redirect to it."""
    reply = server.get(target)
    assert (reply.status, BASE.encode() in reply.body, "location" in reply.headers) == (404, False, False)


@pytest.mark.parametrize("method", ["OPTIONS", "POST", "DELETE", "PUT"])
def test_other_methods_elsewhere_are_404_too(server: Served, method: str) -> None:
    """A pre-flight or a post tells no more than a get."""
    assert server.ask(method, "/predict", {}, {"Origin": "https://page.example"}).status == 404


def test_clients_take_it_with_the_url(server: Served) -> None:
    """A URL alone is enough: for our client, and for the metrics port."""
    with Client(f"http://127.0.0.1:{server.http_port}{BASE}") as client:
        assert client.predict([[1.0]]).tolist() == [[2.0]]
        assert client.ready()
        assert list(client.tasks.list()) == []
    assert server.ask("GET", f"{BASE}/metrics", port=server.metrics_port).status == 200
    assert server.ask("GET", "/metrics", port=server.metrics_port).status == 404


def test_it_may_be_followed_by_a_query_or_be_an_absolute_url(server: Served) -> None:
    """The forms of a request target that HTTP knows."""
    assert server.get(f"{BASE}/ready?x=1").status == 200
    assert server.get(f"http://127.0.0.1:{server.http_port}{BASE}/ready").status == 200
    assert server.get(f"http://127.0.0.1:{server.http_port}/ready").status == 404


def test_it_shows_in_no_log_no_metric_and_no_referrer(server: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Access lines, metrics and errors have the paths below it; console pages send no referrer."""
    with caplog.at_level(logging.INFO):
        for path in (*PATHS, "/predict", "/nowhere"):
            server.get(BASE + path)
        server.get("/k/other/live")
        told = server.get(f"{BASE}/nowhere").body + server.get(f"{BASE}/metrics").body
    assert caplog.records
    assert not any("5e1f0c" in record.getMessage() + repr(record.__dict__) for record in caplog.records)
    assert b"5e1f0c" not in told
    assert server.get(f"{BASE}/console/").headers["referrer-policy"] == "no-referrer"
    assert b"5e1f0c" not in server.get(f"{BASE}/console/").body


def test_the_document_is_for_those_who_know_it(server: Served) -> None:
    """OpenAPI names the base path as its server, to whoever got there by it."""
    assert server.get(f"{BASE}/openapi.json").json["servers"] == [{"url": f"{BASE}/"}]


def test_auto_makes_one_and_keeps_it(tmp_path: Path) -> None:
    """The address stays the same from start to start, and its file is the owner's."""
    first = kept(tmp_path / "data")
    assert first == kept(tmp_path / "data") != kept(tmp_path / "other")
    assert len(first) == len("/k/") + 32
    assert stat.S_IMODE((tmp_path / "data" / "base-path").stat().st_mode) == 0o600
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="base_path"):
        kept(tmp_path / "file")


def test_a_start_shows_it_on_the_terminal_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The banner has the address to hand out, the log line does not; without keys gRPC is not open to strangers."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.py").write_text("class M: pass\n")
    plan = plan_of("m.py:M", Settings(host="0.0.0.0", base_path="auto"))
    base = plan.settings["base_path"]
    assert base.startswith("/k/")
    assert f"http://127.0.0.1:9000{base}/console" in fill(plan.banner, {"http_port": 9000}, "")
    assert base not in json.dumps([plan.addresses, plan.warnings])
    assert (plan.settings["grpc"], "gRPC is not served" in plan.warnings[0]) == (False, True)
    assert plan_of("m.py:M", Settings(base_path="auto")).settings["grpc"]


def test_no_list_of_settings_shows_it(monkeypatch: pytest.MonkeyPatch, server: Served) -> None:
    """`infergraph settings` and the console say that there is one; an error does not quote it."""
    monkeypatch.setenv("INFERGRAPH_BASE_PATH", BASE)
    for form in ([], ["--json"]):
        told = CliRunner().invoke(infergraph, ["settings", *form]).stdout
        assert ("5e1f0c" in told, "base_path" in told, "…" in told or "\\u2026" in told) == (False, True, True)
    with pytest.raises(SettingsError) as refused:
        load({"INFERGRAPH_BASE_PATH": "/k/5e1f0c/?"}, {})
    assert "5e1f0c" not in str(refused.value)
