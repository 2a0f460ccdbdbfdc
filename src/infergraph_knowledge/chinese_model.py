"""Find Chinese relations with the perceptron, constrained to the boundaries and types of the sentence's entities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from infergraph_knowledge.lac import Word
from infergraph_knowledge.perceptron import HEAD, OUTSIDE, RelationTagger, Scores
from infergraph_knowledge.records import Pair, Triple
from infergraph_knowledge.schema import CHINESE, NO_RELATION
from infergraph_knowledge.spans import Span, cut_words


class Sentence(NamedTuple):
    """A text with its words and entities."""

    text: str
    words: Sequence[Word]
    spans: Sequence[Span]

    def type_of(self, mention: str) -> str:
        """The type of the entity whose text is `mention`; empty if it is none."""
        return next((span.type for span in self.spans if self.text[span.start : span.end] == mention), "")

    def place(self, head: str, tail: str) -> tuple[Span, Span] | None:
        """The closest occurrences of the two mentions; None if there are none, or they only overlap."""
        heads, tails = _places(self.text, head), _places(self.text, tail)
        apart = [(h, t) for h in heads for t in tails if h.end <= t.start or t.end <= h.start]
        return min(apart, key=lambda spans: abs(spans[0].start - spans[1].start), default=None)


_BETWEEN_ENTITIES = frozenset(CHINESE.between_entities)
MENTIONS_LIMIT = 16
"""The most occurrences of one mention that are considered."""


def _places(text: str, mention: str) -> list[Span]:
    places: list[Span] = []
    start = text.find(mention) if mention else -1
    while start >= 0 and len(places) < MENTIONS_LIMIT:
        places.append(Span(start, start + len(mention), ""))
        start = text.find(mention, start + len(mention))
    return places


class _Labelled(NamedTuple):
    """An entity with the label that its word was given."""

    span: Span
    text: str
    label: str


class RelationModel:
    """The perceptron's answers about sentences."""

    def __init__(self, tagger: RelationTagger) -> None:
        self._tagger = tagger

    def find_triples(self, sentence: Sentence) -> list[Triple]:
        """The triples between entities of `sentence`, in the order of their tails."""
        if len(sentence.spans) < 2:
            return []
        words, places = cut_words(sentence.text, sentence.words, sentence.spans)
        labels = self._tagger.tag(words).labels
        entities = [
            _Labelled(span, sentence.text[span.start : span.end], labels[place])
            for span, place in zip(sentence.spans, places, strict=True)
        ]
        found = (self._triple(entity, entities) for entity in entities)
        return list(dict.fromkeys(triple for triple in found if triple))

    def _triple(self, tail: _Labelled, entities: Sequence[_Labelled]) -> Triple | None:
        """The triple whose tail is `tail`: its head is the nearest entity that the label, types and direction allow."""
        relation, sign = tail.label[2:-1], tail.label[-1]
        if sign not in "+-" or relation not in _BETWEEN_ENTITIES:
            return None
        fit = [
            head
            for head in entities
            if head.text != tail.text
            and CHINESE.allows(relation, head.span.type, tail.span.type)
            and (head.span < tail.span if sign == "+" else head.span > tail.span)
        ]
        heads = [head for head in fit if head.label.endswith("实体")] or [head for head in fit if head.label == OUTSIDE]
        if not heads:
            return None
        head = min(heads, key=lambda entity: abs(entity.span.start - tail.span.start))
        return Triple(head.text, relation, tail.text, head.span.type, tail.span.type)

    def relation_of(self, sentence: Sentence, pair: Pair, margin: float | None = 0.0) -> str:
        """The relation of `pair`, or NO_RELATION.

        Args:
            pair: with types by code, empty where not known.
            margin: how much a relation's score must be above that of no relation; None to name the best always.
        """
        spans = sentence.place(pair.head, pair.tail)
        if spans is None:
            return NO_RELATION
        head, tail = spans
        words, places = cut_words(sentence.text, sentence.words, sorted(spans))
        head_place, tail_place = places if head < tail else places[::-1]
        fit = self._fitting(pair, "+" if head < tail else "-")
        if not fit:
            return NO_RELATION
        tagged = self._tagger.tag(
            words, {head_place: HEAD, tail_place: lambda scores: _best(fit, scores)}, stop=max(places) + 1
        )
        scores = tagged.scores[tail_place]
        best = _best(fit, scores)
        ahead = float(scores[fit[best]] - scores[self._tagger.numbers[OUTSIDE]])
        return best[2:-1] if margin is None or ahead > margin else NO_RELATION

    def _fitting(self, pair: Pair, sign: str) -> dict[str, int]:
        """The labels, with their numbers, that may end a relation from `pair.head` at `pair.tail`."""
        return {
            label: number
            for label, number in self._tagger.numbers.items()
            if label.startswith("B-")
            and label.endswith(sign)
            and CHINESE.allows(label[2:-1], pair.head_type, pair.tail_type)
        }


def _best(labels: dict[str, int], scores: Scores) -> str:
    return max(labels, key=lambda label: float(scores[labels[label]]))
