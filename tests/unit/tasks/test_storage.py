"""Where tasks are kept: what the settings name, and what is said when it cannot be used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from infergraph.errors import MissingExtra, SettingsError
from infergraph.settings import Settings
from infergraph.tasks.sqlite import SqliteStore
from infergraph.tasks.storage import folder_identity, open_files, open_postgres, open_store, prepare_shared, unit_name

URL = "postgresql://u:hidden-word@h/d"


def test_without_settings_all_is_in_the_data_folder(tmp_path: Path) -> None:
    """A store in a file and the tasks' files beside it; `task_files` moves the files alone."""
    settings = Settings(data_dir=str(tmp_path / "data"))
    data = open_files(settings)
    assert (data.tasks.parent, data.database.parent) == (tmp_path / "data", tmp_path / "data")
    store = open_store(settings, data)
    assert isinstance(store, SqliteStore)
    store.close()
    apart = open_files(Settings(data_dir=str(tmp_path / "data"), task_files=str(tmp_path / "files")))
    assert (apart.tasks.parent, apart.wake.parent) == (tmp_path / "files", tmp_path / "data")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what to install."""
    monkeypatch.setitem(sys.modules, "infergraph.tasks.postgres", None)
    with pytest.raises(MissingExtra, match=r"pip install 'infergraph\[postgres\]'") as caught:
        open_postgres(URL, lease_s=1.0)
    assert "hidden-word" not in caught.value.text


def test_a_shared_store_needs_shared_files() -> None:
    """Without a folder for them, machines would not find each other's files."""
    with pytest.raises(SettingsError, match="task_store needs task_files"):
        prepare_shared(Settings(task_store=URL), "model.py:Model")


def test_a_target_has_one_name_on_all_machines() -> None:
    """The folder of its file does not count."""
    assert unit_name("/srv/a/model.py:Model") == unit_name("model.py:Model") == "model.py:Model"
    assert unit_name("models/graph.yaml") == "graph.yaml"
    assert unit_name("package.module:Model") == "package.module:Model"


def test_a_folder_keeps_its_identity(tmp_path: Path) -> None:
    """It is made once, and another folder has another one."""
    (tmp_path / "other").mkdir()
    assert folder_identity(tmp_path) == folder_identity(tmp_path)
    assert folder_identity(tmp_path) != folder_identity(tmp_path / "other")
    assert len(list(tmp_path.iterdir())) == 2
