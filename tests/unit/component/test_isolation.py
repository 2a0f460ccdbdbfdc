"""The process of a node that has it for itself, while its graph is loaded anew beside itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from infergraph.component.isolation import ProcessScope

NAME = "INFERGRAPH_TEST_SCOPE"


@pytest.fixture
def process() -> Iterator[ProcessScope]:
    before = os.getcwd()
    yield ProcessScope()
    os.chdir(before)
    os.environ.pop(NAME, None)


@pytest.mark.parametrize("ends", ["first", "second"])
def test_the_one_that_is_left_has_the_process(process: ProcessScope, tmp_path: Path, ends: str) -> None:
    """Whichever of two scopes ends, variables and working directory are the other's; after both, those before."""
    folders = {name: tmp_path / name for name in ("first", "second")}
    before = os.getcwd()
    for name, folder in folders.items():
        folder.mkdir()
        process.hold(name, {NAME: name}, str(folder))
    assert (os.environ[NAME], os.getcwd()) == ("second", str(folders["second"]))
    left = "second" if ends == "first" else "first"
    process.release(ends)
    process.release(ends)
    assert (os.environ[NAME], os.getcwd()) == (left, str(folders[left]))
    process.release(left)
    assert NAME not in os.environ
    assert os.getcwd() == before
