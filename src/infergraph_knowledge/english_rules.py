"""Find relations in English sentences by patterns over the syntax tree that spaCy gives.

verbs:  [Steve Jobs] founded [Apple] · [Apple] was founded by [Steve Jobs] · [Nokia], based in [Finland], …
nouns:  [Ann] is the CEO of [Acme] · [Ann], CEO of [Acme], … · [Acme]'s chairman [Ann] …
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from infergraph_knowledge.records import Triple
from infergraph_knowledge.schema import ENGLISH
from infergraph_knowledge.spans import Span

Token = Any
Doc = Any

TYPES = {
    "PERSON": "PER",
    "ORG": "ORG",
    "GPE": "LOC",
    "LOC": "LOC",
    "FAC": "LOC",
    "WORK_OF_ART": "WORK",
    "DATE": "TIME",
}
"""Our type of each of spaCy's that is kept."""


class _Slot(NamedTuple):
    """A slot of a verb or noun, and the relation between the subject and what fills it.

    `backwards` means that the subject is the tail: Ann founded Acme is (Acme, founded_by, Ann).
    """

    relation: str
    backwards: bool = False


OBJECT = "object"
_FOUND = {OBJECT: _Slot("founded_by", backwards=True)}
_ACQUIRE = {OBJECT: _Slot("acquired")}
_MARRY = {OBJECT: _Slot("spouse"), "to": _Slot("spouse")}
_BASED = {"in": _Slot("headquarters")}
_LOCATED = {"in": _Slot("located_in")}
_VERBS: dict[str, dict[str, _Slot]] = {
    **dict.fromkeys(("found", "founded", "co-found", "co-founded", "cofound", "cofounded", "establish"), _FOUND),
    "start": _FOUND,
    **dict.fromkeys(("acquire", "buy", "purchase"), _ACQUIRE),
    "own": {OBJECT: _Slot("owns")},
    **dict.fromkeys(("marry", "married"), _MARRY),
    "join": {OBJECT: _Slot("works_for")},
    "work": {"for": _Slot("works_for"), "at": _Slot("works_for")},
    "play": {"for": _Slot("plays_for")},
    "live": {"in": _Slot("lives_in")},
    "reside": {"in": _Slot("lives_in")},
    "study": {"at": _Slot("educated_at")},
    "graduate": {"from": _Slot("educated_at")},
    "attend": {OBJECT: _Slot("educated_at")},
    "bear": {"in": _Slot("born_in")},
    "born": {"in": _Slot("born_in")},
    "die": {"in": _Slot("died_in")},
    "headquarter": _BASED,
    "base": _BASED,
    "locate": _LOCATED,
    "situate": _LOCATED,
    "write": {OBJECT: _Slot("author", backwards=True)},
}
"""By lemma, or by the word where the small model's lemma is wrong: object or preposition to relation."""

_NOUNS = {
    "ceo": _Slot("ceo", backwards=True),
    "chairman": _Slot("chairman", backwards=True),
    "founder": _Slot("founded_by", backwards=True),
    "co-founder": _Slot("founded_by", backwards=True),
    "president": _Slot("president_of"),
    "minister": _Slot("prime_minister_of"),
    "capital": _Slot("capital", backwards=True),
    "wife": _Slot("spouse"),
    "husband": _Slot("spouse"),
    "headquarters": _Slot("headquarters", backwards=True),
}
"""A slot's subject is who holds the office, its filler what the office is of."""


# What is founded, bought or has a CEO is an organization, whatever the small model takes its name for (it reads Pixar
# as a person and YouTube as a place): these relations settle the types of their head and tail.
_SETTLED = {
    "founded_by": ("ORG", ""),
    "acquired": ("ORG", "ORG"),
    "ceo": ("ORG", ""),
    "chairman": ("ORG", ""),
}


class Link(NamedTuple):
    """Two tokens that a pattern ties together."""

    head: Token
    relation: str
    tail: Token

    @classmethod
    def of(cls, subject: Token, slot: _Slot, filler: Token) -> Link:
        return cls(filler, slot.relation, subject) if slot.backwards else cls(subject, slot.relation, filler)


def find_triples(doc: Doc) -> list[Triple]:
    """The triples between entities of a parsed text, each once, types by code."""
    entities = {token.i: entity for entity in doc.ents if entity.label_ in TYPES for token in entity}
    found: dict[Triple, None] = {}
    for token in doc:
        for link in (*_verb_links(token), *_noun_links(token, entities)):
            head, tail = entities.get(link.head.i), entities.get(link.tail.i)
            if head is None or tail is None or head.text == tail.text:
                continue
            sides = _SETTLED.get(link.relation, ("", ""))
            head_type, tail_type = sides[0] or TYPES[head.label_], sides[1] or TYPES[tail.label_]
            if ENGLISH.allows(link.relation, head_type, tail_type):
                found.setdefault(Triple(head.text, link.relation, tail.text, head_type, tail_type))
    return list(found)


