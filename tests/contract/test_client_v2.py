"""The client in the open inference protocol, over both transports, against components and a server of another make."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from http_server import answering
from infergraph.client import AsyncClient, Client
from infergraph.errors import MethodMissing, PayloadError, RemoteError, SettingsError, UnknownModel
from infergraph.local import message_of
from infergraph.message import Encoding
from served import Served, Servers

COMPONENTS = Path(__file__).parent / "cases" / "v2"


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Servers("oip_components.py", folder=COMPONENTS) as servers:
        yield servers


@pytest.fixture(params=["rest", "grpc"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def client(server: Served, transport: str, **how: Any) -> Client:
    port = server.http_port if transport == "rest" else server.grpc_port
    how.setdefault("model", "")
    return Client(f"127.0.0.1:{port}", transport=transport, protocol="v2", retries=0, **how)


@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "uint64", "float16", "float32", "float64"])
def test_arrays_keep_dtype_and_shape(servers: Servers, transport: str, dtype: str) -> None:
    """An array comes back with its dtype and shape, and may be written to."""
    values = np.array([[0, 1], [1, 0]], dtype=dtype)
    with client(servers("Echo"), transport, model="Echo") as there:
        found = there.predict(values)
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)
    found[0, 0] = 1


def test_a_large_answer_may_be_written_to(servers: Servers, transport: str) -> None:
    """An answer of more than 64 KiB is the caller's own array too."""
    values = np.ones((300, 300), dtype=np.float32)
    with client(servers("Echo"), transport, model="Echo") as there:
        found = there.predict(values)
    found += 1
    assert found.max() == 2


def test_a_dict_of_arrays_is_a_tensor_for_each(servers: Servers, transport: str) -> None:
    """Several tensors go and come as a dict by name, each with its own dtype."""
    given = {"a": np.array([1, 2], dtype=np.int32), "b": np.array([[0.5]]), "t": ["x", "ü"]}
    with client(servers("Echo"), transport, model="Echo") as there:
        found = there.predict(given)
    assert list(found) == ["a", "b", "t"]
    assert found["a"].dtype == np.int32
    assert found["b"].tolist() == [[0.5]]
    assert found["t"] == ["x", "ü"]


def test_a_data_frame_goes_and_comes(servers: Servers, transport: str) -> None:
    """A data frame is one for the component, and so is the answer."""
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "name": ["x", "y"]})
    with client(servers("Frame"), transport, model="Frame") as there:
        found = there.predict(frame)
        again = there.predict(frame, frame=True)
    assert found.columns.tolist() == ["a", "b", "name", "total"]
    assert found["total"].tolist() == [1.5, 3.5]
    assert again.equals(found)


def test_texts_go_and_come(servers: Servers, transport: str) -> None:
    """A text for a text, a list for a list."""
    with client(servers("Upper"), transport, model="Upper") as there:
        assert there.predict("ü a") == "Ü A"
        assert there.predict(["a", "b"]) == ["A", "B"]


def test_bytes_that_are_no_text_come_back(servers: Servers, transport: str) -> None:
    """Bytes are one element of BYTES."""
    with client(servers("Echo"), transport, model="Echo") as there:
        assert there.predict(b"\xff\x00").tolist() == [b"\xff\x00"]


def test_json_goes_and_comes(servers: Servers, transport: str) -> None:
    """A dict that is none of arrays goes as JSON, and an answer in JSON is its value."""
    with client(servers("Results"), transport, model="Results") as there:
        assert there.predict([[7]]) == {"words": 3}
        assert there.predict([[20]]) == [{"a": 1}, {"a": 2}]
    with client(servers("Kinds"), transport, model="Kinds") as there:
        assert there.predict({"a": {"b": 1}}) == ["dict of a"]


def test_the_only_model_is_found(servers: Servers, transport: str) -> None:
    """Without a name the server's only model is asked, its input's name and datatype found in its metadata."""
    with client(servers("Described"), transport) as there:
        answer = there.ask([[1, 2, 3]])
        assert answer.encoding is Encoding.TENSORS
        assert answer.payload.tensors[0].array.dtype == np.float32
        assert there.metadata()["inputs"][0]["name"] == "rows"
        assert there.ready()
        assert there.health() == "live"


def test_the_address_of_an_operation_is_understood(servers: Servers) -> None:
    """The URL that a person predicts with names the model and its version too."""
    url = f"http://127.0.0.1:{servers('Described').http_port}/v2/models/Described/versions/2/infer"
    with Client(url, protocol="v2") as there:
        assert there.predict(np.ones((1, 3), dtype=np.float32)).tolist() == [[3.0]]
    with Client(url.replace("/2/", "/1/"), protocol="v2", retries=0) as there, pytest.raises(UnknownModel):
        there.predict(np.ones((1, 3), dtype=np.float32))


def test_outputs_parameters_and_id(servers: Servers, transport: str) -> None:
    """Requested outputs, parameters and the id of the request; the answer's parameters."""
    row = np.arange(16, dtype=np.int32).reshape(1, 16)
    with client(servers("Simple"), transport, model="Simple") as there:
        found = there.ask({"INPUT0": row, "INPUT1": row}, outputs=["OUTPUT1"], meta={"puid": "seven"})
        assert [tensor.name for tensor in found.payload.tensors] == ["OUTPUT1"]
        assert found.meta is not None
        assert found.meta["id"] == "seven"
    with client(servers("Tagged"), transport, model="Tagged") as there:
        parameters = there.ask(row, parameters={"mine": 1}).payload.parameters
        assert parameters == {"version": "7", "confident": True, "share": 0.5, "rows": 1}


