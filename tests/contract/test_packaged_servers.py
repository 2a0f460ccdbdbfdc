"""The packaged servers, each on a real model that the test fits."""

import json
import threading
import warnings
from pathlib import Path

import fsspec
import joblib
import numpy as np
import onnx
import pandas
import pytest
import sklearn.compose
import sklearn.datasets
import sklearn.linear_model
import sklearn.neighbors
import sklearn.pipeline
import sklearn.preprocessing
import xgboost
import yaml

from infergraph.component import find
from infergraph.errors import BadMetadata, GraphError, MissingExtra, PayloadError, TargetError
from infergraph.graph import servers
from infergraph.graph.servers import files
from infergraph.graph.servers.mlflow import MLFlowServer
from infergraph.graph.servers.onnx import ONNXServer
from infergraph.graph.servers.sklearn import SKLearnServer
from infergraph.graph.servers.xgboost import XGBoostServer
from infergraph.graph.spec.records import Node
from served import served

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # mlflow and skl2onnx warn while they are imported, which is theirs to mend
    import mlflow.pyfunc
    import skl2onnx
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec
    from skl2onnx.common.data_types import FloatTensorType

IRIS = sklearn.datasets.load_iris()
METADATA = {"name": "iris", "versions": ["v1"], "platform": "here"}
ROWS = IRIS.data[[0, 60, 120]]


@pytest.fixture(scope="module")
def classifier():
    return sklearn.pipeline.make_pipeline(
        sklearn.preprocessing.StandardScaler(), sklearn.linear_model.LogisticRegression(max_iter=500)
    ).fit(IRIS.data, IRIS.target)


