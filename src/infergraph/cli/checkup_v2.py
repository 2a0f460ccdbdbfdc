"""A client's part in the open inference protocol (V2): probe, read metadata, infer in each spelling, be refused."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from infergraph.cli.checkup import Bad, Step, Verdict, asked, check_status, json_in, told
from infergraph.cli.wire_probe import Address, Probe, Reply
from infergraph.client import Client
from infergraph.errors import Fault, PayloadError
from infergraph.message import Message
from infergraph.protocol.headers import INFERENCE_HEADER_LENGTH
from infergraph.protocol.paths import V2_INDEX, V2_LIVE, V2_MODELS, V2_READY, V2_SERVER
from infergraph.wire import json_text
from infergraph.wire.v2 import json, remote, tensors
from infergraph.wire.v2.messages import InferMessage
from infergraph.wire.v2.records import BINARY_OUTPUT, InferRequest, InferResponse
from infergraph.wire.v2.tensors import Datatype, Tensor

_LENGTH = INFERENCE_HEADER_LENGTH.decode()
_UNKNOWN = "no-such-model"
_SAMPLES: Mapping[Datatype, Any] = {Datatype.BOOL: True, Datatype.BYTES: "text"}
_TRIED = (
    Tensor("input-0", Datatype.FP64, np.ones((1, 4))),
    Tensor("input-0", Datatype.BYTES, np.array(["text"], object)),
)
"""Inputs for a model that declares none."""


class V2Checkup:
    """Asks a model as a client of the open inference protocol does.

    Args:
        grpc: host and port of its gRPC server.
        request: the JSON object to infer with; by default one is made from the model's metadata.
    """

    def __init__(self, address: Address, *, grpc: str, request: Any = None) -> None:
        self._address = address
        self._ask = functools.partial(asked, address)
        self._grpc = grpc
        self._given = request
        self._extensions: Sequence[str] = ()
        self._name = ""
        self._inputs: Sequence[Any] = ()
        self._request = InferRequest(inputs=())
        self._answer = InferResponse(model_name="", outputs=())

    def steps(self) -> list[Step]:
        """The steps in their order."""
        return [
            ("live", self._live, True),
            ("ready", self._ready, True),
            ("server metadata", self._server_metadata, False),
            ("model", self._model, True),
            ("metadata", self._metadata, True),
            ("infer", self._infer, True),
            ("binary tensors", self._binary, False),
            ("gRPC", self._over_grpc, False),
            ("unknown model", self._unknown_model, False),
            ("bad tensor", self._bad_tensor, False),
        ]

    @property
    def _path(self) -> str:
        return f"/v2/models/{quote(self._name, safe='')}"

    def _document(self, probe: Probe) -> Any:
        reply = self._ask(probe)
        check_status(reply, probe)
        return json_in(reply, probe)

    def _live(self) -> str:
        reply = self._ask(probe := self._address.get(V2_LIVE))
        check_status(reply, probe)
        return f"it answers in {reply.seconds * 1000:.0f} ms"

    def _ready(self) -> str:
        reply = self._ask(probe := self._address.get(V2_READY))
        if reply.status != 200:
            raise Bad(f"it is not ready: HTTP {reply.status}{told(reply)}", probe)
        return "ready"

    def _server_metadata(self) -> str:
        document = self._document(probe := self._address.get(V2_SERVER))
        if not isinstance(document, dict) or not isinstance(document.get("name"), str):
            raise Bad("the server's metadata has no name", probe, verdict=Verdict.DOUBTFUL)
        self._extensions = document.get("extensions") or ()
        return f"{document['name']} {document.get('version', '')}, extensions: {', '.join(self._extensions) or 'none'}"

    def _model(self) -> str:
        reply = self._ask(self._address.get(V2_MODELS))
        names = _member(reply, "models") if reply.status == 200 else None
        if not names:
            index = self._document(probe := self._address.post_json(V2_INDEX, {}))
            names = [each["name"] for each in index if isinstance(each, dict) and "name" in each]
            if not names:
                raise Bad("it has no model", probe)
        self._name = str(names[0])
        return repr(self._name) if len(names) == 1 else f"{self._name!r}, the first of {len(names)}"

    def _metadata(self) -> str:
        document = self._document(probe := self._address.get(self._path))
        if not isinstance(document, dict) or document.get("name") != self._name:
            raise Bad(f"the metadata has not the name {self._name!r}", probe, verdict=Verdict.DOUBTFUL)
        self._inputs = document.get("inputs") or ()
        try:
            inputs = ", ".join(f"{each['name']} {each['datatype']} {each['shape']}" for each in self._inputs)
        except (KeyError, TypeError) as error:
            raise Bad("an input in the metadata has no name, datatype or shape", probe) from error
        return f"inputs: {inputs or 'none declared'}"

    def _infer(self) -> str:
        failures = []
        for request in self._requests():
            reply = self._ask(probe := self._probe(request, is_binary=False))
            if reply.status == 200:
                self._request, self._answer = request, self._read(reply, probe)
                return f"{_shown(self._answer.outputs)} for {_shown(request.inputs)}, in {reply.seconds * 1000:.0f} ms"
            failures.append(Bad(f"HTTP {reply.status} instead of 200{told(reply)}", probe))
        if len(failures) > 1:
            failures[0].text += "; text is refused too: give --data with a request that it takes"
        raise failures[0]

    def _requests(self) -> list[InferRequest]:
        """The request that was given, that of the metadata, or those to try."""
        if self._given is not None:
            return [json.decode(json_text.write(self._given))]
        if self._inputs:
            return [InferRequest(inputs=[_sample(each) for each in self._inputs])]
        return [InferRequest(inputs=[each]) for each in _TRIED]

    def _probe(self, request: InferRequest, *, is_binary: bool, model: str = "") -> Probe:
        body = remote.encode_rest(request, is_binary=is_binary)
        path = f"/v2/models/{model}/infer" if model else f"{self._path}/infer"
        if body.header_length is None:
            return self._address.post_json(path, json_text.read(body.head))
        headers = {"Content-Type": "application/octet-stream", _LENGTH: str(body.header_length)}
        return self._address.post_bytes(path, b"".join((body.head, *body.blobs)), headers)

    def _read(self, reply: Reply, probe: Probe) -> InferResponse:
        try:
            return remote.decode_rest(reply.body, reply.headers.get(_LENGTH))
        except PayloadError as fault:
            raise Bad(f"the answer cannot be read: {fault}", probe) from fault

    def _binary(self) -> str:
        parameters = {**self._request.parameters, BINARY_OUTPUT: True}
        request = InferRequest(inputs=self._request.inputs, outputs=self._request.outputs, parameters=parameters)
        probe = self._probe(request, is_binary=True)
        is_offered = "binary_tensor_data" in self._extensions
        reply = self._ask(probe)
        if reply.status != 200:
            text = "they are an extension, and not offered" if not is_offered else ""
            verdict = Verdict.BAD if is_offered else Verdict.DOUBTFUL
            raise Bad(text or f"HTTP {reply.status} instead of 200{told(reply)}", probe, verdict=verdict)
        if _LENGTH not in reply.headers:
            raise Bad("the answer is JSON, though raw bytes were asked for", probe, verdict=Verdict.DOUBTFUL)
        return f"{_shown(self._read(reply, probe).outputs)}, in {reply.seconds * 1000:.0f} ms"

    def _over_grpc(self) -> str:
        message: Message = InferMessage(b"", lambda _: self._request)
        url = f"{'grpcs' if self._address.is_secure else 'grpc'}://{self._grpc}"
        key = self._address.key or None
        with Client(url, protocol="v2", model=self._name, key=key, retries=0, timeout_s=10) as client:
            try:
                answer = client.ask(message)
            except Fault as fault:
                text = f"{self._grpc}: {fault} (another address of gRPC: --grpc HOST:PORT)"
                raise Bad(text, verdict=Verdict.DOUBTFUL) from fault
        return f"{_shown(answer.payload.tensors)} from {self._grpc}"

    def _unknown_model(self) -> str:
        return self._refused(self._probe(self._request, is_binary=False, model=_UNKNOWN), 404)

    def _bad_tensor(self) -> str:
        tensor = Tensor("bad", Datatype.FP32, np.ones(3, dtype=np.float32))
        body = json_text.read(remote.encode_rest(InferRequest(inputs=[tensor]), is_binary=False).head)
        body["inputs"][0]["shape"] = [2]
        return self._refused(self._address.post_json(f"{self._path}/infer", body), 400)

    def _refused(self, probe: Probe, status: int) -> str:
        reply = self._ask(probe)
        error = _member(reply, "error")
        if reply.status == status and isinstance(error, str):
            return f"refused with HTTP {status}: {error}"
        text = f"HTTP {reply.status} instead of {status}" if reply.status != status else "the error has no text"
        raise Bad(f"{text}{told(reply)}", probe, verdict=Verdict.DOUBTFUL)


def _sample(declared: Mapping[str, Any]) -> Tensor:
    """A tensor as metadata declare one, each free axis of size one."""
    datatype = tensors.datatype_named(declared["datatype"], declared["name"])
    shape = [abs(int(size)) for size in declared["shape"]] or [1]
    dtype = np.dtype(object) if datatype is Datatype.BYTES else np.dtype(np.float32)
    if datatype not in (Datatype.BYTES, Datatype.BF16):
        dtype = tensors.dtype_of(datatype)
    return Tensor(declared["name"], datatype, np.full(shape, _SAMPLES.get(datatype, 1), dtype))


def _shown(given: Sequence[Tensor]) -> str:
    return ", ".join(f"{each.name} {each.datatype.value} {list(each.array.shape)}" for each in given) or "no tensors"


def _member(reply: Reply, name: str) -> Any:
    try:
        document = reply.json()
    except ValueError:
        return None
    return document.get(name) if isinstance(document, dict) else None
