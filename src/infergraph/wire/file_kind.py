"""The kinds of task files: JSON lines, CSV or Parquet, plain or compressed; found by a word, a content type or a name.

    said by the client ▶ its content type ▶ its file name ▶ its first bytes

What the first bytes show is certain, and taken before what is said: a compressed file, and Parquet, are known by them.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from infergraph.errors import PayloadError


class FileFormat(Enum):
    """How rows are written in a file; the value is the ending of its name."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class Compression(Enum):
    """How a file is compressed; the value is the ending of its name."""

    NONE = ""
    GZIP = "gz"
    ZSTD = "zst"


_FORMATS = {
    "jsonl": FileFormat.JSONL,
    "ndjson": FileFormat.JSONL,
    "json": FileFormat.JSONL,
    "csv": FileFormat.CSV,
    "parquet": FileFormat.PARQUET,
    "pq": FileFormat.PARQUET,
}
_COMPRESSIONS = {
    "gz": Compression.GZIP,
    "gzip": Compression.GZIP,
    "zst": Compression.ZSTD,
    "zstd": Compression.ZSTD,
}
_MEDIA_TYPES = {
    FileFormat.JSONL: "application/x-ndjson",
    FileFormat.CSV: "text/csv; charset=utf-8",
    FileFormat.PARQUET: "application/vnd.apache.parquet",
}
_COMPRESSED_TYPES = {Compression.GZIP: "application/gzip", Compression.ZSTD: "application/zstd"}
_TYPES = {
    "text/csv": FileFormat.CSV,
    "application/csv": FileFormat.CSV,
    "application/vnd.apache.parquet": FileFormat.PARQUET,
    "application/x-parquet": FileFormat.PARQUET,
    "application/parquet": FileFormat.PARQUET,
    "application/x-ndjson": FileFormat.JSONL,
    "application/ndjson": FileFormat.JSONL,
    "application/jsonl": FileFormat.JSONL,
}
_MAGIC = {b"\x1f\x8b": Compression.GZIP, b"\x28\xb5\x2f\xfd": Compression.ZSTD}
_PARQUET_MAGIC = b"PAR1"
MAGIC_BYTES = 4
"""As many first bytes of a file show its kind."""
_LENGTH = 40


class FileKind(msgspec.Struct, frozen=True):
    """A format and a compression."""

    format: FileFormat = FileFormat.JSONL
    compression: Compression = Compression.NONE

    @property
    def name(self) -> str:
        """The kind as the ending of a file's name: `jsonl`, `csv.gz`, …"""
        return self.format.value + ("." + self.compression.value if self.compression is not Compression.NONE else "")

    @property
    def stored(self) -> str:
        """The name for a task's row: empty for plain JSON lines."""
        return "" if self.is_lines else self.name

    @property
    def is_lines(self) -> bool:
        """Whether the file is plain JSON lines, as the tasks themselves have them."""
        return self == LINES

    @property
    def media_type(self) -> str:
        """The content type of such a file."""
        return _COMPRESSED_TYPES.get(self.compression) or _MEDIA_TYPES[self.format]


LINES = FileKind()


def of_name(name: str) -> FileKind | None:
    """The kind that the ending of a file's name, or of an address, says; None if it says none."""
    stem, _, ending = name.lower().rpartition(".")
    compression = _COMPRESSIONS.get(ending, Compression.NONE)
    if compression is not Compression.NONE:
        ending = stem.rpartition(".")[2]
    format = _FORMATS.get(ending) if stem else None
    if format is None:
        return None if compression is Compression.NONE else FileKind(FileFormat.JSONL, compression)
    return FileKind(format, compression)


def of_content_type(content_type: str) -> FileKind | None:
    """The kind that a Content-Type header says; None if it says none."""
    format = _TYPES.get(content_type.partition(";")[0].strip().lower())
    return None if format is None else FileKind(format)


def said_of(content_type: str, name: str) -> FileKind:
    """The kind that a file's content type says, or else its name; JSON lines if both are silent."""
    return of_content_type(content_type) or of_name(name) or LINES


def of_word(word: str, field: str) -> FileKind:
    """The kind that a client asks for by a word such as `csv` or `jsonl.gz`. Raises: PayloadError naming the field."""
    kind = of_name(f"file.{word}") if len(word) <= _LENGTH and word.lower().split(".")[0] in _FORMATS else None
    if kind is None:
        known = ", ".join(format.value for format in FileFormat)
        raise PayloadError(f"{field}: {word!r:.60} is not a format; one of {known}, which .gz or .zst may follow")
    return kind


def answer_kind(word: str, field: str) -> FileKind:
    """The same for a file of answers. Raises: PayloadError also for Parquet compressed a second time."""
    kind = of_word(word, field)
    if kind.format is FileFormat.PARQUET and kind.compression is not Compression.NONE:
        raise PayloadError(f"{field}: Parquet is compressed inside; {kind.name!r} is not written")
    return kind


def compression_of(head: bytes) -> Compression:
    """The compression that the first bytes of a file show."""
    return next((found for magic, found in _MAGIC.items() if head.startswith(magic)), Compression.NONE)


def shown_by(head: bytes, said: FileKind) -> FileKind:
    """The kind of a file by its first bytes, and where these show nothing, by what is said of it."""
    format = FileFormat.PARQUET if is_parquet(head) else said.format
    return FileKind(format, compression_of(head))


def is_parquet(head: bytes) -> bool:
    """Whether the first bytes of a file show that it is Parquet."""
    return head.startswith(_PARQUET_MAGIC)
