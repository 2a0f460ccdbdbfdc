"""YAML and JSON parsing: text to plain documents, with the line number of every path.

Values are those of the reference's YAML to JSON conversion: keys become text, dates stay text, and a repeated
key counts where it stands last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import yaml
from yaml.constructor import ConstructorError

from infergraph.errors import GraphError

_INDEX = re.compile(r"\[(\d+)\]")
_JSON_START = re.compile(r'\s*(\[\s*\{|\{)\s*"')


class Document(msgspec.Struct, frozen=True):
    """One document of a text: its value, its number from 0, and whether JSON's own reader read it."""

    value: Any
    number: int
    is_json: bool = False


def text_of(path: Path, source: str) -> str:
    """The text of a file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Args:
        source: the name of the file, for messages.
    Raises: GraphError if it cannot be read, or is in none of them; it names the first line that is not.
    Source: YAML 1.2, section 5.2.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise GraphError(f"{source} cannot be read: {error.strerror or error}") from error
    encoding = json.detect_encoding(content)
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        named = encoding.upper().removesuffix("-SIG")
        where = f"byte {error.start}, line {line}"
        raise GraphError(f"{source} is not {named} text ({where}); save it as UTF-8") from error


def parse(text: str, *, source: str) -> list[Document]:
    """The documents of `text` that hold anything, in order.

    Raises:
        GraphError: the text is neither YAML nor JSON; it names `source`, line and column.
    """
    text = text.removeprefix("\ufeff")
    json_fault: json.JSONDecodeError | None = None
    if text.lstrip()[:1] in ("{", "["):
        try:
            return [Document(json.loads(text, object_pairs_hook=_last_wins), 0, is_json=True)]
        except json.JSONDecodeError as error:
            json_fault = error  # a YAML flow mapping begins the same way
        except RecursionError:
            raise GraphError(f"{source}: nested too deeply to be a graph") from None
    try:
        values = list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        if json_fault is not None and _JSON_START.match(text):
            raise GraphError(
                f"{source}:{json_fault.lineno}:{json_fault.colno}: neither JSON nor YAML: {json_fault.msg}"
            ) from None
        raise GraphError(f"{_mark(source, error)}: {_what(error)}") from None  # the text says it all
    except RecursionError:
        raise GraphError(f"{source}: nested too deeply to be a graph") from None
    return [Document(value, number) for number, value in enumerate(values) if value is not None]


class Lines:
    """The line numbers of places in the documents of a text; it is composed once, when it is first asked."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def _roots(self) -> list[yaml.Node | None]:
        try:
            return list(yaml.compose_all(self._text, Loader=_LinesLoader))
        except (yaml.YAMLError, RecursionError):
            return []

    def of(self, document: int, field: str) -> int:
        """The line, from 1, of a place in document number `document`; 0 if it is not known.

        Args:
            field: the place as messages spell it, `spec.predictors[0].graph.children[1]`; a child of a node may be
                given by its index alone, `graph[1]`. A key may hold dots. One that leads further than the document
                does gives the line of the last place that exists.
        """
        root = self._roots[document] if document < len(self._roots) else None
        if root is None:
            return 0
        node, line, rest = root, root.start_mark.line, field
        while rest:
            found = _step(node, rest)
            if found is None:
                break
            line, node, rest = found
        return int(line) + 1


def _step(node: yaml.Node, field: str) -> tuple[int, yaml.Node, str] | None:
    """The line of the first part of `field` in `node`, the member there, and the rest of the field.

    A later duplicate wins, upper and lower case are one.
    """
    index = _INDEX.match(field)
    if index is not None:
        if isinstance(node, yaml.MappingNode):
            return _step(node, f"children{field}")
        place = int(index[1])
        if not isinstance(node, yaml.SequenceNode) or place >= len(node.value):
            return None
        return node.value[place].start_mark.line, node.value[place], field[index.end() :].removeprefix(".")
    found = None
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        name = key.value.lower() if isinstance(key, yaml.ScalarNode) else ""
        is_first = name and field.lower().startswith(name) and field[len(name) : len(name) + 1] in ("", ".", "[")
        if is_first and (found is None or len(name) >= found[0]):
            found = len(name), key.start_mark.line, value
    if found is None:
        return None
    length, line, value = found
    return line, value, field[length:].removeprefix(".")


def _last_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dict in the order of each key's last appearance, so that the later of `Name` and `name` wins."""
    members: dict[str, Any] = {}
    for key, value in pairs:
        members.pop(key, None)
        members[key] = value
    return members


_LinesLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast; the text has been read before


class _Loader(yaml.SafeLoader):
    """The safe loader with JSON's idea of keys and without dates.

    In Python, not the C library's: a document nested without end must raise, not overflow the C stack.
    """


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[str, Any]:
    loader.flatten_mapping(node)
    pairs = []
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable) or isinstance(key, tuple | bytes):
            raise ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
        text = key if isinstance(key, str) else json.dumps(key)
        pairs.append((text, loader.construct_object(value_node, deep=True)))
    return _last_wins(pairs)


def _written(loader: Any, node: yaml.ScalarNode) -> str:
    text: str = node.value
    return text


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _written)


def _mark(source: str, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return source if mark is None else f"{source}:{mark.line + 1}:{mark.column + 1}"


def _what(error: yaml.YAMLError) -> str:
    parts = [getattr(error, name, None) for name in ("context", "problem")]
    return "; ".join(part for part in parts if part) or " ".join(str(error).split())
