"""Triton's Python client, over HTTP and gRPC, plain and asyncio, as the package index has it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest

from foreign_clients import foreign
from served import Served, served

triton_http, triton_grpc = foreign("tritonclient.http"), foreign("tritonclient.grpc")
http_aio, grpc_aio = foreign("tritonclient.http.aio"), foreign("tritonclient.grpc.aio")
triton_utils = foreign("tritonclient.utils")

COMPONENTS = Path(__file__).parent / "cases" / "v2"
MODEL = "echo model"
NUMBERS = {
    "BOOL": np.array([[True, False]]),
    "INT8": np.array([-128, 127], dtype=np.int8),
    "INT16": np.array([-(2**15), 2**15 - 1], dtype=np.int16),
    "INT32": np.array([[-(2**31)], [2**31 - 1]], dtype=np.int32),
    "INT64": np.array([-(2**63), 2**63 - 1], dtype=np.int64),
    "UINT8": np.array([0, 255], dtype=np.uint8),
    "UINT16": np.array([0, 2**16 - 1], dtype=np.uint16),
    "UINT32": np.array([0, 2**32 - 1], dtype=np.uint32),
    "UINT64": np.array([0, 2**64 - 1], dtype=np.uint64),
    "FP16": np.array([[0.5, -2.0]], dtype=np.float16),
    "FP32": np.array([[[0.1, np.nan, np.inf]]], dtype=np.float32),
    "FP64": np.array([0.1, -np.inf]),
}
TEXTS = np.array([["a", ""], ["ü 好", "x" * 300]], dtype=object)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Served]]:
    """Components of the protocol's cases, each under the name by which it is asked."""
    with (
        served("oip_components.py:Echo", folder=COMPONENTS, environment={"PREDICTIVE_UNIT_ID": MODEL}) as echo,
        served("oip_components.py:Simple", folder=COMPONENTS, environment={"PREDICTIVE_UNIT_ID": "simple"}) as simple,
        served("oip_components.py:Described", folder=COMPONENTS) as described,
        served("oip_components.py:Fails", folder=COMPONENTS) as fails,
    ):
        yield {"echo": echo, "simple": simple, "described": described, "fails": fails}


def client_of(module: Any, server: Served) -> Any:
    port = server.grpc_port if "grpc" in module.__name__ else server.http_port
    return module.InferenceServerClient(f"127.0.0.1:{port}")


@pytest.fixture(params=[triton_http, triton_grpc], ids=["http", "grpc"])
def module(request: pytest.FixtureRequest) -> Any:
    return request.param


def given(module: Any, name: str, datatype: str, values: np.ndarray, **how: Any) -> Any:
    tensor = module.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values, **how)
    return tensor


def same(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers_come_back(servers: dict[str, Served], module: Any, datatype: str) -> None:
    """An array of each datatype comes back with its dtype, shape and values."""
    values = NUMBERS[datatype]
    with client_of(module, servers["echo"]) as client:
        answer = client.infer(MODEL, [given(module, "x", datatype, values)])
        same(answer.as_numpy("x"), values)


@pytest.mark.parametrize("datatype", [name for name in NUMBERS if name != "FP16"])
def test_numbers_in_json_come_back(servers: dict[str, Served], datatype: str) -> None:
    """The same as JSON, both ways; what JSON cannot hold becomes null, and null is NaN."""
    values = NUMBERS[datatype]
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, posinf=1, neginf=-1)
    with client_of(triton_http, servers["echo"]) as client:
        answer = client.infer(
            MODEL,
            [given(triton_http, "x", datatype, values, binary_data=False)],
            outputs=[triton_http.InferRequestedOutput("x", binary_data=False)],
        )
        same(answer.as_numpy("x"), values)


def test_texts_and_bytes_come_back(servers: dict[str, Served], module: Any) -> None:
    """Texts of any length, and bytes that are no text, come back as bytes."""
    raw = np.array([b"\xff\x00", b""], dtype=object)
    with client_of(module, servers["echo"]) as client:
        answer = client.infer(MODEL, [given(module, "t", "BYTES", TEXTS), given(module, "b", "BYTES", raw)])
        assert answer.as_numpy("t").tolist() == [[text.encode() for text in row] for row in TEXTS]
        assert answer.as_numpy("b").tolist() == raw.tolist()


def test_bfloat16_comes_back_as_float32(servers: dict[str, Served], module: Any) -> None:
    """A BF16 input is the float32 of the same value."""
    values = np.array([[1.5, -2.0, 3.25]], dtype=np.float32)
    dtype = pytest.importorskip("ml_dtypes").bfloat16
    with client_of(module, servers["echo"]) as client:
        answer = client.infer(MODEL, [given(module, "x", "BF16", values.astype(dtype))])
        same(answer.as_numpy("x"), values)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 2)])
