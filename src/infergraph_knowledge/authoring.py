"""What an author of an endpoint writes: one small method; these classes make a component of it.

    a record · a list of records · text        rows
    (REST, gRPC, graph node, task) ──────────▶ read ──▶ the author's method ──▶ check ──▶ a row for each row

The classes have only the component hooks (`load`, `predict`, `init_metadata`), so anything that serves components
serves them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np

import infergraph
from infergraph.errors import ComponentError, PayloadError
from infergraph_knowledge.examples import example_record
from infergraph_knowledge.records import Entity, Pair, PairRecord, TextRecord, Triple


class About(msgspec.Struct, frozen=True, kw_only=True):
    """A description of a component for its metadata.

    Args:
        labels: the entity types or relations that it can answer.
        accuracy: a figure with the data it was measured on.
        limits: what it does badly.
        source: where its weights come from.
    """

    version: str = infergraph.__version__
    platform: str = "python"
    labels: Sequence[str] = ()
    licence: str = ""
    accuracy: str = ""
    limits: str = ""
    source: str = ""


class Rows(NamedTuple):
    """The records of one request, and whether it was a record alone (which is answered alone)."""

    items: Sequence[object]
    alone: bool

    @classmethod
    def of(cls, payload: object) -> Rows:
        """The records in what a hook was given.

        Args:
            payload: a record, a text, or a list or array of either; an array may have one column.
        Raises: PayloadError for anything else.
        """
        if isinstance(payload, str | Mapping):
            return cls([_row(payload)], alone=True)
        if isinstance(payload, np.ndarray):
            payload = payload.tolist()
        if not isinstance(payload, list | tuple):
            kind = type(payload).__name__
            raise PayloadError(f"expected a record with the key 'data', a text, or a list of either, not {kind}")
        return cls([_row(item) for item in payload], alone=False)

    def number(self, place: int) -> int | None:
        """How a fault names the record at `place`; None for a record alone."""
        return place if len(self.items) > 1 else None

    def answer(self, rows: list[dict[str, Any]]) -> Any:
        """What the hook returns: one row for a record alone, else the list."""
        return rows[0] if self.alone else rows


def _row(item: object) -> object:
    if isinstance(item, list | tuple) and len(item) == 1:
        item = item[0]
    return {"data": item} if isinstance(item, str) else item


class RecordComponent:
    """A component that answers each record of a request with a record."""

    about: ClassVar[About] = About()
    task: ClassVar[str] = ""
    keys_in: ClassVar[tuple[str, ...]] = ("data",)
    keys_out: ClassVar[tuple[str, ...]] = ("data",)

    def load(self) -> None:
        """Load the weights: here, not in the constructor."""

    def answer_rows(self, rows: Rows) -> list[dict[str, Any]]:
        """A row for each row."""
        raise NotImplementedError(f"{type(self).__name__} has no answer_rows method")

    def predict(self, X: object, names: object = None, meta: object = None) -> Any:
        """Answer a record, a list of records, or text.

        Raises: PayloadError naming the record and the key; ComponentError if the author's method gave no fit answer.
        """
        rows = Rows.of(X)
        return rows.answer(self.answer_rows(rows))

    def init_metadata(self) -> dict[str, Any]:
        """The component's metadata, with what `about` says under `custom`."""
        about = self.about
        example = example_record(self.keys_in, about.labels)
        custom = {
            "task": self.task,
            "labels": " ".join(about.labels),
            "licence": about.licence,
            "accuracy": about.accuracy,
            "limits": about.limits,
            "source": about.source,
        }
        return {
            "name": type(self).__name__,
            "versions": [about.version],
            "platform": about.platform,
            "inputs": [{"messagetype": "jsonData", "schema": {**record_schema(self.keys_in), "examples": [example]}}],
            "outputs": [{"messagetype": "jsonData", "schema": record_schema(self.keys_out)}],
            "custom": {key: text for key, text in custom.items() if text},
        }


_STRINGS = {"type": "array", "items": {"type": "string"}}
_STRING_PAIRS = {"type": "array", "items": {**_STRINGS, "minItems": 2, "maxItems": 2}}
_KEY_SCHEMAS = {
    "data": {"type": "string"},
    "entity": _STRINGS,
    "entity_type": _STRINGS,
    "entity_pair": _STRING_PAIRS,
    "entity_type_pair": _STRING_PAIRS,
    "relation": _STRINGS,
}
_OPTIONAL = frozenset({"entity_type_pair"})


