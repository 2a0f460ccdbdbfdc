"""The kinds of task files: what names, content types, words and first bytes say."""

from __future__ import annotations

import pytest

from infergraph.errors import PayloadError
from infergraph.wire import file_kind
from infergraph.wire.file_kind import LINES, Compression, FileFormat, FileKind

CSV_GZ = FileKind(FileFormat.CSV, Compression.GZIP)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("rows.csv", FileKind(FileFormat.CSV)),
        ("ROWS.CSV.GZ", CSV_GZ),
        ("s3://bucket/a.b/rows.parquet", FileKind(FileFormat.PARQUET)),
        ("rows.ndjson", LINES),
        ("rows.gz", FileKind(FileFormat.JSONL, Compression.GZIP)),
        ("rows.jsonl.zst", FileKind(FileFormat.JSONL, Compression.ZSTD)),
        ("rows.txt", None),
        ("csv", None),
        ("", None),
        ("-", None),
    ],
)
def test_a_name_says_its_kind_by_its_ending(name: str, kind: FileKind | None) -> None:
    """Format and compression are the last endings of the name, in any case; other names say nothing."""
    assert file_kind.of_name(name) == kind


def test_every_kind_is_found_by_its_own_name() -> None:
    """The name of a kind, as it is stored and shown, is a word for it, and the ending of a file."""
    for format in FileFormat:
        for compression in Compression:
            kind = FileKind(format, compression)
            assert file_kind.of_word(kind.name, "format") == kind
            assert file_kind.of_name(f"rows.{kind.name}") == kind
            assert kind.is_lines is (kind.stored == "")


@pytest.mark.parametrize("word", ["", "xml", "gz", ".csv", "rows.csv", "csv.", "csv.bz2", "c" * 1000])
def test_an_unknown_word_is_refused_by_its_field(word: str) -> None:
    """The error names the field and the known formats."""
    with pytest.raises(PayloadError, match=r"^format: .* is not a format; one of jsonl, csv, parquet"):
        file_kind.of_word(word, "format")


def test_parquet_answers_are_not_compressed_twice() -> None:
    """Such a file is read, but not written."""
    assert file_kind.of_word("parquet.gz", "format").compression is Compression.GZIP
    with pytest.raises(PayloadError, match="output_format: Parquet is compressed inside"):
        file_kind.answer_kind("parquet.gz", "output_format")


def test_first_bytes_take_precedence() -> None:
    """A name or a content type may be wrong about compression and Parquet; the bytes are not."""
    assert file_kind.shown_by(b"\x1f\x8b\x08", FileKind(FileFormat.CSV)) == CSV_GZ
    assert file_kind.shown_by(b"id,text\n", CSV_GZ) == FileKind(FileFormat.CSV)
    assert file_kind.shown_by(b"PAR1", LINES) == FileKind(FileFormat.PARQUET)
    assert file_kind.shown_by(b"", LINES) == LINES


@pytest.mark.parametrize(
    ("content_type", "format"),
    [
        ("text/csv; charset=gb18030", FileFormat.CSV),
        ("Application/Vnd.Apache.Parquet", FileFormat.PARQUET),
        ("application/x-ndjson", FileFormat.JSONL),
        ("application/octet-stream", None),
        ("", None),
    ],
)
def test_a_content_type_says_the_format(content_type: str, format: FileFormat | None) -> None:
    """General types, which clients send for any file, say nothing."""
    kind = file_kind.of_content_type(content_type)
    assert (kind and kind.format) == format