def test_faults_are_the_clients_own(servers: Servers, transport: str) -> None:
    """What the server refuses, what the component raises and what cannot be sent are faults with their texts."""
    with client(servers("Fails"), transport, model="Fails") as there:
        with pytest.raises(RemoteError, match="the value is wrong"):
            there.predict([[1]])
        with pytest.raises(PayloadError, match="the caller is wrong"):
            there.predict([[2]])
        with pytest.raises(PayloadError, match="complex128"):
            there.predict(np.array([1j]))
        with pytest.raises(PayloadError, match="None"):
            there.predict(None)
        with pytest.raises(MethodMissing, match="Seldon's protocol"):
            there.feedback(1.0)
        with pytest.raises(MethodMissing, match="predictions alone"):
            there.route([[1]])
    with client(servers("Fails"), transport, model="other") as there:
        with pytest.raises(UnknownModel, match="'other' is not found"):
            there.predict([[1]])
        assert not there.ready()


def test_messages_of_seldons_protocol_can_be_asked_with(servers: Servers, transport: str) -> None:
    """A message that was made for the other protocol has a form in this one."""
    with client(servers("Echo"), transport, model="Echo") as there:
        found = there.predict(message_of(np.array([[1.5]]), names=["a"]))
        assert found.tolist() == [[1.5]]


def test_the_asynchronous_client_is_the_same(servers: Servers) -> None:
    """`AsyncClient` with `await`, and a copy of it by pickle."""

    async def ask() -> Any:
        url = f"http://127.0.0.1:{servers('Echo').http_port}"
        async with pickle.loads(pickle.dumps(AsyncClient(url, protocol="v2", model="Echo"))) as there:
            return await asyncio.gather(*(there.predict(np.array([[number]])) for number in range(4)))

    assert [found.tolist() for found in asyncio.run(ask())] == [[[0]], [[1]], [[2]], [[3]]]


def test_settings_that_do_not_fit_are_refused() -> None:
    """An unknown protocol, and a model in Seldon's."""
    with pytest.raises(SettingsError, match="'seldon' or 'v2'"):
        Client("http://127.0.0.1:1", protocol="v3")
    with pytest.raises(SettingsError, match="protocol='v2'"):
        Client("http://127.0.0.1:1", model="m")


class _Other(BaseHTTPRequestHandler):
    """A server that reads JSON alone, and has a repository; it keeps what it was asked."""

    told: list[tuple[str, Any]]

    def do_GET(self) -> None:
        self._answer({"/v2": {"name": "other", "version": "1", "extensions": []}}.get(self.path))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.told.append((self.path, body))
        if self.path == "/v2/repository/index":
            self._answer([{"name": "m", "state": "READY", "reason": ""}, {"name": "n", "state": "UNAVAILABLE"}])
        elif body["inputs"][0]["datatype"] == "INT64":
            self._answer({"error": "no whole numbers"}, status=400)
        else:
            output = {"name": "y", "shape": [2], "datatype": "FP32", "data": [0.1, 2]}
            self._answer({"model_name": "m", "outputs": [output]})

    def _answer(self, value: Any, status: int = 200) -> None:
        body = json.dumps({"error": "unknown"} if value is None else value).encode()
        self.send_response(404 if value is None else status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


def test_a_server_without_binary_tensors_is_asked_in_json() -> None:
    """Raw bytes go only to a server that says that it reads them; its errors without a reason are known by status."""

    class Handler(_Other):
        told: list[tuple[str, Any]] = []  # noqa: RUF012

    with answering(Handler) as url, Client(url, protocol="v2", retries=0) as there:
        found = there.predict(np.array([[1.5, np.nan]], dtype=np.float32))
        assert found.dtype == np.float32
        with pytest.raises(PayloadError, match="no whole numbers") as told:
            there.predict(np.array([1]))
        assert told.value.reason == PayloadError.reason
        with pytest.raises(PayloadError, match="infinity"):
            there.predict(np.array([np.inf]))
    path, body = Handler.told[1]
    assert path == "/v2/models/m/infer"
    assert body == {"inputs": [{"name": "input-0", "shape": [1, 2], "datatype": "FP32", "data": [1.5, None]}]}


def test_what_a_server_cannot_tell_now_is_asked_again() -> None:
    """A server that is still loading is not taken for one that knows no metadata: the call fails, or is repeated."""

    class Loading(_Other):
        told: list[tuple[str, Any]] = []  # noqa: RUF012
        asked: list[str] = []  # noqa: RUF012

        def do_GET(self) -> None:
            self.asked.append(self.path)
            if len(self.asked) == 1:
                self._answer({"error": "loading"}, status=503)
            else:
                super().do_GET()

    with answering(Loading) as url, Client(url, protocol="v2", model="m", retries=2) as there:
        assert there.predict(np.array([1.5])).tolist() == pytest.approx([0.1, 2])
    assert Loading.asked.count("/v2/models/m") == 2


def test_who_cannot_be_reached_is_told(transport: str) -> None:
    """A refused connection is a RemoteError, and not ready."""
    with Client("127.0.0.1:1", transport=transport, protocol="v2", model="m", retries=0) as there:
        assert not there.ready()
        with pytest.raises(RemoteError):
            there.predict([[1.0]])
