"""The microservice contract over gRPC, on both engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf import json_format

from contract.microservice import cases
from infergraph.wire import prediction
from served import Served, Servers

HERE = Path(__file__).parent / "microservice"


@pytest.fixture(scope="module", params=[("native", "auto"), ("native", "inline"), ("grpcio", "auto")], ids="-".join)
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Both engines; the native one also where everything is answered at once."""
    engine, execution = request.param
    with Servers("components.py", folder=HERE, grpc_engine=engine, execution=execution) as servers:
        yield servers


def message(document: object) -> object:
    return json_format.ParseDict(document, prediction.SeldonMessage())


def shown(answer: object) -> object:
    return json_format.MessageToDict(answer)


@pytest.mark.parametrize(
    ("document", "dtype", "shape"),
    [
        ({"data": {"ndarray": [[1, 2], [3, 4]]}}, "float64", [2, 2]),
        ({"data": {"ndarray": [["a", 1, 2.5]]}}, "<U32", [1, 3]),
        ({"data": {"ndarray": [[True, 2]]}}, "float64", [1, 2]),
        ({"data": {"tensor": {"shape": [1, 2], "values": [1, 2]}}}, "float64", [1, 2]),
        ({"data": {"ndarray": []}}, "float64", [0]),
        ({"data": {"tftensor": {"dtype": "DT_INT64", "tensorShape": {"dim": []}, "int64Val": [1]}}}, "int64", []),
    ],
)  # fmt: skip
def test_arrays_reach_the_component_as_doubles(
    servers: Servers, document: object, dtype: str, shape: list[int]
) -> None:
    """Numbers of a protobuf message are doubles; texts keep their type; tftensor needs no TensorFlow (Q31)."""
    answer = shown(servers("Seen").call("Model/Predict", message(document)))
    assert answer["jsonData"]["dtype"] == dtype
    assert answer["jsonData"]["shape"] == shape
    assert answer["jsonData"]["meta"] == {}


SAME = [
    ({"data": {"tensor": {"shape": [1, 2], "values": [1.0, 2.5]}}},
     {"meta": {}, "data": {"names": ["t:0", "t:1"], "tensor": {"shape": [1, 2], "values": [1.0, 2.5]}}}),
    ({"data": {"ndarray": [[1.0, "x"]]}}, {"meta": {}, "data": {"names": ["t:0", "t:1"], "ndarray": [["1.0", "x"]]}}),
    ({"strData": "北京"}, {"meta": {}, "strData": "北京"}),
    ({"binData": "AAE="}, {"meta": {}, "binData": "AAE="}),
    ({"jsonData": {"a": [1, None, "x"]}}, {"meta": {}, "jsonData": {"a": [1.0, None, "x"]}}),
    ({"strData": "s", "meta": {"puid": "p", "tags": {"a": 1}}},
     {"strData": "s", "meta": {"puid": "p", "tags": {"a": 1.0}}}),
]  # fmt: skip


@pytest.mark.parametrize(("document", "expected"), SAME)
def test_each_payload_comes_back_in_its_kind(servers: Servers, document: object, expected: object) -> None:
    """An identity component answers every kind of payload in that kind, with meta always there."""
    answer = servers("Identity").call("Model/Predict", message(document))
    assert shown(answer) == expected
    assert answer.HasField("meta")


def test_custom_data_passes_as_the_any_it_was(servers: Servers) -> None:
    """A protobuf Any that nobody here knows goes in and out unchanged."""
    request = prediction.SeldonMessage()
    request.customData.type_url = "type.googleapis.com/some.Type"
    request.customData.value = b"\x0a\x01x"
    assert servers("Identity").call("Model/Predict", request).customData == request.customData


