"""Bodies made to be slow: the time to read one grows with its size alone."""

from __future__ import annotations

import json as text
from typing import Any

import pytest

from infergraph.errors import PayloadError
from infergraph.wire.v2 import json, tensors
from infergraph.wire.v2.records import InferRequest, RequestedOutput, repeated
from infergraph.wire.v2.tensors import Datatype


class Counted(str):
    """A text that counts comparisons."""

    comparisons = 0

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_a_repeated_name_is_found_in_linear_time() -> None:
    """A name is compared with few others, not with all that were before."""
    names = [*map(Counted, range(2_000)), Counted(1_999)]
    Counted.comparisons = 0
    assert repeated(names) == "1999"
    assert Counted.comparisons < 4_000
    assert repeated(names[:-1]) is None


@pytest.mark.parametrize("data", [[1, [2, [[3]], []], 4], [[1, 2], [3, 4]], [[[[1]]], 2, [3, 4]], [[], [1, [2]], 3, 4]])
def test_the_leaves_of_lists_of_different_depths(data: list[Any]) -> None:
    """They are read in order, however they are nested."""
    assert tensors.of_list("x", Datatype.INT8, (4,), data).tolist() == [1, 2, 3, 4]


def test_lists_of_nothing_have_no_elements() -> None:
    """Empty lists in lists are read to their end."""
    assert tensors.of_list("x", Datatype.INT8, (2, 0), [[], [[]]]).shape == (2, 0)


def test_a_deep_list_beside_many_elements_is_passed_through_once() -> None:
    """The elements beside it are not copied for each level of it."""
    passes = 0

    class Watched(list):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            nonlocal passes
            passes += 1
            return super().__iter__()

    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    assert tensors.of_list("x", Datatype.INT8, (11,), Watched([deep, *[1] * 10])).tolist() == [1] * 11
    assert passes < 5


def test_the_first_of_two_spellings_of_an_output_counts() -> None:
    """The spellings of all outputs are looked up in one table."""
    outputs = [RequestedOutput("x", is_binary=True), RequestedOutput("x", is_binary=False), RequestedOutput("y")]
    assert InferRequest(inputs=(), outputs=outputs).own_spellings == {"x": True}


@pytest.mark.parametrize("depth", [1100, 3000])
def test_nesting_beyond_what_is_read_is_the_callers_fault(depth: int) -> None:
    """It is refused in a member that nobody reads, too."""
    body = text.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "INT8", "data": [1]}], "other": "DEEP"})
    with pytest.raises(PayloadError, match="too deeply"):
        json.decode(body.replace('"DEEP"', "[" * depth + "]" * depth).encode())


@pytest.mark.parametrize("timeout_us", [-1, 2**64, 10**400, 1.5, True, "1"])
def test_a_timeout_beyond_64_bits_is_refused(timeout_us: object) -> None:
    """It is a whole number of microseconds, as gRPC can hold one."""
    with pytest.raises(PayloadError, match="timeout"):
        _ = InferRequest(inputs=(), parameters={"timeout": timeout_us}).timeout_s
    assert InferRequest(inputs=(), parameters={"timeout": 2**64 - 1}).timeout_s > 1e12
