"""The tables of the open inference protocol here: what a hook gets, what its result becomes, what metadata say."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from infergraph.client import Client
from served import Reply, Servers

COMPONENTS = """
import datetime
import decimal
import ml_dtypes
import numpy as np
import pandas as pd

class Told:
    def predict(self, X, names, meta):
        return {"told": [str(told(X))], "names": [str(list(names))], "meta": [str(sorted(meta["parameters"]))]}

def told(X):
    if isinstance(X, np.ndarray):
        return f"{X.dtype} {X.tolist()}"
    if isinstance(X, dict):
        return {name: told(each) for name, each in X.items()}
    if isinstance(X, pd.DataFrame):
        return {name: (X[name].dtype.kind, X[name].tolist()) for name in X}
    return [told(each) if isinstance(each, np.ndarray) else each for each in X] if isinstance(X, list) else X

class Mapped(Told):
    v2_input = "dict"

class Declared(Told):
    def init_metadata(self):
        x = {"name": "x", "datatype": "BYTES", "shape": [-1], "parameters": {"content_type": "bytes"}}
        return {"inputs": [x], "outputs": [{"name": "told", "datatype": "BYTES", "shape": [1]}]}

class Several(Told):
    def init_metadata(self):
        return {"inputs": [{"name": name, "datatype": "FP32", "shape": [-1]} for name in "ab"]}

class Writes:
    v2_writable = True
    def predict(self, X, names, meta):
        X += 1
        return X

class ReadsOnly:
    def predict(self, X, names, meta):
        return {"writable": [X.flags.writeable]}

class Gives:
    def predict(self, X, names, meta):
        return eval(X.item())

class Labelled:
    def predict(self, X, names, meta):
        return X
    def class_names(self):
        return ["a", "b"]
    def tags(self):
        return {"text": "t", "number": 1, "share": np.float32(0.5), "sure": True, "deep": {"a": [1]}, "large": 2**70}
    def metrics(self):
        return [{"type": "COUNTER", "key": "calls", "value": 1}]

class Whole:
    def predict_v2(self, request):
        told = {key: value for key, value in request.items() if key != "inputs"}
        (given,) = request["inputs"]
        told |= {"tensor": {key: value for key, value in given.items() if key != "data"}, "dtype": str(given["data"].dtype)}
        name = given["data"].dtype.name
        halves = {"name": "halves", "data": np.array([0.5, 1.5]), "datatype": "BF16"}
        outputs = [
            {"name": "told", "data": [repr(told)]},
            {"name": "small", "data": [1, 2], "datatype": "INT8", "shape": [2, 1], "parameters": {"k": [1]}},
        ]
        return {"outputs": outputs + ([halves] if name == "float32" else []), "parameters": {"of": "mine"}}
    def predict(self, X, names):
        return "seldon"

class Bad(Whole):
    def predict_v2(self, request):
        return {"outputs": [{"name": "y", "data": [300], "datatype": "INT8"}]}

class Old:
    def init_metadata(self):
        return {
            "name": "old", "versions": ["", "3"], "platform": "p", "custom": {"k": "v"},
            "inputs": [{"messagetype": "tensor", "schema": {"names": ["a", "b"], "shape": [0, 2]}},
                       {"messagetype": "ndarray", "schema": {"shape": [4]}}, {"messagetype": "strData"},
                       {"messagetype": "jsonData"}, {"messagetype": "binData"}, {"messagetype": "customData"}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}, {"name": "z"}, {"datatype": "INT8", "shape": [1]}],
        }
    def predict(self, X, names, meta):
        return X
