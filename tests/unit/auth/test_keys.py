"""The file of keys."""

from __future__ import annotations

import itertools
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infergraph.auth import keys
from infergraph.auth.keys import KeyFile
from infergraph.errors import SettingsError
from infergraph.protocol.callers import Scope

LATER = datetime(2030, 1, 1, tzinfo=UTC)


def opened(path: Path, now_s: float = 0.0) -> KeyFile:
    moments = itertools.count()
    return KeyFile(path, lambda: now_s + next(moments) / 1000).open()


def found(file: KeyFile, key: str) -> str | None:
    caller = file.find(key.encode())
    return None if caller is None else caller.name


def test_a_key_is_kept_as_its_hash_alone(tmp_path: Path) -> None:
    """The text of a key is in no file, and only the owner may read the file."""
    path = tmp_path / "keys.toml"
    key = keys.create(path, "me", [Scope.TASKS, Scope.PREDICT])
    assert key not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert found(opened(path), key) == "me"
    assert keys.read(path)[0].scopes == {Scope.PREDICT, Scope.TASKS}
    assert [each.name for each in tmp_path.iterdir()] == ["keys.toml"]


def test_the_mode_of_the_file_stays(tmp_path: Path) -> None:
    """A file that a server of another user may read stays readable."""
    path = tmp_path / "keys.toml"
    keys.create(path, "me", [Scope.PREDICT])
    path.chmod(0o640)
    keys.create(path, "you", [Scope.PREDICT])
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_changes_are_seen_by_the_next_look_up(tmp_path: Path) -> None:
    """A new key is known at once, a revoked one unknown at once; of a name both keys are valid meanwhile."""
    path = tmp_path / "keys.toml"
    first = keys.create(path, "me", [Scope.PREDICT])
    file = opened(path)
    second = keys.create(path, "me", [Scope.PREDICT])
    assert [found(file, key) for key in (first, second)] == ["me", "me"]
    (gone,) = keys.revoke(path, keys.read(path)[0].id)
    assert gone.name == "me"
    assert [found(file, key) for key in (first, second)] == [None, "me"]
    keys.revoke(path, "me")
    assert found(file, second) is None


def test_a_key_expires(tmp_path: Path) -> None:
    """A key is valid until its time, and not at it."""
    path = tmp_path / "keys.toml"
    key = keys.create(path, "me", [Scope.PREDICT], expires=LATER)
    assert found(opened(path, LATER.timestamp() - 1), key) == "me"
    assert found(opened(path, LATER.timestamp()), key) is None


def test_a_file_that_breaks_keeps_the_former_keys_and_one_that_is_gone_has_none(tmp_path: Path) -> None:
    """A slip while editing locks nobody out; taking the file away lets nobody in."""
    path = tmp_path / "keys.toml"
    key = keys.create(path, "me", [Scope.PREDICT])
    file = opened(path)
    path.write_text("[[keys")
    assert found(file, key) == "me"
    path.unlink()
    assert found(file, key) is None


@pytest.mark.parametrize("secret", ["", "ig_", "x" * 100_000, "\ud800", "ü"])
def test_any_text_may_be_asked(tmp_path: Path, secret: str) -> None:
    """A secret of any length and any bytes is unknown, and nothing else."""
    path = tmp_path / "keys.toml"
    keys.create(path, "me", [Scope.PREDICT])
    assert opened(path).find(secret.encode("utf-8", "surrogatepass")) is None


def test_revoking_leaves_the_rest_of_the_file_as_it_is(tmp_path: Path) -> None:
    """Comments and other entries stay, byte for byte."""
    path = tmp_path / "keys.toml"
    keys.create(path, "me", [Scope.PREDICT])
    before = path.read_text() + "\n# of the colleague\n"
    path.write_text(before)
    keys.create(path, "you", [Scope.PREDICT])
    keys.revoke(path, "you")
    assert path.read_text() == before + "\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[keys]]\nname = 'me'", "sha256"),
        ("[[keys]]\nname = 'me'\nsha256 = 'abc'\nscopes = []", "$.keys[0].sha256"),
        (f"[[keys]]\nname = 'me'\nsha256 = '{'0' * 64}'\nscopes = ['all']", "$.keys[0].scopes[0]"),
        (f"[[keys]]\nname = 'a b'\nsha256 = '{'0' * 64}'\nscopes = []", "$.keys[0].name"),
        ("[[keys]\n", "line 1"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, text: str, told: str) -> None:
    """What is wrong, and where, is in the one line of a start that fails."""
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as refused:
        opened(path)
    assert told in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_missing_file_names_the_command_that_makes_it(tmp_path: Path) -> None:
    """A start without the file fails with the way out."""
    with pytest.raises(SettingsError, match="infergraph keys create"):
        opened(tmp_path / "none.toml")


@pytest.mark.parametrize("name", ["", "a b", 'a"', "a\nb", "x" * 65, "-a"])
def test_names_that_cannot_stand_in_the_file_are_refused(tmp_path: Path, name: str) -> None:
    """A name cannot add lines or entries to the file."""
    with pytest.raises(SettingsError, match="cannot name a key"):
        keys.create(tmp_path / "keys.toml", name, [Scope.ADMIN])


def test_a_file_that_is_a_link_is_changed_where_it_lies(tmp_path: Path) -> None:
    """The link stays one."""
    place, link = tmp_path / "real" / "keys.toml", tmp_path / "keys.toml"
    place.parent.mkdir()
    os.symlink(place, link)
    key = keys.create(link, "me", [Scope.PREDICT])
    assert link.is_symlink()
    assert found(opened(place), key) == "me"
