"""How well and how fast the packaged knowledge components work: python -m benchmarks.knowledge

    labelled texts ──component──▶ entities, relations, triples ──▶ precision, recall, F1; rows a second

Everything runs in one process on one core, through the same `predict` that serves requests. Rates are by CPU time,
which other work on the machine changes least.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import corpora
from benchmarks.corpora import Gold, Labelled, Spans
from infergraph_knowledge import RelationRecord, fetch
from infergraph_knowledge.candidates import CandidatePairs, RelatedPairs
from infergraph_knowledge.chinese import ChineseJe, ChineseNer, ChineseRe, MsraNer
from infergraph_knowledge.english import EnglishJe, EnglishNer, EnglishRe
from infergraph_knowledge.schema import NO_RELATION
from infergraph_knowledge.spans import Span

ONE_BY_ONE = 300
"""How many rows are asked one by one for the unbatched rate."""


class Quality(NamedTuple):
    """Precision, recall and F1 in percent, and the counts that they are made of."""

    precision: float
    recall: float
    f1: float
    right: int
    found: int
    wanted: int

    @classmethod
    def of(cls, right: int, found: int, wanted: int) -> Quality:
        """From counts."""
        f1 = 200 * right / (found + wanted) if found + wanted else 0.0
        return cls(100 * right / max(found, 1), 100 * right / max(wanted, 1), f1, right, found, wanted)


class Rates(NamedTuple):
    """Rows a second of CPU time: all rows in one request, and each in a request of its own."""

    batched: float
    single: float


def named(spans: Iterable[Span]) -> Spans:
    """The people, places and organizations among spans."""
    return frozenset(tuple(span) for span in spans if span.type in ("PER", "LOC", "ORG"))


def exact(wanted: Sequence[Spans], found: Sequence[Spans]) -> Quality:
    """By entities with the same borders and type."""
    pairs = list(zip(wanted, found, strict=True))
    return Quality.of(sum(len(w & f) for w, f in pairs), sum(map(len, found)), sum(map(len, wanted)))


def overlapping(wanted: Sequence[Spans], found: Sequence[Spans]) -> float:
    """F1 by entities that share a character with one of the same type: leaves conventions of borders out."""
    recalled = precise = 0
    for gold, answers in zip(wanted, found, strict=True):
        recalled += sum(any(_overlap(one, other) for other in answers) for one in gold)
        precise += sum(any(_overlap(one, other) for other in gold) for one in answers)
    recall, precision = recalled / max(sum(map(len, wanted)), 1), precise / max(sum(map(len, found)), 1)
    return 200 * precision * recall / (precision + recall) if precision + recall else 0.0


def _overlap(one: tuple[int, int, str], other: tuple[int, int, str]) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] == other[2]


def measure(component: Any, rows: Sequence[Any]) -> tuple[list[dict[str, Any]], Rates]:
    """The component's answers to all rows, and its rates."""
    component.predict(rows[:8])
    began = time.process_time()
    answers = component.predict(rows)
    batched = len(rows) / (time.process_time() - began)
    few = rows[:ONE_BY_ONE]
    began = time.process_time()
    for row in few:
        component.predict(row)
    return answers, Rates(batched, len(few) / (time.process_time() - began))


def ner(name: str, component: Any, corpus: str, texts: Sequence[Labelled]) -> str:
    """A line of the table of entities."""
    component.load()
    rows = [labelled.text for labelled in texts]
    _, rates = measure(component, rows)
    found, wanted = [named(spans) for spans in component.find(rows)], [labelled.spans for labelled in texts]
    quality = _shown(exact(wanted, found))
    return _line(name, f"{corpus}, {len(texts):,}", *quality, f"{overlapping(wanted, found):.1f}", *_rates(rates))


def triples_quality(texts: Sequence[Gold], answers: Iterable[Mapping[str, Any]]) -> Quality:
    """By exact triples; those that are not wrong either count for nothing."""
    right = found = wanted = 0
    for text, row in zip(texts, answers, strict=True):
        triples = {triple[:3] for triple in RelationRecord.read(row).triples} - text.also
        right += len(triples & text.triples)
        found += len(triples)
        wanted += len(text.triples)
    return Quality.of(right, found, wanted)


def je(name: str, component: Any, texts: Sequence[Gold]) -> str:
    """A line of the table of triples. The sentences are repeated for the rates, which would be too short else."""
    component.load()
    rows = [text.text for text in texts]
    answers, rates = measure(component, rows * 20)
    return _line(name, *_shown(triples_quality(texts, answers[: len(rows)])), *_rates(rates))


class Flow:
    """NER, candidate pairs, RE and related pairs one after the other: the example graph without the network."""

    def __init__(self, entities: Any, relations: Any, language: str) -> None:
        self._units = [entities, relations]
        self._steps = [
            entities.predict,
            CandidatePairs(language).transform_input,
            relations.predict,
            RelatedPairs().transform_output,
        ]

    def load(self) -> None:
        """Read the models."""
        for unit in self._units:
            unit.load()

    def predict(self, rows: Any) -> Any:
        """The answer of the last step."""
        for step in self._steps:
            rows = step(rows)
        return rows


