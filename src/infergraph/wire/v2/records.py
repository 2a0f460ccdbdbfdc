"""A request of the open inference protocol and its answer, as records that JSON and protobuf share.

InferRequest ─▶ TensorSet, the payload of a message ─▶ … ─▶ TensorSet ─▶ InferResponse
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from infergraph.errors import PayloadError
from infergraph.message import Transport
from infergraph.wire.v2.tensors import NO_PARAMETERS, Parameters, Tensor, brief

BINARY_OUTPUT = "binary_data_output"
"""The parameter of a request that asks for all its outputs as raw bytes."""

TIMEOUT = "timeout"
"""The parameter of a request that says how long it may take, in microseconds."""


MAPPING = "mapping"
UNNAMED = "unnamed"
TABLE = "table"


class TensorSet(NamedTuple):
    """The payload of a message of the protocol.

    Args:
        tensors: in order, of different names.
        parameters: of the request, or of the answer.
        is_mapping: whether a component returned them as a dict, which the next one is given again.
        is_unnamed: whether the only tensor has no name of its own yet.
    """

    tensors: Sequence[Tensor]
    parameters: Parameters = NO_PARAMETERS
    is_mapping: bool = False
    is_unnamed: bool = False

    def named(self, name: str) -> Sequence[Tensor]:
        """Its tensors, the only one under that name if it has none of its own."""
        return [self.tensors[0]._replace(name=name)] if self.is_unnamed else self.tensors

    @property
    def nbytes(self) -> int:
        """The size of its arrays, in bytes."""
        return sum(tensor.array.nbytes for tensor in self.tensors)

    @property
    def form(self) -> str:
        """What the tensors alone do not say, for a hop: `mapping`, `unnamed`, `table` (a data frame), or nothing."""
        if self.is_unnamed:
            return UNNAMED
        if self.parameters.get("content_type") == "pd":
            return TABLE
        return MAPPING if self.is_mapping and len(self.tensors) == 1 else ""

    def formed(self, form: str) -> TensorSet:
        """The set in the form that a hop tells; unknown ones are ignored."""
        if form == TABLE:
            return self._replace(parameters={**self.parameters, "content_type": "pd"})
        is_one = len(self.tensors) == 1
        return self._replace(is_mapping=form == MAPPING, is_unnamed=is_one and form == UNNAMED)


class Spelling(NamedTuple):
    """How the bytes of a received message are spelled.

    Args:
        transport: REST or gRPC.
        content_type, coding: headers of a REST body.
        header_length: of the JSON of a REST body, if raw tensors follow it.
        limit_bytes: maximum size of a decompressed body.
        form: of its tensors, told by a graph of this runtime (see `TensorSet.form`).
    """

    transport: Transport = Transport.REST
    content_type: str = ""
    coding: str = ""
    header_length: str | None = None
    limit_bytes: int = 0
    form: str = ""


class RequestedOutput(msgspec.Struct, frozen=True):
    """An output that a request asks for.

    Args:
        is_binary: whether it asks for raw bytes or for JSON; None where it leaves that to the request.
    """

    name: str
    parameters: Parameters = NO_PARAMETERS
    is_binary: bool | None = None


class InferRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request.

    Args:
        model_name: from the path over REST, from the message over gRPC.
        parameters: of the request, as plain values.
        outputs: the requested ones in order; empty for all.
        is_raw: over gRPC, whether its tensors came as raw bytes, as those of the answer should then.
    """

    model_name: str = ""
    model_version: str = ""
    id: str = ""
    parameters: Parameters = NO_PARAMETERS
    inputs: Sequence[Tensor]
    outputs: Sequence[RequestedOutput] = ()
    is_raw: bool = False

    @property
    def timeout_s(self) -> float:
        """How long the request may take, as its parameter says; 0 for no limit.

        Raises: PayloadError if that is not a whole number.
        """
        timeout_us = self.parameters.get(TIMEOUT, 0)
        if type(timeout_us) is not int or not 0 <= timeout_us < 2**64:
            raise PayloadError(f"parameters: {TIMEOUT} must be a whole number of microseconds, not {brief(timeout_us)}")
        return timeout_us / 1e6

    @property
    def wants_binary(self) -> bool:
        """Whether the answer should have its outputs as raw bytes, but for those of `own_spellings`."""
        return self.parameters.get(BINARY_OUTPUT) is True

    @property
    def own_spellings(self) -> Mapping[str, bool]:
        """By output, for those that say so: whether the answer should have it as raw bytes."""
        return {each.name: each.is_binary for each in reversed(self.outputs) if each.is_binary is not None}


class InferResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An answer; `model_version` and `id` are empty where there is none; `form` is that of its tensors, for a hop."""

    model_name: str
    model_version: str = ""
    id: str = ""
    parameters: Parameters = NO_PARAMETERS
    outputs: Sequence[Tensor]
    form: str = ""


def chosen(outputs: Sequence[Tensor], request: InferRequest) -> Sequence[Tensor]:
    """The outputs that a request asks for, in its order and each once; all where it names none.

    Raises: PayloadError for an output that there is not.
    """
    if not request.outputs:
        return outputs
    found = {tensor.name: tensor for tensor in outputs}
    for requested in request.outputs:
        if requested.name not in found:
            raise PayloadError(f"unexpected inference output {requested.name!r} for model {request.model_name!r}")
    return [found[name] for name in dict.fromkeys(requested.name for requested in request.outputs)]


def check_names(names: Sequence[str]) -> None:
    """Refuse a request without inputs, or with two of one name.

    Raises: PayloadError that says which.
    """
    if not names:
        raise PayloadError("inputs: at least one tensor is needed")
    if (twice := repeated(names)) is not None:
        raise PayloadError(f"input {twice!r} is there twice")


def repeated(names: Sequence[str]) -> str | None:
    """The first name that was there before; None if all are different."""
    if len(names) < 2 or len(set(names)) == len(names):
        return None
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def text_member(value: Any, member: str) -> str:
    """An optional text; empty where it is null or missing.

    Raises: PayloadError that names the member.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise PayloadError(f"{member} must be a text, not {brief(value)}")
    return value