def record_schema(keys: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of a record that has `keys`."""
    return {
        "type": "object",
        "properties": {key: _KEY_SCHEMAS[key] for key in keys},
        "required": [key for key in keys if key not in _OPTIONAL],
    }


class EntityExtractor(RecordComponent):
    """NER: write `extract`."""

    task = "NER"
    keys_out = ("data", "entity", "entity_type")

    def extract(self, texts: list[str]) -> Sequence[Sequence[tuple[str, str]]]:
        """The entities of each text, as (text, type) in the order in which they stand.

        Args:
            texts: at least one; the answer has one item for each.
        """
        raise NotImplementedError(f"{type(self).__name__} has no extract method")

    def answer_rows(self, rows: Rows) -> list[dict[str, Any]]:
        """A row with entities for each row with a text."""
        records = [TextRecord.read(row, rows.number(place)) for place, row in enumerate(rows.items)]
        found = _as_many("extract", self.extract([record.data for record in records]) if records else [], records)
        return [
            record.with_entities([Entity(*strings) for strings in _tuples("extract", place, entities, (2,))])
            for place, (record, entities) in enumerate(zip(records, found, strict=True))
        ]


class RelationClassifier(RecordComponent):
    """RE: write `relate`."""

    task = "RE"
    keys_in = ("data", "entity_pair", "entity_type_pair")
    keys_out = ("data", "entity_pair", "entity_type_pair", "relation")

    def relate(self, text: str, pairs: Sequence[Pair]) -> Sequence[str]:
        """The relation of each pair in `text`.

        Args:
            pairs: at least one, each with `head`, `tail`, and `head_type`, `tail_type` (empty where not given).
        """
        raise NotImplementedError(f"{type(self).__name__} has no relate method")

    def relate_many(self, texts: list[str], pairs: list[Sequence[Pair]]) -> Sequence[Sequence[str]]:
        """The relations of each text's pairs. Write this instead of `relate` where many texts at once are faster.

        Args:
            texts: at least one.
            pairs: for each text at least one.
        """
        return [self.relate(text, asked) for text, asked in zip(texts, pairs, strict=True)]

    def answer_rows(self, rows: Rows) -> list[dict[str, Any]]:
        """A row with relations for each row with pairs."""
        records = [PairRecord.read(row, rows.number(place)) for place, row in enumerate(rows.items)]
        asked = [record for record in records if record.pairs]
        texts, pairs = [record.data for record in asked], [record.pairs for record in asked]
        answers = _as_many("relate", self.relate_many(texts, list(pairs)) if asked else [], asked)
        found = iter(
            [_relations(text, wanted, answer) for text, wanted, answer in zip(texts, pairs, answers, strict=True)]
        )
        return [record.with_relations(next(found) if record.pairs else []) for record in records]


class JointExtractor(RecordComponent):
    """JE: write `extract_relations`."""

    task = "JE"
    keys_out = ("data", "entity_pair", "entity_type_pair", "relation")

    def extract_relations(self, texts: list[str]) -> Sequence[Sequence[tuple[str, ...]]]:
        """The triples of each text, as (head, relation, tail) or (head, relation, tail, head type, tail type).

        Args:
            texts: at least one; the answer has one item for each.
        """
        raise NotImplementedError(f"{type(self).__name__} has no extract_relations method")

    def answer_rows(self, rows: Rows) -> list[dict[str, Any]]:
        """A row with triples for each row with a text."""
        records = [TextRecord.read(row, rows.number(place)) for place, row in enumerate(rows.items)]
        name = "extract_relations"
        found = _as_many(name, self.extract_relations([record.data for record in records]) if records else [], records)
        return [
            record.with_triples([Triple(*strings) for strings in _tuples(name, place, triples, (3, 5))])
            for place, (record, triples) in enumerate(zip(records, found, strict=True))
        ]


def _as_many(method: str, answers: object, asked: Sequence[Any]) -> Sequence[Any]:
    if not isinstance(answers, list | tuple):
        raise ComponentError(f"{method} must give a list, not {type(answers).__name__}")
    if len(answers) != len(asked):
        raise ComponentError(f"{method} gave {len(answers)} answers where {len(asked)} were asked for")
    return answers


def _relations(text: str, pairs: Sequence[Pair], answer: object) -> Sequence[str]:
    relations = _as_many(f"relate, for the pairs of {text[:20]!r},", answer, pairs)
    for relation in relations:
        if not isinstance(relation, str):
            raise ComponentError(f"relate must give strings; for the pairs of {text[:20]!r} it gave {relation!r}")
    return relations


def _tuples(method: str, place: int, items: object, lengths: Sequence[int]) -> Sequence[tuple[str, ...]]:
    if not isinstance(items, list | tuple):
        raise ComponentError(f"{method} must give a list for each text; for text {place} it gave {items!r}")
    for item in items:
        if not isinstance(item, list | tuple) or len(item) not in lengths or not all(isinstance(x, str) for x in item):
            wanted = " or ".join(map(str, lengths))
            raise ComponentError(f"{method} must give tuples of {wanted} strings; for text {place} it gave {item!r}")
    return items
