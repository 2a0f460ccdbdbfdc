"""Triples of RE and JE results for a graph database: N-Triples, Turtle or CSV, with stable names and provenance.

    results.jsonl ──rows──▶ statements (triple, task, line) ──writer──▶ out.nt | out.ttl | out.csv

The same text makes the same IRI in every run and task: `<base>entity/鲁迅`, `<base>relation/作者`. Each statement is
also a resource of its own, named for its task, line and place, that says where it was found.
"""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import quote

from infergraph.errors import MissingExtra, PayloadError
from infergraph_knowledge.records import RelationRecord, Triple
from infergraph_knowledge.schema import NO_RELATION

DEFAULT_BASE = "urn:infergraph:"
_PROV = "http://www.w3.org/ns/prov#"
_IN_PATH = "-._~!$'()*+,;=@"
CSV_COLUMNS = ("head", "relation", "tail", "head_type", "tail_type", "task", "line")


class Format(Enum):
    """How triples are written; the value is the file ending."""

    N_TRIPLES = "nt"
    TURTLE = "ttl"
    CSV = "csv"


class Statement(NamedTuple):
    """A triple and where it was found: line `line` of the results of `task`, the `place`-th triple there."""

    triple: Triple
    task: str
    line: int
    place: int


class Tally:
    """What was read: rows, triples, error lines left out, pairs without a relation left out."""

    def __init__(self) -> None:
        self.rows = 0
        self.triples = 0
        self.errors = 0
        self.unrelated = 0


class Exported(NamedTuple):
    """How the export of a file went."""

    rows: int
    triples: int
    errors: int
    unrelated: int


