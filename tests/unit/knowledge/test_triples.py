"""Triples out of results: what is read, how things are named, and files that RDF tools read."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path

import pytest
import rdflib
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rdflib import RDF, RDFS, Literal, URIRef

from infergraph.errors import PayloadError
from infergraph_knowledge import triples_command as command
from infergraph_knowledge.triples import Names, export

BASE = "https://example.org/kg/"
ROWS = [
    {
        "id": 1,
        "data": "…",
        "entity_pair": [["三体", "刘慈欣"], ["三体", "a b/c"]],
        "entity_type_pair": [["作品", "人物"], ["作品", ""]],
        "relation": ["作者", "unknown"],
    },
    {"error": {"line": 2, "reason": "not JSON"}, "input": "x"},
    {"data": "…", "entity_pair": [], "relation": []},
    {"data": "…", "entity_pair": [["三体", "刘慈欣"], ["Emma", 'a "b"\n']], "relation": ["作者", "by"]},
]


@pytest.fixture
def results(tmp_path):
    """A result file of a task."""
    path = tmp_path / "task-7.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")
    return path


def entity(text: str) -> URIRef:
    """The IRI of an entity below BASE."""
    return URIRef(f"{BASE}entity/{text}")


@pytest.mark.parametrize("ending", ["nt", "ttl"])
def test_rdf_holds_triples_labels_types_and_provenance(results, ending):
    """Both RDF forms are read by an RDF library, and say the triples, names, types, task and line."""
    target = results.with_suffix("." + ending)
    assert export(results, target, base=BASE) == (4, 3, 1, 1)
    graph = rdflib.Graph().parse(target, format=ending)
    author = URIRef(BASE + "relation/作者")
    assert set(graph.triples((None, author, None))) == {(entity("三体"), author, entity("刘慈欣"))}
    assert set(graph.objects(entity("三体"), RDFS.label)) == {Literal("三体")}
    assert set(graph.objects(entity("三体"), RDF.type)) == {URIRef(BASE + "type/作品")}
    assert set(graph.subjects(RDFS.label, Literal('a "b"\n'))) == {entity("a%20%22b%22")}
    found = URIRef(BASE + "statement/task-7/4/1")
    assert set(graph.predicate_objects(found)) == {
        (RDF.type, RDF.Statement),
        (RDF.subject, entity("三体")),
        (RDF.predicate, author),
        (RDF.object, entity("刘慈欣")),
        (URIRef("http://www.w3.org/ns/prov#wasDerivedFrom"), URIRef(BASE + "task/task-7")),
        (URIRef(BASE + "line"), Literal(4)),
    }


def test_both_rdf_forms_say_the_same(results, tmp_path):
    """N-Triples and Turtle are the same graph."""
    for ending in ("nt", "ttl"):
        export(results, tmp_path / f"out.{ending}")
    one, other = (rdflib.Graph().parse(tmp_path / f"out.{ending}", format=ending) for ending in ("nt", "ttl"))
    assert set(one) == set(other)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_text_survives_n_triples(text):
    """The label of an entity of any text is read back as that text."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.jsonl"), Path(folder, "out.nt")
        row = {"data": "", "entity_pair": [[text, "tail"]], "relation": ["r"]}
        source.write_text(json.dumps(row), encoding="utf-8")
        export(source, target, provenance=False)
        graph = rdflib.Graph().parse(target, format="nt")
    assert set(graph.objects(URIRef(Names().entity(text)), RDFS.label)) == {Literal(text)}


def test_csv_holds_a_row_for_each_triple(results, tmp_path):
    """CSV has the texts, types, task and line of each triple."""
    export(results, tmp_path / "out.csv", task="mine")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["head", "relation", "tail", "head_type", "tail_type", "task", "line"],
            ["三体", "作者", "刘慈欣", "作品", "人物", "mine", "1"],
            ["三体", "作者", "刘慈欣", "", "", "mine", "4"],
            ["Emma", "by", 'a "b"\n', "", "", "mine", "4"],
        ]


def test_without_provenance_only_the_facts(results, tmp_path):
    """Provenance can be left out."""
    export(results, tmp_path / "out.nt", provenance=False)
    assert b"statement" not in (tmp_path / "out.nt").read_bytes()


def test_names_are_stable():
    """The same text in another normal form, or with other white space, is the same entity."""
    names = Names(BASE)
    assert names.entity("Cafe\u0301  noir ") == names.entity("Caf\u00e9 noir") == BASE + "entity/Café%20noir"


@pytest.mark.parametrize("text", ["a/b", "a#b", "a?b", "a:b", "<x>", "..", ".", "", "\ud83d", "%41", "\x00", "表情😀"])
@pytest.mark.parametrize("base", [BASE, "urn:x:"])
def test_no_text_escapes_its_segment(text, base):
    """Whatever the text, its IRI is one segment below the base, and RDF tools take it as an IRI."""
    iri = Names(base).entity(text)
    segment = iri.removeprefix(base + "entity" + base[-1])
    assert segment
    assert segment not in (".", "..")
    assert not set(segment) & set("/#?:<> ")
    assert URIRef(iri).n3() == f"<{iri}>"


def test_different_texts_have_different_names():
    """No two texts that differ in more than white space and normal form share an IRI."""
    names = Names("urn:x:")
    texts = ["a/b", "a%2Fb", "a:b", "a", "b", "三体", "", "%20"]
    assert len({names.entity(text) for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"{", "line 2: not JSON"),
        (b"[]", "line 2: a result is an object, not list"),
        (b'{"data": "x", "entity": []}', "line 2: the key 'entity_pair' is missing"),
    ],
)
def test_a_line_that_is_no_result_is_named_and_nothing_is_written(tmp_path, line, text):
    """A file of something else is refused by its line, and leaves no half of an export."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(b'\xef\xbb\xbf{"data": "", "entity_pair": [["a", "b"]], "relation": ["r"]}\n' + line + b"\n")
    with pytest.raises(PayloadError, match=text):
        export(source, tmp_path / "out.nt")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def _run(*arguments: object):
    return CliRunner().invoke(command.export_triples, [str(argument) for argument in arguments])


def test_the_command_tells_what_it_wrote(results, tmp_path):
    """The command says how many triples came from how many rows, and what was left out."""
    done = _run(results, "-o", tmp_path / "out.nt")
    assert done.exit_code == 0
    assert done.output.endswith("out.nt: 3 triples of 4 rows (left out: 1 error lines, 1 pairs without a relation)\n")


def test_the_command_refuses_unknown_endings(results, tmp_path):
    """An ending that is no format is told with those that are."""
    done = _run(results, "-o", tmp_path / "out.xml")
    assert done.exit_code == 1
    assert "must end in one of .nt, .ttl, .csv" in done.output
