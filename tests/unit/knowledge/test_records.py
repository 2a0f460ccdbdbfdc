"""Records: what they read, what they refuse and how they name it, and what travels through."""

from __future__ import annotations

import pytest

from infergraph.errors import PayloadError
from infergraph_knowledge import Entity, EntityRecord, Pair, PairRecord, RelationRecord, TextRecord, Triple


def test_unknown_keys_travel_through_in_their_order():
    """Keys that nobody here knows stand in the answer as they came, before what is added."""
    row = {"id": 9007199254740993, "data": "北京", "mine": {"b": [1, None], "a": "x"}}
    answer = TextRecord.read(row).with_entities([Entity("北京", "地点")])
    assert list(answer.items()) == [*row.items(), ("entity", ["北京"]), ("entity_type", ["地点"])]


def test_reading_changes_nothing_of_the_callers_row():
    """The row that was read is not the row that is answered."""
    row = {"data": "a", "entity_pair": [["a", "b"]]}
    PairRecord.read(row).with_relations(["r"])
    TextRecord.read(row).with_triples([])
    assert row == {"data": "a", "entity_pair": [["a", "b"]]}


def test_ner_answer_reads_back():
    """What NER wrote is read as the same entities."""
    entities = (Entity("鲁迅", "人物"), Entity("绍兴", "地点"))
    assert EntityRecord.read(TextRecord.read({"data": "鲁迅，绍兴人"}).with_entities(entities)).entities == entities


def test_re_pairs_need_no_types():
    """The types of a pair are optional, and null means not given."""
    row = {"data": "t", "entity_pair": [["a", "b"], ["b", "a"]], "entity_type_pair": None}
    assert PairRecord.read(row).pairs == (Pair("a", "b"), Pair("b", "a"))


def test_typed_triples_read_back():
    """What JE wrote is read as the same triples, types included."""
    triples = (Triple("三体", "作者", "刘慈欣", "作品", "人物"), Triple("三体", "出版社", "重庆出版社", "作品", "机构"))
    assert RelationRecord.read(TextRecord.read({"data": "t"}).with_triples(triples)).triples == triples


def test_triples_without_types_say_nothing_of_types():
    """No type known means no `entity_type_pair`, not even one left over from the row that was asked."""
    row = {"data": "t", "entity_type_pair": [["x", "y"], ["x", "y"]]}
    assert TextRecord.read(row).with_triples([Triple("a", "r", "b")]) == {
        "data": "t",
        "entity_pair": [["a", "b"]],
        "relation": ["r"],
    }


@pytest.mark.parametrize(
    ("kind", "row", "text"),
    [
        (TextRecord, [], "record 4: a record is an object with the key 'data', not a list"),
        (TextRecord, None, "record 4: a record is an object with the key 'data', not null"),
        (TextRecord, {}, "record 4: the key 'data' is missing"),
        (TextRecord, {"data": 5}, "record 4: 'data' must be a string, not a number"),
        (TextRecord, {"data": True}, "record 4: 'data' must be a string, not a boolean"),
        (EntityRecord, {"data": "", "entity": ["a"]}, "record 4: the key 'entity_type' is missing"),
        (
            EntityRecord,
            {"data": "", "entity": ["a"], "entity_type": []},
            "record 4: 'entity_type' has 0 items and 'entity' has 1: they must be as many",
        ),
        (
            EntityRecord,
            {"data": "", "entity": ["a", 2], "entity_type": ["x", "y"]},
            "record 4: 'entity[1]' must be a string, not a number",
        ),
        (PairRecord, {"data": "", "entity_pair": {}}, "record 4: 'entity_pair' must be a list, not an object"),
        (
            PairRecord,
            {"data": "", "entity_pair": [["a", "b"], ["a"]]},
            "record 4: 'entity_pair[1]' must be a list of two strings, not ['a']",
        ),
        (
            PairRecord,
            {"data": "", "entity_pair": ["ab"]},
            "record 4: 'entity_pair[0]' must be a list of two strings, not 'ab'",
        ),
        (
            PairRecord,
            {"data": "", "entity_pair": [["a", "b"]], "entity_type_pair": []},
            "record 4: 'entity_type_pair' has 0 items and 'entity_pair' has 1: they must be as many",
        ),
        (
            RelationRecord,
            {"data": "", "entity_pair": [["a", "b"]], "relation": [None]},
            "record 4: 'relation[0]' must be a string, not null",
        ),
    ],
)
def test_a_fault_names_the_record_and_the_key(kind, row, text):
    """Whatever is wrong with a row, the fault says in which record and at which key."""
    with pytest.raises(PayloadError) as caught:
        kind.read(row, 4)
    assert str(caught.value) == text


def test_a_record_alone_is_not_numbered():
    """The fault of a record without neighbours names the key alone."""
    with pytest.raises(PayloadError, match=r"^the key 'data' is missing$"):
        TextRecord.read({})
