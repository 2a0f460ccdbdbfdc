"""Components for Chinese text: entities, relations of given pairs, and triples.

infergraph serve infergraph_knowledge.chinese:ChineseNer
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TypeVar

from infergraph.errors import NotReady, SettingsError
from infergraph_knowledge import chinese_rules
from infergraph_knowledge.authoring import About, EntityExtractor, JointExtractor, RelationClassifier
from infergraph_knowledge.chinese_model import RelationModel, Sentence
from infergraph_knowledge.fetch import weights_folder
from infergraph_knowledge.lac import Lexer
from infergraph_knowledge.msra import MsraTagger
from infergraph_knowledge.perceptron import RelationTagger
from infergraph_knowledge.pins import CHINESE_NER, JIAGU, LAC
from infergraph_knowledge.records import Pair, Triple
from infergraph_knowledge.schema import CHINESE, NO_RELATION
from infergraph_knowledge.spans import Span, Style, spans_of
from infergraph_knowledge.tagging import pieces

_SAID_BY_PATTERNS = ("官方语言", "字", "号")


class Means(Enum):
    """How relations are found: RULES by patterns, MODEL by the perceptron, BOTH by patterns first, then the model."""

    BOTH = "both"
    RULES = "rules"
    MODEL = "model"


Choice = TypeVar("Choice", bound=Enum)


def _choose(kind: type[Choice], given: str, name: str) -> Choice:
    try:
        return kind(given)
    except ValueError as error:
        choices = ", ".join(choice.value for choice in kind)
        raise SettingsError(f"{name} is one of {choices}, not {given!r}") from error


class Analyser:
    """Words and entities of Chinese texts."""

    def __init__(self, threads: int, style: Style = Style.GRAPH) -> None:
        self._threads = threads
        self._style = style
        self._lexer: Lexer | None = None

    def load(self) -> None:
        """Read the model.

        Raises: see `Lexer.load`.
        """
        self._lexer = Lexer.load(threads=self._threads)

    def sentences(self, texts: Sequence[str]) -> list[Sentence]:
        """Each text with its words and entities.

        Raises: NotReady before `load`.
        """
        if self._lexer is None:
            raise NotReady("the component was asked before it was loaded")
        analysed = zip(texts, self._lexer.words(texts), strict=True)
        return [Sentence(text, words, spans_of(text, words, self._style)) for text, words in analysed]


class ChineseNer(EntityExtractor):
    """NER for general Chinese text, by the LAC model.

    Args:
        style: `graph` or `corpus`; see `Style`.
        threads: of the model; the most cores that one request uses.
    """

    about = About(
        version=LAC.version,
        platform="onnxruntime",
        labels=tuple(CHINESE.type_names[type_] for type_ in ("PER", "LOC", "ORG", "TIME", "WORK")),
        licence=LAC.licence,
        accuracy=(
            "MSRA test, 5,000 sentences, style corpus: exact F1 73.1, overlapping borders of the same type F1 86.3; "
            "most exact misses are other conventions of borders, not missed names"
        ),
        limits="one-letter names of countries (意, 沪) are missed",
        source=f"{LAC.name} {LAC.version}, sha256 {LAC.sha256}",
    )

    def __init__(self, style: str = "graph", threads: int = 1) -> None:
        self._analyser = Analyser(threads, _choose(Style, style, "style"))

    def load(self) -> None:
        """Read the model."""
        self._analyser.load()

    def extract(self, texts: list[str]) -> list[list[tuple[str, str]]]:
        """The people, places, organizations, times and works of each text."""
        return [_named(text, spans) for text, spans in zip(texts, self.find(texts), strict=True)]

    def find(self, texts: Sequence[str]) -> list[list[Span]]:
        """The spans of each text's entities, in order, with type codes."""
        return [list(sentence.spans) for sentence in self._analyser.sentences(texts)]