def re_pairs(name: str, component: Any, texts: Sequence[Gold]) -> str:
    """A line of the table of given pairs: the related ones, and all other ordered pairs of the same entities."""
    component.load()
    rows, right, related, false, unrelated = [], 0, 0, 0, 0
    for text in texts:
        known = sorted(text.triples)
        mentions = sorted({mention for head, _, tail in known for mention in (head, tail)})
        taken = {(head, tail) for head, _, tail in text.triples | text.also}
        others = [(a, b) for a in mentions for b in mentions if a != b and (a, b) not in taken]
        pairs = [(head, tail) for head, _, tail in known] + others
        rows.append({"data": text.text, "entity_pair": [list(pair) for pair in pairs]})
    answers, rates = measure(component, rows * 5)
    for text, row in zip(texts, answers, strict=False):
        relations = row["relation"]
        known = sorted(text.triples)
        right += sum(given == relation for given, (_, relation, _) in zip(relations, known, strict=False))
        related += len(known)
        false += sum(given != NO_RELATION for given in relations[len(known) :])
        unrelated += len(relations) - len(known)
    share = f"{100 * right / related:.1f} ({right}/{related})"
    return _line(name, share, f"{100 * false / unrelated:.1f} ({false}/{unrelated})", *_rates(rates))


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _shown(quality: Quality) -> tuple[str, str, str]:
    return f"{quality.precision:.1f}", f"{quality.recall:.1f}", f"**{quality.f1:.1f}**"


def _rates(rates: Rates) -> tuple[str, str]:
    return f"{rates.batched:,.0f}", f"{rates.single:,.0f}"


def _table(title: str, columns: Sequence[str], lines: Iterable[str]) -> None:
    print(f"\n### {title}\n")
    print(_line(*columns))
    print("|" + "---|" * len(columns))
    for line in lines:
        print(line, flush=True)


def report(limit: int | None, weights: Path, archives: Path) -> None:
    """Measure everything and print it as Markdown."""
    for name in fetch.WEIGHTS:
        fetch.fetch(name, weights)
    folder = str(weights)
    msra, conll = corpora.msra_test(archives)[:limit], corpora.conll_test(archives)[:limit]
    chinese, english = corpora.gold("zh"), corpora.gold("en")
    columns = ["component", "corpus, sentences", "P", "R", "F1", "overlap F1", "rows/CPU s batched", "one by one"]
    _table(
        "Entities (people, places, organizations)",
        columns,
        (
            ner(name, component, corpus, texts)
            for name, component, corpus, texts in [
                ("ChineseNer, style corpus", ChineseNer(style="corpus"), "MSRA test", msra),
                ("ChineseNer, style graph", ChineseNer(), "MSRA test", msra),
                ("MsraNer", MsraNer(folder), "MSRA test", msra),
                ("EnglishNer", EnglishNer(), "CoNLL-2003 test", conll),
            ]
        ),
    )
    _table(
        "Relation of given pairs (gold sentences)",
        [
            "component",
            "related pairs right, %",
            "unrelated pairs given a relation, %",
            "rows/CPU s batched",
            "one by one",
        ],
        (
            re_pairs(name, component, texts)
            for name, component, texts in [
                ("ChineseRe, model, best always", ChineseRe("model", best=True, weights=folder), chinese),
                ("ChineseRe, model", ChineseRe("model", weights=folder), chinese),
                ("ChineseRe, patterns and model", ChineseRe(weights=folder), chinese),
                ("EnglishRe", EnglishRe(), english),
            ]
        ),
    )
    _table(
        "Triples (gold sentences, exact)",
        ["component", "P", "R", "F1", "rows/CPU s batched", "one by one"],
        (
            je(name, component, texts)
            for name, component, texts in [
                ("ChineseJe, model", ChineseJe("model", folder), chinese),
                ("ChineseJe, patterns", ChineseJe("rules"), chinese),
                ("ChineseJe, patterns and model", ChineseJe(weights=folder), chinese),
                ("the graph: NER, pairs, RE", Flow(ChineseNer(), ChineseRe(weights=folder), "zh"), chinese),
                ("EnglishJe", EnglishJe(), english),
                ("the graph in English", Flow(EnglishNer(), EnglishRe(), "en"), english),
            ]
        ),
    )


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="benchmarks.knowledge", description=__doc__)
    parser.add_argument("--limit", type=int, help="only so many sentences of each corpus")
    parser.add_argument("--weights", default="", help="folder of the weights")
    parser.add_argument("--archives", type=Path, help="folder of downloaded archives")
    given = parser.parse_args(arguments)
    weights = fetch.weights_folder(given.weights)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(f"{platform.processor() or platform.machine()}, one core; Python {platform.python_version()}")
    report(given.limit, weights, given.archives or weights / "archives")


if __name__ == "__main__":
    main(sys.argv[1:])
