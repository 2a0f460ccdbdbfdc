"""The exception that user code raises to choose its answer, and request helpers for code that runs inside Flask."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from infergraph.errors import MissingExtra
from infergraph.protocol.annotations import GRPC_MESSAGE_SIZE, REST_TIMEOUT

if TYPE_CHECKING:
    from types import ModuleType

ANNOTATIONS_FILE = "/etc/podinfo/annotations"
ANNOTATION_REST_TIMEOUT = REST_TIMEOUT
ANNOTATION_GRPC_MAX_MSG_SIZE = GRPC_MESSAGE_SIZE
DEFAULT_ANNOTATION_REST_TIMEOUT = 5000


class SeldonMicroserviceException(Exception):
    """An error with the status and reason to answer.

    Args:
        message: text for a person.
        status_code: the HTTP status; 400 if None.
        payload: kept, never sent.
        reason: the stable word that clients match.
    """

    status_code = 400

    def __init__(
        self,
        message: Any,
        status_code: int | None = None,
        payload: Any = None,
        reason: str = "MICROSERVICE_BAD_DATA",
    ) -> None:
        super().__init__(message)
        self.message = message
        if status_code is not None:
            self.status_code = status_code
        self.payload = payload
        self.reason = reason

    def __str__(self) -> str:
        return str(self.message) or type(self).__name__

    def to_dict(self) -> dict[str, Any]:
        """The protocol's error document."""
        return {"status": {"status": 1, "info": self.message, "code": -1, "reason": self.reason}}


def jsonify(response: Any, skip_encoding: bool = False) -> Any:
    """A Flask JSON response of `response`, or of its bytes unchanged. Needs Flask and its application context."""
    flask = _flask()
    if skip_encoding:
        return flask.Response(response, mimetype="application/json")
    return flask.jsonify(response)


def get_request(skip_decoding: bool = False) -> Any:
    """The message in Flask's current request: a multipart form, a `json` form field or query parameter, or the body.

    Args:
        skip_decoding: give the text or bytes of the last two as they came.
    Raises:
        SeldonMicroserviceException: there is no readable JSON.
    """
    request = _flask().request
    if request.mimetype == "multipart/form-data":
        return get_multi_form_data_request()
    text = request.form.get("json") or request.args.get("json")
    if text:
        return text if skip_decoding else _read(text)
    if skip_decoding:
        return request.get_data()
    message = request.get_json(silent=True)
    if message is None:
        raise SeldonMicroserviceException("Can't find JSON in data")
    return message


def get_multi_form_data_request() -> dict[str, Any]:
    """The message in the multipart form of Flask's current request.

    Text parts are JSON, but for `strData`; a `binData` file is bytes, any other file text.
    """
    request = _flask().request
    message = {name: value if name == "strData" else _read(value) for name, value in request.form.items()}
    for name, file in request.files.items():
        content = file.read()
        message[name] = base64.b64encode(content).decode() if name == "binData" else content.decode()
    return message


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise SeldonMicroserviceException(f"Invalid JSON: {error}") from error


def _flask() -> ModuleType:
    try:
        import flask
    except ImportError as error:
        raise MissingExtra.of("flask", "flask", "seldon_core.flask_utils inside a Flask application") from error
    return flask