def test_every_service_and_method_answers(servers: Servers) -> None:
    """The seven services of the protocol are all served, whatever the component is."""
    there = servers("Full", environment={"PREDICTIVE_UNIT_ID": "unit1"})
    one = message(cases.ND)
    several = prediction.SeldonMessageList(seldonMessages=[one, one])
    feedback = json_format.ParseDict(
        {"request": cases.ND, "response": {"meta": {"routing": {"unit1": 3}}}, "reward": 0.5, "truth": cases.ND},
        prediction.Feedback(),
    )
    for path in ("Model/Predict", "Seldon/Predict"):
        assert shown(there.call(path, one))["data"]["ndarray"] == [[0.1, 0.9]]
    for path in ("Router/Route", "Generic/Route"):
        assert shown(there.call(path, one))["data"] == {"names": ["c1", "c2"], "ndarray": [[1.0]]}
    for path in ("Transformer/TransformInput", "Generic/TransformInput"):
        assert shown(there.call(path, one))["data"]["ndarray"] == [[1.0, 2.0]]
    for path in ("OutputTransformer/TransformOutput", "Generic/TransformOutput"):
        assert shown(there.call(path, one))["data"]["ndarray"] == [[1.0, 2.0]]
    for path in ("Combiner/Aggregate", "Generic/Aggregate"):
        assert shown(there.call(path, several))["data"]["ndarray"] == [[1.0, 2.0]]
    for path in ("Model/SendFeedback", "Router/SendFeedback", "Generic/SendFeedback", "Seldon/SendFeedback"):
        assert shown(there.call(path, feedback))["jsonData"] == {
            "X": [[1.0, 2.0]],
            "names": [],
            "reward": 0.5,
            "truth": [[1.0, 2.0]],
            "routing": 3.0,
        }


def fault_of(there: Served, path: str, request: object) -> tuple[str, str, dict[str, object]]:
    with pytest.raises(grpc.RpcError) as caught:
        there.call(path, request)
    trailing = dict(caught.value.trailing_metadata())
    return caught.value.code().name, caught.value.details(), trailing


def test_faults_have_codes_texts_and_reasons(servers: Servers) -> None:
    """A fault over gRPC has the code of its kind, the text, and the reason as trailing metadata (Q5)."""
    empty = prediction.SeldonMessage()
    code, text, trailing = fault_of(servers("Identity"), "Model/Predict", empty)
    assert code == "INVALID_ARGUMENT"
    assert text
    assert trailing["infergraph-reason"] == "MICROSERVICE_BAD_DATA"
    code, text, _ = fault_of(servers("Identity"), "Router/Route", message(cases.ND))
    assert (code, text) == ("UNIMPLEMENTED", "Route not defined")
    code, text, trailing = fault_of(servers("Raises"), "Model/Predict", message({"strData": "seldon"}))
    assert (code, text) == ("INTERNAL", "payment please")
    assert (trailing["infergraph-reason"], trailing["infergraph-status"]) == ("PAY", "402")
    code, text, _ = fault_of(servers("Raises"), "Model/Predict", message({"strData": "type-error"}))
    assert (code, text) == ("INTERNAL", "the user's own")
    assert fault_of(servers("BadMetadata"), "Model/Metadata", prediction.SeldonMessage())[0] == "INTERNAL"


def test_surplus_values_of_a_tensor_are_refused(servers: Servers) -> None:
    """A tensor with more values than its shape is not silently cut (Q15)."""
    request = message({"data": {"tensor": {"shape": [1], "values": [1, 2, 3]}}})
    assert fault_of(servers("Identity"), "Model/Predict", request)[0] == "INVALID_ARGUMENT"


def test_bytes_that_are_no_message_are_refused(servers: Servers) -> None:
    """Garbage where a message should be is INVALID_ARGUMENT, and the server lives."""
    there = servers("Identity")
    with there.channel() as channel:
        ask = channel.unary_unary("/seldon.protos.Model/Predict")
        for garbage in (b"\xff\xff\xff", b"\x1a\x05abc", b"\x2a"):
            with pytest.raises(grpc.RpcError) as caught:
                ask(garbage, timeout=10)
            assert caught.value.code().name == "INVALID_ARGUMENT"
    assert there.call("Model/Predict", message({"strData": "s"})).strData == "s"