class MsraNer(EntityExtractor):
    """NER for Chinese news text: people, places, organizations, by the conventions of the MSRA corpus.

    Args:
        weights: the folder of the fetched weights; empty for the user's cache folder.
        threads: of the model.
    """

    about = About(
        version=CHINESE_NER.version,
        platform="onnxruntime",
        labels=tuple(CHINESE.type_names[type_] for type_ in ("PER", "LOC", "ORG")),
        licence=f"{CHINESE_NER.licence} (weights); the corpus they were trained on was released for research",
        accuracy=(
            "MSRA test, 5,000 sentences held out of training: exact F1 88.4, overlapping F1 93.4; slightly optimistic, "
            "since its author chose the training epoch by the same sentences"
        ),
        limits="made for news: no times, no titles of works, and weaker than ChineseNer on encyclopaedia sentences",
        source=f"{CHINESE_NER.name} {CHINESE_NER.version}, sha256 {CHINESE_NER.sha256}",
    )

    def __init__(self, weights: str = "", threads: int = 1) -> None:
        self._folder = weights_folder(weights)
        self._threads = threads
        self._tagger: MsraTagger | None = None

    def load(self) -> None:
        """Read the model."""
        self._tagger = MsraTagger.load(self._folder, threads=self._threads)

    def extract(self, texts: list[str]) -> list[list[tuple[str, str]]]:
        """The people, places and organizations of each text."""
        return [_named(text, spans) for text, spans in zip(texts, self.find(texts), strict=True)]

    def find(self, texts: Sequence[str]) -> list[list[Span]]:
        """The spans of each text's entities, in order, with type codes."""
        if self._tagger is None:
            raise NotReady("the component was asked before it was loaded")
        return self._tagger.find(texts)


def _named(text: str, spans: Sequence[Span]) -> list[tuple[str, str]]:
    return [(text[span.start : span.end], CHINESE.type_names[span.type]) for span in spans]


class RelationFinder:
    """What ChineseRe and ChineseJe have in common: words, patterns and the relation model."""

    def __init__(self, means: str, weights: str, threads: int) -> None:
        self._means = _choose(Means, means, "means")
        self._folder = weights_folder(weights)
        self._analyser = Analyser(threads)
        self._model: RelationModel | None = None

    def load(self) -> None:
        """Read the models that the chosen means need."""
        self._analyser.load()
        if self._means is not Means.RULES:
            self._model = RelationModel(RelationTagger.load(self._folder))

    def triples(self, texts: Sequence[str]) -> list[list[Triple]]:
        """The triples of each text, each once, types by code."""
        parts = [(place, piece.text) for place, text in enumerate(texts) for piece in pieces(text)]
        found: list[dict[Triple, None]] = [{} for _ in texts]
        sentences = self._analyser.sentences([text for _, text in parts])
        for (place, _), sentence in zip(parts, sentences, strict=True):
            found[place].update(dict.fromkeys(self._triples(sentence)))
        return [list(triples) for triples in found]

    def _triples(self, sentence: Sentence) -> list[Triple]:
        triples = [] if self._means is Means.MODEL else _by_rules(sentence)
        if self._model is None:
            return triples
        known = {frozenset((triple.head, triple.tail)) for triple in triples}
        more = self._model.find_triples(sentence)
        return triples + [triple for triple in more if frozenset((triple.head, triple.tail)) not in known]

    def relations(self, texts: Sequence[str], pairs: Sequence[Sequence[Pair]], margin: float | None) -> list[list[str]]:
        """The relation of each pair of each text; the pairs' types are codes."""
        sentences = self._analyser.sentences(texts)
        return [
            self._relations(_with_entities(sentence, asked), asked, margin)
            for sentence, asked in zip(sentences, pairs, strict=True)
        ]

    def _relations(self, sentence: Sentence, pairs: Sequence[Pair], margin: float | None) -> list[str]:
        known = {}
        if self._means is not Means.MODEL:
            known = {(triple.head, triple.tail): triple.relation for triple in reversed(_by_rules(sentence))}
        return [known.get(pair[:2]) or self._relation(sentence, pair, margin) for pair in pairs]

    def _relation(self, sentence: Sentence, pair: Pair, margin: float | None) -> str:
        if self._model is None:
            return NO_RELATION
        typed = pair._replace(
            head_type=pair.head_type or sentence.type_of(pair.head),
            tail_type=pair.tail_type or sentence.type_of(pair.tail),
        )
        return self._model.relation_of(sentence, typed, margin)


def _by_rules(sentence: Sentence) -> list[Triple]:
    return chinese_rules.find_triples(sentence.text, sentence.spans[: chinese_rules.ENTITIES_LIMIT])