def test_empty_tensors_come_back(servers: dict[str, Served], module: Any, shape: tuple[int, ...]) -> None:
    """A tensor without elements keeps its shape and dtype."""
    values = np.empty(shape, dtype=np.float32)
    with client_of(module, servers["echo"]) as client:
        same(client.infer(MODEL, [given(module, "x", "FP32", values)]).as_numpy("x"), values)


def test_large_tensors_come_back(servers: dict[str, Served], module: Any) -> None:
    """Tensors of some megabytes come back."""
    values = np.random.default_rng(1).random((1000, 784), dtype=np.float32)
    with client_of(module, servers["echo"]) as client:
        same(client.infer(MODEL, [given(module, "x", "FP32", values)]).as_numpy("x"), values)


def test_requested_outputs(servers: dict[str, Served], module: Any) -> None:
    """Only what is requested is answered, each in the spelling that is asked for."""
    values = np.arange(16, dtype=np.int32).reshape(1, 16)
    inputs = [given(module, name, "INT32", values) for name in ("INPUT0", "INPUT1")]
    with client_of(module, servers["simple"]) as client:
        answer = client.infer("simple", inputs, outputs=[module.InferRequestedOutput("OUTPUT1")], request_id="7")
        same(answer.as_numpy("OUTPUT1"), values - values)
        assert answer.as_numpy("OUTPUT0") is None
        response = answer.get_response()
        assert (response["id"] if isinstance(response, dict) else response.id) == "7"
        with pytest.raises(triton_utils.InferenceServerException, match="unexpected inference output 'OTHER'"):
            client.infer("simple", inputs, outputs=[module.InferRequestedOutput("OTHER")])


@pytest.mark.parametrize("packed", ["gzip", "deflate"])
def test_compression_over_http(servers: dict[str, Served], packed: str) -> None:
    """Packed requests are read, and packed answers can be asked for."""
    values = np.zeros((100, 100), dtype=np.float32)
    how = {"request_compression_algorithm": packed, "response_compression_algorithm": packed}
    with client_of(triton_http, servers["echo"]) as client:
        same(client.infer(MODEL, [given(triton_http, "x", "FP32", values)], **how).as_numpy("x"), values)


@pytest.mark.parametrize(("packed", "engine"), [("gzip", "native"), ("gzip", "grpcio"), ("deflate", "grpcio")])
def test_compression_over_grpc(packed: str, engine: str) -> None:
    """Packed messages are read; the native engine knows gzip alone."""
    values = np.zeros((100, 100), dtype=np.float32)
    with (
        served("oip_components.py:Echo", folder=COMPONENTS, grpc_engine=engine) as server,
        client_of(triton_grpc, server) as client,
    ):
        answer = client.infer("Echo", [given(triton_grpc, "x", "FP32", values)], compression_algorithm=packed)
        same(answer.as_numpy("x"), values)


def test_probes_and_metadata(servers: dict[str, Served], module: Any) -> None:
    """Live, ready, the server's metadata, the model's, and whether it is ready."""
    with client_of(module, servers["described"]) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("Described")
        assert client.is_model_ready("Described", "2")
        assert not client.is_model_ready("Described", "1")
        assert not client.is_model_ready("other")
        how = {} if module is triton_http else {"as_json": True}
        server = client.get_server_metadata(**how)
        assert server["name"] == "infergraph"
        assert "binary_tensor_data" in server["extensions"]
        model = client.get_model_metadata("Described", **how)
        assert model["name"] == "Described"
        assert model["versions"] == ["1", "2"]
        assert model["platform"] == "numpy"
        (rows,) = model["inputs"]
        assert (rows["name"], rows["datatype"]) == ("rows", "FP32")
        assert [int(size) for size in rows["shape"]] == [-1, 3]
        with pytest.raises(triton_utils.InferenceServerException, match="Request for unknown model"):
            client.get_model_metadata("other")


def test_refusals_name_the_tensor(servers: dict[str, Served], module: Any) -> None:
    """A malformed request raises the client's exception with the tensor in its text; the component's error its own."""
    with client_of(module, servers["echo"]) as client:
        broken = given(module, "x", "FP32", np.ones((2, 2), dtype=np.float32))
        broken.set_shape([3, 3])
        with pytest.raises(triton_utils.InferenceServerException, match="'x'") as told:
            client.infer(MODEL, [broken])
        assert told.value.status() in ("400", "StatusCode.INVALID_ARGUMENT")
        with pytest.raises(triton_utils.InferenceServerException, match="Request for unknown model: 'other'"):
            client.infer("other", [given(module, "x", "FP32", np.ones(1, dtype=np.float32))])
    with client_of(module, servers["fails"]) as client:
        for code, text in ((1, "the value is wrong"), (2, "the caller is wrong"), (6, "no room"), (7, "unprocessable")):
            with pytest.raises(triton_utils.InferenceServerException, match=text):
                client.infer("Fails", [given(module, "x", "INT32", np.array([code], dtype=np.int32))])


