"""MLServer's types and codecs, as its clients use them: they write our requests, and read our answers strictly."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foreign_clients import mlserver
from served import Served, served

types, codecs = mlserver("types"), mlserver("codecs")
pandas_codec = mlserver("codecs.pandas")

COMPONENTS = Path(__file__).parent / "cases" / "v2"


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Served]]:
    """Components of the protocol's cases by class."""
    with (
        served("oip_components.py:Echo", folder=COMPONENTS) as echo,
        served("oip_components.py:Upper", folder=COMPONENTS) as upper,
        served("oip_components.py:Frame", folder=COMPONENTS) as frame,
        served("oip_components.py:Kinds", folder=COMPONENTS) as kinds,
        served("oip_components.py:Described", folder=COMPONENTS) as described,
    ):
        yield {"Echo": echo, "Upper": upper, "Frame": frame, "Kinds": kinds, "Described": described}


def infer(servers: dict[str, Served], model: str, request: Any) -> Any:
    """The answer, read by MLServer's own type."""
    body = request.model_dump_json().encode()
    reply = servers[model].ask("POST", f"/v2/models/{model}/infer", body, {"Content-Type": "application/json"})
    assert reply.status == 200, reply
    return types.InferenceResponse.model_validate_json(reply.body)


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "int32", "int64", "uint8", "uint64", "float16", "float32", "float64"]
)
def test_arrays_come_back(servers: dict[str, Served], dtype: str) -> None:
    """An array that its NumPy codec writes comes back through the same codec."""
    values = np.array([[0, 1, 1], [1, 0, 1]], dtype=dtype)
    request = types.InferenceRequest(inputs=[codecs.NumpyCodec.encode_input("x", values)])
    answer = infer(servers, "Echo", request)
    found = codecs.NumpyCodec.decode_output(answer.outputs[0])
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


def test_texts_come_back(servers: dict[str, Served]) -> None:
    """Texts that its string codec writes, under the content type str."""
    request = codecs.StringRequestCodec.encode_request(["a", "ü 好"])
    assert codecs.StringRequestCodec.decode_response(infer(servers, "Upper", request)) == ["A", "Ü 好"]


def test_a_data_frame_comes_back(servers: dict[str, Served]) -> None:
    """A data frame that its pandas codec writes is one for the component, and so is the answer."""
    names = pd.Series(["x", "y"], dtype=object)  # its codec knows no other dtype of texts
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "name": names})
    answer = infer(servers, "Frame", pandas_codec.PandasCodec.encode_request(frame))
    found = pandas_codec.PandasCodec.decode_response(answer)
    assert found.columns.tolist() == ["a", "b", "name", "total"]
    assert found["total"].tolist() == [1.5, 3.5]
    assert found["name"].tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("codec", "values", "kind"),
    [
        ("Base64Codec", [b"\xff\x00", b"a"], "list of bytes"),
        ("DatetimeCodec", [datetime.datetime(2026, 1, 2, 3, 4)], "list of datetime"),
        ("StringCodec", ["a", "b"], "list of str"),
        ("NumpyCodec", np.ones((2, 2), dtype=np.float32), "ndarray f[2, 2]"),
    ],
)
def test_content_types_of_its_codecs_are_read(servers: dict[str, Served], codec: str, values: Any, kind: str) -> None:
    """What each codec writes reaches the hook as the values that it was made of."""
    request = types.InferenceRequest(inputs=[getattr(codecs, codec).encode_input("x", values)])
    answer = infer(servers, "Kinds", request)
    assert codecs.StringCodec.decode_output(answer.outputs[0]) == [kind]


def test_metadata_and_errors_have_its_types(servers: dict[str, Served]) -> None:
    """Metadata of server and model, and an error."""
    described = servers["Described"]
    server = types.MetadataServerResponse.model_validate(described.get("/v2").json)
    assert server.name == "infergraph"
    model = types.MetadataModelResponse.model_validate(described.get("/v2/models/Described").json)
    assert model.inputs[0].shape == [-1, 3]
    assert model.versions == ["1", "2"]
    error = types.InferenceErrorResponse.model_validate(described.get("/v2/models/other").json)
    assert "Request for unknown model" in error.error


def test_requested_outputs_and_ids(servers: dict[str, Served]) -> None:
    """Members that are null, as its types write them, are none; the id comes back."""
    request = types.InferenceRequest(
        id="7",
        inputs=[codecs.NumpyCodec.encode_input("x", np.ones((1, 2))), codecs.StringCodec.encode_input("t", ["a"])],
        outputs=[types.RequestOutput(name="t")],
    )
    answer = infer(servers, "Echo", request)
    assert answer.id == "7"
    assert [output.name for output in answer.outputs] == ["t"]


def test_the_repository_index_has_its_types(servers: dict[str, Served]) -> None:
    """Entries with a state that it knows, and a reason."""
    reply = servers["Echo"].post("/v2/repository/index", types.RepositoryIndexRequest(ready=True).model_dump())
    (entry,) = types.RepositoryIndexResponse.model_validate_json(reply.body)
    assert (entry.name, types.State(entry.state), entry.reason) == ("Echo", types.State.READY, "")


def test_streamed_answers_have_its_types() -> None:
    """Each event of infer_stream and of generate_stream is a whole answer."""
    request = types.InferenceRequest(id="7", inputs=[codecs.NumpyCodec.encode_input("n", np.array([[2]]))])
    with served("oip_components.py:Counting", folder=COMPONENTS) as server:
        for call in ("infer_stream", "generate_stream"):
            body = request.model_dump_json().encode()
            reply = server.ask("POST", f"/v2/models/Counting/{call}", body, {"Content-Type": "application/json"})
            events = [each.removeprefix("data: ") for each in reply.body.decode().split("\n\n") if each]
            answers = [types.InferenceResponse.model_validate_json(event) for event in events]
            assert [answer.outputs[0].data.root for answer in answers] == [[0], [1]]
            assert {answer.id for answer in answers} == {"7"}