"""  # noqa: E501
NAMES = ("name", "datatype", "shape", "data", "parameters")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("components")
    (folder / "tables.py").write_text(COMPONENTS)
    with Servers("tables.py", folder=folder) as servers:
        yield servers


def infer(servers: Servers, component: str, *inputs: tuple[Any, ...], **members: Any) -> Reply:
    body = {"inputs": [dict(zip(NAMES, each, strict=False)) for each in inputs], **members}
    return servers(component).post(f"/v2/models/{component}/infer", body)


def told(reply: Reply) -> tuple[str, str]:
    assert reply.status == 200, reply
    outputs = {each["name"]: each["data"][0] for each in reply.json["outputs"]}
    return outputs["told"], outputs["names"]


def typed(content_type: str) -> dict[str, str]:
    return {"content_type": content_type}


# ── what a hook gets ────────────────────────────────────────────────────────────────────────────────────────────────

ONE_TENSOR = [
    (("x", "FP32", [2], [1, 2]), "float32 [1.0, 2.0]", "['x']"),
    (("x", "INT64", [2, 1], [1, 2]), "int64 [[1], [2]]", "['x']"),
    (("x", "UINT8", [1, 2], [1, 2]), "uint8 [[1, 2]]", "[]"),
    (("x", "FP16", [1, 1, 2], [1, 2]), "float16 [[[1.0, 2.0]]]", "[]"),
    (("x", "FP64", [], [1]), "float64 1.0", "[]"),
    (("x", "BOOL", [2], [True, 0]), "bool [True, False]", "['x']"),
    (("x", "FP32", [0, 2], []), "float32 []", "[]"),
    (("x", "BYTES", [1, 2], ["a", "ü"]), "object [['a', 'ü']]", "[]"),
    (("x", "FP32", [1, 2], [1, 2], {"column_names": '["a","b"]'}), "float32 [[1.0, 2.0]]", "['a', 'b']"),
    (("x", "FP32", [1, 2], [1, 2], typed("np")), "float32 [[1.0, 2.0]]", "[]"),
    (("x", "BYTES", [1], ["a"], typed("np")), "object ['a']", "['x']"),
    (("x", "BYTES", [2, 1], ["a", "b"], typed("str")), "['a', 'b']", "[]"),
    (("x", "FP32", [1], [1], typed("str")), "float32 [1.0]", "['x']"),
    (("x", "BYTES", [2], ["aGk=", "no base"], typed("base64")), "[b'hi', b'no base']", "[]"),
    (("x", "BYTES", [1], ["hi"], typed("bytes")), "object [b'hi']", "['x']"),
    (("x", "BYTES", [1], ["2026-01-02T03:04:05"], typed("datetime")), "[datetime.datetime(2026, 1, 2, 3, 4, 5)]", "[]"),
    (("x", "INT8", [2, 2], [1, 2, 3, 4], typed("nplist")), "['int8 [1, 2]', 'int8 [3, 4]']", "[]"),
    (("x", "BYTES", [1], ['[{"a": 1}]'], typed("json")), "[{'a': 1}]", "[]"),
    (("x", "BYTES", [2], ["1", "null"], typed("hg_jsonlist")), "[1, None]", "[]"),
    (("x", "BYTES", [1], ["[2]"], typed("hg_json")), "[2]", "[]"),
    (("x", "BYTES", [1], ["[2]"], typed("dict")), "[2]", "[]"),
    *(
        (("x", "BYTES", [1], ["a"], typed(kind)), "object ['a']", "['x']")
        for kind in ("hf", "raw", "pillow_image", "?")
    ),
]


@pytest.mark.parametrize(("tensor", "given", "names"), ONE_TENSOR, ids=lambda each: str(each)[:60])
def test_one_tensor(servers: Servers, tensor: tuple[Any, ...], given: str, names: str) -> None:
    """A tensor is an array of its dtype and shape, or what its content type says; the unknown ones say nothing."""
    assert told(infer(servers, "Told", tensor)) == (given, names)


REFUSED = [
    (("x", "BYTES", [1], ["no date"], typed("datetime")), "'x'"),
    (("x", "BYTES", [1], ["{"], typed("json")), "'x'"),
    (("x", "FP32", [], [1], typed("nplist")), "'x'"),
    (("x", "FP32", [1], [1], {"content_type": 1}), "content_type"),
    (("x", "FP32", [1, 1], [1], {"column_names": "["}), "'x'"),
    (("x", "FP32", [0, 10**30], []), "'x'"),
    (("x", "FP32", [0, 2**62, 2**62], []), "'x'"),
    (("x", "FP32", [10**18, 10**18], [1]), "'x'"),
    (("x", "FP32", [1], [1], {"mine": [1]}), "'mine'"),
    (("x", "FP32", [1], [1], {"shared_memory_region": "r"}), "shared memory"),
]


@pytest.mark.parametrize(("tensor", "text"), REFUSED, ids=lambda each: str(each)[:60])
def test_what_does_not_fit_is_named(servers: Servers, tensor: tuple[Any, ...], text: str) -> None:
    """What a content type or a shape does not fit is 400 with the tensor's name."""
    reply = infer(servers, "Told", tensor)
    assert reply.status == 400
    assert text in reply.json["error"]