def test_parameters_reach_the_component(servers: dict[str, Served], module: Any) -> None:
    """Sequence, priority, time-out and custom parameters are taken."""
    values = np.ones((1, 2), dtype=np.float32)
    with client_of(module, servers["echo"]) as client:
        answer = client.infer(
            MODEL,
            [given(module, "x", "FP32", values)],
            sequence_id=7,
            sequence_start=True,
            priority=1,
            timeout=5_000_000,
            parameters={"mine": "text", "number": 3, "share": 0.5, "sure": True},
        )
        same(answer.as_numpy("x"), values)


def test_asyncio_http(servers: dict[str, Served]) -> None:
    """The asyncio client over HTTP: probes, metadata, texts and numbers."""

    async def ask() -> None:
        async with http_aio.InferenceServerClient(f"127.0.0.1:{servers['echo'].http_port}") as client:
            assert await client.is_server_live()
            assert await client.is_model_ready(MODEL)
            assert (await client.get_model_metadata(MODEL))["name"] == MODEL
            inputs = [given(triton_http, "t", "BYTES", TEXTS), given(triton_http, "x", "FP16", NUMBERS["FP16"])]
            answers = await asyncio.gather(*(client.infer(MODEL, inputs) for _ in range(5)))
            for answer in answers:
                assert answer.as_numpy("t").shape == TEXTS.shape
                same(answer.as_numpy("x"), NUMBERS["FP16"])

    asyncio.run(ask())


def test_asyncio_grpc(servers: dict[str, Served]) -> None:
    """The asyncio client over gRPC: probes, metadata, texts and numbers."""

    async def ask() -> None:
        async with grpc_aio.InferenceServerClient(f"127.0.0.1:{servers['echo'].grpc_port}") as client:
            assert await client.is_server_ready()
            assert await client.is_model_ready(MODEL)
            assert (await client.get_model_metadata(MODEL)).name == MODEL
            inputs = [given(triton_grpc, "t", "BYTES", TEXTS), given(triton_grpc, "x", "FP16", NUMBERS["FP16"])]
            answers = await asyncio.gather(*(client.infer(MODEL, inputs) for _ in range(5)))
            for answer in answers:
                assert answer.as_numpy("t").shape == TEXTS.shape
                same(answer.as_numpy("x"), NUMBERS["FP16"])

    asyncio.run(ask())


@pytest.mark.parametrize("binary", [True, False])
def test_bodies_made_by_hand(servers: dict[str, Served], binary: bool) -> None:
    """The client's own generated body and its parser of answers, over a connection of one's own."""
    values = np.arange(6, dtype=np.float64).reshape(2, 3)
    body, size = triton_http.InferenceServerClient.generate_request_body(
        [given(triton_http, "x", "FP64", values, binary_data=binary)]
    )
    headers = {"Inference-Header-Content-Length": str(size)} if size is not None else {}
    reply = servers["echo"].ask("POST", "/v2/models/echo%20model/infer", bytes(body), headers)
    assert reply.status == 200, reply
    length = reply.headers.get("inference-header-content-length")
    answer = triton_http.InferenceServerClient.parse_response_body(
        reply.body, header_length=None if length is None else int(length)
    )
    same(answer.as_numpy("x"), values)


def test_callbacks_over_grpc(servers: dict[str, Served]) -> None:
    """`async_infer` with a callback, and its cancellation token, as the examples use them."""
    values = np.ones((1, 4), dtype=np.float32)
    with client_of(triton_grpc, servers["echo"]) as client:
        told: Queue[tuple[Any, Any]] = Queue()
        inputs = [given(triton_grpc, "x", "FP32", values)]
        client.async_infer(MODEL, inputs, callback=lambda result, error: told.put((result, error)))
        result, error = told.get(timeout=20)
        assert error is None
        same(result.as_numpy("x"), values)


def test_repository_statistics_and_configuration(servers: dict[str, Served], module: Any) -> None:
    """The index, the statistics of a model that was asked, its configuration."""
    how = {} if module is triton_http else {"as_json": True}
    with client_of(module, servers["described"]) as client:
        client.infer("Described", [given(module, "rows", "FP32", np.ones((2, 3), dtype=np.float32))])
        index = client.get_model_repository_index(**how)
        (entry,) = index if module is triton_http else index["models"]
        assert (entry["name"], entry["state"]) == ("Described", "READY")
        (counted,) = client.get_inference_statistics("Described", **how)["model_stats"]
        assert int(counted["inference_stats"]["success"]["count"]) >= 1
        config = client.get_model_config("Described", **how)
        assert (config if module is triton_http else config["config"])["name"] == "Described"
        with pytest.raises(triton_utils.InferenceServerException, match="Request for unknown model"):
            client.get_inference_statistics("other", **how)


