"""Patterns over masked Chinese sentences."""

from __future__ import annotations

import pytest

from infergraph_knowledge.chinese_rules import find_triples, mask
from infergraph_knowledge.records import Triple
from infergraph_knowledge.spans import Span


def spans(text: str, **mentions: str) -> list[Span]:
    """The spans of `mentions` (type to texts separated by blanks) in `text`."""
    found = [
        Span(text.index(name), text.index(name) + len(name), kind)
        for kind, names in mentions.items()
        for name in names.split()
    ]
    return sorted(found)


def triples(text: str, **mentions: str) -> set[tuple[str, str, str]]:
    """The triples of `text` without their types."""
    return {triple[:3] for triple in find_triples(text, spans(text, **mentions))}


@pytest.mark.parametrize(
    ("text", "mentions", "wanted"),
    [
        (
            "《红楼》由甲、乙执导，丙和丁主演。",
            {"WORK": "红楼", "PER": "甲 乙 丙 丁"},
            {("红楼", "导演", "甲"), ("红楼", "导演", "乙"), ("红楼", "主演", "丙"), ("红楼", "主演", "丁")},
        ),
        ("甲执导的电影《红楼》上映。", {"WORK": "红楼", "PER": "甲"}, {("红楼", "导演", "甲")}),
        ("《红楼》的编剧是甲，导演是乙。", {"WORK": "红楼", "PER": "甲 乙"},
         {("红楼", "编剧", "甲"), ("红楼", "导演", "乙")}),
        ("乙公司由甲创办于1990年。", {"ORG": "乙公司", "PER": "甲", "TIME": "1990年"},
         {("乙公司", "创始人", "甲"), ("乙公司", "成立日期", "1990年")}),
        ("甲毕业于清华大学电子工程系。", {"PER": "甲", "ORG": "清华大学"}, {("甲", "毕业院校", "清华大学电子工程系")}),
        ("甲国的官方语言是乙语，首都丙。", {"LOC": "甲国 丙"}, {("甲国", "官方语言", "乙语"), ("甲国", "首都", "丙")}),
        ("甲国的首都是丙，官方语言是乙语。", {"LOC": "甲国 丙"},
         {("甲国", "首都", "丙"), ("甲国", "官方语言", "乙语")}),
        ("甲公司的董事长是乙。", {"ORG": "甲公司", "PER": "乙"}, {("甲公司", "董事长", "乙")}),
        ("甲，北宋文学家。", {"PER": "甲", "LOC": "北宋"}, {("甲", "朝代", "北宋")}),
        ("甲之子乙来了。", {"PER": "甲 乙"}, {("乙", "父亲", "甲")}),
        ("甲和乙一起吃饭。", {"PER": "甲 乙"}, set()),
        ("", {}, set()),
    ],
)  # fmt: skip
def test_patterns(text, mentions, wanted):
    """Each way of saying a relation gives its triples, lists of people one each, and other sentences give none."""
    assert triples(text, **mentions) == wanted


def test_types_come_with_a_triple():
    """The types of the arguments are those of their entities; words that are none are of another type."""
    found = find_triples("甲，字子瞻，生于乙。", spans("甲，字子瞻，生于乙。", PER="甲", LOC="乙"))
    assert found == [Triple("甲", "出生地", "乙", "PER", "LOC"), Triple("甲", "字", "子瞻", "PER", "OTHER")]


def test_a_texts_own_private_characters_are_no_entities():
    """Characters of the range that masks entities are not taken for one."""
    assert triples("\ue000的妻子是甲。", PER="甲") == set()


def test_brackets_go_with_a_title():
    """A title's brackets are masked with it, and its place in the text does not matter."""
    masked = mask("看《红楼》了", [Span(2, 4, "WORK")])
    assert (masked.text, list(masked.entities.values())) == ("看\ue600了", [("红楼", "WORK")])


def test_many_entities_do_not_run_into_each_other():
    """As many entities as a type has characters keep their types."""
    text = "甲" * 512
    masked = mask(text, [Span(place, place + 1, "PER") for place in range(512)])
    assert {kind for _, kind in masked.entities.values()} == {"PER"}
    assert max(masked.text) < "\ue200"