def _children(token: Token, *dependencies: str) -> list[Token]:
    return [child for child in token.children if child.dep_ in dependencies]


def _and_its_conjuncts(token: Token) -> list[Token]:
    return [token, *(other for other in token.conjuncts if other.i > token.i)]


def _verb_links(verb: Token) -> Iterator[Link]:
    slots = _VERBS.get(verb.lemma_.lower()) or _VERBS.get(verb.lower_)
    subject = _subject(verb) if slots else None
    if slots is None or subject is None:
        return
    passive = bool(_children(subject.holder, "nsubjpass", "auxpass")) or subject.by_participle
    for child in verb.children:
        for slot, filler in _filled(child, slots, passive):
            for one in _and_its_conjuncts(subject.token):
                yield Link.of(one, slot, filler)


def _filled(child: Token, slots: dict[str, _Slot], passive: bool) -> Iterator[tuple[_Slot, Token]]:
    """The slots that a child of a verb fills, each with the token that fills it."""
    if child.dep_ in ("dobj", "obj") and OBJECT in slots:
        yield from ((slots[OBJECT], token) for token in _and_its_conjuncts(child))
    elif child.dep_ == "agent" and passive and OBJECT in slots:
        turned = slots[OBJECT]._replace(backwards=not slots[OBJECT].backwards)
        for phrase in _children(child, "pobj"):
            yield from ((turned, token) for token in _and_its_conjuncts(phrase))
    elif child.dep_ == "prep" and child.lower_ in slots:
        yield from ((slots[child.lower_], token) for token in _children(child, "pobj"))


class _Subject(NamedTuple):
    """A verb's subject, the verb that it belongs to, and whether a participle modifies it (Nokia, based in …)."""

    token: Token
    holder: Token
    by_participle: bool


def _subject(verb: Token) -> _Subject | None:
    """The subject of a verb, looked for upwards through conjunctions and clauses."""
    at = verb
    for _ in verb.doc:
        subjects = _children(at, "nsubj", "nsubjpass")
        if subjects:
            relative = subjects[0].tag_ in ("WDT", "WP") and at.dep_ == "relcl"
            return _Subject(at.head if relative else subjects[0], at, by_participle=False)
        if at.dep_ in ("acl", "relcl"):
            return _Subject(at.head, at, by_participle=at.tag_ == "VBN")
        if at.dep_ not in ("conj", "xcomp", "advcl", "acomp") or at.head is at:
            return None
        at = at.head
    return None


def _noun_links(noun: Token, entities: dict[int, Any]) -> Iterator[Link]:
    slot = _NOUNS.get(noun.lower_)
    if slot is None or (noun.lower_ == "minister" and not any(child.lower_ == "prime" for child in noun.children)):
        return
    owners = _objects_of(noun, "of") + [_meant(owner) for owner in _children(noun, "poss")]
    holders = _holders(noun)
    if noun.i + 1 < len(noun.doc) and noun.i + 1 in entities and len(owners) < 2:
        holders.append(entities[noun.i + 1].root)
    if noun.dep_ in ("compound", "nmod") and noun.head.i in entities:
        holders.append(noun.head)
        owners += _children(noun.head, "poss")
    if noun.lower_ == "headquarters":
        at_verb = [noun.head] if noun.dep_ in ("nsubj", "dobj") else []
        holders += [place for token in (noun, *at_verb) for place in _objects_of(token, "in", "to")]
    for owner in owners:
        for holder in holders:
            yield Link.of(holder, slot, owner)


def _meant(owner: Token) -> Token:
    """The referent of a possessive: "its" and the like the subject of their sentence."""
    if owner.tag_ == "PRP$":
        verb = owner.head.head
        return next(iter(_children(verb, "nsubj")), owner)
    return owner


def _objects_of(token: Token, *prepositions: str) -> list[Token]:
    return [
        filler
        for child in _children(token, "prep")
        if child.lower_ in prepositions
        for filler in _children(child, "pobj")
    ]


def _holders(noun: Token) -> list[Token]:
    """The entity called `noun`: the subject of "is", or the name in apposition."""
    holders = []
    if noun.dep_ in ("attr", "acomp") and noun.head.lemma_ == "be":
        holders += _children(noun.head, "nsubj")
    if noun.dep_ == "appos":
        holders.append(noun.head)
    return holders + _children(noun, "appos")


def spans_of(doc: Doc) -> list[Span]:
    """The spans of the kept entities, in order, with type codes."""
    return [
        Span(entity.start_char, entity.end_char, TYPES[entity.label_]) for entity in doc.ents if entity.label_ in TYPES
    ]
