"""Requests of the open inference protocol joined along their first axis, and their answer split again."""

from __future__ import annotations

from collections.abc import Container, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from infergraph.message import Content, Encoding, Meta
from infergraph.wire.arrays import is_square
from infergraph.wire.v2.hook_values import CONTENT_TYPE, JSON_TYPES
from infergraph.wire.v2.records import TensorSet
from infergraph.wire.v2.tensors import Datatype, Tensor

_IDS = frozenset({"id", "puid"})


def kind_of(content: Content, as_json: Container[str] = ()) -> Hashable | None:
    """The key that requests must share to be joined; None for one that is never joined.

    Args:
        as_json: inputs that the component's metadata declare as JSON: one element alone is not a list of one.
    """
    given: TensorSet = content.payload
    if rows_in(given) == 0 or any(_is_whole(tensor, given, as_json) for tensor in given.tensors):
        return None
    try:
        told = orjson.dumps(
            [_without_ids(content.meta), given.parameters, *(tensor.parameters for tensor in given.tensors)],
            default=dict,
            option=orjson.OPT_SORT_KEYS,
        )
    except TypeError:
        return None
    return content.encoding, given.is_mapping, told, tuple(map(_form, given.tensors))


def rows_in(given: TensorSet) -> int:
    """The size of the first axis, which all tensors share; 0 if they do not, or one has none."""
    sizes = {tensor.array.shape[0] if tensor.array.ndim else 0 for tensor in given.tensors}
    return sizes.pop() if len(sizes) == 1 else 0


def _is_whole(tensor: Tensor, given: TensorSet, as_json: Container[str]) -> bool:
    """Whether a component is handed something else for two such tensors than two of it."""
    kind = tensor.parameters.get(CONTENT_TYPE) or given.parameters.get(CONTENT_TYPE)
    if kind in JSON_TYPES or (kind is None and tensor.name in as_json):
        return True
    return kind == "str" and tensor.array.size != len(tensor.array)


def _form(tensor: Tensor) -> Hashable:
    """Name, datatype and all axes but the first; texts and bytes are not joined, as they would all be bytes."""
    array = tensor.array
    element = type(array.reshape(-1)[0]) if tensor.datatype is Datatype.BYTES and array.size else None
    return tensor.name, tensor.datatype, array.dtype, array.shape[1:], element


def _without_ids(meta: Mapping[str, Any] | None) -> Meta:
    return {key: value for key, value in (meta or {}).items() if key not in _IDS}


def ids_in(meta: Mapping[str, Any] | None) -> Meta:
    """What is a request's own, however it was answered."""
    return {key: meta[key] for key in _IDS if key in meta} if meta else {}


def joined(contents: Sequence[Content]) -> Content:
    """One request with the rows of all of them; its arrays are its own."""
    first: TensorSet = contents[0].payload
    columns = zip(*(content.payload.tensors for content in contents), strict=True)
    tensors = [column[0]._replace(array=np.concatenate([tensor.array for tensor in column])) for column in columns]
    return Content(first._replace(tensors=tensors), Encoding.TENSORS, (), _without_ids(contents[0].meta))


def has_rows(answer: TensorSet, rows: int) -> bool:
    """Whether each output has a row for each row of the request."""
    return bool(answer.tensors) and rows_in(answer) == rows


def is_ambiguous(answer: TensorSet) -> bool:
    """Whether counting cannot show that the first axis of each output is the row."""
    return any(is_square(tensor.array) for tensor in answer.tensors)


def says_more(answer: TensorSet, meta: Mapping[str, Any] | None) -> bool:
    """Whether an answer has tags, parameters or a route of its own, which are of all rows together."""
    told = meta or {}
    return bool(told.get("tags") or told.get("routing") or answer.parameters.keys() - {CONTENT_TYPE})


def part(answer: TensorSet, rows: slice) -> TensorSet:
    """Some rows of an answer."""
    return answer._replace(tensors=[tensor._replace(array=tensor.array[rows]) for tensor in answer.tensors])
