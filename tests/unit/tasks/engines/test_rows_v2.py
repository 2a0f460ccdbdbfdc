"""Lines that are requests of the open inference protocol: one answer each, the same in whatever company."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infergraph.assembly import build_for_tasks, components
from infergraph.message import PredictiveUnit
from infergraph.observe.shared_metrics import PrivateMetrics
from infergraph.settings import NanPolicy, RowMode, Settings
from infergraph.tasks.engines.messages import Lines
from infergraph.tasks.engines.rows import row_reader
from infergraph.unit_source import UnitSource


class Doubling:
    """Twice its rows; remembers how many each call had."""

    task_rows = "v2"

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def predict(self, X: Any, names: Any = None, meta: Any = None) -> Any:
        self.sizes.append(len(X))
        return X * 2


def answers(
    user: Any, lines: list[Any], *, mode: RowMode = RowMode.AUTO, nan: NanPolicy = NanPolicy.ERROR
) -> list[Any]:
    """The answers to lines, read back; lines that are no bytes go as JSON."""
    unit = components.wrap(lambda: user, Settings(), PrivateMetrics(), name="m", environment={})
    return answers_of(unit, lines, mode=mode, nan=nan)


def answers_of(
    unit: PredictiveUnit, lines: list[Any], *, mode: RowMode = RowMode.V2, nan: NanPolicy = NanPolicy.ERROR
) -> list[Any]:
    """The same of a unit that has to be started."""
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]

    async def run() -> Lines:
        await unit.start()
        try:
            return await row_reader(unit, mode, nan=nan).answer(b"\n".join(raw) + b"\n", 1)
        finally:
            await unit.stop()

    found = asyncio.run(run())
    assert found.lines == len(lines)
    read = [orjson.loads(line) for line in found.output.split(b"\n")[:-1]]
    assert found.failed == sum("error" in each for each in read)
    return read


def request(*rows: Any, datatype: str = "FP32", name: str = "x", **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": name, "shape": list(np.shape(rows)), "datatype": datatype, "data": list(rows)}], **more}


def data(answer: dict[str, Any]) -> list[Any]:
    return answer["outputs"][0]["data"]  # type: ignore[no-any-return]


def test_each_line_has_the_protocols_answer() -> None:
    """The answer names the model, has the id of the line or none, and is compact."""
    first, second = answers(Doubling(), [request([1, 2], id="seven"), request([3, 4])])
    assert first == {
        "model_name": "m",
        "id": "seven",
        "outputs": [{"name": "output-0", "shape": [1, 2], "datatype": "FP32", "data": [2, 4]}],
    }
    assert "id" not in second
    assert data(second) == [6, 8]


def test_like_lines_are_one_call() -> None:
    """Lines of equal tensors are joined along the first axis, others asked for themselves, and the order stays."""
    user = Doubling()
    lines = [
        request([1, 2]),
        request([1, 2, 3]),
        request([3, 4], [5, 6]),
        request([7, 8]),
        request([1, 2], datatype="FP64"),
    ]
    found = answers(user, lines)
    assert [data(each) for each in found] == [[2, 4], [2, 4, 6], [6, 8, 10, 12], [14, 16], [2, 4]]
    assert sorted(user.sizes) == [1, 1, 4]


def test_a_line_that_fails_fails_alone() -> None:
    """Of joined lines only the one whose rows the component refuses is an error line."""

    class Picky(Doubling):
        def predict(self, X: Any, names: Any = None, meta: Any = None) -> Any:
            if (X < 0).any():
                raise ValueError("a negative row")
            return X * 2

    found = answers(Picky(), [request([1, 2]), request([-1, 2]), request([5, 6])])
    assert [data(each) if "outputs" in each else each["error"]["reason"] for each in found] == [
        [2, 4], "a negative row", [10, 12],
    ]  # fmt: skip


def test_an_answer_without_rows_is_asked_for_line_by_line() -> None:
    """A component that answers one row to any number is not asked with joined lines."""

    class Total(Doubling):
        def predict(self, X: Any, names: Any = None, meta: Any = None) -> Any:
            return X.sum(axis=0, keepdims=True)

    assert [data(each) for each in answers(Total(), [request([1, 2]), request([3, 4])])] == [[1, 2], [3, 4]]


def test_tags_are_those_of_the_line() -> None:
    """What a component says of a call is said of each line alone."""

    class Tagged(Doubling):
        def tags(self) -> dict[str, Any]:
            return {"rows": self.sizes[-1]}

    found = answers(Tagged(), [request([1, 2]), request([3, 4])])
    assert [each["parameters"] for each in found] == [{"rows": 1}, {"rows": 1}]


BAD = {
    b"[1, 2]": "a list",
    b"{}": "at least one tensor",
    b'{"inputs": [{"name": "q", "shape": [3], "datatype": "FP32", "data": [1]}]}': "input 'q'",
    b'{"inputs": [{"name": "q", "shape": [1], "datatype": "BOOL", "parameters": {"binary_data_size": 1}}]}': "size",
    b'{"inputs": [{"name": "q", "shape": [1], "datatype": "fp32", "data": [1]}]}': "datatype",
    b"no JSON": "not JSON",
}


@pytest.mark.parametrize("line", BAD, ids=lambda line: line.decode()[:40])
def test_a_malformed_line_is_an_error_line(line: bytes) -> None:
    """It names what is wrong, a size for raw bytes included, and the others are answered."""
    bad, good = answers(Doubling(), [line, request([1, 2])])
    assert BAD[line] in bad["error"]["reason"]
    assert bad["error"]["line"] == 1
    assert data(good) == [2, 4]


def test_answers_are_json_whatever_the_line_asks_for() -> None:
    """A line cannot hold raw bytes; requested outputs and parameters are heard."""

    class Two(Doubling):
        def predict(self, X: Any, names: Any = None, meta: Any = None) -> Any:
            return {"a": X, "b": X * meta["parameters"]["factor"]}

    line = request([1, 2], outputs=[{"name": "b", "parameters": {"binary_data": True}}])
    line["parameters"] = {"binary_data_output": True, "factor": 3}
    (found,) = answers(Two(), [line])
    assert [(each["name"], each["data"]) for each in found["outputs"]] == [("b", [3, 6])]


def test_what_the_component_declares_is_heard() -> None:
    """The version that is served, and the name of the only output."""

    class Declared(Doubling):
        def init_metadata(self) -> dict[str, Any]:
            return {"versions": ["1", "2"], "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]}

    (found,) = answers(Declared(), [request([1, 2])])
    assert found["model_version"] == "2"
    assert found["outputs"][0]["name"] == "y"


def test_nan_is_what_the_setting_says() -> None:
    """An error line by default, null where that is chosen."""
    line = request([None, 2])
    assert "nan at outputs" in answers(Doubling(), [line])[0]["error"]["reason"]
    assert data(answers(Doubling(), [line], nan=NanPolicy.NULL)[0]) == [None, 4]


def test_a_transformer_answers_too() -> None:
    """A component without predict answers with its other hook, as it does over the network."""

    class Transformer:
        def transform_input(self, X: Any, names: Any = None, meta: Any = None) -> Any:
            return -X

    (found,) = answers(Transformer(), [request([1, 2])], mode=RowMode.V2)
    assert data(found) == [-1, -2]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["FP32", "INT64"]), st.lists(st.integers(0, 9), min_size=1, max_size=3)), min_size=1
    )
)
def test_a_line_has_the_same_answer_in_any_company(given_lines: list[tuple[str, list[int]]]) -> None:
    """Whatever the chunks, as after a resume, each line has the answer that it has alone."""
    lines = [request(*([value, 1] for value in values), datatype=datatype) for datatype, values in given_lines]
    assert answers(Doubling(), lines) == [answers(Doubling(), [line])[0] for line in lines]


ROUTED = """
name: p
graph:
  name: by-value
  type: ROUTER
  component: "parts.py:ByValue"
  children:
    - {name: double, type: MODEL, component: "parts.py:Double"}
    - {name: negative, type: MODEL, component: "parts.py:Negative"}
"""
PARTS = """
class ByValue:
    def route(self, X, names=None, meta=None):
        return int(X.ravel()[0] < 0)

class Double:
    def predict(self, X, names=None, meta=None):
        return X * 2

class Negative:
    def predict(self, X, names=None, meta=None):
        return -X
"""


def test_each_line_takes_its_own_route(tmp_path: Path) -> None:
    """Lines that a router sends different ways are not sent one way together."""
    (tmp_path / "graph.yaml").write_text(ROUTED)
    (tmp_path / "parts.py").write_text(PARTS)
    source = UnitSource(target="graph.yaml", folder=str(tmp_path), environment={})
    unit = build_for_tasks(msgspec.json.encode(source).decode(), Settings())
    found = answers_of(unit, [request([1]), request([-3]), request([2])])
    assert [data(each) for each in found] == [[2], [3], [4]]
    assert [json.loads(each["parameters"]["seldon_routing"])["by-value"] for each in found] == [0, 1, 0]
