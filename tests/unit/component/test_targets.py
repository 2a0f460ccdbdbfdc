"""Targets: finding and constructing what is served."""

import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infergraph.component import construct, find
from infergraph.component.targets import FORMER_ADDRESSES
from infergraph.errors import TargetError


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of user modules; what was imported from it is forgotten afterwards."""
    before, path = set(sys.modules), list(sys.path)
    (tmp_path / "Bare.py").write_text("class Bare:\n    def predict(self, X): return X\n")
    (tmp_path / "two_models.py").write_text(
        "import neighbour\n\nclass A:\n    def predict(self, X): return X\n\nclass B(A):\n    pass\n\n"
        "def factory(n=1):\n    return B()\n\nready = B()\n"
    )
    (tmp_path / "neighbour.py").write_text("value = 1\n")
    (tmp_path / "json.py").write_text("class Json:\n    def predict(self, X): return X\n")
    (tmp_path / "broken.py").write_text("import not_installed_anywhere\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "inner.py").write_text("class C:\n    def predict(self, X): return X\n")
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]
    sys.path[:] = path


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("Bare", "Bare"),
        ("Bare.py", "Bare"),
        ("two_models:B", "B"),
        ("two_models.B", "B"),
        ("two_models.py:B", "B"),
        ("package.inner.C", "C"),
        ("package.inner:C", "C"),
        ("package/inner.py", "C"),
        ("json.py:Json", "Json"),
        ("package/inner", "C"),
        ("./Bare", "Bare"),
        ("package/inner:C", "C"),
    ],
)
def test_every_form_of_target_is_found(folder: Path, target: str, name: str) -> None:
    """Module, file, dotted and bare targets name their class, with the file's own imports working."""
    assert find(target, folder).__name__ == name


def test_a_file_named_like_a_module_does_not_replace_it(folder: Path) -> None:
    """A user's json.py is served, and the standard library's json stays what it was."""
    import json

    find("json.py:Json", folder)
    assert sys.modules["json"] is json


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nowhere:A", ["nowhere"]),
        ("two_models:Z", ["'Z'", "A, B"]),
        ("nofile.py:A", ["nofile.py"]),
        ("two_models.py", ["two_models.py:NAME", "A, B"]),
        ("./package", ["is a folder", "inner.py"]),
    ],
)
def test_what_is_not_there_is_named(folder: Path, target: str, words: list[str]) -> None:
    """A missing file, module or class is a TargetError that says what is there instead."""
    with pytest.raises(TargetError) as caught:
        find(target, folder)
    assert all(word in str(caught.value) for word in words)


def test_the_users_own_import_error_is_the_users(folder: Path) -> None:
    """A module that fails on an import of its own raises that error, not ours."""
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        find("broken:A", folder)


def test_classes_factories_and_objects_are_constructed(folder: Path) -> None:
    """A class or factory is called with the parameters; an object is taken as it is, and takes none."""
    assert type(construct(find("two_models:factory", folder), {"n": 2}, "t")).__name__ == "B"
    assert type(construct(find("two_models:ready", folder), {}, "t")).__name__ == "B"
    with pytest.raises(TargetError, match="takes no parameters: n"):
        construct(find("two_models:ready", folder), {"n": 2}, "t")
    with pytest.raises(TargetError, match="unexpected keyword argument 'm'"):
        construct(find("two_models:factory", folder), {"m": 2}, "t")


def test_a_file_is_loaded_once_however_many_ask(folder: Path) -> None:
    """Threads that ask for classes of one file at the same time all get them, from one module."""
    (folder / "slow_file.py").write_text(
        "import threading\nthreading.Event().wait(0.2)\n\nclass A:\n    pass\n\nclass B:\n    pass\n"
    )
    gate = threading.Barrier(4)
    found = []

    def ask(name: str) -> None:
        gate.wait()
        found.append(find(f"slow_file.py:{name}", folder))

    threads = [threading.Thread(target=ask, args=(name,)) for name in "ABAB"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 2


def test_files_of_one_name_in_several_folders_stay_apart(folder: Path) -> None:
    """Files of one name in different folders are modules of their own, each loaded once."""
    for number in range(3):
        (folder / f"f{number}").mkdir()
        (folder / f"f{number}" / "same.py").write_text(f"class A:\n    number = {number}\n")
    classes = [find("same.py:A", folder / f"f{number}") for number in range(3)]
    assert [found.number for found in classes] == [0, 1, 2]
    assert classes == [find("same.py:A", folder / f"f{number}") for number in range(3)]


@pytest.mark.parametrize("former", FORMER_ADDRESSES)
def test_former_addresses_of_our_own_components_are_known(former: str) -> None:
    """A deployment file that names one of our components as it was called before still gets it."""
    current = importlib.import_module(FORMER_ADDRESSES[former])
    name = next(name for name, found in vars(current).items() if isinstance(found, type))
    assert find(f"{former}:{name}") is getattr(current, name)
