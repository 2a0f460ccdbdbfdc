"""Component files from Seldon's world run unchanged: they import, construct and answer without that package."""

from __future__ import annotations

import asyncio
import copy
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from contract.component_cases import COMPONENTS, FOLDER, Case, protobuf_form
from infergraph import compat, component
from infergraph.assembly import build
from infergraph.errors import ComponentError
from infergraph.message import Context, Message, Method, Transport
from infergraph.observe.shared_metrics import SharedMetrics
from infergraph.settings import Settings
from infergraph.unit_source import source_of
from infergraph.wire import json_codec, prediction, proto_codec
from infergraph.wire.json_codec import JsonFeedback, JsonMessage
from infergraph.wire.proto_codec import ProtoFeedback, ProtoMessage

cases = pytest.mark.parametrize("case", COMPONENTS, ids=lambda case: case.id)
MESSAGES = [case for case in COMPONENTS if case.status == 200 and case.method != "send_feedback"]
"""Feedback is protobuf over both transports, and an error is raised before an answer has a form."""


@pytest.fixture(autouse=True)
def _seldon_core(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compat.install(), "these tests are about the names that infergraph provides"
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("PREDICTIVE_UNIT_ID", "PREDICTIVE_UNIT_IMAGE", "INCLUDE_METRICS_IN_CLIENT_RESPONSE"):
        monkeypatch.delenv(name, raising=False)


def _construct(case: Case) -> Any:
    found = component.find(f"{FOLDER / case.file}:{case.name}")
    return component.construct(found, component.parse_parameters(case.parameters), case.file)


def test_every_file_has_a_case() -> None:
    """No component file lies in the folder without being run."""
    assert {path.name for path in FOLDER.glob("*.py")} == {case.file for case in COMPONENTS}


def test_the_names_are_ours() -> None:
    """The components of this suite get their names from infergraph and not from an installed seldon_core."""
    import seldon_core

    assert Path(str(seldon_core.__file__)).is_relative_to(compat.SHIM)
    spec = importlib.util.find_spec("seldon_core.user_model")
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).is_relative_to(compat.SHIM)


@cases
def test_imports_and_constructs(case: Case) -> None:
    """A file written against seldon_core is imported and its class constructed with its typed parameters."""
    user = _construct(case)
    offered = {name for name in dir(user) if name.startswith(case.method)}
    assert offered & {case.method, f"{case.method}_raw", f"{case.method}_rest"}


@cases
def test_answers_documents_by_the_one_call_methods(case: Case) -> None:
    """seldon_core.seldon_methods answers a document as the wrapper's REST server would."""
    from seldon_core import seldon_methods
    from seldon_core.metrics import SeldonMetrics
    from seldon_core.utils import json_to_feedback, seldon_message_to_json

    user, request = _construct(case), copy.deepcopy(case.request)
    if case.method == "send_feedback":
        answer = seldon_methods.send_feedback(user, json_to_feedback(request), "0", SeldonMetrics())
        assert protobuf_form(seldon_message_to_json(answer)) == case.answer
    elif case.status != 200:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - it may be a class of the user's own
            seldon_methods.predict(user, request, SeldonMetrics())
        assert getattr(caught.value, "status_code", None) == case.status
    else:
        assert getattr(seldon_methods, case.method)(user, request, SeldonMetrics()) == case.answer


@pytest.mark.parametrize("case", MESSAGES, ids=lambda case: case.id)
def test_answers_protobuf_by_the_one_call_methods(case: Case) -> None:
    """seldon_core.seldon_methods answers a protobuf message as the wrapper's gRPC server would."""
    from seldon_core import seldon_methods, utils
    from seldon_core.metrics import SeldonMetrics

    parse = utils.json_to_seldon_messages if case.method == "aggregate" else utils.json_to_seldon_message
    answer = getattr(seldon_methods, case.method)(_construct(case), parse(case.request), SeldonMetrics())
    assert utils.seldon_message_to_json(answer) == protobuf_form(case.grpc_answer or case.answer)


@cases
def test_answers_documents_as_a_unit(case: Case, tmp_path: Path) -> None:
    """Served as a predictive unit, each component gives its answer or error to the JSON request."""
    if case.method == "send_feedback":
        request: Any = JsonFeedback(json.dumps(case.request).encode())
    elif case.method == "aggregate":
        request = [JsonMessage.of_document(document) for document in case.request]
    else:
        request = JsonMessage(json.dumps(case.request).encode())
    answer = _asked_as_unit(case, request, Transport.REST, tmp_path)
    if isinstance(answer, ComponentError):
        assert _rest_error(answer) == (case.status, case.answer)
        return
    document = json.loads(json_codec.encode(answer))
    if case.method == "send_feedback":  # which went through protobuf: empty names may be left out
        assert protobuf_form(document) == case.answer
    else:
        assert document == case.answer


@cases
def test_answers_protobuf_as_a_unit(case: Case, tmp_path: Path) -> None:
    """Served as a predictive unit, each component gives the same answer or error to the protobuf request."""
    from seldon_core import utils

    if case.method == "send_feedback":
        request: Any = ProtoFeedback.of_proto(utils.json_to_feedback(case.request))
    elif case.method == "aggregate":
        request = [ProtoMessage.of_proto(utils.json_to_seldon_message(document)) for document in case.request]
    else:
        request = ProtoMessage.of_proto(utils.json_to_seldon_message(case.request))
    answer = _asked_as_unit(case, request, Transport.GRPC, tmp_path)
    if isinstance(answer, ComponentError):
        assert case.grpc_error in str(answer)
        return
    proto = prediction.SeldonMessage.FromString(proto_codec.encode(answer))
    assert json_format.MessageToDict(proto, descriptor_pool=prediction.POOL) == protobuf_form(
        case.grpc_answer or case.answer
    )


def _rest_error(error: ComponentError) -> tuple[int | None, Any]:
    """Status and document of a component's error, as the REST edge answers it."""
    if error.answer is not None:
        return error.answer[0], json.loads(error.answer[1])
    return error.status, {"status": {"code": -1, "info": str(error), "reason": error.reason, "status": 1}}


def _asked_as_unit(case: Case, request: Any, transport: Transport, folder: Path) -> Message | ComponentError:
    """The unit's answer to one request, or the error that the case expects."""

    async def ask() -> Message | ComponentError:
        settings = Settings(parameters=json.dumps(case.parameters))
        shared_metrics = SharedMetrics(folder, "test")
        unit = build(source_of(f"{FOLDER / case.file}:{case.name}"), settings, shared_metrics)
        await unit.start()
        try:
            return await unit.answer(Method(case.method), request, Context(transport))
        except ComponentError as error:
            if case.status == 200:
                raise
            return error
        finally:
            await unit.stop()
            shared_metrics.close()

    return asyncio.run(ask())
