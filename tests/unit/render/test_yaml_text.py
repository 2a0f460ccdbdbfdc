"""YAML with comments: what is written is read back by others, whatever the texts in it look like."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from infergraph.render.yaml_text import Noted, noted, plain, to_yaml

_TEXTS = st.one_of(
    st.text(max_size=12),
    st.text("ab:#-'\" \n\t,[]{}&*!|>%@`?~", max_size=8),
    st.sampled_from(["y", "No", "null", "~", "1e3", "0o7", "1_000", "12:30:45", "2001-01-01", ".inf", "=", "<<"]),
)
_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), _TEXTS)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXTS, inner, max_size=3))
)


@given(st.dictionaries(_TEXTS, _VALUES, min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_what_is_written_is_read_back(document: dict[str, Any]) -> None:
    """Any document of JSON's values reads back as it was, with comments and without."""
    assert yaml.safe_load(to_yaml(document)) == document
    commented = noted(document, "a: 'comment' # \"with\" marks")
    assert yaml.safe_load(to_yaml(commented)) == document
    assert plain(commented) == document


@pytest.mark.parametrize(
    "text", ["yes", "1", "1e3", "0x1F", "on", "null", "", " a", "a ", "a: b", "a #b", "-", "*a", "1.5"]
)
def test_texts_that_could_be_something_else_are_quoted(text: str) -> None:
    """A text that some reader takes for a number, a truth value or a mark of YAML stands in quotes."""
    value = to_yaml({"key": text}).removeprefix("key: ").rstrip("\n")
    assert value.startswith('"')
    assert value.endswith('"')


@pytest.mark.parametrize("text", ["500m", "512Mi", "4Gi", "example/app:1.0", "/live", "a b", "--fast", "http://a:80/b"])
def test_texts_that_cannot_are_not(text: str) -> None:
    """Quantities, images and paths stand as one writes them."""
    assert to_yaml({"key": text}) == f"key: {text}\n"


def test_the_shape_of_the_text() -> None:
    """Lists stand below their key, names first, texts of several lines as they are, comments behind their line."""
    document = {
        "items": [{"name": "a", "ports": [Noted(80, "default")], "env": {}}, [1, [2]]],
        "file": "one: 1\ntwo: 2\n",
        "json": '{"a":"b"}',
        "block": Noted({"x": 1}, "why"),
        "many": Noted([Noted({"z": 1}, "item")], "list"),
    }
    assert to_yaml(document) == (
        "items:\n- name: a\n  ports:\n  - 80  # default\n  env: {}\n- - 1\n  - - 2\n"
        "file: |\n  one: 1\n  two: 2\n"
        'json: \'{"a":"b"}\'\n'
        "block:  # why\n  x: 1\n"
        "many:  # list\n- z: 1  # item\n"
    )