A, B = ("a", "INT64", [2], [1, 2]), ("b", "FP32", [2, 1], [0.5, None])


def test_several_tensors_are_a_dict(servers: Servers) -> None:
    """In the request's order, never joined to one array."""
    assert told(infer(servers, "Told", B, A)) == ("{'b': 'float32 [[0.5], [nan]]', 'a': 'int64 [1, 2]'}", "['b', 'a']")


@pytest.mark.parametrize("component", ["Mapped", "Several"])
def test_one_tensor_is_a_dict_where_the_class_says_so(servers: Servers, component: str) -> None:
    """`v2_input = "dict"`, or metadata of more than one input."""
    assert told(infer(servers, component, A)) == ("{'a': 'int64 [1, 2]'}", "['a']")


def test_pd_is_a_data_frame(servers: Servers) -> None:
    """A column a tensor, in their order, each read by its own content type first."""
    texts = ("t", "BYTES", [2], ['{"k": 1}', "[]"], typed("pd_json"))
    found = told(infer(servers, "Told", B, A, texts, parameters=typed("pd")))
    assert found == ("{'b': ('f', [0.5, nan]), 'a': ('i', [1, 2]), 't': ('O', [{'k': 1}, []])}", "['b', 'a', 't']")


@pytest.mark.parametrize("content_type", ["pd_json", "json", "hg_json", "dict"])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_column_of_json_has_a_value_a_row(servers: Servers, content_type: str, rows: int) -> None:
    """The only element of a column is a row, too, though without a data frame it would be the value itself."""
    texts = ("t", "BYTES", [rows], ["[1, 2, 3]"] * rows, typed(content_type))
    found = told(infer(servers, "Told", texts, ("n", "INT64", [rows], [7] * rows), parameters=typed("pd")))
    assert found == (f"{{'t': ('O', {[[1, 2, 3]] * rows}), 'n': ('i', {[7] * rows})}}", "['t', 'n']")


@pytest.mark.parametrize("other", [("c", "FP32", [3], [1, 2, 3]), ("c", "FP32", [2, 2], [1, 2, 3, 4])])
def test_a_tensor_that_is_no_column_is_named(servers: Servers, other: tuple[Any, ...]) -> None:
    """Another length, or more than one column."""
    reply = infer(servers, "Told", A, other, parameters=typed("pd"))
    assert reply.status == 400
    assert "'c'" in reply.json["error"]


@pytest.mark.parametrize("kind", ["np", "str"])
def test_content_types_of_one_tensor_are_refused_for_several(servers: Servers, kind: str) -> None:
    """At the request, with several tensors."""
    assert infer(servers, "Told", A, B, parameters=typed(kind)).status == 400


def test_the_nearest_content_type_wins(servers: Servers) -> None:
    """The tensor's own, then the request's, then that of the metadata."""
    x = ("x", "BYTES", [1], ["1"])
    assert told(infer(servers, "Declared", x))[0] == "object [b'1']"
    assert told(infer(servers, "Declared", x, parameters=typed("json")))[0] == "1"
    assert told(infer(servers, "Declared", (*x, typed("str")), parameters=typed("json")))[0] == "['1']"


def test_raw_arrays_are_views_unless_they_must_be_writable(servers: Servers) -> None:
    """A large one over gRPC is read-only, as its message is, a small one is not; `v2_writable` makes any writable."""
    for size, is_writable in ((100, True), (100_000, False)):
        url = f"grpc://127.0.0.1:{servers('ReadsOnly').grpc_port}"
        with Client(url, protocol="v2", model="ReadsOnly") as client:
            assert client.predict(np.zeros(size, dtype=np.uint8)).tolist() == [is_writable]
    with Client(f"grpc://127.0.0.1:{servers('Writes').grpc_port}", protocol="v2", model="Writes") as client:
        assert client.predict(np.zeros(100_000, dtype=np.uint8)).min() == 1


