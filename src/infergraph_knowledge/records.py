"""Records of knowledge extraction: rows of JSON to typed values and back, with faults that name the record and the key.

    row ──read──▶ TextRecord | EntityRecord | PairRecord | RelationRecord ──with_…──▶ row

| task | row in | row out |
|---|---|---|
| NER | TextRecord | EntityRecord |
| RE | PairRecord | RelationRecord |
| JE | TextRecord | RelationRecord |

A record keeps the row it was read from: unknown keys are passed through, in their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import msgspec

from infergraph.errors import PayloadError

Row = Mapping[str, Any]


class Entity(NamedTuple):
    """A named entity: its text as it stands in the data, and its type."""

    text: str
    type: str


class Pair(NamedTuple):
    """Two entities whose relation is asked for; a type is empty if none was given."""

    head: str
    tail: str
    head_type: str = ""
    tail_type: str = ""


class Triple(NamedTuple):
    """A relation between two entities; a type is empty if none was given."""

    head: str
    relation: str
    tail: str
    head_type: str = ""
    tail_type: str = ""


class TextRecord(msgspec.Struct, frozen=True):
    """A row that holds a text: what NER and JE are asked with."""

    data: str
    source: Row

    @classmethod
    def read(cls, row: object, index: int | None = None) -> Self:
        """The record in `row`.

        Args:
            index: the row's place among its neighbours, for the text of a fault; None for a row alone.
        Raises: PayloadError naming the record and the key.
        """
        reader = _Reader.of(row, index)
        return cls(reader.text("data"), reader.row)

    def with_entities(self, entities: Sequence[Entity]) -> dict[str, Any]:
        """The answer of NER: the row with `entity` and `entity_type`."""
        return {
            **self.source,
            "entity": [entity.text for entity in entities],
            "entity_type": [entity.type for entity in entities],
        }

    def with_pairs(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        """The row with `entity_pair` and `entity_type_pair`: what RE is asked with."""
        row = dict(self.source)
        row["entity_pair"] = [[pair.head, pair.tail] for pair in pairs]
        row["entity_type_pair"] = [[pair.head_type, pair.tail_type] for pair in pairs]
        return row

    def with_triples(self, triples: Sequence[Triple]) -> dict[str, Any]:
        """The answer of JE: the row with `entity_pair`, `relation` and, where a type is known, `entity_type_pair`."""
        row = dict(self.source)
        row["entity_pair"] = [[triple.head, triple.tail] for triple in triples]
        row.pop("entity_type_pair", None)
        if any(triple.head_type or triple.tail_type for triple in triples):
            row["entity_type_pair"] = [[triple.head_type, triple.tail_type] for triple in triples]
        row["relation"] = [triple.relation for triple in triples]
        return row


class EntityRecord(TextRecord, frozen=True):
    """A row that NER answered."""

    entities: tuple[Entity, ...]

    @classmethod
    def read(cls, row: object, index: int | None = None) -> Self:
        """The record in `row`; see `TextRecord.read`."""
        reader = _Reader.of(row, index)
        data = reader.text("data")
        texts = reader.texts("entity")
        types = reader.texts("entity_type", length=len(texts), like="entity")
        return cls(data, reader.row, tuple(map(Entity, texts, types)))


class PairRecord(TextRecord, frozen=True):
    """A row that RE is asked with."""

    pairs: tuple[Pair, ...]

    @classmethod
    def read(cls, row: object, index: int | None = None) -> Self:
        """The record in `row`; see `TextRecord.read`."""
        reader = _Reader.of(row, index)
        return cls(reader.text("data"), reader.row, reader.typed_pairs())

    def with_relations(self, relations: Sequence[str]) -> dict[str, Any]:
        """The answer of RE: the row with `relation`, one for each pair."""
        return {**self.source, "relation": list(relations)}


class RelationRecord(TextRecord, frozen=True):
    """A row that RE or JE answered."""

    triples: tuple[Triple, ...]

    @classmethod
    def read(cls, row: object, index: int | None = None) -> Self:
        """The record in `row`; see `TextRecord.read`."""
        reader = _Reader.of(row, index)
        data = reader.text("data")
        pairs = reader.typed_pairs()
        relations = reader.texts("relation", length=len(pairs), like="entity_pair")
        triples = (
            Triple(pair.head, relation, pair.tail, pair.head_type, pair.tail_type)
            for pair, relation in zip(pairs, relations, strict=True)
        )
        return cls(data, reader.row, tuple(triples))


class _Reader(NamedTuple):
    """Reads the keys of one row."""

    row: Row
    number: int | None

    @classmethod
    def of(cls, row: object, number: int | None) -> _Reader:
        reader = cls(row if isinstance(row, Mapping) else {}, number)
        if not isinstance(row, Mapping):
            raise reader.fault(f"a record is an object with the key 'data', not {_kind(row)}")
        return reader

    def fault(self, text: str) -> PayloadError:
        return PayloadError(text if self.number is None else f"record {self.number}: {text}")

    def value(self, key: str) -> Any:
        if key not in self.row:
            raise self.fault(f"the key {key!r} is missing")
        return self.row[key]

    def text(self, key: str) -> str:
        value = self.value(key)
        if not isinstance(value, str):
            raise self.fault(f"{key!r} must be a string, not {_kind(value)}")
        return value

    def items(self, key: str, length: int | None, like: str) -> Sequence[Any]:
        value = self.value(key)
        if not isinstance(value, list | tuple):
            raise self.fault(f"{key!r} must be a list, not {_kind(value)}")
        if length is not None and len(value) != length:
            raise self.fault(f"{key!r} has {len(value)} items and {like!r} has {length}: they must be as many")
        return value

    def texts(self, key: str, *, length: int | None = None, like: str = "") -> list[str]:
        items = self.items(key, length, like)
        for place, item in enumerate(items):
            if not isinstance(item, str):
                raise self.fault(f"'{key}[{place}]' must be a string, not {_kind(item)}")
        return list(items)

    def pairs(self, key: str, *, length: int | None = None, like: str = "") -> list[Sequence[str]]:
        items = self.items(key, length, like)
        for place, item in enumerate(items):
            if not isinstance(item, list | tuple) or len(item) != 2 or not all(isinstance(x, str) for x in item):
                raise self.fault(f"'{key}[{place}]' must be a list of two strings, not {_shown(item)}")
        return list(items)

    def typed_pairs(self) -> tuple[Pair, ...]:
        pairs = self.pairs("entity_pair")
        if self.row.get("entity_type_pair") is None:
            return tuple(Pair(head, tail) for head, tail in pairs)
        types = self.pairs("entity_type_pair", length=len(pairs), like="entity_pair")
        return tuple(Pair(*pair, *kinds) for pair, kinds in zip(pairs, types, strict=True))


_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}


def _kind(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "a number"
    return _KINDS.get(type(value), f"a {type(value).__name__}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
