"""A client of deployments behind a gateway, and of single components.

    SeldonClient.predict(…) ─▶ REST or gRPC ─▶ SeldonClientPrediction(request, response, success, msg)

Connections and channels are kept and every call has a timeout. A REST call that gets no answer raises
SeldonClientException; one that gets an error answer returns it with `success` False, as does any gRPC error.
"""

from __future__ import annotations

import functools
import http.client
import json
from collections.abc import Iterable, Mapping
from typing import Any, Self, TypeVar

import grpc
import numpy as np
from seldon_core.flask_utils import SeldonMicroserviceException
from seldon_core.proto import prediction_pb2, prediction_pb2_grpc
from seldon_core.utils import json_to_seldon_message, seldon_message_to_json

from infergraph.message import Method
from infergraph.protocol.paths import INTERNAL
from infergraph.protocol.services import CLIENT_CALLS, NODE_CALLS
from infergraph_seldon_tools.client_requests import Payload, SeldonClientException, explanation_url, external_url
from infergraph_seldon_tools.client_results import (
    Result,
    SeldonCallCredentials,
    SeldonChannelCredentials,
    SeldonClientCombine,
    SeldonClientFeedback,
    SeldonClientPrediction,
    grpc_credentials,
    https_context,
)
from infergraph_seldon_tools.http_connections import Connections, Reply

__all__ = [
    "SeldonCallCredentials",
    "SeldonChannelCredentials",
    "SeldonClient",
    "SeldonClientCombine",
    "SeldonClientException",
    "SeldonClientFeedback",
    "SeldonClientPrediction",
]

R = TypeVar("R", bound=Result)

_METHODS = {path.removeprefix("/"): method for method, path in INTERNAL.items() if method is not Method.SEND_FEEDBACK}
_CHOICES = {
    "gateway": ("ambassador", "istio", "seldon"),
    "transport": ("rest", "grpc"),
    "client_return_type": ("dict", "proto"),
    "payload_type": ("tensor", "ndarray", "tftensor"),
}
_OVERRIDES = frozenset({"gateway_prefix", "headers", "http_path"})
_LIMIT_BYTES = 4 * 1024 * 1024


