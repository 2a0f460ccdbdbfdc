"""Graph nodes around RE: one adds the candidate pairs of entities, one keeps the related pairs.

NER ──▶ CandidatePairs ──▶ RE ──▶ RelatedPairs
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from infergraph.errors import SettingsError
from infergraph_knowledge.authoring import About, RecordComponent, Rows
from infergraph_knowledge.records import Entity, EntityRecord, Pair, RelationRecord
from infergraph_knowledge.schema import NO_RELATION, SCHEMAS

_SENTENCES = re.compile(r"(?<=[。！？；!?;\n])|(?<=\.)(?=\s)")


class CandidatePairs(RecordComponent):
    """TRANSFORMER: adds to a record with entities the candidate pairs: those whose types some relation may join.

    A pair is asked about where both entities stand in one sentence; without the schema, three entities already make
    six pairs.

    Args:
        language: `zh` or `en`: whose relations.
        pairs_limit: most pairs of a record; the first in the order of the text are kept.
    """

    task = "candidate pairs"
    keys_in = ("data", "entity", "entity_type")
    keys_out = ("data", "entity", "entity_type", "entity_pair", "entity_type_pair")
    about = About(labels=("entity_pair", "entity_type_pair"), limits="relations across sentences are never asked about")

    def __init__(self, language: str = "zh", pairs_limit: int = 256) -> None:
        if language not in SCHEMAS:
            raise SettingsError(f"language is one of {', '.join(SCHEMAS)}, not {language!r}")
        self._schema = SCHEMAS[language]
        self._pairs_limit = pairs_limit

    def transform_input(self, X: object, names: object = None, meta: object = None) -> Any:
        """Answer a record, or a list of records, with the pairs to ask about."""
        return self.predict(X, names, meta)

    def answer_rows(self, rows: Rows) -> list[dict[str, Any]]:
        """A row with pairs for each row with entities."""
        records = [EntityRecord.read(row, rows.number(place)) for place, row in enumerate(rows.items)]
        return [record.with_pairs(self._pairs(record)) for record in records]

    def _pairs(self, record: EntityRecord) -> list[Pair]:
        entities = list(dict.fromkeys(record.entities))
        found: dict[Pair, None] = {}
        for sentence in _SENTENCES.split(record.data):
            present = [entity for entity in entities if entity.text and entity.text in sentence]
            for pair in self._related(present):
                found.setdefault(pair)
                if len(found) == self._pairs_limit:
                    return list(found)
        return list(found)

    def _related(self, entities: Sequence[Entity]) -> Iterator[Pair]:
        for one, other in combinations(entities, 2):
            for head, tail in ((one, other), (other, one)):
                types = self._schema.type_of(head.type), self._schema.type_of(tail.type)
                if head.text != tail.text and self._schema.relates(*types):
                    yield Pair(head.text, tail.text, head.type, tail.type)


class RelatedPairs(RecordComponent):
    """OUTPUT_TRANSFORMER: keeps the pairs of a record that have a relation, which gives a JE record.

    Args:
        no_relation: what RE calls a pair without one.
        keep_entities: keep the keys `entity` and `entity_type` that NER added.
    """

    task = "JE"
    keys_in = ("data", "entity_pair", "entity_type_pair", "relation")
    keys_out = ("data", "entity_pair", "entity_type_pair", "relation")
    about = About(labels=("entity_pair", "relation"))

    def __init__(self, no_relation: str = NO_RELATION, keep_entities: bool = True) -> None:
        self._no_relation = no_relation
        self._keep_entities = keep_entities

    def transform_output(self, X: object, names: object = None, meta: object = None) -> Any:
        """Answer a record, or a list of records, with only the related pairs."""
        return self.predict(X, names, meta)

    def answer_rows(self, rows: Rows) -> list[dict[str, Any]]:
        """A row with triples for each row with relations."""
        return [self._answer(RelationRecord.read(row, rows.number(place))) for place, row in enumerate(rows.items)]

    def _answer(self, record: RelationRecord) -> dict[str, Any]:
        row = record.with_triples([triple for triple in record.triples if triple.relation != self._no_relation])
        if not self._keep_entities:
            row = {key: value for key, value in row.items() if key not in ("entity", "entity_type")}
        return row
