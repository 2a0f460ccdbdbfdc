# ruff: noqa: E501 - a table: one row, one line
"""The table: (component, request, expected answer). Expectations were observed on the original unless a note says
which entry of its quirk ledger (Q…) is mended here.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Case(NamedTuple):
    """One request and what must come back; `expected` is compared as JSON, a str must be contained in `info`."""

    component: str
    path: str
    body: Any
    status: int
    expected: Any
    note: str = ""


ND = {"data": {"ndarray": [[1, 2]]}}
EMPTY_ND = {"data": {"names": [], "ndarray": []}, "meta": {}}


def data(form: str, value: Any, names: Any = ()) -> dict[str, Any]:
    return {"data": {"names": list(names), form: value}, "meta": {}}


def tensor(shape: list[int], values: list[Any], names: Any = ()) -> dict[str, Any]:
    return data("tensor", {"shape": shape, "values": values}, names)


T2 = ("t:0", "t:1")
BAD = "MICROSERVICE_BAD_DATA"


def seen(dtype: str, shape: list[int], names: Any = (), meta: Any = None) -> dict[str, Any]:
    return {"jsonData": {"dtype": dtype, "shape": shape, "names": list(names), "meta": meta}, "meta": {}}


def nd(value: Any) -> dict[str, Any]:
    return {"data": {"ndarray": value}}


DECODING = [
    Case("Seen", "/predict", nd([[1, 2], [3, 4]]), 200, seen("int64", [2, 2])),
    Case("Seen", "/predict", nd([[1.0, 2.5]]), 200, seen("float64", [1, 2])),
    Case("Seen", "/predict", nd([[1, 2.5]]), 200, seen("float64", [1, 2])),
    Case("Seen", "/predict", nd([1, 2, 3]), 200, seen("int64", [3])),
    Case("Seen", "/predict", nd([[[1]]]), 200, seen("int64", [1, 1, 1])),
    Case("Seen", "/predict", nd(5), 200, seen("int64", [])),
    Case("Seen", "/predict", nd("abc"), 200, seen("<U3", [])),
    Case("Seen", "/predict", nd(None), 200, seen("object", [])),
    Case("Seen", "/predict", nd([["a", "b"]]), 200, seen("<U1", [1, 2])),
    Case("Seen", "/predict", nd([["a", 1, 2.5]]), 200, seen("<U32", [1, 3])),
    Case("Seen", "/predict", nd([["a", None]]), 200, seen("object", [1, 2])),
    Case("Seen", "/predict", nd([[True, False]]), 200, seen("bool", [1, 2])),
    Case("Seen", "/predict", nd([[True, 2]]), 200, seen("int64", [1, 2])),
    Case("Seen", "/predict", nd([{"a": 1}, {"b": 2}]), 200, seen("object", [2])),
    Case("Seen", "/predict", nd([]), 200, seen("float64", [0])),
    Case("Seen", "/predict", nd([[]]), 200, seen("float64", [1, 0])),
    Case("Seen", "/predict", nd([[1], [2, 3]]), 400, BAD, "Q3"),
    Case("Seen", "/predict", {"data": {"tensor": {"shape": [2, 2], "values": [0, 0, 1, 1]}}}, 200, seen("int64", [2, 2])),
    Case("Seen", "/predict", {"data": {"tensor": {"shape": [-1], "values": [1.5, 2]}}}, 200, seen("float64", [2])),
    Case("Seen", "/predict", {"data": {"tensor": {"shape": [2, 2], "values": [1, 2]}}}, 400, BAD, "Q3"),
    Case("Seen", "/predict", {"data": {"tensor": {"values": [1, 2]}}}, 400, BAD, "Q3"),
    Case("Seen", "/predict", {"data": {"tensor": {"shape": [2]}}}, 400, BAD, "Q3"),
    Case("Seen", "/predict", {"data": {"names": ["a", "b"], "ndarray": [[1, 2]]}}, 200, seen("int64", [1, 2], ["a", "b"])),
    Case("Seen", "/predict", {"data": {"ndarry": [[1]]}}, 400, BAD, "Q4"),
    Case("Seen", "/predict", {"data": "x"}, 400, BAD, "Q4"),
    Case("Seen", "/predict", {"data": None}, 400, BAD, "Q3"),
    Case("Seen", "/predict", {"jsonData": {"a": 1}}, 200, {"jsonData": {"type": "dict", "names": [], "meta": None}, "meta": {}}),
    Case("Seen", "/predict", {"strData": ""}, 200, {"jsonData": {"type": "str", "names": [], "meta": None}, "meta": {}}),
    Case("Seen", "/predict", {"binData": "aGVsbG8="}, 200, {"jsonData": {"type": "bytes", "names": [], "meta": None}, "meta": {}}),
    Case("Seen", "/predict", {"binData": "aGVsb"}, 400, BAD, "Q32"),
    Case("Seen", "/predict", {"binData": "!!!!"}, 400, BAD, "Q32"),
    Case("Seen", "/predict", {"jsonData": 1, "meta": {"puid": "p"}}, 200,
         {"jsonData": {"type": "int", "names": [], "meta": {"puid": "p"}}, "meta": {"puid": "p"}}),
    Case("Seen", "/predict", {}, 400, "Invalid request data type"),
    Case("Seen", "/predict", {"meta": {}}, 400, "Invalid request data type"),
    Case("Seen", "/predict", {"customData": {}}, 400, "Invalid request data type"),
    Case("Seen", "/predict", [1, 2], 400, "Invalid request data type: [1, 2]"),
    Case("Seen", "/predict", {"strData": "s", "meta": "x"}, 400, BAD, "Q3"),
]  # fmt: skip

RESULTS = {
    # kind: (answer to strData, answer to ndarray)
    "int-array": (tensor([3], [1, 2, 3]), data("ndarray", [1, 2, 3])),
    "matrix": (tensor([2, 2], [1, 2, 3, 4], T2), data("ndarray", [[1, 2], [3, 4]], T2)),
    "cube": (
        tensor([2, 2, 2], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], T2),
        data("ndarray", [[[0.0, 1.0], [2.0, 3.0]], [[4.0, 5.0], [6.0, 7.0]]], T2),
    ),
    "zero-d": (tensor([], [5]), data("ndarray", 5)),
    "empty": (tensor([0], []), data("ndarray", [])),
    "empty-list": (tensor([0], []), data("ndarray", [])),
    "mixed-list": (
        data("ndarray", [["a", 1, None]], ("t:0", "t:1", "t:2")),
        data("ndarray", [["a", 1, None]], ("t:0", "t:1", "t:2")),
    ),
    "tuple": (tensor([2], [1, 2]), data("ndarray", [1, 2])),
    "bools": (data("ndarray", [True, False]), data("ndarray", [True, False])),
    "nan": (tensor([3], [1.0, None, None]), data("ndarray", [1.0, None, None])),
    "dict": ({"jsonData": {"a": 1, "b": [1.0, "x", None, True]}, "meta": {}},) * 2,
    "numpy-in-dict": ({"jsonData": {"f": 0.5, "i": 3, "a": [1, 2]}, "meta": {}},) * 2,
    "str": ({"strData": "hello", "meta": {}},) * 2,
    "bytes": ({"binData": "AAFoaQ==", "meta": {}},) * 2,
    "bytearray": ({"binData": "AAFoaQ==", "meta": {}},) * 2,
    "float32": (tensor([1], [0.10000000149011612]), data("ndarray", [0.10000000149011612])),
    "int": (tensor([], [5]), data("ndarray", 5)),
    "numpy-float": (tensor([], [2.5]), data("ndarray", 2.5)),
    "big-int": ({"jsonData": {"n": 123456789012345678901234567890}, "meta": {}},) * 2,
    "chinese": ({"strData": "北京大学", "meta": {}},) * 2,
    "ragged": (data("ndarray", [[1], [2, 3]]),) * 2,
}
"""What each result of `Returns` becomes (section 6.2); numbers and tuples are Q11, NaN is Q14."""

UNSENDABLE = {
    "none": "NoneType",
    "set": "set",
    "complex": "complex",
    "object": "object",
}
"""Results that cannot be sent, and the word that the fault must contain (Q11)."""

FULL_META = {"puid": "P1", "tags": {"req": "t"}, "requestPath": {"prev": "img0"}, "routing": {"r": 1},
             "metrics": [{"key": "up", "type": "COUNTER", "value": 3}]}  # fmt: skip
FULL_REQUEST = {"meta": FULL_META, "data": {"names": ["a", "b"], "ndarray": [[1, 2]]}}
OWN_METRICS = [
    {"key": "mycounter", "type": "COUNTER", "value": 1},
    {"key": "mygauge", "type": "GAUGE", "value": 100},
    {"key": "mytimer", "tags": {"t": "x"}, "type": "TIMER", "value": 20.2},
]
FULL_ENVIRONMENT = {
    "PREDICTIVE_UNIT_ID": "unit1",
    "PREDICTIVE_UNIT_IMAGE": "reg:5000/org/img:0.9",
    "SELDON_DEPLOYMENT_ID": "dep1",
    "PREDICTOR_ID": "pred1",
    "PREDICTOR_LABELS": '{"version": "v7"}',
}
UNIT_PATH = {"unit1": "reg:5000/org/img:0.9"}
FULL = [
    Case("Full", "/predict", FULL_REQUEST, 200, {
        "data": {"names": ["c1", "c2"], "ndarray": [[0.1, 0.9]]},
        "meta": {
            "puid": "P1",
            "tags": {"req": "t", "static": "overridden", "n": 1, "run": "p"},
            "metrics": [*FULL_META["metrics"], *OWN_METRICS, {"key": "rt", "type": "COUNTER", "value": 1}],
            "requestPath": {"prev": "img0", **UNIT_PATH},
        },
    }, "Q17: the method tag does not leak into the reply"),
    Case("Full", "/route", FULL_REQUEST, 200, {
        "data": {"names": ["c1", "c2"], "ndarray": [[1]]},
        "meta": {"puid": "P1", "tags": {"static": "own", "n": 1}, "metrics": OWN_METRICS, "requestPath": UNIT_PATH},
    }),
    Case("Full", "/aggregate", [FULL_REQUEST, {"data": {"ndarray": [[3, 4]]}, "meta": {"tags": {"req": "later"}}}], 200, {
        "data": {"names": ["c1", "c2"], "ndarray": [[2.0, 3.0]]},
        "meta": {
            "puid": "P1",
            "tags": {"req": "later", "static": "own", "n": 1},
            "metrics": [*FULL_META["metrics"], *OWN_METRICS],
            "requestPath": {"prev": "img0", **UNIT_PATH},
        },
    }),
    Case("Full", "/send-feedback", {
        "request": {"data": {"names": ["a", "b"], "ndarray": [[1, 2]]}, "meta": {"puid": "P1"}},
        "response": {"meta": {"routing": {"unit1": 3}}},
        "reward": 0.5,
        "truth": {"data": {"ndarray": [[1]]}},
    }, 200, {
        "jsonData": {"X": [[1.0, 2.0]], "names": ["a", "b"], "reward": 0.5, "truth": [[1.0]], "routing": 3.0},
        "meta": {
            "puid": "P1",
            "tags": {"static": "own", "n": 1.0},
            "metrics": [
                {"key": "mycounter", "value": 1.0},
                {"key": "mygauge", "type": "GAUGE", "value": 100.0},
                {"key": "mytimer", "type": "TIMER", "value": 20.2, "tags": {"t": "x"}},
            ],
            "requestPath": UNIT_PATH,
        },
    }),
]  # fmt: skip

METHODS = [
    Case("Nothing", "/predict", ND, 200, EMPTY_ND, "Q9"),
    Case("Nothing", "/predict", {"strData": "s"}, 200, tensor([0], []), "Q9"),
    Case("Nothing", "/transform-input", {"strData": "s"}, 200, {"strData": "s", "meta": {}}),
    Case("Nothing", "/transform-output", {"binData": "aGk="}, 200, {"binData": "aGk=", "meta": {}}),
    Case("Nothing", "/transform-input", {"jsonData": {"a": 1}}, 200, {"jsonData": {"a": 1}, "meta": {}}),
    Case("Nothing", "/transform-input", ND, 200, data("ndarray", [[1, 2]], T2), "Q16"),
    Case("Nothing", "/transform-input", {"jsonData": [1, 2, 3]}, 200, tensor([3], [1, 2, 3])),
    Case("Nothing", "/route", ND, 400, "Route not defined"),
    Case("Nothing", "/aggregate", [ND], 400, "Aggregate not defined"),
    Case("Nothing", "/send-feedback", {"request": ND, "reward": 1.0}, 200, {"data": {"ndarray": []}, "meta": {}}),
    Case("Nothing", "/send-feedback", {}, 200, {"data": {"tensor": {"shape": [0]}}, "meta": {}}),
    Case("Nothing", "/send-feedback", {"foo": 1}, 400, 'no field named "foo"'),
    Case("Nothing", "/send-feedback", {"reward": "zz"}, 400, BAD),
    Case("Feedback", "/api/v1.0/feedback", {"request": ND, "reward": 1}, 200, {"data": {"ndarray": []}, "meta": {}}),
    Case("Router", "/route", nd([[0]]), 200, data("ndarray", [[0]], ("t:0",))),
    Case("Router", "/route", nd([[1]]), 200, data("ndarray", [[1]], ("t:0",)), "Q10"),
    Case("Router", "/route", {"data": {"tensor": {"shape": [1], "values": [0]}}}, 200, tensor([1, 1], [0], ("t:0",))),
    Case("Router", "/route", nd([[4]]), 200, data("ndarray", [[-1]], ("t:0",))),
    Case("Router", "/route", nd([[2]]), 400, "Routing response must be int but got True", "Q10"),
    Case("Router", "/route", nd([[3]]), 400, "Routing response must be int but got 1.0"),
    Case("Router", "/route", nd([[5]]), 400, "Routing response must be int but got [1]"),
    Case("Full", "/combine", [ND, ND], 200, {"data": {"names": ["c1", "c2"], "ndarray": [[1.0, 2.0]]},
         "meta": {"tags": {"static": "own", "n": 1}, "metrics": OWN_METRICS}}, "the documented twin of /aggregate"),
    Case("Full", "/aggregate", {"seldonMessages": [ND, ND]}, 200, {"data": {"names": ["c1", "c2"], "ndarray": [[1.0, 2.0]]},
         "meta": {"tags": {"static": "own", "n": 1}, "metrics": OWN_METRICS}}),
    Case("Full", "/aggregate", [], 400, BAD, "an empty list crashed the original"),
    Case("Full", "/aggregate", {"x": 1}, 400, "Invalid request data type"),
    Case("Identity", "/predict", {"jsonData": [1, 2, 3]}, 200, tensor([3], [1, 2, 3])),
    Case("Identity", "/predict", {"jsonData": "abc"}, 200, {"strData": "abc", "meta": {}}),
    Case("Identity", "/api/v0.1/predictions", ND, 200, data("ndarray", [[1, 2]], T2)),
    Case("Identity", "/api/v1.0/predictions", ND, 200, data("ndarray", [[1, 2]], T2)),
    Case("ClassNamesList", "/predict", ND, 200, data("ndarray", [[1, 2]], ("yes", "no"))),
    Case("Arguments", "/predict", ND, 200, data("ndarray", [1])),
    Case("Arguments", "/transform-input", ND, 200, {"jsonData": {"given": ["meta", "names"]}, "meta": {}}),
    Case("Arguments", "/transform-output", {**ND, "meta": {"puid": "p"}}, 200,
         {"jsonData": {"meta": {"puid": "p"}}, "meta": {"puid": "p"}}),
    Case("Arguments", "/send-feedback", {"request": ND, "reward": 0.25}, 200, {"jsonData": {"reward": 0.25}, "meta": {}}, "Q8"),
    Case("Awaits", "/predict", ND, 200, data("ndarray", [[1, 2]], T2)),
    Case("Raw", "/predict", {"anything": [1]}, 200,
         {"echo": {"anything": [1]}, "meta": {"metrics": [{"key": "rawcount", "type": "COUNTER", "value": 1}]}}),
    Case("Raw", "/transform-input", ND, 200, {"status": {"code": 404, "info": "gone"}, "strData": "x"},
         "only predict takes its status from the payload"),
    Case("Statuses", "/predict", {"jsonData": 404}, 404, {"status": {"code": 404}, "strData": "x"}),
    Case("Statuses", "/predict", {"jsonData": "404"}, 404, {"status": {"code": "404"}, "strData": "x"}),
    Case("Statuses", "/predict", {"jsonData": -1}, 500, {"status": {"code": -1}, "strData": "x"}),
    Case("BadMetrics", "/predict", ND, 500, "Bad metric created during request"),
]  # fmt: skip

ERRORS = [
    Case("Raises", "/predict", {"strData": "type-error"}, 500, "the user's own", "Q8"),
    Case("Raises", "/predict", {"strData": "key-error"}, 500, "'nokey'"),
    Case("Raises", "/predict", {"strData": "empty"}, 500, "ValueError", "a text is never empty"),
    Case("Raises", "/predict", {"strData": "exit"}, 500, "3"),
    Case("Raises", "/predict", {"strData": "seldon"}, 402, "payment please"),
    Case("Raises", "/predict", {"strData": "not-implemented"}, 500, "not yet"),
]