def _with_entities(sentence: Sentence, pairs: Sequence[Pair]) -> Sentence:
    """The sentence with the typed entities of `pairs` among its spans, in place of what overlaps them."""
    types = {pair.head: pair.head_type for pair in pairs} | {pair.tail: pair.tail_type for pair in pairs}
    spans: list[Span] = []
    taken = bytearray(len(sentence.text))  # by character: a long text has thousands of mentions
    for mention, type_ in sorted(types.items(), key=lambda item: -len(item[0])):
        start = sentence.text.find(mention) if mention and type_ else -1
        while start >= 0:
            span = Span(start, start + len(mention), type_)
            if _is_free(span, taken):
                spans.append(span)
                taken[span.start : span.end] = b"\1" * len(mention)
            start = sentence.text.find(mention, span.end)
    spans += [span for span in sentence.spans if _is_free(span, taken)]
    return sentence._replace(spans=sorted(spans))


def _is_free(span: Span, taken: bytearray) -> bool:
    return taken.find(1, span.start, span.end) < 0


_RELATION_SOURCE = f"{JIAGU.name} {JIAGU.version}, sha256 {JIAGU.sha256}; patterns of this project"
_RELATION_LICENCE = f"{JIAGU.licence} (weights), Apache-2.0 (patterns)"
_NEWS = "made for sentences of an encyclopaedia; on news about half of the model's triples are wrong"


class ChineseRe(RelationClassifier):
    """RE for Chinese: the relation of each given pair, or `unknown`.

    Args:
        means: `both`, `rules` or `model`; see `Means`.
        margin: how far above "no relation" the model's score must be; higher gives fewer and surer relations.
        best: always name the model's best relation, never `unknown` for a pair that stands in the text.
        weights: the folder of the fetched weights; empty for the user's cache folder.
        threads: of the word model.
    """

    about = About(
        version=JIAGU.version,
        platform="numpy",
        labels=(*CHINESE.relations, NO_RELATION),
        licence=_RELATION_LICENCE,
        accuracy=(
            "92 pairs of 50 sentences written for this project: model alone, best always, 90.2 % right; patterns and "
            "model with `unknown` 95.7 % (the patterns were written after those sentences: an upper bound), with "
            "3.8 % of 209 unrelated pairs given a relation"
        ),
        limits=_NEWS,
        source=_RELATION_SOURCE,
    )

    def __init__(
        self, means: str = "both", margin: float = 0.0, best: bool = False, weights: str = "", threads: int = 1
    ) -> None:
        self._finder = RelationFinder(means, weights, threads)
        self._margin = None if best else margin

    def load(self) -> None:
        """Read the models."""
        self._finder.load()

    def relate_many(self, texts: list[str], pairs: list[Sequence[Pair]]) -> list[list[str]]:
        """The relation of each pair of each text."""
        return self._finder.relations(texts, [[_coded(pair) for pair in asked] for asked in pairs], self._margin)


def _coded(pair: Pair) -> Pair:
    return pair._replace(head_type=CHINESE.type_of(pair.head_type), tail_type=CHINESE.type_of(pair.tail_type))


class ChineseJe(JointExtractor):
    """JE for Chinese: the triples of a text.

    Args:
        means: `both`, `rules` or `model`; see `Means`.
        weights: the folder of the fetched weights; empty for the user's cache folder.
        threads: of the word model.
    """

    about = About(
        version=JIAGU.version,
        platform="numpy",
        labels=(*CHINESE.between_entities, *_SAID_BY_PATTERNS),
        licence=_RELATION_LICENCE,
        accuracy=(
            "92 triples of 50 sentences written for this project, exact: model alone precision 98.0, recall 54.3; "
            "patterns and model F1 95.5 (the patterns were written after those sentences: an upper bound); "
            "on news, read by hand: model precision about 50 %, patterns 86 to 94 % but few"
        ),
        limits=_NEWS,
        source=_RELATION_SOURCE,
    )

    def __init__(self, means: str = "both", weights: str = "", threads: int = 1) -> None:
        self._finder = RelationFinder(means, weights, threads)

    def load(self) -> None:
        """Read the models."""
        self._finder.load()

    def extract_relations(self, texts: list[str]) -> list[list[Triple]]:
        """The triples of each text, with the types of their entities."""
        return [[_in_chinese(triple) for triple in triples] for triples in self._finder.triples(texts)]


def _in_chinese(triple: Triple) -> Triple:
    return triple._replace(head_type=CHINESE.type_name(triple.head_type), tail_type=CHINESE.type_name(triple.tail_type))