class SeldonClient:
    """Calls one deployment, or one component; the values given here are defaults that every call may override.

    Args:
        gateway: what stands before the deployment; `seldon` for nothing.
        payload_type: the encoding of `data`.
        gateway_endpoint: `host:port` of the gateway.
        microservice_endpoint: `host:port` of a component.
        client_return_type: `dict` or `proto`, for requests and answers of `predict` and `feedback`.
        ssl: whether to speak TLS; by default if credentials are given.
        timeout_s: the longest that one call may take.
    Raises: SeldonClientException for a value that is none of its choices.
    Promises: may be used by many threads.
    """

    def __init__(
        self,
        gateway: str = "ambassador",
        transport: str = "rest",
        namespace: str | None = None,
        deployment_name: str | None = None,
        payload_type: str = "tensor",
        gateway_endpoint: str = "localhost:8003",
        microservice_endpoint: str = "localhost:5000",
        grpc_max_send_message_length: int = _LIMIT_BYTES,
        grpc_max_receive_message_length: int = _LIMIT_BYTES,
        channel_credentials: SeldonChannelCredentials | None = None,
        call_credentials: SeldonCallCredentials | None = None,
        debug: bool = False,
        client_return_type: str = "dict",
        ssl: bool | None = None,
        *,
        timeout_s: float = 60.0,
    ) -> None:
        self.config: dict[str, Any] = {
            "gateway": gateway,
            "transport": transport,
            "namespace": namespace,
            "deployment_name": deployment_name,
            "payload_type": payload_type,
            "gateway_endpoint": gateway_endpoint,
            "microservice_endpoint": microservice_endpoint,
            "client_return_type": client_return_type,
            "ssl": ssl,
        }
        self.debug = debug
        self._channel_credentials = channel_credentials
        self._call_credentials = call_credentials
        self._timeout_s = timeout_s
        self._limits = [
            ("grpc.max_send_message_length", grpc_max_send_message_length),
            ("grpc.max_receive_message_length", grpc_max_receive_message_length),
        ]
        self._channels: dict[tuple[str, bool], grpc.Channel] = {}
        context = functools.partial(https_context, channel_credentials) if channel_credentials else None
        self._connections = Connections(timeout_s, context)
        self._options({})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and channels."""
        self._connections.close()
        while self._channels:
            self._channels.popitem()[1].close()

    def predict(
        self,
        *,
        data: np.ndarray[Any, Any] | None = None,
        shape: tuple[int, ...] | None = None,
        bin_data: bytes | bytearray | None = None,
        str_data: str | None = None,
        json_data: Any = None,
        custom_data: Any = None,
        raw_data: Mapping[str, Any] | None = None,
        names: Iterable[str] | None = None,
        meta: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> SeldonClientPrediction:
        """Ask the deployment for a prediction.

        Args:
            data: an array; see `Payload` for the other payloads and which of them is sent.
            meta: tags of the request.
            options: overrides of the client's values, and `headers`, `gateway_prefix`, `http_path`.
        Raises: SeldonClientException if the call cannot be made or, over REST, gets no answer.
        """
        chosen = self._options(options)
        _check_array(data)
        payload = Payload(
            raw_data, bin_data, str_data, json_data, custom_data, data, shape, names, meta, chosen["payload_type"]
        )
        if chosen["transport"] == "grpc":
            request = payload.proto()
            return self._call(
                SeldonClientPrediction, CLIENT_CALLS[Method.PREDICT], request, chosen, chosen["gateway_endpoint"]
            )
        url = external_url(chosen, Method.PREDICT, self._scheme(chosen))
        return self._post(SeldonClientPrediction, url, payload.document(), chosen)

    def feedback(
        self,
        prediction_request: Any = None,
        prediction_response: Any = None,
        prediction_truth: Any = None,
        reward: float = 0,
        *,
        raw_request: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> SeldonClientFeedback:
        """Send the deployment a reward for an answer.

        Args:
            prediction_request: the request, its answer and perhaps the truth, each a SeldonMessage or a document.
            raw_request: a whole feedback document in place of these.
            options: as for `predict`.
        Raises: SeldonClientException as `predict` does.
        """
        chosen = self._options(options)
        document = raw_request
        if document is None:
            parts = {"request": prediction_request, "response": prediction_response, "truth": prediction_truth}
            document = {name: _document(part) for name, part in parts.items() if part is not None} | {"reward": reward}
        if chosen["transport"] == "grpc":
            request = _feedback(document)
            return self._call(
                SeldonClientFeedback, CLIENT_CALLS[Method.SEND_FEEDBACK], request, chosen, chosen["gateway_endpoint"]
            )
        url = external_url(chosen, Method.SEND_FEEDBACK, self._scheme(chosen))
        return self._post(SeldonClientFeedback, url, dict(document), chosen)

    def explain(
        self,
        *,
        predictor: str | None = None,
        data: np.ndarray[Any, Any] | None = None,
        shape: tuple[int, ...] | None = None,
        bin_data: bytes | bytearray | None = None,
        str_data: str | None = None,
        json_data: Any = None,
        names: Iterable[str] | None = None,
        **options: Any,
    ) -> SeldonClientPrediction:
        """Ask the explainer of `predictor` about a payload; the answer is any JSON value.

        Raises: SeldonClientException without a predictor, over gRPC, without a gateway, or if there is no answer.
        """
        chosen = self._options(options)
        if predictor is None:
            raise SeldonClientException("explain needs the name of a predictor")
        if chosen["transport"] != "rest" or chosen["gateway"] == "seldon":
            raise SeldonClientException("explain goes over REST and the gateways ambassador and istio only")
        payload = Payload(None, bin_data, str_data, json_data, None, data, shape, names, None, chosen["payload_type"])
        reply = self._send(explanation_url(chosen, predictor, self._scheme(chosen)), payload.document(), chosen)
        body = _json(reply.body)
        return SeldonClientPrediction(payload.document(), body, reply.status == 200, _message(reply))

    def microservice(
        self,
        *,
        method: str | None = None,
        data: np.ndarray[Any, Any] | None = None,
        datas: list[np.ndarray[Any, Any]] | None = None,
        ndatas: int | None = None,
        shape: tuple[int, ...] | None = None,
        bin_data: bytes | bytearray | None = None,
        str_data: str | None = None,
        json_data: Any = None,
        custom_data: Any = None,
        names: Iterable[str] | None = None,
        **options: Any,
    ) -> SeldonClientPrediction | SeldonClientCombine:
        """Ask one component; requests and answers are protobuf.

        Args:
            method: predict, transform-input, transform-output, route or aggregate.
            datas: for aggregate, the arrays; else `ndatas` random ones of `shape`.
            options: overrides of the client's values.
        Raises: SeldonClientException without a method, or as `predict` does.
        """
        chosen = self._options(options)
        if method not in _METHODS:
            raise SeldonClientException(f"method is {method!r} and must be one of {', '.join(_METHODS)}")
        kind = chosen["payload_type"]
        request: Any
        if method == "aggregate":
            arrays = datas if datas is not None else [None] * (ndatas or 0)
            messages = [Payload(data=array, shape=shape, names=names, payload_type=kind).proto() for array in arrays]
            if not messages:
                raise SeldonClientException("aggregate needs datas, or ndatas and a shape")
            request = prediction_pb2.SeldonMessageList(seldonMessages=messages)
            return self._ask_component(SeldonClientCombine, Method.AGGREGATE, request, chosen)
        _check_array(data)
        request = Payload(None, bin_data, str_data, json_data, custom_data, data, shape, names, None, kind).proto()
        return self._ask_component(SeldonClientPrediction, _METHODS[method], request, chosen)

    def microservice_feedback(
        self, prediction_request: Any = None, prediction_response: Any = None, reward: float = 0, **options: Any
    ) -> SeldonClientFeedback:
        """Send one component a reward for an answer; request and answer are protobuf.

        Raises: SeldonClientException as `predict` does.
        """
        chosen = self._options(options)
        parts = {"request": prediction_request, "response": prediction_response}
        document = {name: _document(part) for name, part in parts.items() if part is not None} | {"reward": reward}
        return self._ask_component(SeldonClientFeedback, Method.SEND_FEEDBACK, _feedback(document), chosen)

    # ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _ask_component(self, result: type[R], method: Method, request: Any, options: dict[str, Any]) -> R:
        endpoint = options["microservice_endpoint"]
        options = options | {"client_return_type": "proto"}
        if options["transport"] == "grpc":
            return self._call(result, NODE_CALLS[method], request, options, endpoint)
        url = f"{self._scheme(options)}://{endpoint}{INTERNAL[method]}"
        reply = self._send(url, seldon_message_to_json(request), options)
        return result(request, _proto(reply.body), reply.status == 200, reply.reason)

    def _post(self, result: type[R], url: str, document: dict[str, Any], options: dict[str, Any]) -> R:
        reply = self._send(url, document, options)
        success, message = reply.status == 200, _message(reply)
        if options["client_return_type"] == "dict":
            return result(document, _json(reply.body), success, message)
        as_proto = _feedback if result is SeldonClientFeedback else json_to_seldon_message
        return result(as_proto(document), _proto(reply.body), success, message)

    def _send(self, url: str, document: Mapping[str, Any], options: Mapping[str, Any]) -> Reply:
        headers = {"Content-Type": "application/json"} | {
            str(name): str(value) for name, value in (options.get("headers") or {}).items()
        }
        if self._call_credentials is not None and self._call_credentials.token:
            headers["X-Auth-Token"] = self._call_credentials.token
        try:
            return self._connections.post(url, json.dumps(document).encode(), headers)
        except (OSError, http.client.HTTPException) as error:
            raise SeldonClientException(f"{url} did not answer: {error or type(error).__name__}") from error

    def _call(
        self,
        result: type[R],
        call: str,
        request: Any,
        options: Mapping[str, Any],
        endpoint: str,
    ) -> R:
        service, _, method = call.partition("/")
        stub = getattr(prediction_pb2_grpc, f"{service}Stub")(self._channel(endpoint, options["ssl"]))
        given = request if options["client_return_type"] == "proto" else seldon_message_to_json(request)
        try:
            response = getattr(stub, method)(request, metadata=self._metadata(options), timeout=self._timeout_s)
        except grpc.RpcError as error:
            return result(given, None, False, str(error))
        return result(given, response if given is request else seldon_message_to_json(response), True, "")

    def _metadata(self, options: Mapping[str, Any]) -> list[tuple[str, str]]:
        metadata = {"seldon": options["deployment_name"], "namespace": options["namespace"]}
        if self._call_credentials is not None:
            metadata["x-auth-token"] = self._call_credentials.token
        metadata |= {str(name).lower(): value for name, value in (options.get("headers") or {}).items()}
        return [(name, str(value)) for name, value in metadata.items() if value]

    def _channel(self, endpoint: str, ssl: bool | None) -> grpc.Channel:
        key = (endpoint, self._is_tls(ssl))
        if key not in self._channels:
            if key[1]:
                credentials = grpc_credentials(self._channel_credentials or SeldonChannelCredentials())
                self._channels[key] = grpc.secure_channel(endpoint, credentials, self._limits)
            else:
                self._channels[key] = grpc.insecure_channel(endpoint, self._limits)
        return self._channels[key]

    def _scheme(self, options: Mapping[str, Any]) -> str:
        return "https" if self._is_tls(options["ssl"]) else "http"

    def _is_tls(self, ssl: bool | None) -> bool:
        if ssl is not None:
            return ssl
        return self._channel_credentials is not None or self._call_credentials is not None

    def _options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        unknown = given.keys() - self.config.keys() - _OVERRIDES
        if unknown:
            raise TypeError(f"unknown arguments: {', '.join(sorted(unknown))}")
        options = self.config | {name: value for name, value in given.items() if value is not None}
        for name, choices in _CHOICES.items():
            if options[name] not in choices:
                raise SeldonClientException(f"{name} is {options[name]!r} and must be one of {', '.join(choices)}")
        return options


def _check_array(data: Any) -> None:
    if data is not None and not isinstance(data, np.ndarray):
        raise SeldonClientException(f"data must be a numpy array, not {type(data).__name__}")


def _document(message: Any) -> dict[str, Any]:
    return dict(message) if isinstance(message, Mapping) else seldon_message_to_json(message)


def _feedback(document: Mapping[str, Any]) -> Any:
    from_json = {name: json_to_seldon_message(part) for name, part in document.items() if name != "reward"}
    return prediction_pb2.Feedback(reward=document.get("reward", 0), **from_json)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _proto(body: bytes) -> Any:
    document = _json(body)
    try:
        return json_to_seldon_message(document) if isinstance(document, dict) else None
    except SeldonMicroserviceException:
        return None


def _message(reply: Reply) -> str:
    return f"{reply.status}:{reply.reason}"