# ── what becomes of results ─────────────────────────────────────────────────────────────────────────────────────────

RESULTS = {
    "np.arange(3, dtype='i2')": ("INT16", [3], [0, 1, 2], None),
    "np.zeros((0, 2))": ("FP64", [0, 2], [], None),
    "np.array([[1, 2, 3]], dtype='>i4')[:, ::2]": ("INT32", [1, 2], [1, 3], None),
    "[1, 2.5]": ("FP64", [2], [1.0, 2.5], None),
    "([True], [False])": ("BOOL", [2, 1], [True, False], None),
    "[['a'], ['b']]": ("BYTES", [2, 1], ["a", "b"], "str"),
    "['a\\0', 'b']": ("BYTES", [2], ["a\0", "b"], "str"),
    "[b'\\xff\\0']": ("BYTES", [1], ["/wA="], "base64"),
    "['a', b'\\xff']": ("BYTES", [2], ["YQ==", "/w=="], "base64"),
    "np.array(['a', 'b'])": ("BYTES", [2], ["a", "b"], "str"),
    "np.array(['a', 'b'], dtype=object)": ("BYTES", [2], ["a", "b"], "str"),
    "np.array(['a', 'b'], dtype='T')": ("BYTES", [2], ["a", "b"], "str"),
    "np.array([1, 2], dtype=object)": ("INT64", [2], [1, 2], None),
    "[{'a': 1}, {'b': 2}]": ("BYTES", [2], ['{"a":1}', '{"b":2}'], "json"),
    "{'a': {'b': 1}}": ("BYTES", [1], ['{"a":{"b":1}}'], "json"),
    "{'a': [1, [2]]}": ("BYTES", [1], ['{"a":[1,[2]]}'], "json"),
    "'text'": ("BYTES", [1], ["text"], "str"),
    "b'\\xff'": ("BYTES", [1], ["/w=="], "base64"),
    "bytearray(b'\\xff')": ("BYTES", [1], ["/w=="], "base64"),
    "5": ("INT64", [1], [5], None),
    "True": ("BOOL", [1], [True], None),
    "np.float32(0.5)": ("FP32", [1], [0.5], None),
    "np.array(0.5)": ("FP64", [1], [0.5], None),
    "decimal.Decimal('0.5')": ("FP64", [1], [0.5], None),
    "np.ma.array([1, 2], mask=[0, 1])": ("FP64", [2], [1.0, None], None),
    "pd.Series([1, 2])": ("INT64", [2], [1, 2], None),
    "np.array(['2026-01-02'], dtype='M8[s]')": ("BYTES", [1], ["2026-01-02T00:00:00"], "datetime"),
    "[datetime.datetime(2026, 1, 2)]": ("BYTES", [1], ["2026-01-02T00:00:00"], "datetime"),
    "datetime.date(2026, 1, 2)": ("BYTES", [1], ["2026-01-02"], "datetime"),
}


def give(servers: Servers, expression: str, **members: Any) -> Reply:
    return infer(servers, "Gives", ("x", "BYTES", [1], [expression]), **members)


@pytest.mark.parametrize("expression", RESULTS)
def test_a_result_is_one_output(servers: Servers, expression: str) -> None:
    """Each kind of result under the name that is given to what has none, with its datatype and its own shape."""
    reply = give(servers, expression)
    assert reply.status == 200, reply
    (output,) = reply.json["outputs"]
    assert output["name"] == "output-0"
    kind = output.get("parameters", {}).get("content_type")
    assert (output["datatype"], output["shape"], output["data"], kind) == RESULTS[expression]