def test_the_message_limit_names_its_setting(servers: Servers) -> None:
    """A message over the limit is RESOURCE_EXHAUSTED; one of 5 MB, over gRPC's own default, passes."""
    large = prediction.SeldonMessage(binData=b"x" * 5_000_000)
    assert servers("Identity").call("Model/Predict", large).binData == large.binData
    code, text, _ = fault_of(servers("Identity", message_limit_bytes=1_000_000), "Model/Predict", large)
    assert code == "RESOURCE_EXHAUSTED"
    assert "over the limit of 1000000 (setting message_limit_bytes)" in text


def test_a_large_tensor_is_lossless(servers: Servers) -> None:
    """400,000 doubles come back bit for bit."""
    values = np.random.default_rng(0).standard_normal(400_000)
    request = prediction.SeldonMessage()
    request.data.tensor.shape.extend([400, 1000])
    request.data.tensor.values.extend(values.tolist())
    answer = servers("Identity").call("Model/Predict", request)
    assert list(answer.data.tensor.shape) == [400, 1000]
    assert np.array_equal(np.array(answer.data.tensor.values), values)


def test_metadata_of_a_model(servers: Servers) -> None:
    """Model/Metadata and Seldon/ModelMetadata tell the same; a model has no graph metadata."""
    there = servers("Metadata")
    asked = prediction.SeldonModelMetadataRequest(name="any")
    for path, request in (("Model/Metadata", prediction.SeldonMessage()), ("Seldon/ModelMetadata", asked)):
        answer = there.call(path, request)
        assert (answer.name, list(answer.versions), answer.platform) == ("my-model", ["v1"], "sklearn")
        assert list(answer.outputs[0].shape) == [1]
        assert dict(answer.custom) == {"author": "me"}
    code, text, _ = fault_of(there, "Seldon/GraphMetadata", prediction.SeldonMessage())
    assert (code, text) == ("UNIMPLEMENTED", "GraphMetadata not available on the Model level.")


def test_health_and_reflection(servers: Servers) -> None:
    """grpc.health.v1 says SERVING, and reflection lists the seven services."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    with servers("Identity").channel() as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
        found = ProtoReflectionDescriptorDatabase(channel)
        assert {f"seldon.protos.{name}" for name in ("Model", "Router", "Combiner", "Seldon", "Generic")} < set(
            found.get_services()
        )
        assert found.FindFileContainingSymbol("seldon.protos.SeldonMessage").package == "seldon.protos"


def test_an_unknown_method_is_unimplemented(servers: Servers) -> None:
    """A method that no service has is UNIMPLEMENTED."""
    with servers("Identity").channel() as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/seldon.protos.Model/Nope")(b"", timeout=10)
    assert caught.value.code().name == "UNIMPLEMENTED"


def test_a_deadline_ends_a_call(servers: Servers) -> None:
    """A caller's deadline gives DEADLINE_EXCEEDED, and the server answers the next call."""
    there = servers("Slow", execution="auto")
    with there.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/seldon.protos.Model/Predict")(
            message({"data": {"ndarray": [0.6]}}).SerializeToString(), timeout=0.1
        )
    assert caught.value.code().name == "DEADLINE_EXCEEDED"
    assert there.call("Model/Predict", message({"data": {"ndarray": [0.0]}})).HasField("data")


def test_the_same_model_answers_both_protocols(servers: Servers) -> None:
    """REST and gRPC share one loaded object: state that one changes is seen by the other."""
    there = servers("Raises")
    there.post("/predict", {"strData": "count"})
    first = there.post("/predict", {"strData": "count"}).json["data"]["tensor"]["values"][0]
    second = there.call("Model/Predict", message({"strData": "count"})).data.tensor.values[0]
    assert second == first + 1


def test_the_servers_limit_names_its_setting(servers: Servers) -> None:
    """A call that outlasts the server's own limit names the setting that sets it."""
    slow = message({"data": {"ndarray": [0.6]}})
    with pytest.raises(grpc.RpcError) as caught:
        servers("Slow", execution="auto", request_timeout_s=0.1).call("Model/Predict", slow)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.details() == "no answer within 0.1 s (setting request_timeout_s)"
