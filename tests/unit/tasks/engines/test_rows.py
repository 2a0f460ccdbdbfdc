"""A chunk's lines through a unit: a line for each line, whatever the unit does."""

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

from infergraph.assembly import build_for_tasks
from infergraph.errors import ComponentError, RemoteError
from infergraph.message import Context, Encoding, Message, Method, PredictiveUnit, Request
from infergraph.settings import RowMode, Settings
from infergraph.tasks.engines.messages import Lines
from infergraph.tasks.engines.rows import row_reader
from infergraph.unit_source import UnitSource
from task_units import Busy, Doubling, Echo, Poisoned, RowUnit, Summing


def answer(unit: PredictiveUnit, block: bytes, *, mode: RowMode = RowMode.AUTO, first: int = 1) -> list[Any]:
    """The answers to a block, read back; the errors are checked against them."""

    async def no_sleep(seconds: float) -> None:
        assert seconds > 0

    async def run() -> Lines:
        return await row_reader(unit, mode, no_sleep).answer(block, first)

    lines = asyncio.run(run())
    answers = [orjson.loads(line) for line in lines.output.split(b"\n")[:-1]]
    assert len(answers) == lines.lines
    failed = [line for line in lines.output.splitlines(keepends=True) if line.startswith(b'{"error":{"line":')]
    assert b"".join(failed) == lines.errors
    assert len(failed) == lines.failed
    return answers


def answer_started(unit: PredictiveUnit, block: bytes) -> list[Any]:
    """The same for a unit that has to be started."""

    async def run() -> Lines:
        await unit.start()
        try:
            return await row_reader(unit, RowMode.AUTO).answer(block, 1)
        finally:
            await unit.stop()

    return [orjson.loads(line) for line in asyncio.run(run()).output.split(b"\n")[:-1]]


def reasons(answers: list[Any]) -> dict[int, str]:
    """Line numbers and reasons of the error lines."""
    return {row["error"]["line"]: row["error"]["reason"] for row in answers if "error" in row}


def test_a_passing_trouble_starts_again_from_the_line() -> None:
    """A row that is asked again since the unit was busy is what its line says, in every mode."""

    class BusyScribbler(Busy):
        def rows(self, rows: list[dict[str, Any]]) -> Any:
            for row in rows:
                row["n"] += 1
            return super().rows(rows)

    assert answer(BusyScribbler({}), b'{"n": 1}\n{"n": 2}\n') == [{"n": 2, "seen": True}, {"n": 3, "seen": True}]


def test_rows_come_back_in_their_places() -> None:
    """Answers stand where their lines stood; unknown keys travel along; numbering starts at the chunk's first line."""
    block = b'{"data": "\xe5\x8c\x97", "id": 7}\r\n[1]\n\n{"n": 1}\nnull\n{"data": 2}'
    answers = answer(Echo({}), block, first=101)
    assert answers[0] == {"data": "北", "id": 7, "seen": True}
    assert answers[3] == {"n": 1, "seen": True}
    assert reasons(answers) == {
        102: "the line is a list, expected an object (task_rows=instance takes such lines)",
        103: "the line is blank",
        105: "the line is null, expected an object",
    }
    assert answers[1]["input"] == "[1]"


def test_a_byte_order_mark_is_skipped_once_and_only_at_the_start() -> None:
    """The mark before the first line of a file is no data; anywhere else it is a bad record."""
    assert answer(Echo({}), b'\xef\xbb\xbf{"a": 1}\n') == [{"a": 1, "seen": True}]
    assert len(reasons(answer(Echo({}), b'\xef\xbb\xbf{"a": 1}\n', first=2))) == 1
    assert len(reasons(answer(Echo({}), b'\xef\xbb\xbf\xef\xbb\xbf{"a": 1}\n'))) == 1


def test_only_the_guilty_rows_fail() -> None:
    """A unit that raises, exits, answers too few rows or NaN costs exactly the rows that made it do so."""
    rows: list[dict[str, Any]] = [{"n": number} for number in range(40)]
    for place, key in ((3, "raise"), (4, "short"), (17, "nan"), (39, "exit"), (30, "raise")):
        rows[place][key] = place
    answers = answer(Poisoned({}), b"\n".join(map(orjson.dumps, rows)))
    found = reasons(answers)
    assert {number - 1 for number in found} == {3, 4, 17, 30, 39}
    assert found[4] == "ValueError: cannot read 3"
    assert found[5] == "the unit answered 0 rows to 1"
    assert "nan" in found[18]
    assert found[40] == "SystemExit: 5"
    assert [row["n"] for place, row in enumerate(answers) if place not in (3, 4, 17, 30, 39)] == [
        number for number in range(40) if number not in (3, 4, 17, 30, 39)
    ]