@pytest.mark.parametrize("expression", [each for each in RESULTS if RESULTS[each][0] == "BYTES"])
def test_texts_and_bytes_are_the_same_over_grpc(servers: Servers, expression: str) -> None:
    """Elements of BYTES are themselves where JSON has no say."""
    _, shape, data, kind = RESULTS[expression]
    wanted = [base64.b64decode(each) if kind == "base64" else each.encode() for each in data]
    with Client(f"grpc://127.0.0.1:{servers('Gives').grpc_port}", protocol="v2", model="Gives") as client:
        (output,) = client.ask([expression]).payload.tensors
    assert list(output.array.shape) == shape
    assert [each if isinstance(each, bytes) else each.encode() for each in output.array.reshape(-1)] == wanted


def test_mappings_and_frames_are_outputs_by_name(servers: Servers) -> None:
    """A dict of arrays and lists, a data frame with its content type, a named series."""
    several = give(servers, "{'a': np.ones(1, 'f4'), 'b': ['x', 'y'], 3: [[1]]}").json["outputs"]
    assert [(each["name"], each["datatype"], each["shape"]) for each in several] == [
        ("a", "FP32", [1]), ("b", "BYTES", [2]), ("3", "INT64", [1, 1]),
    ]  # fmt: skip
    frame = give(servers, "pd.DataFrame({'n': [1, 2], 't': ['x', 'y']})").json
    assert frame["parameters"] == {"content_type": "pd"}
    assert [(each["name"], each["shape"], each["data"]) for each in frame["outputs"]] == [
        ("n", [2, 1], [1, 2]), ("t", [2, 1], ["x", "y"]),
    ]  # fmt: skip
    assert give(servers, "pd.Series([1], name='s')").json["outputs"][0]["name"] == "s"


FAILING = {
    "None": "None",
    "np.array([1j])": "complex128",
    "[[1], [2, 3]]": "ragged",
    "np.array([None, 'a'], dtype=object)": "NoneType",
    "{1, 2}": "set",
    "object()": "object",
    "2**70": "64 bits",
    "np.array([1], 'm8[s]')": "timedelta64",
    "pd.DataFrame([[1, 2]], columns=['a', 'a'])": "two outputs 'a'",
}


@pytest.mark.parametrize("expression", FAILING)
def test_a_result_without_a_form_is_named(servers: Servers, expression: str) -> None:
    """500, and the type or dtype in the text."""
    reply = give(servers, expression)
    assert reply.status == 500
    assert FAILING[expression] in reply.json["error"]


def test_bfloat16_has_a_binary_form_alone(servers: Servers) -> None:
    """400 in JSON, raw bytes where they are asked for."""
    expression = "np.array([0.5, 1.5], dtype=ml_dtypes.bfloat16)"
    reply = give(servers, expression)
    assert reply.status == 400
    assert "'output-0'" in reply.json["error"]
    reply = give(servers, expression, parameters={"binary_data_output": True})
    size = int(reply.headers["inference-header-content-length"])
    assert json.loads(reply.body[:size])["outputs"][0]["datatype"] == "BF16"
    assert reply.body[size:] == b"\x00\x3f\xc0\x3f"


def test_the_name_of_an_unnamed_output(servers: Servers) -> None:
    """The requested one where exactly one is requested, and what metadata declare before that."""
    assert give(servers, "[1]", outputs=[{"name": "mine"}]).json["outputs"][0]["name"] == "mine"
    assert give(servers, "[1]", outputs=[{"name": "a"}, {"name": "b"}]).status == 400
    assert infer(servers, "Declared", ("x", "BYTES", [1], ["a"]), outputs=[{"name": "other"}]).status == 400


def test_class_names_and_tags_are_parameters(servers: Servers) -> None:
    """Column names at the table, tags at the answer, nothing of metrics and of the names that nobody gave."""
    answer = infer(servers, "Labelled", ("x", "FP32", [1, 2], [1, 2])).json
    assert json.loads(answer["outputs"][0]["parameters"]["column_names"]) == ["a", "b"]
    assert answer["parameters"] == {
        "text": "t", "number": 1, "share": 0.5, "sure": True, "deep": '{"a":[1]}', "large": 2**70,
    }  # fmt: skip
    with Client(f"grpc://127.0.0.1:{servers('Labelled').grpc_port}", protocol="v2", model="Labelled") as client:
        parameters = client.ask(np.ones((1, 2))).payload.parameters
    assert parameters == answer["parameters"] | {"large": str(2**70)}
    assert "parameters" not in give(servers, "np.ones((1, 2))").json["outputs"][0]


