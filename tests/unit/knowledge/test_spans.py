"""Spans: titles, places that touch, and words cut at the borders of entities."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from infergraph_knowledge.chinese import _with_entities
from infergraph_knowledge.chinese_model import Sentence
from infergraph_knowledge.lac import Word
from infergraph_knowledge.records import Pair
from infergraph_knowledge.spans import Span, Style, cut_words, spans_of

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


@given(
    text=st.text(alphabet="甲乙丙", max_size=30),
    asked=st.dictionaries(
        st.text(alphabet="甲乙丙", min_size=1, max_size=4), st.sampled_from(["PER", "LOC"]), max_size=4
    ),
    found=st.lists(st.integers(0, 29), max_size=4, unique=True),
)
def test_asked_entities_take_the_place_of_what_they_overlap(text: str, asked: dict[str, str], found: list[int]) -> None:
    """Every mention of a pair's entity is a span, longer ones first; none overlap, and found spans yield to them."""
    known = [Span(place, place + 1, "ORG") for place in sorted(found) if place < len(text)]
    pairs = [Pair(mention, mention, kind, kind) for mention, kind in asked.items()]
    spans = _with_entities(Sentence(text, [], known), pairs).spans
    assert spans == sorted(spans)
    assert all(one.end <= other.start for one, other in pairwise(spans))
    placed = [span for span in spans if span.type != "ORG"]
    assert all(asked[text[span.start : span.end]] == span.type for span in placed)
    taken = {place for span in placed for place in range(span.start, span.end)}
    assert [span for span in spans if span.type == "ORG"] == [span for span in known if span.start not in taken]
    longest = max(asked, key=len, default="")
    if longest and sum(len(each) == len(longest) for each in asked) == 1:
        assert sum(text[span.start : span.end] == longest for span in placed) == text.count(longest)