class Odd(RowUnit):
    """Raises on any call with an odd number in it."""

    def rows(self, rows: list[dict[str, Any]]) -> Any:
        if any(row["n"] % 2 for row in rows):
            raise ComponentError("odd")
        return super().rows(rows)


class Scribbling(RowUnit):
    """Changes every row that it is given, then refuses those with an odd number."""

    def rows(self, rows: list[dict[str, Any]]) -> Any:
        odd = [row.pop("n") % 2 for row in rows]
        for row in rows:
            row["list"].append("touched")
        if any(odd):
            raise KeyError("odd")
        return super().rows(rows)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_each_asking_starts_from_the_line(numbers: list[int]) -> None:
    """What a unit did to a row that it refused is not seen when the row is asked again, whatever stands beside it."""
    answers = answer(Scribbling({}), b"\n".join(b'{"n": %d, "list": []}' % number for number in numbers))
    good = [row for row in answers if "error" not in row]
    assert good == [{"list": ["touched"], "seen": True}] * sum(number % 2 == 0 for number in numbers)
    assert set(reasons(answers).values()) <= {"KeyError: 'odd'"}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("as_list", [True, False])
def test_an_answer_whose_first_axis_is_not_the_row_is_refused(count: int, width: int, as_list: bool) -> None:
    """Columns are never dealt out as rows, however many of each there are; rows always are."""

    class Columns(RowUnit):
        task_rows = "instance"

        async def answer(self, method: Method, request: Request, context: Context) -> Message:
            table = np.asarray(request.payload) + np.arange(width)
            answered = table.T if self.options["turned"] else table
            return Message.of(list(answered) if as_list else answered, Encoding.NDARRAY)

    block = b"\n".join(b"[%d]" % (10 * number) for number in range(count))
    rows = [[10 * number + column for column in range(width)] for number in range(count)]
    assert answer(Columns({"turned": False}), block) == rows
    turned = answer(Columns({"turned": True}), block)
    assert turned == rows or len(reasons(turned)) == count
    assert width == 1 or len(reasons(turned)) == count


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_halving_finds_all_and_only_the_guilty(numbers: list[int]) -> None:
    """Wherever the rows that a unit cannot take stand, they fail and no others."""
    answers = answer(Odd({}), b"\n".join(b'{"n": %d}' % number for number in numbers))
    assert ["error" in row for row in answers] == [number % 2 == 1 for number in numbers]
    assert set(reasons(answers).values()) <= {"odd"}


@pytest.mark.parametrize(
    ("payload", "kind"), [({"rows": []}, "an object"), ("text", "a string"), (None, "null"), (1.5, "a number")]
)
def test_an_answer_that_is_no_list_is_named(payload: object, kind: str) -> None:
    """A unit that answers something else than a list of rows is told what it answered and what was expected."""

    class Wrong(RowUnit):
        def rows(self, rows: list[dict[str, Any]]) -> Any:
            return payload

    found = reasons(answer(Wrong({}), b"{}\n{}\n"))
    assert set(found) == {1, 2}
    assert found[1] == f"the unit answered {kind} to 1 rows, expected a list of 1"


def test_a_passing_trouble_costs_no_row() -> None:
    """A unit that is overloaded for a while is asked again, whole."""
    assert answer(Busy({}), b'{"n": 1}\n{"n": 2}\n') == [{"n": 1, "seen": True}, {"n": 2, "seen": True}]


def test_a_lasting_remote_trouble_becomes_the_rows_reason() -> None:
    """A remote unit that stays away makes error lines, after patience; one that refuses makes them at once."""

    class Away(RowUnit):
        asked = 0

        def rows(self, rows: list[dict[str, Any]]) -> Any:
            self.asked += 1
            raise RemoteError("nobody there", status=self.options.get("status"))

    patient, refused = Away({}), Away({"status": 400})
    assert reasons(answer(patient, b"{}\n")) == {1: "nobody there"}
    assert reasons(answer(refused, b"{}\n")) == {1: "nobody there"}
    assert patient.asked == 4
    assert refused.asked == 1


def test_instances_are_stacked() -> None:
    """Feature rows reach the unit as one array and come back one row each; other lines are bad records."""
    answers = answer(Summing({}), b'[1, 2, 3]\n[4.5, 5, 6]\n{"a": 1}\n[]\n["x"]\n[1, 2]\n')
    assert answers[:2] == [[6.0], [15.5]]
    assert answers[5] == [3]
    assert reasons(answers[2:5]) == {
        3: "the line is an object, expected a list of numbers (task_rows=object takes such lines)",
        4: "the line is an empty list, expected a list of numbers",
        5: "the line is not a list of numbers",
    }


