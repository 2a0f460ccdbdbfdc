"""The classes that an author extends: what they accept, what they answer, and what they refuse of the author."""

from __future__ import annotations

import numpy as np
import pytest

from infergraph.component import metadata
from infergraph.errors import ComponentError, PayloadError
from infergraph_knowledge import About, EntityExtractor, JointExtractor, RelationClassifier


class Capitals(EntityExtractor):
    """Finds two towns."""

    about = About(labels=("town",), licence="MIT", limits="knows two towns")

    def extract(self, texts):
        return [[(town, "town") for town in ("Rome", "Paris") if town in text] for text in texts]


class Mother(RelationClassifier):
    """Says that the first of a pair has the second as mother, where she is called so."""

    def relate(self, text, pairs):
        return ["mother" if f"mother of {pair.head}" in text else f"{pair.head_type}?" for pair in pairs]


class Author(JointExtractor):
    """Reads `X by Y`."""

    def extract_relations(self, texts):
        return [[(head, "author", tail)] if by else [] for head, by, tail in (text.partition(" by ") for text in texts)]


ROW = {"id": 1, "data": "Rome is old"}
ANSWER = {"id": 1, "data": "Rome is old", "entity": ["Rome"], "entity_type": ["town"]}


@pytest.mark.parametrize("rows", [[ROW], (ROW,), np.array([ROW], object), np.array([[ROW]], object)])
def test_many_records_are_answered_with_as_many(rows):
    """A list or an array of records, also of one column, is answered with a list of records."""
    assert Capitals().predict(rows) == [ANSWER]


def test_a_record_alone_is_answered_alone():
    """An object is answered with an object."""
    assert Capitals().predict(ROW, [], meta={}) == ANSWER


@pytest.mark.parametrize("texts", [["in Paris", "x"], np.array(["in Paris", "x"]), np.array([["in Paris"], ["x"]])])
def test_texts_are_records_without_keys(texts):
    """Bare texts, in a list or an array, are answered with records."""
    assert Capitals().predict(texts) == [
        {"data": "in Paris", "entity": ["Paris"], "entity_type": ["town"]},
        {"data": "x", "entity": [], "entity_type": []},
    ]


def test_one_text_is_answered_with_one_record():
    """What came as strData is answered with one record."""
    assert Capitals().predict("Rome")["entity"] == ["Rome"]


def test_relations_are_asked_only_where_there_are_pairs():
    """A row without pairs is answered without the author; the others keep their places."""
    rows = [
        {"data": "x", "entity_pair": []},
        {"data": "Eve, mother of Abel", "entity_pair": [["Abel", "Eve"], ["Eve", "Abel"]]},
        {"data": "y", "entity_pair": [["a", "b"]], "entity_type_pair": [["man", "man"]]},
    ]
    assert [row["relation"] for row in Mother().predict(rows)] == [[], ["mother", "?"], ["man?"]]


def test_triples_of_three_and_of_five_strings():
    """An author may give types with a triple or leave them out."""

    class Typed(JointExtractor):
        def extract_relations(self, texts):
            return [[("a", "r", "b", "x", "y")] for _ in texts]

    assert Author().predict("Emma by Austen") == {
        "data": "Emma by Austen",
        "entity_pair": [["Emma", "Austen"]],
        "relation": ["author"],
    }
    assert Typed().predict("t")["entity_type_pair"] == [["x", "y"]]


@pytest.mark.parametrize("component", [Capitals(), Mother(), Author()])
def test_no_rows_no_call(component):
    """An empty list is answered with an empty list and never reaches the author's method."""
    assert component.predict([]) == []


def test_every_row_is_read_before_the_author_is_asked():
    """A bad row costs no work: its fault names it before the author's method runs."""

    class Never(EntityExtractor):
        def extract(self, texts):
            raise AssertionError("asked")

    with pytest.raises(PayloadError, match=r"^record 1: the key 'data' is missing$"):
        Never().predict([{"data": "x"}, {"text": "y"}, {"data": "z"}])


@pytest.mark.parametrize("payload", [None, 5, b"bytes", 3.5])
def test_what_is_no_record_is_refused(payload):
    """Anything but records and texts is a fault that says what is expected."""
    with pytest.raises(PayloadError, match="expected a record with the key 'data', a text, or a list of either"):
        Capitals().predict(payload)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, "extract must give a list, not NoneType"),
        ([], "extract gave 0 answers where 2 were asked for"),
        ([[], [], []], "extract gave 3 answers where 2 were asked for"),
        ([[], "Rome"], "extract must give a list for each text; for text 1 it gave 'Rome'"),
        ([[], ["ab"]], "extract must give tuples of 2 strings; for text 1 it gave 'ab'"),
        ([[("a", "b", "c")], []], "extract must give tuples of 2 strings; for text 0 it gave ('a', 'b', 'c')"),
        ([[], [("Rome", None)]], "extract must give tuples of 2 strings; for text 1 it gave ('Rome', None)"),
    ],
)
def test_what_an_author_returns_is_checked(given, text):
    """A wrong answer of the author's method is a fault of the component that says which text and what it gave."""

    class Wrong(EntityExtractor):
        def extract(self, texts):
            return given

    with pytest.raises(ComponentError) as caught:
        Wrong().predict(["x", "y"])
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["r"], "relate, for the pairs of 'some text', gave 1 answers where 2 were asked for"),
        ("rr", "relate, for the pairs of 'some text', must give a list, not str"),
        (["r", 1], "relate must give strings; for the pairs of 'some text' it gave 1"),
    ],
)
def test_relations_of_an_author_are_checked(given, text):
    """As many strings as pairs, or a fault that shows the text."""

    class Wrong(RelationClassifier):
        def relate(self, text, pairs):
            return given

    with pytest.raises(ComponentError) as caught:
        Wrong().predict({"data": "some text", "entity_pair": [["a", "b"], ["c", "d"]]})
    assert str(caught.value) == text


@pytest.mark.parametrize("component", [Capitals(), Mother(), Author()])
def test_metadata_fits_the_protocols_schema(component):
    """What a component says of itself is metadata that the protocol allows."""
    metadata.check(metadata.assemble("", component.init_metadata(), ""))


def test_metadata_says_what_the_author_says():
    """The labels, licence and limits of `about` are in the metadata; what is not said is not there."""
    custom = Capitals().init_metadata()["custom"]
    assert custom == {"task": "NER", "labels": "town", "licence": "MIT", "limits": "knows two towns"}


def test_a_class_without_its_method_says_so():
    """Forgetting to write the one method is told by name."""

    class Empty(EntityExtractor):
        pass

    with pytest.raises(NotImplementedError, match="Empty has no extract method"):
        Empty().predict("x")
