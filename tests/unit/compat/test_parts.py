"""The smaller modules: exception, metadata, environment, storage, command line helpers, error handlers."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import flask
import pytest
from werkzeug.exceptions import NotFound

from infergraph import compat
from infergraph.compat import error_handler

compat.install()

import seldon_core  # noqa: E402
from seldon_core import env_utils, flask_utils, metadata, microservice, utils  # noqa: E402
from seldon_core.flask_utils import SeldonMicroserviceException  # noqa: E402


def test_the_exception_tells_what_happened() -> None:
    """Text, status and reason are in the exception; its str is its text and never empty."""
    error = SeldonMicroserviceException("msg", status_code=418, payload={"a": 1}, reason="R")
    assert (str(error), error.message, error.status_code, error.payload, error.reason) == (
        "msg",
        "msg",
        418,
        {"a": 1},
        "R",
    )
    assert error.to_dict() == {"status": {"status": 1, "info": "msg", "code": -1, "reason": "R"}}
    plain = SeldonMicroserviceException("")
    assert (plain.status_code, plain.reason) == (400, "MICROSERVICE_BAD_DATA")
    assert str(plain)


@pytest.fixture
def app() -> flask.Flask:
    """A Flask application that answers with the message it was sent."""
    app = flask.Flask("test")

    @app.route("/", methods=["GET", "POST"])
    def echo() -> Any:
        try:
            return flask_utils.jsonify(flask_utils.get_request())
        except SeldonMicroserviceException as error:
            return error.to_dict(), error.status_code

    @app.route("/raw", methods=["POST"])
    def raw() -> Any:
        return flask_utils.jsonify(flask_utils.get_request(skip_decoding=True), skip_encoding=True)

    return app


def test_get_request_reads_every_form(app: flask.Flask) -> None:
    """JSON body, form field, query parameter and multipart parts all give the message."""
    client = app.test_client()
    document = {"strData": "x"}
    text = json.dumps(document)
    assert client.post("/", json=document).get_json() == document
    assert client.post("/", data={"json": text}).get_json() == document
    assert client.get("/", query_string={"json": text}).get_json() == document
    parts = {"strData": "x", "meta": "{}", "binData": (io.BytesIO(b"hi"), "f"), "jsonData": (io.BytesIO(b"t"), "g")}
    sent = client.post("/", data=parts, content_type="multipart/form-data").get_json()
    assert sent == {"strData": "x", "meta": {}, "binData": "aGk=", "jsonData": "t"}


def test_get_request_refuses_what_it_cannot_read(app: flask.Flask) -> None:
    """No JSON, or broken JSON, is 400 MICROSERVICE_BAD_DATA."""
    client = app.test_client()
    for response in (
        client.post("/"),
        client.post("/", data="{", content_type="application/json"),
        client.get("/?json={"),
    ):
        assert response.status_code == 400
        assert response.get_json()["status"]["reason"] == "MICROSERVICE_BAD_DATA"


def test_undecoded_requests_pass_as_they_are(app: flask.Flask) -> None:
    """With skip_decoding and skip_encoding the bytes go in and out untouched."""
    response = app.test_client().post("/raw", data=b"{ not json", content_type="application/json")
    assert (response.get_data(), response.mimetype) == (b"{ not json", "application/json")


def test_metadata_is_completed_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults come from the image; what breaks the schema is named."""
    monkeypatch.setenv("PREDICTIVE_UNIT_IMAGE", "reg/img:1")
    valid = metadata.validate_model_metadata({"platform": "p", "inputs": [{"messagetype": "strData"}]})
    assert valid == {
        "name": "reg/img",
        "versions": ["1"],
        "platform": "p",
        "inputs": [{"messagetype": "strData"}],
        "outputs": [],
        "custom": {},
    }
    with pytest.raises(metadata.SeldonInvalidMetadataError, match=r"\$.name"):
        metadata.validate_model_metadata({"name": 5})
    with pytest.raises(metadata.SeldonInvalidMetadataError, match="unknown field `other`"):
        metadata.validate_model_metadata({"other": 1})


def test_names_of_the_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name is read from its variable when asked, or is the default given."""
    variables = {
        "PREDICTIVE_UNIT_ID": ("get_model_name", "u"),
        "PREDICTIVE_UNIT_IMAGE": ("get_image_name", "i:1"),
        "SELDON_DEPLOYMENT_ID": ("get_deployment_name", "d"),
        "PREDICTOR_ID": ("get_predictor_name", "p"),
        "PREDICTOR_LABELS": ("get_predictor_version", '{"version": "v1"}'),
    }
    for variable, (function, value) in variables.items():
        monkeypatch.delenv(variable, raising=False)
        assert getattr(env_utils, function)("default") == "default"
        assert getattr(env_utils, function)().startswith("NOT_IMPLEMENTED")
        monkeypatch.setenv(variable, value)
        assert getattr(env_utils, function)() == ("v1" if variable == "PREDICTOR_LABELS" else value)


def test_storage_gives_local_files(tmp_path: Path) -> None:
    """A local path or file:// address is used where it is, or linked into a folder."""
    model, out = tmp_path / "model", tmp_path / "out"
    model.mkdir()
    out.mkdir()
    (model / "weights").write_text("w")
    assert seldon_core.Storage.download(str(model)) == str(model)
    assert seldon_core.Storage.download(f"file://{model}") == str(model)
    for _ in range(2):
        assert seldon_core.Storage.download(f"file://{model}", str(out)) == str(out)
    assert (out / "weights").is_symlink()
    assert (out / "weights").read_text() == "w"