def test_instances_keep_their_integers() -> None:
    """Rows of whole numbers arrive as whole numbers and are answered as such."""
    assert answer(Summing({}), b"[1, 2]\n[3, 4]\n") == [[3], [7]]


def test_messages_are_asked_one_by_one() -> None:
    """Each line is a message of its own and is answered in its own spelling; a bad one fails alone."""
    block = b"\n".join(
        [
            b'{"data": {"ndarray": [[1, 2]]}}',
            b'{"data": {"tensor": {"shape": [2], "values": [1.0, 2.0]}}}',
            b'{"data": 5}',
            b"[]",
        ]
    )
    answers = answer(Doubling({}), block)
    assert answers[0]["data"]["ndarray"] == [[2, 4]]
    assert answers[1]["data"]["tensor"] == {"shape": [2], "values": [2.0, 4.0]}
    assert set(reasons(answers[2:])) == {3, 4}


def test_a_mode_that_is_set_goes_before_what_the_unit_declares() -> None:
    """The setting of a task wins over the unit's own wish."""
    assert answer(Echo({}), b'{"a": 1}', mode=RowMode.OBJECT) == [{"a": 1, "seen": True}]
    assert len(reasons(answer(Summing({}), b"[1]", mode=RowMode.OBJECT))) == 1


def test_what_users_write_in_json_survives() -> None:
    """Wide integers, separators of other alphabets and text outside ASCII come back as they were."""
    row = {"id": 2**90, "text": "a\u2028b\u2029c\u0085d", "数": "北京"}
    answers = asyncio.run(row_reader(Echo({}), RowMode.OBJECT).answer(json.dumps(row, ensure_ascii=False).encode(), 1))
    assert json.loads(answers.output) == {**row, "seen": True}
    assert "北京".encode() in answers.output


def test_a_wish_that_nobody_knows_is_told_line_by_line() -> None:
    """A unit that declares nonsense fails its lines, not its worker; the reason says what could be declared."""

    class Wishful(Echo):
        task_rows = "rows"

    expected = "task_rows of Wishful is 'rows', expected one of object, instance, message, v2"
    assert reasons(answer(Wishful({}), b'{"a": 1}\n[1]\n')) == {1: expected, 2: expected}
    assert answer(Wishful({}), b'{"a": 1}', mode=RowMode.OBJECT) == [{"a": 1, "seen": True}]


NODES = """
class Plain:
    def transform_input(self, X, names=None): return X
    def predict(self, X, names=None): return X * 2

class Numeric(Plain):
    task_rows = "instance"

class Talker(Plain):
    task_rows = "message"
"""


@pytest.mark.parametrize(
    ("graph", "wanted"),
    [
        ("{name: a, type: MODEL, component: 'nodes.py:Plain'}", None),
        ("{name: a, type: MODEL, component: 'nodes.py:Numeric'}", "instance"),
        (
            "{name: a, type: TRANSFORMER, component: 'nodes.py:Numeric', "
            "children: [{name: b, type: MODEL, component: 'nodes.py:Talker'}]}",
            "instance",
        ),
        (
            "{name: a, type: TRANSFORMER, component: 'nodes.py:Plain', "
            "children: [{name: b, type: MODEL, component: 'nodes.py:Talker'}]}",
            "message",
        ),
        (
            "{name: a, implementation: AVERAGE_COMBINER, children: "
            "[{name: b, type: MODEL, component: 'nodes.py:Numeric'}, "
            "{name: c, type: MODEL, component: 'nodes.py:Plain'}]}",
            "instance",
        ),
    ],
)
def test_a_graph_wants_what_its_first_component_wants(tmp_path: Path, graph: str, wanted: str | None) -> None:
    """The root's declaration counts; where it says nothing, that of the first node below it that does."""
    (tmp_path / "nodes.py").write_text(NODES)
    (tmp_path / "graph.yaml").write_text(f"name: p\ngraph: {graph}\n")
    source = UnitSource(target="graph.yaml", folder=str(tmp_path), environment={})
    unit = build_for_tasks(msgspec.json.encode(source).decode(), Settings())

    async def wish() -> str | None:
        await unit.start()
        try:
            return unit.task_rows
        finally:
            await unit.stop()

    assert asyncio.run(wish()) == wanted
    if wanted == "instance":
        assert answer_started(unit, b"[1, 2]\n[3, 4]\n") == [[2, 4], [6, 8]]
