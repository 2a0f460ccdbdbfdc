"""Parquet as JSON lines, row group by row group; and JSON rows as Parquet, with types that all rows have."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infergraph.errors import PayloadError
from infergraph.wire import jsonl, parquet_rows


def rows_of(path: Path) -> list[Any]:
    """The value of each line."""
    return jsonl.read(b"".join(parquet_rows.read(path)))[1]


def written(*groups: list[dict[str, Any]]) -> pa.Table:
    """The table of rows that are written group by group."""
    table, file = parquet_rows.ParquetTable(), io.BytesIO()
    for rows in groups:
        table.learn(rows)
    writer = table.writer(file)
    for rows in groups:
        writer.write(rows)
    writer.close()
    assert pq.ParquetFile(file).num_row_groups == len(groups)
    return pq.read_table(file)


def test_rows_are_objects_with_the_columns_names(tmp_path: Path) -> None:
    """In the order of the file, over the borders of row groups and batches."""
    size = 3 * parquet_rows.ROWS_AT_ONCE + 7
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"n": range(size), "文": [f"第{n}" for n in range(size)]}), path, row_group_size=1500)
    assert rows_of(path) == [{"n": n, "文": f"第{n}"} for n in range(size)]


def test_values_without_a_json_type_are_texts(tmp_path: Path) -> None:
    """Times, decimals and bytes are texts; durations are numbers; NaN is null; nested values follow the same rules."""
    path = tmp_path / "rows.parquet"
    columns = {
        "time": pa.array([datetime(2026, 1, 2, 3, 4, 5)], pa.timestamp("ms")),
        "zoned": pa.array([datetime(2026, 1, 2, tzinfo=UTC)], pa.timestamp("ms", "UTC")),
        "date": pa.array([date(2026, 1, 2)]),
        "price": pa.array([Decimal("1.50")]),
        "raw": pa.array([b"\0\xff"]),
        "took": pa.array([timedelta(seconds=2)], pa.duration("ms")),
        "word": pa.array(["x"]).dictionary_encode(),
        "nan": pa.array([float("nan")]),
        "null": pa.array([None], pa.int64()),
        "nested": pa.array([[{"at": date(2026, 1, 2), "raw": b"\0"}]]),
        "large": pa.array([2**64 - 1], pa.uint64()),
    }
    pq.write_table(pa.table(columns), path)
    assert rows_of(path) == [
        {
            "time": "2026-01-02 03:04:05.000",
            "zoned": "2026-01-02 00:00:00.000Z",
            "date": "2026-01-02",
            "price": "1.50",
            "raw": "AP8=",
            "took": 2000,
            "word": "x",
            "nan": None,
            "null": None,
            "nested": [{"at": "2026-01-02", "raw": "AA=="}],
            "large": 2**64 - 1,
        }
    ]


def test_damage_names_the_row_group(tmp_path: Path) -> None:
    """A row group that cannot be read, a file without its end, and one that is something else."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": [f"text {n}" for n in range(4000)]}), path, row_group_size=1000)
    whole = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(2).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    whole[start : start + column.total_compressed_size] = b"\xaa" * column.total_compressed_size
    path.write_bytes(whole)
    with pytest.raises(PayloadError, match="damaged Parquet, its row group 3 of 4 cannot be read"):
        rows_of(path)
    for broken in (whole[:-1000], b"PAR1", b"PAR1" + b"\xff" * 1000 + b"PAR1"):
        path.write_bytes(broken)
        with pytest.raises(PayloadError, match="damaged Parquet, it cannot be read"):
            rows_of(path)


def test_tables_without_rows_or_with_a_name_twice_are_refused(tmp_path: Path) -> None:
    """Both are refused before the work."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), path)
    with pytest.raises(PayloadError, match="no rows"):
        rows_of(path)
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    with pytest.raises(PayloadError, match="two columns of the Parquet file are called 'a'"):
        rows_of(path)


@pytest.mark.parametrize(
    ("values", "type", "read"),
    [
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([None, 3], pa.int64(), [None, 3]),
        ([None, None], pa.string(), [None, None]),
        ([1, "x"], pa.string(), ["1", "x"]),
        ([{"a": 1}, {"b": "x"}], None, [{"a": 1, "b": None}, {"a": None, "b": "x"}]),
        ([{}, {}], pa.string(), ["{}", "{}"]),
        ([[], [1]], pa.list_(pa.field("element", pa.int64())), [[], [1]]),
        ([2**70, 1], pa.string(), [str(2**70), "1"]),
        ([True, "x"], pa.string(), ["true", "x"]),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
def test_columns_get_a_type_that_all_rows_have(values: list[Any], type: Any, read: list[Any], apart: bool) -> None:
    """Whether the values stand in one row group or in two; values without a common type are JSON texts."""
    rows = [{"x": value} for value in values]
    table = written(*([[row] for row in rows] if apart else [rows]))
    assert type is None or table.schema.field("x").type == type
    assert table.column("x").to_pylist() == read


def test_a_value_that_does_not_fit_is_null() -> None:
    """Rows that were not asked for their types, as failed ones are not, cannot change those of the others."""
    table, file = parquet_rows.ParquetTable(), io.BytesIO()
    table.learn([{"n": 1}])
    writer = table.writer(file)
    writer.write([{"n": 1}, {"n": "many", "other": 1}, {"n": 3}])
    writer.close()
    assert pq.read_table(file).to_pylist() == [{"n": 1}, {"n": None}, {"n": 3}]