def test_storage_refuses_what_is_not_there() -> None:
    """A missing file:// path is a RuntimeError, a remote address an error that names it."""
    with pytest.raises(RuntimeError, match="does not exist"):
        seldon_core.Storage.download("file:///nowhere/at/all")
    with pytest.raises(Exception, match="s3://bucket/model"):
        seldon_core.Storage.download("s3://bucket/model")


def test_parse_parameters() -> None:
    """Typed parameters parse; a bad one is the exception with MICROSERVICE_BAD_PARAMETER that names it."""
    given = [{"name": "i", "value": "5", "type": "INT"}, {"name": "b", "value": "Yes", "type": "BOOL"}]
    assert microservice.parse_parameters(given) == {"i": 5, "b": True}
    with pytest.raises(SeldonMicroserviceException, match="'x'") as caught:
        microservice.parse_parameters([{"name": "i", "value": "x", "type": "INT"}])
    assert caught.value.reason == "MICROSERVICE_BAD_PARAMETER"


def test_load_annotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """key="value" lines are read, bad ones skipped; no file gives no annotations."""
    file = tmp_path / "annotations"
    file.write_text('seldon.io/rest-timeout="2000"\nnonsense\na = "b=c"\n')
    monkeypatch.setattr(microservice, "ANNOTATIONS_FILE", str(file))
    assert microservice.load_annotations() == {"seldon.io/rest-timeout": "2000", "a": "b=c"}
    monkeypatch.setattr(microservice, "ANNOTATIONS_FILE", str(tmp_path / "none"))
    assert microservice.load_annotations() == {}


def test_main_is_infergraphs_command() -> None:
    """seldon_core.microservice.main becomes `infergraph microservice` with the process's own arguments."""
    program = "from infergraph import compat; compat.install(); from seldon_core.microservice import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert done.returncode == 0
    assert "--service-type" in done.stdout


def test_jaeger_tracing_says_what_takes_its_place() -> None:
    """setup_tracing does not pretend."""
    with pytest.raises(Exception, match="OpenTelemetry"):
        utils.setup_tracing("MyModel")


class UserError(Exception):
    """The user's own."""


class NarrowError(UserError):
    """A kind of it."""


@pytest.fixture
def blueprint() -> flask.Blueprint:
    """A component's error handlers."""
    blueprint = flask.Blueprint("error_handlers", "test")

    @blueprint.app_errorhandler(UserError)
    def of_the_application(error: UserError) -> Any:
        response = flask.jsonify({"info": str(error)})
        response.status_code = 402
        response.headers["X-App-Code"] = "7"
        return response

    @blueprint.errorhandler(KeyError)
    def of_the_blueprint(error: KeyError) -> Any:
        return {"key": str(error)}, 418

    return blueprint


def test_the_handler_of_the_exceptions_class_answers(blueprint: flask.Blueprint) -> None:
    """Status, body and headers are the handler's; subclasses count, and so do the blueprint's own handlers."""
    for error in (UserError("no"), NarrowError("no")):
        answered = error_handler.answer(blueprint, error)
        assert answered is not None
        assert (answered.status, json.loads(answered.body), answered.headers["X-App-Code"]) == (
            402,
            {"info": "no"},
            "7",
        )
        assert answered.headers["Content-Type"] == "application/json"
    answered = error_handler.answer(blueprint, KeyError("k"))
    assert answered is not None
    assert (answered.status, json.loads(answered.body)) == (418, {"key": "'k'"})


@pytest.mark.parametrize("error", [ValueError("x"), NotFound(), SystemExit(1)])
def test_an_exception_without_handler_is_not_answered(blueprint: flask.Blueprint, error: BaseException) -> None:
    """Where no handler fits there is no answer, for HTTP exceptions too."""
    assert error_handler.answer(blueprint, error) is None


def test_a_handler_of_every_exception_takes_all() -> None:
    """A blueprint may handle Exception itself."""
    blueprint = flask.Blueprint("all", "test")
    blueprint.register_error_handler(Exception, lambda error: (f"caught {error}", 500))
    blueprint.app_errorhandler(Exception)(lambda error: (f"caught {error}", 500))
    answered = error_handler.answer(blueprint, ValueError("x"))
    assert answered is not None
    assert answered.body == b"caught x"


def test_a_handler_that_raises_is_heard(blueprint: flask.Blueprint) -> None:
    """An error in the handler itself is raised, not swallowed."""
    broken = flask.Blueprint("broken", "test")

    @broken.app_errorhandler(ValueError)
    def handle(error: ValueError) -> Any:
        raise LookupError("in the handler")

    with pytest.raises(LookupError, match="in the handler"):
        error_handler.answer(broken, ValueError())
