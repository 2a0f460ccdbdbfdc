"""Spans of Chinese text: the positions and types of entities."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from infergraph_knowledge.lac import Word

_TITLE = re.compile(r"《([^《》]{1,40})》")
_KINDS = {"PER": "PER", "LOC": "LOC", "ORG": "ORG", "TIME": "TIME", "nw": "WORK"}


class Style(Enum):
    """What counts as one entity.

    GRAPH is what a knowledge graph wants: whatever stands in 《》 is one work, and places that touch are one place
    (浙江绍兴). CORPUS is what labelled corpora count: the entities as the model gives them.
    """

    GRAPH = "graph"
    CORPUS = "corpus"


class Span(NamedTuple):
    """The characters `start` to `end` (exclusive) of a text, and their type: PER, LOC, ORG, TIME or WORK."""

    start: int
    end: int
    type: str


def spans_of(text: str, words: Sequence[Word], style: Style = Style.GRAPH) -> list[Span]:
    """The entities of a text by its words, in order, none overlapping another."""
    titles = [Span(*match.span(1), "WORK") for match in _TITLE.finditer(text)] if style is Style.GRAPH else []
    found = list(titles)
    start = 0
    for word in words:
        end = start + len(word.text)
        kind = _KINDS.get(word.kind)
        # A title's own brackets count as its characters here: LAC sometimes takes them into the name.
        if kind and not any(start < title.end + 1 and title.start - 1 < end for title in titles):
            found.append(Span(start, end, kind))
        start = end
    return _join_places(sorted(found)) if style is Style.GRAPH else found


def _join_places(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in spans:
        last = joined[-1] if joined else None
        if last and last.end == span.start and last.type == span.type == "LOC":
            joined[-1] = Span(last.start, span.end, "LOC")
        else:
            joined.append(span)
    return joined


def cut_words(text: str, words: Sequence[Word], spans: Sequence[Span]) -> tuple[list[str], list[int]]:
    """The words of a text with each span made one word.

    Args:
        spans: in order, none overlapping.
    Returns: the words; and the place among them of each span.
    """
    cuts = {0, len(text)}
    start = 0
    for word in words:
        start += len(word.text)
        cuts.add(start)
    for span in spans:
        cuts.difference_update(range(span.start + 1, span.end))
        cuts.update((span.start, span.end))
    borders = sorted(cuts)
    places = {border: place for place, border in enumerate(borders)}
    pieces = [text[begin:end] for begin, end in pairwise(borders)]
    return pieces, [places[span.start] for span in spans]
