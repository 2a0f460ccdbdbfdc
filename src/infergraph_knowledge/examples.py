"""A record to try a component with, in the language of its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CHINESE: Mapping[str, Any] = {
    "data": "鲁迅出生于浙江绍兴。",
    "entity_pair": [["鲁迅", "绍兴"]],
    "entity_type_pair": [["人物", "地点"]],
}
ENGLISH: Mapping[str, Any] = {
    "data": "Ada Lovelace was born in London.",
    "entity_pair": [["Ada Lovelace", "London"]],
    "entity_type_pair": [["PERSON", "GPE"]],
}
GBUILDER: Mapping[str, Any] = {
    "data": "北京大学是中国的一所综合性大学，位于北京市海淀区。",
    "entity_pair": [["北京大学", "中国"]],
    "entity_type_pair": [["机构", "国家"]],
}
"""A record with every key of gBuilder's tasks, for endpoints whose metadata has no example."""


def example_record(keys: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """A record with `keys`: English where all `labels` are, else Chinese, as most records of gBuilder are."""
    text = "".join(labels)
    record = ENGLISH if text and text.isascii() else CHINESE
    return {key: record[key] for key in keys}
