"""KServe's Python client, over REST and gRPC, as the package index has it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foreign_clients import foreign
from served import Served, served

kserve = foreign("kserve")
infer_type = foreign("kserve.protocol.infer_type")
httpx = pytest.importorskip("httpx")

COMPONENTS = Path(__file__).parent / "cases" / "v2"
NUMBERS = [
    np.array([[True, False]]),
    np.array([-128, 127], dtype=np.int8),
    np.array([-(2**15)], dtype=np.int16),
    np.array([[2**31 - 1]], dtype=np.int32),
    np.array([-(2**63), 2**63 - 1], dtype=np.int64),
    np.array([255], dtype=np.uint8),
    np.array([2**16 - 1], dtype=np.uint16),
    np.array([2**32 - 1], dtype=np.uint32),
    np.array([2**64 - 1], dtype=np.uint64),
    np.array([[0.1, -2.0]], dtype=np.float32),
    np.array([[[0.1]]]),
]
DATATYPES = {"b": "BOOL", "f": "FP", "i": "INT", "u": "UINT"}


@pytest.fixture(scope="module")
def echo() -> Iterator[Served]:
    """Every tensor comes back."""
    with served("oip_components.py:Echo", folder=COMPONENTS) as server:
        yield server


@pytest.fixture(scope="module")
def fails() -> Iterator[Served]:
    """The number in the tensor chooses how it fails."""
    with served("oip_components.py:Fails", folder=COMPONENTS) as server:
        yield server


def datatype_of(values: np.ndarray) -> str:
    kind = values.dtype.kind
    return "BYTES" if kind == "O" else DATATYPES[kind] + ("" if kind == "b" else str(values.dtype.itemsize * 8))


def request_of(name: str, values: np.ndarray, *, is_raw: bool, model: str = "Echo", **how: Any) -> Any:
    tensor = kserve.InferInput(name, list(values.shape), datatype_of(values))
    tensor.set_data_from_numpy(values, binary_data=is_raw)
    return kserve.InferRequest(model, [tensor], **how)


def rest(server: Served, ask: Any) -> Any:
    async def asked() -> Any:
        async with kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2", retries=0)) as client:
            return await ask(client, f"http://127.0.0.1:{server.http_port}")

    return asyncio.run(asked())


def over_grpc(server: Served, ask: Any) -> Any:
    async def asked() -> Any:
        async with kserve.InferenceGRPCClient(f"127.0.0.1:{server.grpc_port}", retries=0) as client:
            return await ask(client)

    return asyncio.run(asked())


def infer(server: Served, transport: str, request: Any) -> Any:
    def ask(client: Any, *url: str) -> Coroutine[Any, Any, Any]:
        if transport == "grpc":
            return client.infer(request)
        return client.infer(*url, request, model_name=request.model_name)

    return over_grpc(server, ask) if transport == "grpc" else rest(server, ask)


@pytest.mark.parametrize("is_raw", [True, False], ids=["raw", "listed"])
@pytest.mark.parametrize("transport", ["rest", "grpc"])
@pytest.mark.parametrize("values", NUMBERS, ids=datatype_of)
def test_numbers_come_back(echo: Served, transport: str, values: np.ndarray, is_raw: bool) -> None:
    """An array of each datatype comes back with its dtype, shape and values, raw and in lists."""
    answer = infer(echo, transport, request_of("x", values, is_raw=is_raw))
    found = answer.get_output_by_name("x").as_numpy()
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)
    assert answer.model_name == "Echo"


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_half_precision_comes_back_raw(echo: Served, transport: str) -> None:
    """FP16, which the client sends and reads raw alone."""
    values = np.array([[0.5, -2.0]], dtype=np.float16)
    request = request_of("x", values, is_raw=True, parameters={"binary_data_output": True})
    found = infer(echo, transport, request).get_output_by_name("x").as_numpy()
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("is_raw", [True, False], ids=["raw", "listed"])
@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_texts_come_back(echo: Served, transport: str, is_raw: bool) -> None:
    """Texts come back, also those with more than ASCII."""
    values = np.array([["a", ""], ["ü 好", "z"]], dtype=object)
    answer = infer(echo, transport, request_of("t", values, is_raw=is_raw))
    found = answer.get_output_by_name("t").as_numpy()
    texts = [each.decode() if isinstance(each, bytes) else each for each in found.ravel()]
    assert found.shape == values.shape
    assert texts == values.ravel().tolist()


@pytest.mark.parametrize("is_binary", [True, False])
def test_requested_outputs_are_spelt_as_asked(echo: Served, is_binary: bool) -> None:
    """A requested output says for itself whether it comes as binary data."""
    outputs = [infer_type.RequestedOutput("x", {"binary_data": is_binary})]
    request = request_of("x", NUMBERS[-1], is_raw=True, request_outputs=outputs, request_id="7")
    answer = infer(echo, "rest", request)
    np.testing.assert_array_equal(answer.get_output_by_name("x").as_numpy(), NUMBERS[-1])
    assert answer.id == "7"


def test_an_answer_without_an_id_of_the_request_has_one(echo: Served) -> None:
    """Over REST the answer has an id of its own where the request has none."""
    assert infer(echo, "rest", request_of("x", NUMBERS[0], is_raw=False)).id


def test_a_large_tensor_comes_back(echo: Served) -> None:
    """Some megabytes over both transports."""
    values = np.random.default_rng(1).random((1000, 784), dtype=np.float32)
    for transport in ("rest", "grpc"):
        answer = infer(echo, transport, request_of("x", values, is_raw=True))
        np.testing.assert_array_equal(answer.get_output_by_name("x").as_numpy(), values)


def test_probes_over_rest(echo: Served) -> None:
    """Live and ready are read out of the bodies; a model that there is not is not ready."""
    assert rest(echo, lambda client, url: client.is_server_live(url)) is True
    assert rest(echo, lambda client, url: client.is_server_ready(url)) is True
    assert rest(echo, lambda client, url: client.is_model_ready(url, "Echo")) is True
    assert rest(echo, lambda client, url: client.is_model_ready(url, "other")) is False


def test_probes_over_grpc(echo: Served) -> None:
    """The same over gRPC."""
    assert over_grpc(echo, lambda client: client.is_server_live()) is True
    assert over_grpc(echo, lambda client: client.is_server_ready()) is True
    assert over_grpc(echo, lambda client: client.is_model_ready("Echo")) is True
    assert over_grpc(echo, lambda client: client.is_model_ready("other")) is False


def test_errors_carry_the_text(echo: Served, fails: Served) -> None:
    """What the server says reaches the client's exception."""
    with pytest.raises(httpx.HTTPStatusError, match="Request for unknown model") as told:
        infer(echo, "rest", request_of("x", NUMBERS[0], is_raw=False, model="other"))
    assert told.value.response.status_code == 404
    with pytest.raises(httpx.HTTPStatusError, match="the caller is wrong"):
        infer(fails, "rest", request_of("x", np.array([2], dtype=np.int32), is_raw=True, model="Fails"))
    with pytest.raises(Exception, match="the caller is wrong"):
        infer(fails, "grpc", request_of("x", np.array([2], dtype=np.int32), is_raw=True, model="Fails"))


def test_its_first_protocol() -> None:
    """`instances` and `predictions`, and readiness as that protocol has it."""

    async def ask() -> tuple[Any, Any]:
        url = f"http://127.0.0.1:{doubling.http_port}"
        async with kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v1", retries=0)) as client:
            answer = await client.infer(url, {"instances": [[1, 2], [3, 4]]}, model_name="Double")
            with pytest.raises(httpx.HTTPStatusError, match="Request for unknown model"):
                await client.is_model_ready(url, "other")
            return answer, await client.is_model_ready(url, "Double")

    with served("oip_components.py:Double", folder=COMPONENTS) as doubling:
        answer, is_ready = asyncio.run(ask())
    assert answer == {"predictions": [[2, 4], [6, 8]]}
    assert is_ready is True
