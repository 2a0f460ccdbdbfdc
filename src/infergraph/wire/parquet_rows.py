"""Parquet to JSON lines and back, a row group at a time.

What JSON has no type for is a text: dates and times in ISO 8601, decimals in digits, bytes in base64; durations are
numbers of their unit, and NaN is null. A column of answers that have no common type is written as JSON texts.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from infergraph.errors import MissingExtra, PayloadError
from infergraph.wire.csv_rows import cell, repeated

ROWS_AT_ONCE = 1024
_COLUMNS_LIMIT = 10_000
_BUFFER_BYTES = 1 << 16


def check_available() -> None:
    """Raises: MissingExtra if the package for Parquet is not installed."""
    _pyarrow()


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra.of("pyarrow", "parquet", "A Parquet file") from error
    return pyarrow


def read(path: Path) -> Iterator[bytes]:
    """Blocks of complete JSON lines, an object for each row; one batch of a row group is in memory at a time.

    Raises: PayloadError, naming the row group that cannot be read; MissingExtra.
    """
    pa = _pyarrow()
    where = "it"
    try:
        with pa.parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            _check_names(file.schema_arrow.names)
            if not file.metadata.num_rows:
                raise PayloadError("the Parquet file has no rows")
            for group in range(file.num_row_groups):
                where = f"its row group {group + 1} of {file.num_row_groups}"
                for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[group], use_threads=False):
                    if batch.num_rows:
                        yield _json_lines(pa, batch)
    except (*_REFUSALS, pa.ArrowException, OSError) as error:
        raise PayloadError(f"the file is damaged Parquet, {where} cannot be read: {_first_line(error)}") from error


def _check_names(names: list[str]) -> None:
    twice = repeated(names[:_COLUMNS_LIMIT])
    if twice is not None:
        raise PayloadError(f"two columns of the Parquet file are called {twice!r:.80}")
    if len(names) > _COLUMNS_LIMIT:
        raise PayloadError(f"the Parquet file has {len(names)} columns, more than {_COLUMNS_LIMIT}")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]


def _json_lines(pa: Any, batch: Any) -> bytes:
    columns = [_of_json_types(pa, column) for column in batch.columns]
    rows = pa.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist()
    return b"\n".join([orjson.dumps(row, _plain) for row in rows]) + b"\n"


def _of_json_types(pa: Any, column: Any) -> Any:
    """A column in types that are JSON's; nested ones are left to `_plain`."""
    types, kind = pa.types, column.type
    if types.is_dictionary(kind):
        return _of_json_types(pa, column.dictionary_decode())
    if types.is_duration(kind):
        return column.cast(pa.int64())
    if types.is_timestamp(kind) or types.is_date(kind) or types.is_time(kind) or types.is_decimal(kind):
        return column.cast(pa.string())
    return column


def _plain(value: Any) -> str:
    """A value that JSON has no type for, and orjson does not write."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


class ParquetTable:
    """The columns of rows and their types, as far as they have been seen."""

    def __init__(self) -> None:
        self._pa = _pyarrow()
        self._types: dict[str, Any] = {}  # None for a column of JSON texts

    def learn(self, rows: list[dict[str, Any]]) -> bool:
        """Take in more rows; whether they have more columns, or change a type."""
        before = dict(self._types)
        for name in dict.fromkeys(name for row in rows for name in row):
            found = self._type_of([row.get(name) for row in rows])
            self._types[name] = self._common(self._types[name], found) if name in self._types else found
        return before != self._types

    @property
    def names(self) -> Collection[str]:
        """The names so far."""
        return self._types.keys()

    def writer(self, file: BinaryIO) -> ParquetWriter:
        """A writer of rows with these columns."""
        return ParquetWriter(file, {name: self._written_as(kind) for name, kind in self._types.items()})

    def _written_as(self, kind: Any) -> Any:
        if kind is None or not _is_writable(self._pa, kind):
            return None
        return self._pa.string() if self._pa.types.is_null(kind) else kind

    def _type_of(self, values: list[Any]) -> Any:
        try:
            return self._pa.array(values).type
        except _REFUSALS:
            return None

    def _common(self, one: Any, other: Any) -> Any:
        """The type that has the values of both; None if there is none."""
        if one is None or other is None:
            return None
        pa = self._pa
        both = [pa.schema([("column", kind)]) for kind in (one, other)]
        try:
            return one if one == other else pa.unify_schemas(both, promote_options="permissive").field(0).type
        except (pa.ArrowTypeError, pa.ArrowInvalid):
            return None


_REFUSALS = (ValueError, TypeError, OverflowError, NotImplementedError)
"""What pyarrow raises for values without a common type; its own exceptions are subclasses of these."""


def _is_writable(pa: Any, kind: Any) -> bool:
    """Whether Parquet has the type: it has no object without keys."""
    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(_is_writable(pa, kind.field(at).type) for at in range(kind.num_fields))
    return not pa.types.is_list(kind) or _is_writable(pa, kind.value_type)


class ParquetWriter:
    """Writes rows, those of each call as a row group.

    Args:
        types: of each column; None for JSON texts.
    """

    def __init__(self, file: BinaryIO, types: dict[str, Any]) -> None:
        self._pa = pa = _pyarrow()
        self._types = types
        self._schema = pa.schema([(name, kind or pa.string()) for name, kind in self._types.items()])
        self._writer = pa.parquet.ParquetWriter(file, self._schema)

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Write a row group; a missing value is null."""
        columns = [self._column(name, kind, rows) for name, kind in self._types.items()]
        self._writer.write_table(self._pa.table(columns, schema=self._schema), row_group_size=len(rows))

    def _column(self, name: str, kind: Any, rows: list[dict[str, Any]]) -> Any:
        values = [row.get(name) for row in rows]
        if kind is None:
            return self._texts(values)
        try:
            return self._pa.array(values, kind)
        except _REFUSALS:
            return self._pa.array([value if self._fits(value, kind) else None for value in values], kind)

    def _texts(self, values: list[Any]) -> Any:
        texts = [None if value is None else cell(value).encode("utf-8", "replace").decode() for value in values]
        return self._pa.array(texts, self._pa.string())

    def _fits(self, value: Any, kind: Any) -> bool:
        try:
            self._pa.array([value], kind)
        except _REFUSALS:
            return False
        return True

    def close(self) -> None:
        """Write the footer; the file stays open."""
        self._writer.close()
