"""The classification extension: the largest values of an output, as texts with their places and labels.

scores [rows, classes] ─▶ BYTES [rows, k] of `value:index` or `value:index:label`, the largest first
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from infergraph.errors import PayloadError
from infergraph.wire.v2.hook_values import COLUMN_NAMES, CONTENT_TYPE
from infergraph.wire.v2.records import InferRequest
from infergraph.wire.v2.tensors import Datatype, Tensor, brief

CLASSIFICATION = "classification"
"""The parameter of a requested output: how many values are wanted; 0 for the output as it is."""


def check(request: InferRequest) -> None:
    """Refuse a request that wants a number of classes which is none.

    Raises: PayloadError that names the output.
    """
    for requested in request.outputs:
        count = requested.parameters.get(CLASSIFICATION, 0)
        if type(count) is not int or count < 0:
            raise PayloadError(
                f"output {requested.name!r}: {CLASSIFICATION} must be a whole number from 0 on, not {brief(count)}"
            )


def classified(outputs: Sequence[Tensor], request: InferRequest) -> Sequence[Tensor]:
    """The outputs, those classified that the request wants so.

    Raises: PayloadError for one that holds no numbers.
    """
    counts = {each.name: each.parameters.get(CLASSIFICATION, 0) for each in request.outputs}
    return [_classified(each, counts[each.name]) if counts.get(each.name) else each for each in outputs]


def _classified(output: Tensor, count: int) -> Tensor:
    scores = output.array
    if output.datatype in (Datatype.BYTES, Datatype.BOOL) or not scores.ndim:
        raise PayloadError(f"output {output.name!r} holds no numbers to classify, but {output.datatype.value}")
    rows = scores.reshape(-1, scores.shape[-1]) if scores.size else scores.reshape(0, scores.shape[-1])
    count = min(count, scores.shape[-1])
    labels = _labels(output, scores.shape[-1])
    texts = np.empty((len(rows), count), dtype=object)
    for place, row in enumerate(rows):
        # a stable sort of the negated ranks: the first of equal values first, NaN last
        best = np.argsort(-row.astype(np.float64), kind="stable")[:count]
        texts[place] = [f"{row[index]!s}:{index}{labels[index]}" for index in best]
    parameters = {name: value for name, value in output.parameters.items() if name != COLUMN_NAMES}
    shape = (*scores.shape[:-1], count)
    return Tensor(output.name, Datatype.BYTES, texts.reshape(shape), {**parameters, CONTENT_TYPE: "str"})


def _labels(output: Tensor, classes: int) -> list[str]:
    """By class, a colon and its name; empty texts where the component names none."""
    names: Any = output.parameters.get(COLUMN_NAMES)
    found = json.loads(names) if isinstance(names, str) else []
    return [f":{name}" for name in found] if len(found) == classes else [""] * classes
