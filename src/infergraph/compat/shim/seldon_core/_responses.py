"""What user code returned, as the protocol's answer: infergraph's rules for payload, names and meta."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from infergraph.component import results
from infergraph.message import Encoding, Message, Meta
from infergraph.wire import proto_codec

from ._arrays import document_of, translated
from ._environment import get_request_path
from .proto import prediction_pb2
from .user_model import client_class_names, client_custom_tags, client_feature_names


def construct_response(
    user_model: Any,
    is_request: bool,
    client_request: Any,
    client_raw_response: Any,
    meta: dict[str, Any] | None = None,
    custom_metrics: list[dict[str, Any]] | None = None,
    runtime_tags: dict[str, Any] | None = None,
) -> Any:
    """The SeldonMessage that answers `client_request` with `client_raw_response`.

    Args:
        user_model: the component, asked for names and tags.
        is_request: whether the answer is passed on as a request, with feature names.
        client_request: the SeldonMessage asked with; array answers take its form.
        client_raw_response: what user code returned.
        meta: the request's meta if its tags, metrics and path travel on.
        custom_metrics: metric dicts for the answer's meta.
        runtime_tags: tags of this call; they win.
    Raises: SeldonMicroserviceException if the result cannot be sent; it names the type.
    """
    kind = client_request.WhichOneof("data_oneof")
    form = (client_request.data.WhichOneof("data_oneof") or "ndarray") if kind == "data" else None
    names = list(client_request.data.names) if is_request else None
    answer = _answer(user_model, client_raw_response, form, names, as_array=True)
    answer_meta = _meta(user_model, client_request.meta.puid, meta, custom_metrics, runtime_tags)
    return prediction_pb2.SeldonMessage.FromString(translated(proto_codec.encode, _with_meta(answer, answer_meta)))


def construct_response_json(
    user_model: Any,
    is_request: bool,
    client_request_raw: dict[str, Any],
    client_raw_response: Any,
    meta: dict[str, Any] | None = None,
    custom_metrics: list[dict[str, Any]] | None = None,
    runtime_tags: dict[str, Any] | None = None,
) -> Any:
    """The document that answers `client_request_raw` with `client_raw_response`; see `construct_response`."""
    data = client_request_raw.get("data")
    form = None
    names: Sequence[str] = ()
    if isinstance(data, dict):
        form = next((form for form in ("tensor", "ndarray", "tftensor") if form in data), "ndarray")
        names = data.get("names") or ()
    answer = _answer(user_model, client_raw_response, form, names if is_request else None, as_array=False)
    puid = (client_request_raw.get("meta") or {}).get("puid")
    answer_meta = _meta(user_model, puid, meta, custom_metrics, runtime_tags)
    return document_of(_with_meta(answer, answer_meta))


def _answer(
    user_model: Any, result: Any, form: str | None, feature_names: Sequence[str] | None, *, as_array: bool
) -> Message:
    """The answer without meta; `form` is the array form of the request, None if it had no `data`."""
    shaped = translated(results.shape, result, Encoding(form) if form else Encoding.STR, as_array=as_array)
    if not shaped.encoding.is_array:
        return Message.of(shaped.payload, shaped.encoding)
    if feature_names is not None:
        names = client_feature_names(user_model, feature_names)
    else:
        names = client_class_names(user_model, shaped.payload)
    return Message.of(shaped.payload, shaped.encoding, names=list(names or ()))


def _with_meta(answer: Message, meta: Meta) -> Message:
    return Message.of(answer.payload, answer.encoding, names=answer.names, meta=meta)


def _meta(
    user_model: Any,
    puid: Any,
    given: Mapping[str, Any] | None,
    metrics: Sequence[dict[str, Any]] | None,
    runtime_tags: Mapping[str, Any] | None,
) -> Meta:
    given = given or {}
    meta = {
        "puid": puid,
        "tags": {**(given.get("tags") or {}), **client_custom_tags(user_model), **(runtime_tags or {})},
        "metrics": [*(given.get("metrics") or ()), *(metrics or ())],
        "requestPath": {**get_request_path(), **(given.get("requestPath") or {})},
    }
    return {name: value for name, value in meta.items() if value}