def test_models_are_unloaded_and_loaded(module: Any) -> None:
    """An unloaded model is unknown until it is loaded; an unknown one cannot be."""
    with (
        served("oip_components.py:Echo", folder=COMPONENTS, model_control="on") as server,
        client_of(module, server) as client,
    ):
        client.unload_model("Echo")
        assert not client.is_model_ready("Echo")
        client.load_model("Echo")
        assert client.is_model_ready("Echo")
        with pytest.raises(triton_utils.InferenceServerException, match="failed to load 'other'"):
            client.load_model("other")


def test_models_are_controlled_only_where_that_is_on(servers: dict[str, Served], module: Any) -> None:
    """The refusal names the setting."""
    with (
        client_of(module, servers["echo"]) as client,
        pytest.raises(triton_utils.InferenceServerException, match="model_control"),
    ):
        client.unload_model(MODEL)


def test_classification(servers: dict[str, Served], module: Any) -> None:
    """The largest values of a requested output, with their places."""
    values = np.array([[0.1, 0.7, 0.2]], dtype=np.float32)
    with client_of(module, servers["echo"]) as client:
        answer = client.infer(
            MODEL, [given(module, "x", "FP32", values)], outputs=[module.InferRequestedOutput("x", class_count=2)]
        )
        assert answer.as_numpy("x").shape == (1, 2)
        largest = answer.as_numpy("x")[0, 0].decode().split(":")
        assert float(largest[0]) == pytest.approx(0.7)
        assert largest[1] == "1"


def test_streams() -> None:
    """Each request of a stream has its answers, and a fault is one of them; the stream goes on."""
    told: Queue[tuple[Any, Any]] = Queue()
    with (
        served("oip_components.py:Counting", folder=COMPONENTS) as server,
        client_of(triton_grpc, server) as client,
    ):
        client.start_stream(callback=lambda result, error: told.put((result, error)))
        for number in (3, -2, 1):
            client.async_stream_infer(
                "Counting", [given(triton_grpc, "n", "INT64", np.array([number]))], request_id="7"
            )
        found = [told.get(timeout=20) for _ in range(6)]
        client.stop_stream()
    counted = [int(result.as_numpy("k").item()) for result, error in found if error is None]
    assert counted == [0, 1, 2, 0, 0]
    assert ["the stream broke" in str(error) for _, error in found if error is not None] == [True]


def test_asyncio_streams() -> None:
    """The same with an asynchronous iterator."""

    async def ask(port: int) -> list[int]:
        async with grpc_aio.InferenceServerClient(f"127.0.0.1:{port}") as client:

            async def requests() -> Any:
                for number in (2, 1):
                    inputs = [given(triton_grpc, "n", "INT64", np.array([number]))]
                    yield {"model_name": "Counting", "inputs": inputs}

            return [int(result.as_numpy("k").item()) async for result, _ in client.stream_infer(requests())]

    with served("oip_components.py:Counting", folder=COMPONENTS) as server:
        assert asyncio.run(ask(server.grpc_port)) == [0, 1, 0]


def test_sequences_reach_the_component() -> None:
    """`sequence_start` is a parameter of the request."""
    values = np.array([[5]], dtype=np.int32)
    with served("oip_components.py:Sequence", folder=COMPONENTS) as server:
        for module in (triton_http, triton_grpc):
            with client_of(module, server) as client:
                inputs = [given(module, "INPUT", "INT32", values)]
                begun = client.infer("Sequence", inputs, sequence_id=7, sequence_start=True).as_numpy("OUTPUT")
                later = client.infer("Sequence", inputs, sequence_id=7).as_numpy("OUTPUT")
                assert (begun.item(), later.item()) == (6, 5)


def test_a_time_limit_of_the_request_ends_it(servers: dict[str, Served]) -> None:
    """The client's own time-out is its own, and another request is answered after it."""
    with client_of(triton_grpc, servers["echo"]) as client:
        inputs = [given(triton_grpc, "x", "FP32", np.ones((1, 1), dtype=np.float32))]
        with pytest.raises(triton_utils.InferenceServerException, match="DEADLINE"):
            client.infer(MODEL, inputs, client_timeout=1e-6)
        assert client.infer(MODEL, inputs).as_numpy("x").item() == 1
