"""Logic does not ask for the spelling: no class of a codec is named outside `wire`."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from infergraph import wire
from infergraph.message import Feedback, Message

SOURCE = Path(__file__).parents[2] / "src"
OUTSIDE = [path for path in SOURCE.rglob("*.py") if "infergraph/wire/" not in path.as_posix()]


def codec_classes() -> set[str]:
    """The names of all kinds of message and feedback that `wire` defines, and of lists of them."""
    modules = [
        importlib.import_module(f"infergraph.wire.{found.name}") for found in pkgutil.iter_modules(wire.__path__)
    ]
    found = {name for module in modules for name, _ in inspect.getmembers(module, _is_codec_class)}
    return found | {"JsonMessages"}


def _is_codec_class(found: object) -> bool:
    return (
        inspect.isclass(found)
        and issubclass(found, Message | Feedback)
        and found.__module__.startswith("infergraph.wire")
    )


def names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_codec_class_is_named_outside_wire(path: Path) -> None:
    """A further spelling of messages is a codec, and changes nothing that only passes messages on."""
    assert not codec_classes() & set(names(path))


def test_the_check_knows_the_codecs() -> None:
    """The classes that are looked for are those of all codecs."""
    assert codec_classes() >= {"JsonMessage", "ProtoMessage", "NpyMessage", "JsonFeedback", "ProtoFeedback"}
