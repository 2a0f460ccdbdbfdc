"""Metadata of models and graphs: the protocol's JSON form to protobuf, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format

from infergraph.errors import BadMetadata
from infergraph.wire import prediction
from infergraph.wire.proto_content import parse
from infergraph.wire.protobuf_values import decode_value

_GRAPH_SPELLING = {"graphinputs": "inputs", "graphoutputs": "outputs"}


def encode_metadata(metadata: Mapping[str, Any]) -> bytes:
    """A model's metadata as a serialized SeldonModelMetadata.

    Raises: BadMetadata if a member does not have the protocol's type.
    """
    return _serialized(dict(metadata), prediction.SeldonModelMetadata())


def encode_graph_metadata(metadata: Mapping[str, Any]) -> bytes:
    """A graph's metadata as a serialized SeldonGraphMetadata.

    Args:
        metadata: name, models, and inputs and outputs under those names or, like over REST, `graphinputs` and
            `graphoutputs`.
    Raises: BadMetadata if a member does not have the protocol's type.
    """
    document = {_GRAPH_SPELLING.get(name, name): value for name, value in metadata.items()}
    return _serialized(document, prediction.SeldonGraphMetadata())


def _serialized(document: dict[str, Any], message: Any) -> bytes:
    try:
        serialized: bytes = json_format.ParseDict(document, message).SerializeToString()
    except (json_format.ParseError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BadMetadata(f"the metadata cannot be written as protobuf: {error}") from error
    return serialized


def decode_metadata(raw: bytes) -> dict[str, Any]:
    """The metadata of a serialized SeldonModelMetadata, all six members; schema numbers are floats.

    Raises: PayloadError if `raw` is not valid.
    """
    return _model(parse(prediction.SeldonModelMetadata, raw))


def decode_graph_metadata(raw: bytes) -> dict[str, Any]:
    """The metadata of a serialized SeldonGraphMetadata, with the names used over REST (`graphinputs`, `graphoutputs`).

    Raises: PayloadError if `raw` is not valid.
    """
    proto = parse(prediction.SeldonGraphMetadata, raw)
    return {
        "name": proto.name,
        "models": {name: _model(model) for name, model in proto.models.items()},
        "graphinputs": [_described(item) for item in proto.inputs],
        "graphoutputs": [_described(item) for item in proto.outputs],
    }


def decode_metadata_request(raw: bytes) -> str:
    """The model name in a serialized SeldonModelMetadataRequest; empty if there is none.

    Raises: PayloadError if `raw` is not valid.
    """
    name: str = parse(prediction.SeldonModelMetadataRequest, raw).name
    return name


def _model(proto: Any) -> dict[str, Any]:
    return {
        "name": proto.name,
        "versions": list(proto.versions),
        "platform": proto.platform,
        "inputs": [_described(item) for item in proto.inputs],
        "outputs": [_described(item) for item in proto.outputs],
        "custom": dict(proto.custom),
    }


def _described(proto: Any) -> dict[str, Any]:
    """One input or output; members without a value are omitted."""
    item: dict[str, Any] = {}
    for member in ("messagetype", "name", "datatype"):
        if getattr(proto, member):
            item[member] = getattr(proto, member)
    if proto.HasField("schema"):
        item["schema"] = decode_value(proto.schema)
    if proto.shape:
        item["shape"] = list(proto.shape)
    return item
