"""Candidate pairs by types, and the related ones among them."""

from __future__ import annotations

import pytest

from infergraph.errors import PayloadError, SettingsError
from infergraph_knowledge.candidates import CandidatePairs, RelatedPairs


def record(data: str, *entities: tuple[str, str]) -> dict:
    """A row that NER answered."""
    return {"data": data, "entity": [text for text, _ in entities], "entity_type": [kind for _, kind in entities]}


def test_only_pairs_that_a_relation_may_join_are_asked_about():
    """A work and its people, but never two works' people with each other by the way round that no relation has."""
    row = record("《三体》刘慈欣 重庆出版社", ("三体", "作品"), ("刘慈欣", "人物"), ("重庆出版社", "机构"))
    answer = CandidatePairs().transform_input({**row, "id": 5})
    assert answer["entity_pair"] == [
        ["三体", "刘慈欣"],
        ["三体", "重庆出版社"],
        ["刘慈欣", "重庆出版社"],
        ["重庆出版社", "刘慈欣"],
    ]
    assert answer["entity_type_pair"][0] == ["作品", "人物"]
    assert answer["id"] == 5


def test_pairs_stand_in_one_sentence():
    """Entities of different sentences make no pair."""
    row = record("甲走了。乙来了。", ("甲", "人物"), ("乙", "人物"))
    assert CandidatePairs().transform_input(row)["entity_pair"] == []


def test_no_entity_is_paired_with_itself_nor_a_pair_asked_twice():
    """A name that stands twice, or has two types, makes no pair with itself and none twice."""
    row = record("甲和乙，甲和乙。", ("甲", "人物"), ("乙", "人物"), ("甲", "人物"), ("甲", "机构"))
    pairs = [tuple(pair) for pair in CandidatePairs().transform_input(row)["entity_pair"]]
    assert ("甲", "甲") not in pairs
    typed = list(zip(pairs, map(tuple, CandidatePairs().transform_input(row)["entity_type_pair"]), strict=True))
    assert len(typed) == len(set(typed))


def test_types_are_understood_by_code_and_in_english():
    """Whatever NER calls its types, the schema is found; an unknown type makes no pair."""
    row = record("Ann founded Acme", ("Ann", "PERSON"), ("Acme", "org"), ("founded", "verb"))
    assert CandidatePairs("en").transform_input(row)["entity_pair"] == [["Ann", "Acme"], ["Acme", "Ann"]]


def test_the_number_of_pairs_is_bounded():
    """A record has no more pairs than the limit."""
    people = [(chr(0x4E00 + place), "人物") for place in range(30)]
    row = record("".join(name for name, _ in people), *people)
    assert len(CandidatePairs(pairs_limit=7).transform_input(row)["entity_pair"]) == 7


def test_an_unknown_language_is_refused():
    """A language without a schema is told at construction."""
    with pytest.raises(SettingsError, match="language is one of zh, en, not 'fr'"):
        CandidatePairs("fr")


def test_a_record_that_ner_did_not_answer_is_named():
    """The fault says which record lacks its entities."""
    with pytest.raises(PayloadError, match=r"^record 1: the key 'entity' is missing$"):
        CandidatePairs().transform_input([record("x"), {"data": "y"}])


def test_only_related_pairs_are_left():
    """Pairs without a relation go, with their types; everything else stays."""
    row = {
        **record("…", ("a", "人物"), ("b", "人物")),
        "id": "x",
        "entity_pair": [["a", "b"], ["b", "a"]],
        "entity_type_pair": [["人物", "人物"], ["人物", "人物"]],
        "relation": ["unknown", "丈夫"],
    }
    answer = RelatedPairs().transform_output([row])[0]
    assert answer == {
        **row,
        "entity_pair": [["b", "a"]],
        "entity_type_pair": [["人物", "人物"]],
        "relation": ["丈夫"],
    }
    assert RelatedPairs(keep_entities=False).transform_output(row).keys() == row.keys() - {"entity", "entity_type"}
