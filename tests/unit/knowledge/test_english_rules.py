"""Patterns over the syntax of English sentences, as spaCy's small model parses them."""

from __future__ import annotations

import pytest

import knowledge_models
from infergraph_knowledge.schema import ENGLISH

SENTENCES = {
    "Steve Jobs founded Apple in California in 1976.": [("Apple", "founded_by", "Steve Jobs")],
    "Intel was founded in 1968 by Gordon Moore.": [("Intel", "founded_by", "Gordon Moore")],
    "Microsoft was founded by Bill Gates and Paul Allen.": [
        ("Microsoft", "founded_by", "Bill Gates"),
        ("Microsoft", "founded_by", "Paul Allen"),
    ],
    "Larry Page and Sergey Brin founded Google in California.": [
        ("Google", "founded_by", "Larry Page"),
        ("Google", "founded_by", "Sergey Brin"),
    ],
    "Nokia, based in Finland, announced new phones.": [("Nokia", "headquarters", "Finland")],
    "Isaac Newton was born in England and studied at Cambridge University.": [
        ("Isaac Newton", "born_in", "England"),
        ("Isaac Newton", "educated_at", "Cambridge University"),
    ],
    "Barack Obama is married to Michelle Obama.": [("Barack Obama", "spouse", "Michelle Obama")],
    "Disney bought Pixar for $7.4 billion.": [("Disney", "acquired", "Pixar")],
    "Susan Wojcicki was the CEO of YouTube.": [("YouTube", "ceo", "Susan Wojcicki")],
    "Samsung's chairman Lee Jae-yong met investors in Seoul.": [("Samsung", "chairman", "Lee Jae-yong")],
    "Emmanuel Macron, the president of France, visited Beijing on Thursday.": [
        ("Emmanuel Macron", "president_of", "France")
    ],
    "Justin Trudeau, prime minister of Canada, resigned in January.": [
        ("Justin Trudeau", "prime_minister_of", "Canada")
    ],
    "Justin Trudeau, a minister of Canada, resigned.": [],
    "IBM's headquarters are in New York.": [("IBM", "headquarters", "New York")],
    "Oracle moved its headquarters to Texas.": [("Oracle", "headquarters", "Texas")],
    "Rome is the capital of Italy.": [("Italy", "capital", "Rome")],
    "Volkswagen owns Audi.": [("Volkswagen", "owns", "Audi")],
    "Adobe acquired Figma's rival after the deal collapsed.": [],
    "Heavy rain hit London on Sunday.": [],
    "Google and Microsoft met in Seattle.": [],
    "": [],
}


@pytest.mark.parametrize("text", SENTENCES)
def test_patterns(text):
    """Each way of saying a relation gives its triples, every member of a list one, and other sentences give none."""
    (triples,) = knowledge_models.english_je().extract_relations([text])
    assert [triple[:3] for triple in triples] == SENTENCES[text]


def test_types_are_those_that_the_relation_settles():
    """What is bought is an organization, whatever the small model takes it for."""
    (triples,) = knowledge_models.english_je().extract_relations(["Disney bought Pixar for $7.4 billion."])
    assert triples[0][3:] == ("organization", "organization")


def test_every_triple_fits_the_schema():
    """No pattern says a relation between types that the schema does not allow."""
    for triples in knowledge_models.english_je().extract_relations(list(SENTENCES)):
        for triple in triples:
            types = ENGLISH.type_of(triple.head_type), ENGLISH.type_of(triple.tail_type)
            assert ENGLISH.allows(triple.relation, *types)
