"""Converts answers to Python values: arrays, text, bytes, JSON values, data frames, a router's branch."""

from __future__ import annotations

from typing import Any

import numpy as np

from infergraph.errors import MissingExtra, PayloadError, RemoteError
from infergraph.message import Message
from infergraph.wire import json_codec


def value_of(answer: Message) -> Any:
    """The payload of an answer: an array, a str, bytes or a JSON value; without a payload, the whole message as JSON.

    An array of objects, which is how a list of dicts is sent, becomes a list again.

    Raises: RemoteError if it cannot be read.
    """
    try:
        value = answer.payload
    except PayloadError as fault:
        try:
            return json_codec.other_document(answer)
        except PayloadError:
            raise RemoteError(f"the answer cannot be read: {fault}", body=answer.raw) from fault
    if isinstance(value, np.ndarray) and value.dtype == object and value.size and isinstance(value.flat[0], dict):
        return value.tolist()
    return value


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
    if isinstance(value, np.ndarray):
        rows = value.reshape(len(value), -1) if value.ndim != 2 and value.ndim else value
        names = [str(name) for name in answer.names or ()]
        if value.ndim and len(names) in (0, rows.shape[1]):
            return pandas.DataFrame(rows, columns=names or None)
        if value.ndim:
            return pandas.DataFrame(rows)
    elif isinstance(value, list):
        return pandas.DataFrame(value)
    raise RemoteError("the answer has no rows, and cannot become a data frame")
