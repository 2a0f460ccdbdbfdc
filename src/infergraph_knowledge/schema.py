"""Which relations may hold between entities of which types, and how types are called in Chinese and English."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

NO_RELATION = "unknown"
OTHER = "OTHER"
"""The type of an argument that NER does not find: a courtesy name, a language, a height."""


class Signature(NamedTuple):
    """The types that a relation may have at its head and at its tail."""

    heads: frozenset[str]
    tails: frozenset[str]


class Schema(msgspec.Struct, frozen=True):
    """The relations of a language and the names of its entity types.

    Args:
        relations: by name.
        type_names: the name in records of each type.
    """

    relations: Mapping[str, Signature]
    type_names: Mapping[str, str]

    @property
    def between_entities(self) -> tuple[str, ...]:
        """The relations whose tails are entities that NER finds."""
        return tuple(name for name, sides in self.relations.items() if OTHER not in sides.tails)

    def type_name(self, type_: str) -> str:
        """How records of this language call `type_`; empty for the empty type."""
        return self.type_names.get(type_, type_)

    def type_of(self, name: str) -> str:
        """The type that records call `name`, in either language or by its code; empty if there is none."""
        return _TYPES.get(name.strip().lower(), "")

    def allows(self, relation: str, head: str, tail: str) -> bool:
        """Whether `relation` may hold between these types; an empty type may be any."""
        signature = self.relations.get(relation)
        return signature is not None and (not head or head in signature.heads) and (not tail or tail in signature.tails)

    def relates(self, head: str, tail: str) -> bool:
        """Whether any relation may hold between these types."""
        return bool(head and tail) and any(self.allows(name, head, tail) for name in self.between_entities)


def _relations(lines: str) -> dict[str, Signature]:
    """One line for each pair of types: `HEAD|HEAD TAIL|TAIL: relation relation`."""
    relations = {}
    for line in lines.strip().splitlines():
        types, _, names = line.partition(":")
        heads, tails = (frozenset(side.split("|")) for side in types.split())
        relations.update({name: Signature(heads, tails) for name in names.split()})
    return relations


CHINESE = Schema(
    relations=_relations(
        """
        PER PER: 丈夫 妻子 父亲 母亲
        PER LOC: 出生地 祖籍 国籍
        PER TIME: 出生日期 朝代
        PER ORG: 毕业院校
        WORK PER: 导演 主演 作者 编剧 作词 作曲 歌手 主角 主持人 嘉宾 制片人
        WORK ORG: 出品公司 出版社
        WORK TIME: 上映时间
        WORK WORK: 所属专辑 改编自
        ORG PER: 创始人 董事长
        ORG LOC: 总部地点
        ORG TIME: 成立日期
        LOC LOC: 首都
        LOC|ORG LOC: 所在城市
        PER PER|OTHER: 字 号
        PER OTHER: 民族 身高
        LOC OTHER: 官方语言 气候 面积 人口数量 海拔 邮政编码
        LOC|ORG OTHER: 占地面积 简称
        ORG OTHER: 注册资本
        WORK OTHER: 连载网站
        OTHER OTHER: 目 专业代码 修业年限
        """
    ),
    type_names={"PER": "人物", "LOC": "地点", "ORG": "机构", "TIME": "时间", "WORK": "作品", OTHER: "其他"},
)

ENGLISH = Schema(
    relations=_relations(
        """
        PER PER: spouse
        PER LOC: born_in died_in lives_in president_of prime_minister_of
        PER ORG: educated_at
        PER ORG|LOC: works_for plays_for
        ORG PER|ORG: founded_by
        ORG PER: ceo chairman
        ORG LOC: headquarters
        ORG ORG: acquired owns
        ORG|LOC LOC: located_in
        LOC LOC: capital
        WORK PER: author
        """
    ),
    type_names={"PER": "person", "LOC": "place", "ORG": "organization", "TIME": "time", "WORK": "work", OTHER: "other"},
)

SCHEMAS = {"zh": CHINESE, "en": ENGLISH}

_TYPES = {
    spelling.lower(): type_
    for schema in SCHEMAS.values()
    for type_, name in schema.type_names.items()
    for spelling in (name, type_)
} | {
    "person": "PER",
    "人名": "PER",
    "gpe": "LOC",
    "location": "LOC",
    "地名": "LOC",
    "组织": "ORG",
    "组织机构": "ORG",
    "机构名": "ORG",
    "organisation": "ORG",
    "date": "TIME",
    "日期": "TIME",
    "作品名": "WORK",
    "work_of_art": "WORK",
}