@pytest.fixture(scope="module")
def sklearn_folder(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sklearn")
    joblib.dump(classifier, folder / "model.joblib")
    (folder / "metadata.yaml").write_text(yaml.safe_dump(METADATA))
    return folder


@pytest.fixture(scope="module")
def booster():
    data = xgboost.DMatrix(IRIS.data, label=IRIS.target)
    return xgboost.train({"objective": "multi:softprob", "num_class": 3, "nthread": 1}, data, num_boost_round=5)


@pytest.fixture(scope="module")
def xgboost_folder(booster, tmp_path_factory):
    folder = tmp_path_factory.mktemp("xgboost")
    booster.save_model(folder / "model.ubj")
    (folder / "model.ubj").rename(folder / "model.bst")
    (folder / "metadata.yaml").write_text(yaml.safe_dump(METADATA))
    return folder


@pytest.fixture(scope="module")
def onnx_folder(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = skl2onnx.convert_sklearn(classifier, initial_types=[("rows", FloatTensorType([None, 4]))])
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "metadata.yaml").write_text(yaml.safe_dump(METADATA))
    return folder


MLFLOW_MODEL = """
import pandas

class Frames:
    def predict(self, model_input):
        frame = pandas.DataFrame(model_input)
        return frame.rename(columns=lambda name: f"twice {name}") * 2

def _load_pyfunc(path):
    return Frames()
"""


@pytest.fixture(scope="module")
def mlflow_folder(tmp_path_factory):
    """A model that answers with a data frame whose columns are those of its input, doubled and renamed."""
    folder = tmp_path_factory.mktemp("mlflow")
    (folder / "frames_model.py").write_text(MLFLOW_MODEL)
    mlflow.pyfunc.save_model(
        folder / "model",
        loader_module="frames_model",
        code_paths=[str(folder / "frames_model.py")],
        pip_requirements=["pandas"],
    )
    (folder / "model" / "metadata.yaml").write_text(yaml.safe_dump(METADATA))
    return folder / "model"


@pytest.fixture
def folders(sklearn_folder, xgboost_folder, onnx_folder, mlflow_folder):
    return {
        "SKLEARN_SERVER": sklearn_folder,
        "XGBOOST_SERVER": xgboost_folder,
        "ONNX_SERVER": onnx_folder,
        "MLFLOW_SERVER": mlflow_folder,
    }


def _loaded(server):
    server.load()
    return server


# ── every packaged server ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("server", sorted(servers.PACKAGED))
@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_node_becomes_a_component_that_answers(server, prefix, folders, tmp_path):
    """What a node with a packaged server is resolved to loads, answers a row for each row, and has its metadata."""
    node = Node(name="m", implementation=server, model_uri=f"{prefix}{folders[server]}")
    place = servers.located(node, folder=tmp_path, cache_dir=tmp_path)
    component = _loaded(find(place.target)(**place.arguments))
    assert len(component.predict(ROWS, [])) == len(ROWS)
    assert component.init_metadata() == METADATA


@pytest.mark.parametrize("server", sorted(servers.PACKAGED))
def test_nothing_is_read_before_load(server, tmp_path):
    """A constructor touches no file: a model that is not there shows in load, which names the place."""
    component = find(servers.PACKAGED[server])(model_uri=str(tmp_path / "nowhere"))
    with pytest.raises(TargetError, match="nowhere"):
        component.load()


@pytest.mark.parametrize(
    ("server", "name"),
    [
        (SKLearnServer, "model.joblib"),
        (XGBoostServer, "model.bst"),
        (MLFlowServer, "MLmodel"),
        (ONNXServer, "model.onnx"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"flavors: {}", bytes(range(256)) * 8])
def test_a_broken_model_is_one_line_that_names_it(server, name, content, tmp_path):
    """A model cut short, empty or of another kind is said to be unreadable, with its place, in one line."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TargetError, match=r"^the model at .* cannot be read: ") as caught:
        server(model_uri=str(tmp_path)).load()
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_relative_address_starts_at_the_deployment_file(sklearn_folder, tmp_path):
    """A modelUri without a scheme is found from the folder of the deployment file."""
    node = Node(name="m", implementation="SKLEARN_SERVER", model_uri=sklearn_folder.name)
    place = servers.located(node, folder=sklearn_folder.parent, cache_dir=tmp_path)
    assert Path(place.arguments["model_uri"]) == sklearn_folder


@pytest.mark.parametrize("server", ["TENSORFLOW_SERVER", "TRITON_SERVER", "HUGGINGFACE_SERVER", "TEMPO_SERVER"])
def test_servers_of_other_processes_say_what_to_write(server, tmp_path):
    """A packaged server that cannot run in process is refused with the remote form to write instead."""
    node = Node(name="big", implementation=server, model_uri="s3://m")
    with pytest.raises(GraphError, match=r"'big'.*type: MODEL.*service_host") as caught:
        servers.located(node, folder=tmp_path, cache_dir=tmp_path)
    assert caught.value.node == "big"


def test_unknown_servers_and_missing_addresses_are_refused(tmp_path):
    """A packaged server that nobody knows, and one without a model, are refused by name."""
    with pytest.raises(GraphError, match=r"no packaged server MAGIC_SERVER.*SKLEARN_SERVER"):
        servers.located(Node(name="m", implementation="MAGIC_SERVER"), folder=tmp_path, cache_dir=tmp_path)
    with pytest.raises(GraphError, match="needs a modelUri"):
        servers.located(Node(name="m", implementation="ONNX_SERVER"), folder=tmp_path, cache_dir=tmp_path)


# ── each by its own rules ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["predict_proba", "decision_function", "predict"])
def test_sklearn_answers_with_the_method_asked_for(method, classifier, sklearn_folder):
    """SKLEARN_SERVER gives exactly what the model's own method gives."""
    server = _loaded(SKLearnServer(str(sklearn_folder), method=method))
    np.testing.assert_array_equal(server.predict(ROWS, []), getattr(classifier, method)(ROWS))


def test_sklearn_takes_any_other_method_for_predict(classifier, sklearn_folder):
    """Any other value of `method` means predict, as the reference has it."""
    server = _loaded(SKLearnServer(str(sklearn_folder), method="labels"))
    np.testing.assert_array_equal(server.predict(ROWS, []), classifier.predict(ROWS))


@pytest.mark.parametrize("bad", [[1.0, 2.0], [[1.0, 2.0]], [["a", "b", "c", "d"]]])
def test_sklearn_says_what_is_wrong_with_the_input(bad, sklearn_folder):
    """Input of the wrong width, with one axis, or of words is refused in scikit-learn's own words."""
    server = _loaded(SKLearnServer(str(sklearn_folder)))
    with pytest.raises(PayloadError, match=r"(?i)expect|convert"):
        server.predict(np.array(bad), [])


def test_sklearn_reads_the_model_once(sklearn_folder, monkeypatch):
    """The model is read by load alone, once."""
    reads = []
    real = joblib.load
    monkeypatch.setattr(joblib, "load", lambda path: reads.append(path) or real(path))
    server = SKLearnServer(str(sklearn_folder))
    assert reads == []
    server.load()
    server.predict(ROWS, [])
    assert reads == [sklearn_folder / "model.joblib"]


def test_sklearn_refuses_a_model_without_the_method(tmp_path):
    """A regressor has no probabilities: that shows at start, with what to set."""
    model = sklearn.linear_model.LinearRegression().fit(IRIS.data, IRIS.target)
    joblib.dump(model, tmp_path / "other.pkl")
    with pytest.raises(TargetError, match="LinearRegression has no predict_proba; set the parameter method"):
        SKLearnServer(str(tmp_path)).load()
    server = _loaded(SKLearnServer(str(tmp_path), method="predict"))
    np.testing.assert_array_equal(server.predict(ROWS, []), model.predict(ROWS))


def test_xgboost_answers_as_the_booster(booster, xgboost_folder):
    """XGBOOST_SERVER gives what the booster gives."""
    server = _loaded(XGBoostServer(str(xgboost_folder)))
    np.testing.assert_allclose(server.predict(ROWS, ["a"]), booster.predict(xgboost.DMatrix(ROWS)), rtol=1e-6)


@pytest.mark.parametrize("bad", [[[1.0, 2.0]], [1.0, 2.0, 3.0, 4.0], [["a", "b", "c", "d"]]])
def test_xgboost_refuses_rows_of_another_width(bad, xgboost_folder):
    """Rows that the booster was not fitted for are refused instead of answered silently."""
    server = _loaded(XGBoostServer(str(xgboost_folder)))
    with pytest.raises(PayloadError, match=r"4 columns|could not convert"):
        server.predict(np.array(bad), [])


def test_onnx_answers_with_probabilities(classifier, onnx_folder):
    """ONNX_SERVER gives the probabilities of a classifier as an array, a column for each class."""
    server = _loaded(ONNXServer(str(onnx_folder), threads=1))
    np.testing.assert_allclose(server.predict(ROWS, []), classifier.predict_proba(ROWS), atol=1e-5)


def test_onnx_answers_with_the_output_asked_for(classifier, onnx_folder):
    """The parameter `output` chooses among the model's outputs; one that is not there is refused at start."""
    server = _loaded(ONNXServer(str(onnx_folder), output="output_label", threads=1))
    np.testing.assert_array_equal(server.predict(ROWS, []), classifier.predict(ROWS))
    with pytest.raises(TargetError, match=r"no output 'x'; it has output_label, output_probability"):
        ONNXServer(str(onnx_folder), output="x").load()


def test_onnx_takes_inputs_by_name(classifier, onnx_folder):
    """A JSON object is answered with a JSON object of all outputs."""
    server = _loaded(ONNXServer(str(onnx_folder), threads=1))
    answer = json.loads(json.dumps(server.predict({"rows": ROWS.tolist()}, [])))
    assert answer["output_label"] == classifier.predict(ROWS).tolist()
    np.testing.assert_allclose(answer["output_probability"], classifier.predict_proba(ROWS), atol=1e-5)
    with pytest.raises(PayloadError, match="inputs are rows, not other"):
        server.predict({"other": []}, [])


def test_onnx_fills_several_inputs_by_column(tmp_path):
    """A model with an input for each column gets its columns by name where the names fit, else in order."""
    frame = pandas.DataFrame(IRIS.data[:, :2], columns=["long", "wide"])
    model = sklearn.linear_model.LinearRegression().fit(frame.to_numpy(), IRIS.target)
    columns = sklearn.compose.ColumnTransformer([("keep", "passthrough", ["long", "wide"])])
    pipeline = sklearn.pipeline.make_pipeline(columns, sklearn.linear_model.LinearRegression()).fit(frame, IRIS.target)
    kind = FloatTensorType([None, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = skl2onnx.convert_sklearn(pipeline, initial_types=[("long", kind), ("wide", kind)])
    (tmp_path / "model.onnx").write_bytes(converted.SerializeToString())
    server = _loaded(ONNXServer(str(tmp_path), threads=1))
    rows = frame.to_numpy()[:5]
    wanted = model.predict(rows)
    np.testing.assert_allclose(np.ravel(server.predict(rows, [])), wanted, atol=1e-4)
    np.testing.assert_allclose(np.ravel(server.predict(rows[:, ::-1], ["wide", "long"])), wanted, atol=1e-4)
    with pytest.raises(PayloadError, match="inputs long, wide"):
        server.predict(rows[:, :1], [])


@pytest.mark.parametrize("bad", [[[1.0, 2.0]], [["a", "b", "c", "d"]]])
def test_onnx_says_what_is_wrong_with_the_input(bad, onnx_folder):
    """Input that does not fit is refused in the runtime's own words."""
    server = _loaded(ONNXServer(str(onnx_folder), threads=1))
    with pytest.raises(PayloadError, match=r"(?i)dimension|convert"):
        server.predict(np.array(bad), [])


def test_mlflow_columns_are_those_of_each_call(mlflow_folder):
    """Each answer carries its own column names, not those of the first call."""
    server = _loaded(MLFlowServer(str(mlflow_folder), xtype="DataFrame"))
    first = server.predict(np.array([[1.0, 2.0]]), ["a", "b"])
    second = server.predict(np.array([[3.0]]), ["c"])
    assert (list(first.columns), list(second.columns)) == (["twice a", "twice b"], ["twice c"])
    assert second.to_numpy().tolist() == [[6.0]]


def test_mlflow_gets_an_array_unless_told_otherwise(mlflow_folder):
    """With the default xtype the model is given the array, whose columns have no names."""
    server = _loaded(MLFlowServer(str(mlflow_folder)))
    assert list(server.predict(np.array([[1.0, 2.0]]), ["a", "b"]).columns) == ["twice 0", "twice 1"]


def test_mlflow_refuses_names_that_do_not_fit(mlflow_folder):
    """Another number of names than columns is the caller's fault."""
    server = _loaded(MLFlowServer(str(mlflow_folder), xtype="DataFrame"))
    with pytest.raises(PayloadError, match="1 names for rows of 2 columns"):
        server.predict(np.array([[1.0, 2.0]]), ["a"])


# ── models from elsewhere ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def elsewhere(sklearn_folder):
    """A folder in fsspec's memory file system that holds the model."""
    memory = fsspec.filesystem("memory")
    memory.put(f"{sklearn_folder}/", "/bucket/iris/", recursive=True)
    yield "memory://bucket/iris"
    memory.rm("/bucket", recursive=True)


def test_a_model_is_fetched_once(elsewhere, classifier, tmp_path):
    """A model from elsewhere is copied into the cache, serves from there, and is not fetched again."""
    server = _loaded(SKLearnServer(elsewhere, cache_dir=str(tmp_path)))
    np.testing.assert_array_equal(server.predict(ROWS, []), classifier.predict_proba(ROWS))
    assert server.init_metadata() == METADATA
    fsspec.filesystem("memory").rm("/bucket/iris/model.joblib")
    again = _loaded(SKLearnServer(elsewhere, cache_dir=str(tmp_path)))
    np.testing.assert_array_equal(again.predict(ROWS, []), classifier.predict_proba(ROWS))


def test_a_single_file_can_be_fetched(elsewhere, classifier, tmp_path):
    """The address of the model file itself will do."""
    server = _loaded(SKLearnServer(f"{elsewhere}/model.joblib", cache_dir=str(tmp_path)))
    np.testing.assert_array_equal(server.predict(ROWS, []), classifier.predict_proba(ROWS))


def test_many_may_fetch_at_once(elsewhere, tmp_path):
    """Several that fetch the same model at the same time all get it whole, and leave nothing behind."""
    places = []
    gate = threading.Barrier(4)

    def fetch():
        gate.wait()
        place = files.fetch(elsewhere, str(tmp_path))
        places.append((place, sorted(path.name for path in place.iterdir())))

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 4
    assert {tuple(names) for _, names in places} == {("metadata.yaml", "model.joblib")}
    assert list(tmp_path.iterdir()) == [places[0][0]]


def test_an_address_with_nothing_behind_it_is_refused(tmp_path):
    """Nothing stored at an address is a fault that names it, and leaves no half cache."""
    with pytest.raises(TargetError, match="memory://bucket/none"):
        files.fetch("memory://bucket/none", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_scheme_is_refused(tmp_path):
    """A scheme that fsspec does not know is a fault that names the address."""
    with pytest.raises(TargetError, match="pvc://claim/model"):
        files.fetch("pvc://claim/model", str(tmp_path))


def test_several_models_in_a_folder_are_told_apart_by_name(tmp_path):
    """A folder with two candidates and none of the usual name is refused, and what it holds is named."""
    for name in ("a.joblib", "b.joblib"):
        (tmp_path / name).touch()
    with pytest.raises(TargetError, match=r"no model\.joblib in .*; it holds a\.joblib, b\.joblib"):
        SKLearnServer(str(tmp_path)).load()


@pytest.mark.parametrize("text", ["- a list", "{", "name: [\n"])
def test_metadata_that_is_no_object_is_a_fault(text, tmp_path):
    """A metadata.yaml that cannot be read is said to be so instead of being passed over."""
    (tmp_path / "metadata.yaml").write_text(text)
    with pytest.raises(BadMetadata, match=r"metadata\.yaml"):
        SKLearnServer(str(tmp_path)).init_metadata()


@pytest.mark.parametrize(
    ("server", "package", "extra"),
    [
        ("SKLEARN_SERVER", "sklearn", "sklearn"),
        ("XGBOOST_SERVER", "xgboost", "xgboost"),
        ("MLFLOW_SERVER", "mlflow", "mlflow"),
        ("ONNX_SERVER", "onnxruntime", "onnx"),
    ],
)
def test_a_missing_package_says_what_to_install(server, package, extra, folders, monkeypatch):
    """Without its package a server names the extra to install."""
    monkeypatch.setitem(__import__("sys").modules, package, None)
    component = find(servers.PACKAGED[server])(model_uri=str(folders[server]))
    with pytest.raises(MissingExtra, match=rf"{server} needs .* pip install 'infergraph\[{extra}\]'"):
        component.load()


def test_a_missing_fsspec_says_what_to_install(monkeypatch, tmp_path):
    """Without fsspec an address elsewhere names the extra to install."""
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(MissingExtra, match=r"s3://b/m needs .* pip install 'infergraph\[storage\]'"):
        files.fetch("s3://b/m", str(tmp_path))


# ── the signature of an MLflow model ────────────────────────────────────────────────────────────────────────────────


class Echo(mlflow.pyfunc.PythonModel):
    """Answers with what its frame holds, and how."""

    def predict(self, context, model_input, params=None):
        columns = [[str(value) for value in model_input[name]] for name in model_input.columns]
        return [[list(model_input.columns), [str(kind) for kind in model_input.dtypes], columns]]


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """Makes the server of a model that declares these columns; a name that ends in _ is optional."""

    def make(xtype="ndarray", **columns):
        folder = tmp_path_factory.mktemp("signed") / "model"
        entries = [ColSpec(kind, name.rstrip("_"), required=not name.endswith("_")) for name, kind in columns.items()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            signature = ModelSignature(inputs=Schema(entries))
            mlflow.pyfunc.save_model(folder, python_model=Echo(), signature=signature, pip_requirements=[])
        return _loaded(MLFlowServer(str(folder), xtype=xtype))

    return make


def _seen(server, rows, names=()):
    payload = np.array(rows) if not any(value is None for row in rows for value in row) else np.array(rows, object)
    ((columns, kinds, values),) = server.predict(payload, names)
    return columns, kinds, values


@pytest.mark.parametrize("xtype", ["ndarray", "DataFrame"])
@pytest.mark.parametrize(
    ("kind", "row", "dtype", "value"),
    [
        ("double", [1, 2], "float64", "1.0"),
        ("float", [1, 2], "float32", "1.0"),
        ("double", [1.5, 2], "float64", "1.5"),
        ("double", [None, 2], "float64", "nan"),
        ("integer", [1, 2], "int32", "1"),
        ("integer", [1.0, 2.0], "int32", "1"),
        ("long", [3.0, 2.0], "int64", "3"),
        ("integer", ["m", 2], None, "cannot be read as integer"),
        ("integer", [1.5, 2], None, "not all of them are whole numbers"),
        ("double", ["x", 2], None, "the column a cannot be read as double"),
        ("string", [1, 2], "object", "1"),
        ("string", [1.5, 2], "object", "1.5"),
        ("string", [True, False], "object", "True"),
        ("string", [None, 2], "object", "None"),
        ("binary", ["aGk=", "aGk="], "object", "b'hi'"),
        ("binary", ["a", "aGk="], None, "the column a cannot be read as binary"),
    ],
)
def test_the_signature_decides_what_a_number_is(signed, xtype, kind, row, dtype, value):
    """A whole number for a column of floats, and a whole float for one of integers, are what the column says."""
    server = signed(xtype, a=kind, b="double" if kind == "double" else kind)
    if dtype is None:
        with pytest.raises(PayloadError, match=value):
            _seen(server, [row], ["a", "b"])
    else:
        columns, kinds, values = _seen(server, [row], ["a", "b"])
        assert (columns, kinds[0], values[0][0]) == (["a", "b"], dtype, value)


def test_text_beside_numbers_is_read_by_the_signature(signed):
    """Rows of text and numbers, which an array makes all text of, come to the model as their columns say."""
    server = signed(sex="string", age="long", weight="double", smokes="boolean")
    columns, kinds, values = _seen(server, [["m", 22, 70.5, True], ["f", 30, 60, False]])
    assert columns == ["sex", "age", "weight", "smokes"]
    assert kinds[1:] == ["int64", "float64", "bool"]
    assert values == [["m", "f"], ["22", "30"], ["70.5", "60.0"], ["True", "False"]]


@pytest.mark.parametrize("rows", [[[True, 1], [False, 0]], [[1, 1.0], [0, 2.5]], [["true", 1], ["false", 2]]])
def test_a_truth_beside_numbers_is_read_by_the_signature(signed, rows):
    """A boolean column takes true and false where an array has made 1 and 0 of them."""
    _, kinds, values = _seen(signed(smokes="boolean", weight="double"), rows)
    assert (kinds, values[0]) == (["bool", "float64"], ["True", "False"])


def test_columns_go_by_name_and_optional_ones_may_be_missing(signed):
    """Named columns are put in the signature's order; an optional one may be left out, a required one may not."""
    server = signed(a="double", b="integer", c_="double")
    assert _seen(server, [[2, 1]], ["b", "a"])[::2] == (["a", "b"], [["1.0"], ["2"]])
    assert _seen(server, [[2, 1, 3]], ["c", "a", "b"])[::2] == (["a", "b", "c"], [["1.0"], ["3"], ["2.0"]])
    assert _seen(server, [[1, 2]], ["t:0", "t:1"])[0] == ["a", "b"]
    with pytest.raises(PayloadError, match="missing inputs"):
        _seen(server, [[2]], ["b"])
    with pytest.raises(PayloadError, match="takes the columns a, b, c"):
        _seen(server, [[1, 2, 3, 4]])


def test_whole_numbers_for_a_tensor_of_floats(tmp_path):
    """A model whose signature is one tensor of floats takes whole numbers."""

    class Plus(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return model_input + 0.5

    schema = Schema([TensorSpec(np.dtype("float64"), (-1, 2))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = ModelSignature(inputs=schema)
        mlflow.pyfunc.save_model(tmp_path / "m", python_model=Plus(), signature=signature, pip_requirements=[])
    server = _loaded(MLFlowServer(str(tmp_path / "m")))
    assert server.predict(np.array([[1, 2]])).tolist() == [[1.5, 2.5]]


# ── models served by themselves ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def named_model(tmp_path_factory):
    """A classifier that was fitted on a data frame, whose classes have names."""
    frame = pandas.DataFrame(IRIS.data, columns=["a", "b", "c", "d"])
    species = IRIS.target_names[IRIS.target]
    folder = tmp_path_factory.mktemp("named")
    model = sklearn.linear_model.LogisticRegression(max_iter=500).fit(frame, species)
    joblib.dump(model, folder / "iris.joblib")
    return folder


def test_a_model_alone_is_served_with_its_names(named_model):
    """A model's answer has its classes as columns; its input goes by name, and by place without names."""
    row = [5.1, 3.5, 1.4, 0.2]
    bodies = [{"ndarray": [row]}, {"names": ["d", "c", "b", "a"], "ndarray": [row[::-1]]}]
    with served("SKLEARN_SERVER:iris.joblib", folder=named_model) as there:
        replies = [there.ask("POST", "/predict", {"data": data}).json for data in bodies]
    assert replies[0]["data"]["names"] == ["setosa", "versicolor", "virginica"]
    assert replies[0]["data"]["ndarray"][0][0] > 0.9
    assert replies[1]["data"]["ndarray"] == [pytest.approx(replies[0]["data"]["ndarray"][0])]


def test_a_model_fitted_with_names_does_not_warn(named_model):
    """Rows without names, and with names that the model does not know, are taken by place without a warning."""
    server = _loaded(SKLearnServer(str(named_model / "iris.joblib")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = server.predict(ROWS)
        assert (server.predict(ROWS, ["t:0", "t:1", "t:2", "t:3"]) == plain).all()
        assert (server.predict(ROWS[:, ::-1], ["d", "c", "b", "a"]) == plain).all()
    assert not hasattr(server, "class_names")
    with pytest.raises(PayloadError):
        server.predict(ROWS[:, :2])


def test_a_model_without_probabilities_predicts(tmp_path):
    """A regression, served alone, answers with what it predicts."""
    joblib.dump(sklearn.linear_model.LinearRegression().fit(IRIS.data, IRIS.target), tmp_path / "line.joblib")
    with served("SKLEARN_SERVER:line.joblib", folder=tmp_path) as there:
        reply = there.ask("POST", "/predict", {"data": {"ndarray": ROWS.tolist()}})
    assert [round(value) for value in reply.json["data"]["ndarray"]] == [0, 1, 2]


@pytest.mark.parametrize("classes", [(2, 2), (2, 3)])
def test_a_model_of_several_targets_answers_by_row(tmp_path, classes):
    """Probabilities have the axes (row, target, class); a class that a target does not have has none."""
    rows = np.arange(6.0)[:, None]
    targets = np.array([[number % count for count in classes] for number in range(6)])
    joblib.dump(sklearn.neighbors.KNeighborsClassifier(1).fit(rows, targets), tmp_path / "model.joblib")
    server = SKLearnServer(str(tmp_path))
    server.load()
    answer = server.predict(rows[:5])
    assert answer.shape == (5, 2, max(classes))
    assert (answer.argmax(axis=2) == targets[:5]).all()


# ── the open inference protocol ─────────────────────────────────────────────────────────────────────────────────


def _infer(target, *inputs, **members):
    """The answer, and the metadata, of a packaged server that is asked with tensors: (name, datatype, shape, data)."""
    body = {"inputs": [dict(zip(("name", "datatype", "shape", "data"), each, strict=True)) for each in inputs]}
    with served(target, environment={"PREDICTIVE_UNIT_ID": "m"}) as there:
        reply = there.post("/v2/models/m/infer", body | members)
        return reply, there.get("/v2/models/m").json


def _columns(rows):
    return [(f"c{place}", "FP64", [len(rows)], column.tolist()) for place, column in enumerate(rows.T)]


@pytest.mark.parametrize("server", ["SKLEARN_SERVER", "XGBOOST_SERVER"])
def test_rows_are_one_tensor_or_several_as_columns(server, folders):
    """A table in one tensor and its columns in a tensor each are the same rows."""
    reply, metadata = _infer(f"{server}:{folders[server]}", ("x", "FP32", list(ROWS.shape), ROWS.tolist()))
    by_column, _ = _infer(f"{server}:{folders[server]}", *_columns(ROWS))
    found = [np.reshape(each.json["outputs"][0]["data"], (3, 3)) for each in (reply, by_column)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)
    assert found[0].argmax(axis=1).tolist() == [0, 1, 2]
    assert metadata["platform"] == "here"


@pytest.mark.parametrize("server", sorted(servers.PACKAGED))
def test_the_platform_is_known_without_metadata(server, folders, tmp_path):
    """Each packaged server says in the open inference protocol what it runs; Seldon's metadata stay as they were."""
    for file in folders[server].rglob("*"):
        if file.is_file() and file.name != "metadata.yaml":
            (tmp_path / file.relative_to(folders[server])).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file.relative_to(folders[server])).write_bytes(file.read_bytes())
    with served(f"{server}:{tmp_path}", environment={"PREDICTIVE_UNIT_ID": "m"}) as there:
        assert there.get("/v2/models/m").json["platform"] == server.partition("_")[0].lower()
        assert there.get("/metadata").json["platform"] == ""


def test_a_tensor_of_several_columns_is_no_column(sklearn_folder):
    """The tensor that cannot be a column is named."""
    wide = ("wide", "FP32", [1, 2], [1, 2])
    reply, _ = _infer(f"SKLEARN_SERVER:{sklearn_folder}", ("a", "FP32", [1], [1]), wide)
    assert reply.status == 400
    assert "'wide'" in reply.json["error"]


def test_columns_go_to_the_names_that_a_model_was_fitted_with(tmp_path):
    """Named tensors in any order, one of them text, are the columns of the frame that the model knows."""
    frame = pandas.DataFrame({"size": [1.0, 2.0, 3.0, 4.0], "kind": ["a", "b", "a", "b"]})
    encode = sklearn.compose.make_column_transformer(
        (sklearn.preprocessing.OneHotEncoder(), ["kind"]), remainder="passthrough"
    )
    model = sklearn.pipeline.make_pipeline(encode, sklearn.linear_model.LinearRegression())
    joblib.dump(model.fit(frame, [1.0, 20.0, 3.0, 40.0]), tmp_path / "model.joblib")
    kind, size = ("kind", "BYTES", [2], ["b", "a"]), ("size", "FP64", [2, 1], [2, 3])
    wanted = model.predict(pandas.DataFrame({"size": [2.0, 3.0], "kind": ["b", "a"]}))
    for members in ({}, {"parameters": {"content_type": "pd"}}):
        reply, _ = _infer(f"SKLEARN_SERVER:{tmp_path}", kind, size, **members)
        np.testing.assert_allclose(reply.json["outputs"][0]["data"], wanted)


def test_mlflow_takes_tensors_as_a_data_frame(mlflow_folder):
    """Several tensors are the columns of a data frame, and the answer's frame is a tensor for each of its own."""
    given = [("a", "FP64", [2], [1, 2]), ("b", "INT64", [2, 1], [3, 4])]
    reply, _ = _infer(f"MLFLOW_SERVER:{mlflow_folder}", *given)
    assert {each["name"]: (each["datatype"], each["data"]) for each in reply.json["outputs"]} == {
        "twice a": ("FP64", [2.0, 4.0]),
        "twice b": ("INT64", [6, 8]),
    }


def test_onnx_declares_and_answers_by_name(onnx_folder):
    """Inputs and outputs are declared with names, datatypes and free axes, and all outputs are answered by name."""
    rows = ("rows", "FP32", [3, 4], ROWS.tolist())
    reply, metadata = _infer(f"ONNX_SERVER:{onnx_folder}", rows)
    assert metadata["inputs"] == [{"name": "rows", "datatype": "FP32", "shape": [-1, 4]}]
    declared = {each["name"]: each["datatype"] for each in metadata["outputs"]}
    answered = {each["name"]: each["datatype"] for each in reply.json["outputs"]}
    assert declared == answered
    assert len(declared) == 2
    label = next(each for each in reply.json["outputs"] if each["datatype"] == "INT64")
    assert label["data"] == [0, 1, 2]
    chosen, _ = _infer(f"ONNX_SERVER:{onnx_folder}", rows, outputs=[{"name": label["name"]}])
    assert [each["name"] for each in chosen.json["outputs"]] == [label["name"]]


@pytest.fixture(scope="module")
def sum_folder(tmp_path_factory):
    """An ONNX model of two inputs of which it gives the sum."""
    folder = tmp_path_factory.mktemp("sum")
    tensors = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["n", 2]) for name in "abs"]
    node = onnx.helper.make_node("Add", ["a", "b"], ["s"])
    graph = onnx.helper.make_graph([node], "sum", tensors[:2], tensors[2:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


def test_onnx_takes_its_inputs_by_name(sum_folder):
    """Two tensors in any order, and the refusal of another name."""
    a, b = ("a", "INT64", [1, 2], [1, 2]), ("b", "INT64", [1, 2], [10, 20])
    reply, metadata = _infer(f"ONNX_SERVER:{sum_folder}", b, a)
    assert [each["name"] for each in metadata["inputs"]] == ["a", "b"]
    (output,) = reply.json["outputs"]
    assert output == {"name": "s", "shape": [1, 2], "datatype": "INT64", "data": [11, 22]}
    reply, _ = _infer(f"ONNX_SERVER:{sum_folder}", a, ("c", *b[1:]))
    assert reply.status == 400
    assert "the model's inputs are a, b, not a, c" in reply.json["error"]
