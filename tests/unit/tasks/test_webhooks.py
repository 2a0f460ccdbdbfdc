"""Webhooks: where they may go, and how patiently they are sent."""

from __future__ import annotations

import pytest

from infergraph.errors import PayloadError
from infergraph.tasks.store import Delivery
from infergraph.tasks.webhooks import check_webhook, pause_s, send


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://hooks.example/x", "hooks.example"),
        ("https://hooks.example:8443/x?y=1", "other, HOOKS.example:8443"),
        ("http://anything/", "*"),
        ("http://[::1]:80/", "::1"),
    ],
)
def test_allowed_hosts(url: str, allowed: str) -> None:
    """A host, or host and port, on the list may be called."""
    check_webhook(url, allowed)


@pytest.mark.parametrize(
    ("url", "allowed", "why"),
    [
        ("http://hooks.example/", "", "not allowed"),
        ("http://169.254.169.254/latest", "hooks.example", "not allowed"),
        ("http://hooks.example:81/", "hooks.example:80", "not allowed"),
        ("http://hooks.example@evil/", "hooks.example", "user name"),
        ("http://hooks.example.evil/", "hooks.example", "not allowed"),
        ("file:///etc/passwd", "*", "not an http"),
        ("hooks.example", "*", "not an http"),
        ("http://", "*", "not an http"),
        ("http://x:port/", "*", "not a URL"),
    ],
)
def test_other_hosts_are_refused(url: str, allowed: str, why: str) -> None:
    """Nothing else is called, and the caller is told why, by the field's name."""
    with pytest.raises(PayloadError, match=why) as caught:
        check_webhook(url, allowed)
    assert str(caught.value).startswith("webhook: ")


def test_a_host_that_is_no_longer_allowed_is_not_called() -> None:
    """The list is looked at again when a webhook is sent."""
    assert "not allowed" in send(Delivery(1, "http://127.0.0.1:9/", b"{}", 0), "elsewhere")


def test_a_dead_receiver_is_an_error_in_words() -> None:
    """Nobody listening is told, not raised."""
    assert "refused" in send(Delivery(1, "http://127.0.0.1:9/", b"{}", 0), "*")


def test_patience_grows_to_an_hour() -> None:
    """Each attempt waits twice as long as the one before, and never longer than an hour."""
    assert [pause_s(attempts) for attempts in range(4)] == [1, 2, 4, 8]
    assert pause_s(40) == 3600
