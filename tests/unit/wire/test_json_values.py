"""Numbers of arrays as text that orjson joins into a document."""

import json

import numpy as np
import orjson
import pytest

from infergraph.wire import json_values


def written(values: np.ndarray) -> list[object]:
    """The elements, through the text."""
    elements = json_values.flat_elements(values)
    found: list[object] = json.loads(orjson.dumps(elements, option=orjson.OPT_SERIALIZE_NUMPY))
    return found


@pytest.mark.parametrize("dtype", ["f8", ">f8", "f4", "f2", "i8", "u1", "?"])
@pytest.mark.parametrize("size", [0, 1, 12])
def test_elements_are_one_list(dtype: str, size: int) -> None:
    """Whatever the shape, the order and the width of the numbers, which are written in as few digits as it needs."""
    values = np.asfortranarray(np.arange(size).astype(dtype).reshape(-1, 1) if size < 12 else
                               np.arange(12).astype(dtype).reshape(3, 4))  # fmt: skip
    assert np.array_equal(np.array(written(values), dtype=values.dtype), values.ravel())
    assert written(np.array([0.1], "f4")) == [0.1]


@pytest.mark.parametrize("value", [7.0, -1.2345678901234567e-05, float("nan")])
def test_very_many_elements_are_the_same(value: float) -> None:
    """They are written in blocks, save where one is NaN; some go another way, as orjson is not safe with them."""
    values = np.full(json_values.BLOCK_VALUES + 3, value)
    values[-1] = 0.5
    found = written(values)
    assert len(found) == values.size
    assert found[0] == (None if np.isnan(value) else value)
    assert found[-1] == 0.5
