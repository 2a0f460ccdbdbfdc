"""Component files as users of Seldon's wrapper have them, each with a request and the answer it must get.

The files are in `components/`; whoever can serve one (the one-call methods of `seldon_core`, a unit in process, a
server over REST or gRPC) runs this table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "components"


@dataclass(frozen=True)
class Case:
    """One call of one component.

    Args:
        file: in `components/`; its stem is the module's name.
        name: the class, or the factory function.
        request: the document asked with; a list of documents for `aggregate`, a feedback for `send_feedback`.
        answer: the document that must come back over REST. Over gRPC it is the same by protobuf's JSON mapping
            (numbers are doubles; empty names and zero values are left out) unless `grpc_answer` says otherwise.
        method: a hook's name.
        parameters: as PREDICTIVE_UNIT_PARAMETERS has them.
        status: the HTTP status over REST.
        grpc_answer: None for the same as over REST.
        grpc_error: the text of the gRPC error, where the answer is one.
    """

    file: str
    name: str
    request: Any
    answer: Any
    method: str = "predict"
    parameters: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    grpc_answer: Any = None
    grpc_error: str = ""

    @property
    def id(self) -> str:
        """Readable name of the case."""
        return f"{self.name}-{self.method}"


def _nd(rows: Any, names: list[str] | None = None) -> dict[str, Any]:
    return {"data": ({"names": names} if names is not None else {}) | {"ndarray": rows}}


_COUNTERS = [
    {"type": "COUNTER", "key": "mycounter", "value": 1},
    {"type": "COUNTER", "key": "calls", "value": 1},
    {"type": "GAUGE", "key": "mygauge", "value": 100},
    {"type": "TIMER", "key": "mytimer", "value": 20.5},
]
_RESPONSE_META = {
    "tags": {"static": "tag", "runtime": "tag", "shared": "right one", "asked": 1},
    "metrics": [
        {"type": "COUNTER", "key": "always_counter", "value": 1},
        {"type": "COUNTER", "key": "instance_counter", "value": 2},
    ],
    "puid": "p1",
}

COMPONENTS: list[Case] = [
    Case(
        "IrisClassifier.py",
        "IrisClassifier",
        _nd([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]], ["sl", "sw", "pl", "pw"]),
        {
            "data": {"names": ["setosa", "versicolor", "virginica"], "ndarray": [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]},
            "meta": {},
        },
        parameters=[{"name": "max_iter", "value": "500", "type": "INT"}],
    ),
    Case(
        "MeanClassifier.py",
        "MeanClassifier",
        _nd([[1, 3], [2, 2]]),
        _nd([[0.5], [0.5]], ["proba"]) | {"meta": {}},
        parameters=[{"name": "intValue", "value": "2", "type": "INT"}],
    ),
    Case(
        "MeanTransformer.py",
        "MeanTransformer",
        {"data": {"names": ["a", "b"], "tensor": {"shape": [1, 2], "values": [1, 3]}}},
        {"data": {"names": ["t:0", "t:1"], "tensor": {"shape": [1, 2], "values": [0.0, 1.0]}}, "meta": {}},
        method="transform_input",
    ),
    Case(
        "OutputScaler.py",
        "OutputScaler",
        {"meta": {"puid": "abc"}} | _nd([[1.5]]),
        {"meta": {"puid": "abc", "tags": {"scaled_by": 4.0, "seen": "abc"}}} | _nd([[6.0]], ["t:0"]),
        method="transform_output",
        parameters=[{"name": "factor", "value": "4", "type": "FLOAT"}],
    ),
    Case("CountingRouter.py", "CountingRouter", _nd([[1]]), _nd([[0]], ["t:0"]) | {"meta": {}}, method="route"),
    Case(
        "CountingRouter.py",
        "CountingRouter",
        {
            "request": _nd([[1, 2]]),
            "response": {"meta": {"routing": {"0": 1}}} | _nd([[5]]),
            "reward": 0.5,
            "truth": _nd([[1]]),
        },
        {"data": {"ndarray": [1.0, 0.5, 1.0]}, "meta": {}},
        method="send_feedback",
        parameters=[{"name": "n_branches", "value": "3", "type": "INT"}],
    ),
    Case(
        "MeanCombiner.py",
        "MeanCombiner",
        [
            {"meta": {"puid": "c", "tags": {"x": 1}}} | _nd([[1.0, 2.0]]),
            {"meta": {"tags": {"y": 2}}} | _nd([[3.0, 4.0]]),
        ],
        {"meta": {"puid": "c", "tags": {"x": 1, "y": 2, "combined": True}}} | _nd([[2.0, 3.0]], ["t:0", "t:1"]),
        method="aggregate",
    ),
    Case(
        "NamedCombiner.py",
        "NamedCombiner",
        [_nd([[0.25, 0.75]]), {"jsonData": {"is_outlier": [1]}}],
        {"jsonData": {"loanclassifier": [[0.25, 0.75]], "outliersdetector": {"is_outlier": [1]}}, "meta": {}},
        method="aggregate",
    ),
    Case(
        "ModelWithMetrics.py",
        "ModelWithMetrics",
        _nd([["a", "b"]]),
        {"meta": {"tags": {"system": "production"}, "metrics": _COUNTERS}} | _nd([["a", "b"]], ["t:0", "t:1"]),
    ),
    Case(
        "ResponseModel.py",
        "ResponseModel",
        {"meta": {"puid": "p1", "tags": {"asked": 1}}} | _nd([[1, 2], [3, 4]], ["x", "y"]),
        {"meta": _RESPONSE_META} | _nd([[1, 2], [3, 4]], ["first", "second"]),
    ),
    Case(
        "RawProtoModel.py",
        "RawProtoModel",
        _nd([[1.5, 2.0]]),
        {"status": {"code": 200}, "meta": {"tags": {"raw": True}}} | _nd([[3.0, 4.0]], ["a", "b"]),
    ),
    Case(
        "RawProtoModel.py",
        "RawProtoModel",
        {"request": _nd([[1]]), "reward": 0.25},
        {"jsonData": {"reward": 0.25}, "meta": {"puid": "raw"}},
        method="send_feedback",
    ),
    Case("RawJsonModel.py", "RawJsonModel", {"strData": "abc"}, {"jsonData": {"length": 3, "upper": "ABC"}}),
    Case(
        "CustomError.py",
        "CustomError",
        _nd([[1]]),
        {"status": {"app_code": 1402, "message": "Test-Error-Msg", "status": 402}},
        status=402,
        grpc_error="Test-Error-Msg",
    ),
    Case(
        "RefusingModel.py",
        "RefusingModel",
        _nd([[1], [2]]),
        {"status": {"code": -1, "info": "one row at a time", "reason": "TOO_MANY_ROWS", "status": 1}},
        status=403,
        grpc_error="one row at a time",
    ),
    Case("StaticNames.py", "StaticNames", _nd([[1, 2]]), _nd([[1, 2]], ["low", "high"]) | {"meta": {}}),
    Case(
        "PropertyNames.py",
        "PropertyNames",
        _nd([[1]]),
        _nd([["a", 1.5]], ["left", "right"]) | {"meta": {}},
        grpc_answer=_nd([["a", "1.5"]], ["left", "right"]) | {"meta": {}},
    ),
    Case(
        "OptionalArguments.py",
        "OptionalArguments",
        {"meta": {"puid": "q"}} | _nd([[1, 2]], ["a", "b"]),
        {"jsonData": {"names": ["a", "b"], "puid": "q", "shape": [1, 2]}, "meta": {"puid": "q"}},
    ),
    Case(
        "KeywordArguments.py",
        "KeywordArguments",
        _nd([[1], [2]]),
        {"jsonData": {"given": ["meta"], "rows": 2}, "meta": {}},
    ),
    Case("TextModel.py", "TextModel", {"strData": "schön"}, {"strData": "SCHÖN", "meta": {}}),
    Case("BytesModel.py", "BytesModel", {"binData": "AAECAw=="}, {"binData": "AwIBAA==", "meta": {}}),
    Case(
        "JsonModel.py",
        "JsonModel",
        {"jsonData": {"a": ["x", None, True]}},
        {"jsonData": {"echo": {"a": ["x", None, True]}, "length": 24}, "meta": {}},
    ),
    Case(
        "ParameterModel.py",
        "ParameterModel",
        {"strData": ""},
        {"jsonData": {"s": "abc", "i": 5, "f": 1.5, "d": 2.0, "b": True}, "meta": {}},
        parameters=[
            {"name": "s", "value": "abc", "type": "STRING"},
            {"name": "i", "value": "5", "type": "INT"},
            {"name": "f", "value": "1.5", "type": "FLOAT"},
            {"name": "b", "value": "true", "type": "BOOL"},
        ],
    ),
    Case(
        "StoredModel.py",
        "StoredModel",
        {"data": {"tensor": {"shape": [2, 2], "values": [1, 2, 3, 4]}}},
        {"data": {"names": ["t:0"], "tensor": {"shape": [2, 1], "values": [21.0, 43.0]}}, "meta": {}},
    ),
    Case(
        "DeprecatedHooks.py",
        "DeprecatedHooks",
        {"strData": "answered"},
        {"strData": "answered by rest"},
        grpc_answer={"strData": "answered by grpc"},
    ),
    Case(
        "UtilityModel.py",
        "UtilityModel",
        {"meta": {"tags": {"t": "x"}}} | _nd([[1, 2], [3, 4]], ["a", "b"]),
        {"meta": {"tags": {"t": "x"}}} | _nd([[3], [7]], ["total"]),
    ),
    Case(
        "FactoryModel.py",
        "FactoryModel",
        _nd([[1, 2]]),
        _nd([[11, 12]], ["t:0", "t:1"]) | {"meta": {}},
        parameters=[{"name": "amount", "value": "10", "type": "INT"}],
    ),
    Case(
        "OutlierDetector.py",
        "OutlierDetector",
        {"data": {"tensor": {"shape": [4, 1], "values": [1, 2, 3, 30]}}},
        {
            "data": {"names": ["t:0"], "tensor": {"shape": [4, 1], "values": [1, 1, 1, 1]}},
            "meta": {"tags": {"threshold": 5}},
        },
        parameters=[{"name": "threshold", "value": "5", "type": "INT"}],
    ),
]


def protobuf_form(document: Any) -> Any:
    """A document as protobuf's JSON mapping writes it: without empty names, zero enums and empty strings."""
    if isinstance(document, list):
        return [protobuf_form(entry) for entry in document]
    if not isinstance(document, dict):
        return document
    kept = {name: protobuf_form(value) for name, value in document.items()}
    is_counter = kept.get("type") == "COUNTER" and "key" in kept
    dropped = {"type"} if is_counter else set()
    return {name: value for name, value in kept.items() if name not in dropped and not (name == "names" and not value)}
