"""What is said of a Ray cluster that cannot be joined."""

from __future__ import annotations

import socket

import pytest

from infergraph.net import ray_cluster


@pytest.fixture
def closed() -> str:
    """An address where nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{bound.getsockname()[1]}"


def test_addresses() -> None:
    """A head's and Ray Client's are addresses; names that Ray resolves by itself are none."""
    assert all(map(ray_cluster.is_address, ("head:6379", "[::1]:6379", "ray://head", "ray://head:10001")))
    assert not any(map(ray_cluster.is_address, ("", "auto", "local", "head", "head:", ":1", "http://head:1", "ray://")))


def test_nobody_listens(closed: str) -> None:
    """A head that is not there is told by the system's own word."""
    assert "refused" in ray_cluster.trouble(closed)
    assert "refused" in ray_cluster.trouble(f"ray://{closed}")
    assert ray_cluster.trouble("auto") == ""


def test_a_mode_without_a_token(closed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would end the process; we say what is missing, whatever the address."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/dev/null")
    for address in (closed, "auto"):
        assert "there is no token" in ray_cluster.trouble(address)


def test_errors_are_one_line() -> None:
    """Of an error of many lines the first is said, the last as well where the first only announces it."""
    assert ray_cluster.said(ValueError("no room\nTraceback …")) == "no room"
    assert ray_cluster.said(ValueError("It failed:\nTraceback …\n  OSError: no room")) == "It failed: OSError: no room"
    assert ray_cluster.said(ValueError()) == "ValueError"
