"""`infergraph keys`, and what a start says about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from infergraph.cli.launch import plan_of
from infergraph.cli.main import infergraph
from infergraph.errors import SettingsError
from infergraph.settings import Settings


def run(folder: Path, *arguments: str) -> Result:
    more = ["--file", str(folder / "keys.toml")]
    return CliRunner().invoke(infergraph, ["keys", *arguments, *more], catch_exceptions=True)


def test_a_key_is_printed_alone_and_listed_without_it(tmp_path: Path) -> None:
    """Standard output is the key, so that a script can take it; the list has everything but the key."""
    made = run(tmp_path, "create", "me", "--scopes", "predict, tasks", "--expires", "90d")
    key = made.stdout.strip()
    assert key.startswith("ig_")
    assert "shown only now" in made.stderr
    listed = run(tmp_path, "list").stdout
    assert listed.startswith("me\t")
    assert "predict,tasks\texpires " in listed
    assert key not in listed
    (document,) = json.loads(run(tmp_path, "list", "--json").stdout)
    assert (document["name"], document["scopes"]) == ("me", ["predict", "tasks"])


def test_a_name_or_an_id_is_revoked(tmp_path: Path) -> None:
    """By its id one key goes, by the name all of it."""
    for _ in range(3):
        run(tmp_path, "create", "me")
    first = json.loads(run(tmp_path, "list", "--json").stdout)[0]["id"]
    assert run(tmp_path, "revoke", first).stderr.split() == ["revoked", "me", first]
    assert len(run(tmp_path, "revoke", "me").stderr.splitlines()) == 2
    assert run(tmp_path, "list").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["create", "me", "--scopes", "predcit"], "did you mean 'predict'?"),
        (["create", "me", "--scopes", ","], "name at least one"),
        (["create", "me", "--expires", "soon"], "--expires"),
        (["create", "me", "--expires", "9999999999d"], "--expires"),
        (["create", "a b"], "cannot name a key"),
        (["revoke", "nobody"], "has no key 'nobody'"),
    ],
)
def test_what_cannot_be_done_says_why(tmp_path: Path, arguments: list[str], told: str) -> None:
    """Wrong words end with a fault that names them, and leave no file."""
    result = run(tmp_path, *arguments)
    assert isinstance(result.exception, SettingsError)
    assert told in str(result.exception)
    assert not (tmp_path / "keys.toml").exists()


@pytest.mark.parametrize(
    ("host", "warns"), [("127.0.0.1", False), ("localhost", False), ("::1", False), ("0.0.0.0", True), ("::", True)]
)
def test_a_start_that_strangers_reach_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, warns: bool
) -> None:
    """One line, with the command that mends it, unless only this machine reaches the port, or keys are asked for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.py").write_text("class M: pass\n")
    lines = plan_of("m.py:M", Settings(host=host)).warnings
    assert [("infergraph keys create" in line, "--keys keys.toml" in line) for line in lines] == [(True, True)] * warns
    run(tmp_path, "create", "me")
    assert plan_of("m.py:M", Settings(host=host, keys="keys.toml")).warnings == ()


def test_a_start_without_the_file_of_keys_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt file does not leave the server open."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.py").write_text("class M: pass\n")
    with pytest.raises(SettingsError, match="there is no file none"):
        plan_of("m.py:M", Settings(keys="none.toml"))
