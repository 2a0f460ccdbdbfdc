"""Tokens of signed-in browsers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.auth import keys
from infergraph.auth.keys import KeyFile
from infergraph.auth.sessions import LIFETIME_S, Sessions, shared_secret
from infergraph.protocol.callers import Scope


def begun(path: Path, now_s: float = 0.0) -> tuple[Sessions, str, str]:
    """Sessions over a file with one key, the key, and a token for it."""
    key = keys.create(path, "me", [Scope.CONSOLE])
    sessions = Sessions(KeyFile(path).open(), b"secret", lambda: now_s)
    return sessions, key, sessions.begin(key.encode())


def test_a_token_stands_for_its_key_and_has_nothing_of_it(tmp_path: Path) -> None:
    """It finds the caller; neither the key nor its whole hash is in it."""
    path = tmp_path / "keys.toml"
    sessions, key, token = begun(path)
    caller = sessions.find(token.encode())
    assert caller is not None
    assert caller.name == "me"
    assert key not in token
    assert keys.read(path)[0].sha256 not in token


def test_a_token_ends_with_its_key_and_with_its_time(tmp_path: Path) -> None:
    """A revoked key signs everybody out; so does the next morning, and another start of the server."""
    path = tmp_path / "keys.toml"
    sessions, _, token = begun(path)
    file = KeyFile(path).open()
    assert Sessions(file, b"secret", lambda: LIFETIME_S - 1).find(token.encode()) is not None
    assert Sessions(file, b"secret", lambda: LIFETIME_S).find(token.encode()) is None
    assert Sessions(file, b"another", lambda: 0).find(token.encode()) is None
    keys.revoke(path, "me")
    assert Sessions(KeyFile(path).open(), b"secret", lambda: 0).find(token.encode()) is None
    assert sessions.find(token.encode()) is None


@pytest.mark.parametrize("place", range(0, 90, 7))
def test_a_changed_token_is_none(tmp_path: Path, place: int) -> None:
    """No character of it may be another one."""
    sessions, _, token = begun(tmp_path / "keys.toml")
    changed = token[:place] + ("0" if token[place] != "0" else "1") + token[place + 1 :]
    assert sessions.find(changed.encode()) is None


@given(st.binary(max_size=100))
def test_any_bytes_are_no_token(tmp_path_factory: pytest.TempPathFactory, token: bytes) -> None:
    """Whatever a cookie holds, it is a token or it is not."""
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    path.write_text("")
    sessions = Sessions(KeyFile(path).open(), b"secret")
    assert sessions.find(token) is None
    assert sessions.find(b"is_" + token) is None


def test_workers_share_one_secret(tmp_path: Path) -> None:
    """Whoever comes first makes it; nothing else is left in the folder."""
    first = shared_secret(tmp_path)
    assert len(first) == 32
    assert first == shared_secret(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["session-secret"]
