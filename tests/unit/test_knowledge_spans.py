"""Spans: titles, places that touch, and words cut at the borders of entities."""

from __future__ import annotations

from infergraph.knowledge.lac import Word
from infergraph.knowledge.spans import Span, Style, cut_words, spans_of

TEXT = "《北京爱情》在浙江绍兴拍摄"
WORDS = [
    Word("《", "w"),
    Word("北京", "LOC"),
    Word("爱情》", "n"),
    Word("在", "p"),
    Word("浙江", "LOC"),
    Word("绍兴", "LOC"),
    Word("拍摄", "v"),
]


def test_a_title_is_one_work_and_touching_places_are_one():
    """For a graph, names inside 《》 are part of the work, and 浙江绍兴 is one place."""
    assert spans_of(TEXT, WORDS) == [Span(1, 5, "WORK"), Span(7, 11, "LOC")]


def test_a_corpus_counts_what_the_model_says():
    """In the style of corpora every entity of the model stands for itself."""
    assert spans_of(TEXT, WORDS, Style.CORPUS) == [Span(1, 3, "LOC"), Span(7, 9, "LOC"), Span(9, 11, "LOC")]


def test_places_apart_stay_apart():
    """Only places that touch are joined, and a place never joins an organization."""
    words = [Word("浙江", "LOC"), Word("、", "w"), Word("绍兴", "LOC"), Word("大学", "ORG")]
    assert [span.end - span.start for span in spans_of("浙江、绍兴大学", words)] == [2, 2, 2]


def test_words_are_cut_at_entities():
    """Each span becomes one word, whatever the words were, and the pieces are still the text."""
    pieces, places = cut_words(TEXT, WORDS, [Span(1, 5, "WORK"), Span(7, 11, "LOC"), Span(12, 13, "PER")])
    assert pieces == ["《", "北京爱情", "》", "在", "浙江绍兴", "拍", "摄"]
    assert places == [1, 4, 6]


def test_no_words_no_pieces():
    """An empty text has no words."""
    assert cut_words("", [], []) == ([], [])