def read_statements(
    lines: Iterable[bytes], task: str, tally: Tally, no_relation: str = NO_RELATION
) -> Iterator[Statement]:
    """The statements of a result file, in order.

    Args:
        lines: of the file; the error lines of a task are counted and left out, and so are pairs without a relation.
        task: the id of the task that the results are of.
    Raises: PayloadError naming the line that is no result of RE or JE.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        tally.rows += 1
        row = _row(line, number)
        if isinstance(row.get("error"), Mapping) and "input" in row:
            tally.errors += 1
            continue
        try:
            triples = RelationRecord.read(row).triples
        except PayloadError as error:
            raise PayloadError(f"line {number}: {error}") from error
        for place, triple in enumerate(triples, start=1):
            if triple.relation == no_relation:
                tally.unrelated += 1
                continue
            tally.triples += 1
            yield Statement(triple, task, number, place)


def _row(line: bytes, number: int) -> Mapping[str, Any]:
    try:
        row = json.loads(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
    except ValueError as error:
        raise PayloadError(f"line {number}: not JSON: {error}") from error
    if not isinstance(row, Mapping):
        raise PayloadError(f"line {number}: a result is an object, not {type(row).__name__}")
    return row


class Names:
    """IRIs for what triples speak of, below a base that ends in `/`, `#` or `:`."""

    def __init__(self, base: str = DEFAULT_BASE) -> None:
        self._base = base if base.endswith(("/", "#", ":")) else base + "/"
        self._join = ":" if self._base.endswith(":") else "/"

    def entity(self, text: str) -> str:
        """The IRI of the entity called `text`: in every task the same."""
        return self._name("entity", text)

    def relation(self, text: str) -> str:
        """The IRI of a relation."""
        return self._name("relation", text)

    def type(self, text: str) -> str:
        """The IRI of an entity type."""
        return self._name("type", text)

    def task(self, task: str) -> str:
        """The IRI of a task."""
        return self._name("task", task)

    def line(self) -> str:
        """The IRI of what ties a statement to the line where it was found."""
        return self._name("line")

    def statement(self, statement: Statement) -> str:
        """The IRI of a statement at its place."""
        return self._name("statement", statement.task, str(statement.line), str(statement.place))

    def _name(self, *parts: str) -> str:
        return self._base + self._join.join(_segment(part) for part in parts)


def _segment(text: str) -> str:
    """`text` as one segment of an IRI: composed, white space one blank, letters of any script as they are.

    Source: RFC 3987, section 2.2: what is neither unreserved nor a letter beyond ASCII is percent-encoded.
    """
    composed = " ".join(unicodedata.normalize("NFC", text).split())
    if composed in ("", ".", ".."):  # what stands for nothing or another place in a path
        return composed.replace(".", "%2E") or "%20"
    return "".join(
        character if character.isalnum() and not character.isascii() else quote(character, _IN_PATH, "utf-8", "replace")
        for character in composed
    )


Write = Callable[[Iterable[Statement], IO[str]], None]


def export(
    source: Path, target: Path, *, task: str = "", base: str = DEFAULT_BASE, provenance: bool = True
) -> Exported:
    """Write the triples of the result file `source` to `target`, whose ending chooses the format.

    Args:
        task: the id of the task; the source's name without its ending by default.
        base: what every IRI begins with.
        provenance: also write where each triple was found.
    Raises: PayloadError naming the line that is no result of RE or JE, or an ending that is no format; MissingExtra
        where rdflib is wanted and not installed.
    Promises: atomic: there is the whole file or none. CSV and N-Triples are written as the results are read (the
        latter remembers the names it has written); Turtle holds all triples.
    """
    write = _writer(_format(target), Names(base), provenance)
    tally = Tally()
    part = target.with_name(target.name + ".part")
    try:
        with source.open("rb") as lines, part.open("w", encoding="utf-8", newline="") as out:
            write(read_statements(lines, task or source.stem, tally), out)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return Exported(tally.rows, tally.triples, tally.errors, tally.unrelated)


def _format(target: Path) -> Format:
    try:
        return Format(target.suffix.removeprefix(".").lower())
    except ValueError as error:
        endings = ", ".join(f".{format_.value}" for format_ in Format)
        raise PayloadError(f"{target} does not say its format: it must end in one of {endings}") from error


def _writer(format_: Format, names: Names, provenance: bool) -> Write:
    if format_ is Format.CSV:
        return _write_csv
    try:
        import rdflib
    except ImportError as error:
        raise MissingExtra.of("rdflib", "triples", "Writing RDF") from error
    terms = _Terms(rdflib, names, provenance)
    return terms.write_n_triples if format_ is Format.N_TRIPLES else terms.write_turtle


def _write_csv(statements: Iterable[Statement], out: IO[str]) -> None:
    writer = csv.writer(out)
    writer.writerow(CSV_COLUMNS)
    for triple, task, line, _ in statements:
        writer.writerow((triple.head, triple.relation, triple.tail, triple.head_type, triple.tail_type, task, line))


Term = Any
Fact = tuple[Term, Term, Term]


_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"})


def _n_triples_term(term: Term) -> str:
    """A term as N-Triples has it; rdflib's own `n3` breaks a literal over lines, as only Turtle allows.

    Source: RDF 1.1 N-Triples, section 7.
    """
    datatype = getattr(term, "datatype", None)
    if not hasattr(term, "datatype"):
        return str(term.n3())
    return f'"{str(term).translate(_ESCAPES)}"' + (f"^^{datatype.n3()}" if datatype else "")


class _Terms:
    """Statements as RDF."""

    def __init__(self, rdflib: Any, names: Names, provenance: bool) -> None:
        self._iri, self._literal, self._rdflib = rdflib.URIRef, rdflib.Literal, rdflib
        self._rdf, self._rdfs = rdflib.RDF, rdflib.RDFS
        self._names = names
        self._provenance = provenance

    def write_n_triples(self, statements: Iterable[Statement], out: IO[str]) -> None:
        """One fact a line."""
        for fact in self.facts(statements):
            out.write(" ".join(map(_n_triples_term, fact)) + " .\n")

    def write_turtle(self, statements: Iterable[Statement], out: IO[str]) -> None:
        """The facts in one Turtle document."""
        graph = self._rdflib.Graph()
        graph.bind("prov", _PROV)
        for fact in self.facts(statements):
            graph.add(fact)
        out.write(graph.serialize(format="turtle"))

    def facts(self, statements: Iterable[Statement]) -> Iterator[Fact]:
        """The facts of all statements; what is said of an entity, relation or task is said once."""
        said: set[tuple[str, ...]] = set()
        for statement in statements:
            triple = statement.triple
            for kind, text in (("entity", triple.head), ("relation", triple.relation), ("entity", triple.tail)):
                if (kind, text) not in said:
                    said.add((kind, text))
                    yield self._named(kind, text), self._rdfs.label, self._text(text)
            for text, type_ in ((triple.head, triple.head_type), (triple.tail, triple.tail_type)):
                if type_ and (text, "is a", type_) not in said:
                    said.add((text, "is a", type_))
                    yield self._named("entity", text), self._rdf.type, self._named("type", type_)
            fact = self._fact(triple)
            yield fact
            if self._provenance:
                yield from self._found(statement, fact)

    def _found(self, statement: Statement, fact: Fact) -> Iterator[Fact]:
        """Where the statement was found, by RDF's own words for statements and PROV-O's for sources."""
        iri = self._iri(self._names.statement(statement))
        yield iri, self._rdf.type, self._rdf.Statement
        yield from zip((iri, iri, iri), (self._rdf.subject, self._rdf.predicate, self._rdf.object), fact, strict=True)
        yield iri, self._iri(_PROV + "wasDerivedFrom"), self._named("task", statement.task)
        yield iri, self._iri(self._names.line()), self._literal(statement.line)

    def _fact(self, triple: Triple) -> Fact:
        return (
            self._named("entity", triple.head),
            self._named("relation", triple.relation),
            self._named("entity", triple.tail),
        )

    def _named(self, kind: str, text: str) -> Term:
        return self._iri(getattr(self._names, kind)(text))

    def _text(self, text: str) -> Term:
        # A lone surrogate cannot be written in UTF-8.
        return self._literal(text.encode("utf-8", "replace").decode())
