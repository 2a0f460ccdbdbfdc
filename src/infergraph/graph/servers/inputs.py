"""Input of packaged servers: named tensors as columns, and errors about invalid input and unreadable models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from infergraph.errors import Fault, PayloadError, TargetError


def are_tensors(given: Any) -> bool:
    """Whether an input is the named tensors of the open inference protocol; a JSON object holds no arrays."""
    return isinstance(given, dict) and any(isinstance(each, np.ndarray) for each in given.values())


def columns_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Named tensors as columns, each with the axis (row).

    Raises: PayloadError naming the tensor that has more than a value a row, or another number of rows.
    """
    columns: dict[str, Any] = {}
    for name, values in given.items():
        column = np.asarray(values)
        if column.ndim not in (1, 2) or column.shape[1:] not in ((), (1,)):
            raise PayloadError(f"input {name!r}: a column has one value a row, not the shape {list(column.shape)}")
        columns[name] = column.reshape(-1)
    first = next(iter(columns))
    for name, column in columns.items():
        if len(column) != len(columns[first]):
            raise PayloadError(f"input {name!r} has {len(column)} rows, and {first!r} has {len(columns[first])}")
    return columns


def table_of(given: Any, names: Sequence[str]) -> tuple[Any, list[str]]:
    """Rows with the axes (row, column), and their names: several named tensors as columns; else what was given.

    Raises: see `columns_of`.
    """
    if not are_tensors(given):
        return given, list(names)
    columns = columns_of(given)
    is_numeric = all(column.dtype.kind in "biuf" for column in columns.values())
    parts = columns.values() if is_numeric else [column.astype(object) for column in columns.values()]
    return np.column_stack(list(parts)), list(columns)


@contextmanager
def input_faults(model: str, *also: type[Exception]) -> Iterator[None]:
    """Translate a model's errors about its input to a PayloadError with the library's message.

    Args:
        model: the model's name in the message.
        also: exceptions of the library that are about the input, besides ValueError and TypeError.
    """
    refusals: tuple[type[Exception], ...] = (ValueError, TypeError, *also)
    try:
        yield
    except refusals as error:
        raise PayloadError(f"the {model} cannot take this input: {error}") from error


@contextmanager
def reading(place: Path) -> Iterator[None]:
    """Translate a library's errors about a broken or foreign model file to one line that names the path.

    Raises: TargetError.
    """
    try:
        yield
    except Fault:
        raise
    except Exception as error:
        said = str(error).strip().partition("\n")[0][:300]
        text = f"the model at {place} cannot be read: {type(error).__name__}"
        raise TargetError(f"{text}: {said}" if said else text) from error
