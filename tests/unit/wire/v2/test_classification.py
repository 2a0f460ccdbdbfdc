"""The classification extension, without a server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from infergraph.errors import PayloadError
from infergraph.wire.v2 import classification
from infergraph.wire.v2.records import InferRequest, RequestedOutput
from infergraph.wire.v2.tensors import Datatype, Tensor


def classified(array: np.ndarray, count: Any, datatype: Datatype = Datatype.FP32, **parameters: Any) -> Tensor:
    request = InferRequest(inputs=(), outputs=[RequestedOutput("y", {"classification": count})])
    classification.check(request)
    [output] = classification.classified([Tensor("y", datatype, array, parameters)], request)
    return output


@pytest.mark.parametrize(
    ("scores", "texts"),
    [
        ([1.0, 1.0, 0.5], ["1.0:0", "1.0:1"]),
        ([float("nan"), -1.0, 2.0], ["2.0:2", "-1.0:1"]),
        ([float("-inf"), float("inf"), 0.0], ["inf:1", "0.0:2"]),
    ],
)
def test_the_largest_come_first(scores: list[float], texts: list[str]) -> None:
    """Of equal values the first comes first, and what is no number last."""
    assert classified(np.array(scores, dtype=np.float32), 2).array.tolist() == texts


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_no_scores_are_no_classes(shape: tuple[int, int]) -> None:
    """No rows, or no classes: an output of the same rows and as many classes as there are."""
    assert classified(np.zeros(shape, dtype=np.float32), 2).array.shape == (shape[0], min(2, shape[1]))


def test_labels_of_another_number_are_no_labels() -> None:
    """Names are used only where there is one for each class; they do not travel beside the classes."""
    scores = np.array([[0.25, 0.75]], dtype=np.float32)
    assert classified(scores, 1, column_names='["a","b"]').array.tolist() == [["0.75:1:b"]]
    found = classified(scores, 1, column_names='["a"]')
    assert found.array.tolist() == [["0.75:1"]]
    assert "column_names" not in found.parameters


@pytest.mark.parametrize("datatype", [Datatype.BYTES, Datatype.BOOL])
def test_what_is_no_number_is_refused(datatype: Datatype) -> None:
    """The fault names the output."""
    with pytest.raises(PayloadError, match="'y'"):
        classified(np.array([True, False]), 1, datatype)