def test_column_names_are_those_of_a_frame(servers: Servers) -> None:
    """The client's data frame of one table has the columns that the component names."""
    with Client(f"http://127.0.0.1:{servers('Labelled').http_port}", protocol="v2", model="Labelled") as client:
        frame = client.predict(np.array([[1.5, 2.5]]), frame=True)
        assert frame.to_dict("list") == {"a": [1.5], "b": [2.5]}
        frame = client.predict(np.array([[1.5, 2.5]]), names=["c", "d"], frame=True)
        assert frame.columns.tolist() == ["a", "b"]
    with Client(f"http://127.0.0.1:{servers('Told').http_port}", protocol="v2", model="Told") as client:
        assert client.predict(np.ones((1, 2)), names=["c", "d"])["names"] == ["['c', 'd']"]
        assert client.predict([[1, 2]], names=["c", "d"])["names"] == ["['c', 'd']"]


def test_predict_v2_takes_and_gives_the_protocols_objects(servers: Servers) -> None:
    """The request as a dict with arrays, outputs cast and shaped as they say; Seldon's protocol asks predict."""
    x = ("x", "INT32", [1], [7], {"mine": 1})
    answer = infer(servers, "Whole", x, id="i", parameters={"p": 1}, outputs=[{"name": "told"}, {"name": "small"}]).json
    found = eval(answer["outputs"][0]["data"][0])
    assert found == {
        "model_name": "Whole", "model_version": "", "id": "i", "parameters": {"p": 1}, "dtype": "int32",
        "outputs": [{"name": "told"}, {"name": "small"}],
        "tensor": {"name": "x", "datatype": "INT32", "shape": [1], "parameters": {"mine": 1}},
    }  # fmt: skip
    small = answer["outputs"][1]
    assert (small["datatype"], small["shape"], small["data"]) == ("INT8", [2, 1], [1, 2])
    assert small["parameters"] == {"k": "[1]"}
    assert answer["parameters"] == {"of": "mine"}
    assert servers("Whole").post("/predict", {"data": {"ndarray": [[1]]}}).json["strData"] == "seldon"


def test_predict_v2_answers_nothing_wrapped(servers: Servers) -> None:
    """An element that its datatype cannot hold is an error, and BF16 travels as raw bytes."""
    reply = infer(servers, "Bad", ("x", "INT32", [1], [7]))
    assert reply.status == 500
    assert "'y'" in reply.json["error"]
    with Client(f"grpc://127.0.0.1:{servers('Whole').grpc_port}", protocol="v2", model="Whole") as client:
        found = client.predict(np.ones(1, dtype=np.float32))
    assert found["halves"].tolist() == [0.5, 1.5]


# ── metadata ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_metadata_of_seldons_form_become_tensors(servers: Servers) -> None:
    """Each kind of entry, names by place, free axes, the last version; what V2 cannot say is left out."""
    found = servers("Old").get("/v2/models/Old").json
    assert found == {
        "name": "Old",
        "versions": ["3"],
        "platform": "p",
        "inputs": [
            {"name": "input-0", "datatype": "FP64", "shape": [-1, 2], "parameters": {"column_names": '["a","b"]'}},
            {"name": "input-1", "datatype": "FP64", "shape": [-1, 4]},
            {"name": "input-2", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "str"}},
            {"name": "input-3", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "json"}},
            {"name": "input-4", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"}},
        ],
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "output-2", "datatype": "INT8", "shape": [1]},
        ],
    }
    x = ("x", "FP32", [1, 2], [1, 2])
    assert infer(servers, "Old", x).json["model_version"] == "3"
    assert servers("Old").get("/v2/models/Old/versions/3").status == 200
    assert servers("Old").get("/v2/models/Old/versions/2").status == 404


def test_nothing_declared_is_empty(servers: Servers) -> None:
    """Empty lists and texts, never null."""
    found = servers("Gives").get("/v2/models/Gives").json
    assert found == {"name": "Gives", "versions": [], "platform": "", "inputs": [], "outputs": []}
