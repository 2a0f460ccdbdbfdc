"""Converts answers to Python values: arrays, text, bytes, JSON values, data frames, a router's branch."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np

from infergraph.errors import MissingExtra, PayloadError, RemoteError
from infergraph.message import Message
from infergraph.wire import json_codec
from infergraph.wire.v2.hook_values import CONTENT_TYPE, inputs_of, read_as
from infergraph.wire.v2.records import TensorSet
from infergraph.wire.v2.tensors import Tensor


def value_of(answer: Message) -> Any:
    """The payload of an answer: an array, a str, bytes or a JSON value; without a payload, the whole message as JSON.

    An array of objects, which is how a list of dicts is sent, becomes a list again.

    One of the open inference protocol is the value of its only output, a dict by name of several, or a data frame.

    Raises: RemoteError if it cannot be read.
    """
    try:
        value = _value_of_tensors(answer.payload) if answer.holds_tensors else answer.payload
    except PayloadError as fault:
        try:
            return json_codec.other_document(answer)
        except PayloadError:
            raise RemoteError(f"the answer cannot be read: {fault}", body=answer.raw) from fault
    if isinstance(value, np.ndarray) and value.dtype == object and value.size and isinstance(value.flat[0], dict):
        return value.tolist()
    return value


def value_for(data: Any, answer: Message) -> Any:
    """The payload of the answer to `data`: a text for a text, which in the open inference protocol comes in a list."""
    value = value_of(answer)
    is_one = isinstance(data, str) and answer.holds_tensors and isinstance(value, list) and len(value) == 1
    return value[0] if is_one and isinstance(value[0], str) else value


def _value_of_tensors(given: TensorSet) -> Any:
    if given.parameters.get(CONTENT_TYPE) == "pd":
        with suppress(MissingExtra):
            return inputs_of(given).payload
    parts = {tensor.name: _value_of_tensor(tensor) for tensor in given.tensors}
    return parts[given.tensors[0].name] if len(parts) == 1 else parts


def _value_of_tensor(tensor: Tensor) -> Any:
    """An array, which is the caller's to write to; a list of texts where they have one axis."""
    kind = str(tensor.parameters.get(CONTENT_TYPE, ""))
    value = tensor.array if kind == "str" and tensor.array.ndim != 1 else read_as(tensor, kind)
    return value if not isinstance(value, np.ndarray) or value.flags.writeable else value.copy()


def branch_of(answer: Message) -> int:
    """The branch in a router's answer.

    Raises: RemoteError if it does not contain one.
    """
    value = value_of(answer)
    try:
        return int(np.asarray(value).reshape(-1)[0])
    except (IndexError, TypeError, ValueError) as error:
        raise RemoteError(f"the answer contains no branch: {value!r}") from error


def frame_of(answer: Message) -> Any:
    """An answer's rows as a data frame; its columns are the answer's names if there is one for each column.

    Raises: RemoteError if the answer has no rows; MissingExtra without pandas.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingExtra.of("pandas", "pandas", "an answer as a data frame") from error
    value = value_of(answer)
    if isinstance(value, pandas.DataFrame):
        return value
    if answer.holds_tensors and isinstance(value, dict) and _are_columns(value.values()):
        return pandas.DataFrame({name: np.asarray(column).reshape(-1) for name, column in value.items()})
    if isinstance(value, np.ndarray):
        rows = value.reshape(len(value), -1) if value.ndim != 2 and value.ndim else value
        given = inputs_of(answer.payload).names if answer.holds_tensors else answer.names
        names = [str(name) for name in given or ()]
        if value.ndim and len(names) in (0, rows.shape[1]):
            return pandas.DataFrame(rows, columns=names or None)
        if value.ndim:
            return pandas.DataFrame(rows)
    elif isinstance(value, list):
        return pandas.DataFrame(value)
    raise RemoteError("the answer has no rows, and cannot become a data frame")


def _are_columns(values: Iterable[Any]) -> bool:
    """Whether all of them have one value a row, of equally many rows."""
    shapes = [np.shape(value) for value in values]
    return all(len(shape) == 1 or shape[1:] == (1,) for shape in shapes) and len({shape[0] for shape in shapes}) == 1
