"""CSV files as rows: names from the header, numbers where a whole column holds numbers."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, NamedTuple

from infergraph.errors import PayloadError

_DELIMITERS = ",;\t|"
_SNIFFED_CHARACTERS = 4096


class Table(NamedTuple):
    """A table.

    Args:
        names: of the columns; empty if the file has no header.
        rows: with the axes (row, column); a cell is a number, a text, or None where it is empty among numbers.
    """

    names: list[str]
    rows: list[list[Any]]

    @property
    def is_numeric(self) -> bool:
        """Whether no cell is a text."""
        return not any(isinstance(cell, str) for cell in self.rows[0])


def read_csv(path: Path) -> Table:
    """The table in a CSV file; an index column, as a DataFrame writes it under an empty name, is left out.

    Raises: PayloadError if it cannot be read, has no rows, or has rows of several lengths; it names the line.
    """
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PayloadError(f"{path} is not UTF-8 text (byte {error.start}): convert it first") from error
    reader = csv.reader(io.StringIO(text, newline=""), dialect=_dialect(text[:_SNIFFED_CHARACTERS]))
    lines = [(reader.line_num, cells) for cells in reader if cells]
    if not lines:
        raise PayloadError(f"{path}: the file has no rows")
    for number, cells in lines:
        if len(cells) != len(lines[0][1]):
            raise PayloadError(f"{path}, line {number}: {len(cells)} cells, where the first row has {len(lines[0][1])}")
    first = lines[0][1]
    has_header = not any(_number(cell) is not None for cell in first) and len(lines) > 1
    columns = [_column([cells[place] for _, cells in lines[has_header:]]) for place in range(len(first))]
    kept = range(1 if has_header and not first[0].strip() and len(first) > 1 else 0, len(first))
    names = [first[place].strip() for place in kept] if has_header else []
    return Table(names, [list(row) for row in zip(*(columns[place] for place in kept), strict=True)])


def _dialect(sample: str) -> type[csv.Dialect]:
    try:
        return csv.Sniffer().sniff(sample, _DELIMITERS)
    except csv.Error:  # a single column
        return csv.excel


def _column(cells: list[str]) -> list[Any]:
    numbers = [_number(cell) for cell in cells]
    is_numeric = any(number is not None for number in numbers) and all(
        number is not None or not cell.strip() for number, cell in zip(numbers, cells, strict=True)
    )
    return list(numbers) if is_numeric else list(cells)


def _number(cell: str) -> float | None:
    try:
        return int(cell) if cell.strip().lstrip("+-").isdecimal() else float(cell)
    except ValueError:
        return None
