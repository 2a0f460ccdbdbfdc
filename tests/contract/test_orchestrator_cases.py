"""The requests on which the reference's orchestrator was observed, over real sockets to real nodes.

`keep` holds exactly (bodies as JSON, numbers as doubles, texts in `status.info` free); where the reference crashes
or was judged wrong, EXPECTED says what holds here instead. What only an HTTP front can show (unknown paths, CORS and
other fixed headers) is asked of the edge in the end-to-end suite; EDGE_ONLY names those cases.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from contract.nodes import Nodes, Seen, answer_of, serving
from infergraph.errors import Fault, GraphError, PayloadError, RemoteError
from infergraph.graph import spec
from infergraph.graph.executor import Graph, GraphOptions
from infergraph.graph.meta import meta_mode
from infergraph.graph.remote import remote
from infergraph.graph.routers import builtin
from infergraph.graph.taps import sink_url
from infergraph.message import Context, Feedback, Message, Method, PredictiveUnit, Request, Transport
from infergraph.protocol.paths import Protocol, method_path
from infergraph.wire import json_codec
from infergraph.wire.json_codec import JsonFeedback, JsonMessage
from infergraph.wire.v2.json import decode
from infergraph.wire.v2.messages import InferMessage, NodeAnswer
from infergraph.wire.v2.records import Spelling

CASES = json.loads((Path(__file__).parent / "cases" / "orchestrator.json").read_text())
FAILURE = {"status": {"code": 500, "info": "*", "status": "FAILURE"}}
UNREADABLE = {"status": {"code": 400, "info": "*", "status": "FAILURE"}}
CALLED_R = [["r", "POST", "/route", '{"data":{"ndarray":[1]}}']]
PREDICTED = '{"data":{"ndarray":[1]}}'
METADATA = {
    "name": "a-name", "platform": "pl", "versions": ["v1"], "inputs": ["a-in"], "outputs": ["a-out"],
    "custom": {"k": "v"},
}  # fmt: skip
CHILD_METADATA = {"name": "p", "models": {"a": METADATA}, "graphinputs": ["a-in"], "graphoutputs": ["a-out"]}

# By case and step: what holds here where the reference crashes, or the decision left open was taken.
EXPECTED: dict[tuple[str, int], dict[str, Any]] = {
    ("A14b", 0): {"calls": [["a", "POST", "/predict", PREDICTED]]},  # child 0 alone, as the name says
    ("A14c", 0): {"status": 400, "body": UNREADABLE},  # the children's answers are no arrays to average
    **{
        (case, 0): {"status": 500, "body": FAILURE, "calls": CALLED_R}
        for case in ("B12", "B14", "B15", "B23", "B24", "B25", "B26", "B27", "B30", "B31")
    },
    ("B43", 0): {
        "status": 500,
        "body": FAILURE,
        "calls": [["r", "POST", "/route", PREDICTED], ["b", "POST", "/predict", PREDICTED]],
    },
    ("B43", 1): {"status": 200, "body": ""},
    ("B56", 0): {"status": 500, "body": FAILURE},
    ("C11", 0): {  # every 2xx is a success
        "status": 200,
        "content_type": "application/json",
        "body": {"by": "b", "path": "/predict", "in": {"ok": 1}},
        "calls": [["a", "POST", "/predict", PREDICTED], ["b", "POST", "/predict", '{"ok":1}']],
    },
    ("C13", 0): {"status": 500, "body": "<h1>no & bad</h1>"},  # a body that is no JSON is not rewritten
    ("D08", 0): {"calls": "r follows b"},  # the reward goes where the route says, whatever else is in the body
    ("D10", 0): {"status": 400, "body": UNREADABLE, "calls": []},
    ("D11", 0): {"status": 200, "body": "of r", "calls": "r alone"},
    ("D12", 0): {"status": 500, "body": FAILURE},
    ("D28", 0): {"status": 500, "body": FAILURE, "calls": "perhaps b"},
    ("D28", 1): {"status": 200, "body": ""},
    ("E20", 0): {"status": 200, "body": CHILD_METADATA, "calls": [["a", "GET", "/metadata", ""]]},
    ("E22", 0): {
        "status": 200,
        "body": {
            **CHILD_METADATA,
            "models": {"a": METADATA, "b": {**METADATA, "name": "b-name", "inputs": ["b-in"], "outputs": ["b-out"]}},
        },
        "calls": [["a", "GET", "/metadata", ""], ["b", "GET", "/metadata", ""]],
    },
    ("F03", 0): {"body": "as the node answered"},  # "false" is a word for no
    ("F10", 0): {
        "status": 500,
        "body": {"meta": {}, "status": {"code": 500}},
    },
    ("V04", 1): {"status": 500, "body": FAILURE},
    ("Y07", 0): {"status": 503},
}
EDGE_ONLY = {"R01"}
REFUSED_AT_START = {"L19"}
OWN_HEADERS = {"host", "user-agent", "content-length", "accept-encoding", "connection"}


class Step(NamedTuple):
    """What came back for one request."""

    status: int
    content_type: str | None
    body: bytes


class Recorder:
    """A tap that keeps what it is shown, as the reference's payload log does."""

    def __init__(self, node: spec.Node, url: str, log: list[dict[str, str]]) -> None:
        self._node = node
        self._url = url
        self._log = log

    def request(self, message: Message, context: Context) -> None:
        self._keep("Request", message)

    def response(self, message: Message, context: Context) -> None:
        self._keep("Response", message)

    def feedback(self, feedback: Any, context: Context) -> None:
        self._keep("Feedback", feedback)

    def _keep(self, kind: str, carrier: Any) -> None:
        self._log.append(
            {
                "type": kind,
                "model": self._node.name,
                "body": carrier.raw.decode(),
                "url": self._url,
                "content_type": carrier.content_type,
            }
        )


class Here(PredictiveUnit):
    """A node of a case in this process: it answers and records as the server of its kind does, without sockets."""

    def __init__(self, name: str, kind: Any, nodes: Nodes) -> None:
        self.name = name
        self._kind = (
            {key: value for key, value in kind.items() if key != "delay_ms"} if isinstance(kind, dict) else kind
        )
        self._nodes = nodes

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        if isinstance(request, Message):
            body = json_codec.encode(request)
        elif isinstance(request, Feedback):
            body = json_codec.encode_feedback(request)
        else:
            body = json_codec.encode_messages(request)
        return self._answer("POST", method_path(Protocol.SELDON, method, ""), body)

    async def health(self, context: Context) -> Message:
        return self._answer("GET", "/health/status", b"")

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        return self._answer("GET", "/metadata", b"").document

    def _answer(self, verb: str, path: str, body: bytes) -> JsonMessage:
        self._nodes.record(Seen(self.name, verb, path, body.decode(), ()))
        answer = answer_of(self._kind, self.name, path, body, [])
        kind = answer.headers["Content-Type"]
        if answer.status != 200:
            raise RemoteError(f"status code {answer.status}", status=answer.status, body=answer.body, content_type=kind)
        return JsonMessage(answer.body, kind)


class Case:
    """A case's graph over its nodes, at their ports or in this process."""

    def __init__(self, case: dict[str, Any], nodes: Nodes, *, in_process: bool = False) -> None:
        self.id = case["id"]
        self.nodes = nodes
        self.logged: list[dict[str, str]] = []
        environment = case.get("env", {})
        args = case.get("args", [])
        root = _with_endpoints(_node(case), nodes.ports)
        deployment = spec.Deployment(protocol=case.get("protocol", ""))
        annotations = (
            {"seldon.io/rest-timeout": args[args.index("--rest_timeout") + 1]} if "--rest_timeout" in args else {}
        )
        options = remote.options_for(
            deployment,
            annotations,
            message_limit_bytes=1 << 20,
            full_health_checks="--full_health_checks=true" in args,
        )
        units = {}
        for node in root.walk():
            if builtin.applies(node):
                units[node.name] = builtin.build(node, random.Random(1))
            elif in_process and node.name in case["nodes"]:
                units[node.name] = Here(node.name, case["nodes"][node.name], nodes)
            elif node.endpoint is not None:
                units[node.name] = remote.build(node, options, relays=())
        taps = {
            node.name: Recorder(
                node, sink_url(node, environment.get("REQUEST_LOGGER_DEFAULT_ENDPOINT", "")), self.logged
            )
            for node in root.walk()
            if node.logger is not None
        }
        mode = meta_mode(environment.get("SELDON_ENABLE_ROUTING_INJECTION", ""), is_ours=False)
        self.graph = Graph(root, units, GraphOptions(meta=mode), name="p", taps=taps)


def _node(case: dict[str, Any]) -> spec.Node:
    document = {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": "sdep"},
        "spec": {"predictors": [{"name": "p", "graph": case["graph"]}]},
    }
    (deployment,) = spec.read(json.dumps(document), source="case.json")
    return deployment.predictors[0].graph


def _with_endpoints(node: spec.Node, ports: dict[str, int]) -> spec.Node:
    endpoint = node.endpoint
    if node.name in ports:
        port = ports[node.name]
        endpoint = spec.Endpoint(service_host="127.0.0.1", service_port=port, http_port=port)
    return replace(node, endpoint=endpoint, children=tuple(_with_endpoints(child, ports) for child in node.children))


async def ask(case: Case, request: dict[str, Any]) -> Step:
    """The graph's answer to one request of a case. An HTTP front would stand here."""
    headers = _headers(request)
    puid = dict(reversed(headers)).get(b"seldon-puid", b"generated").decode()
    context = Context(Transport.REST, headers, puid)
    try:
        return await _ask(case.graph, request, context)
    except RemoteError as fault:
        if fault.status is not None and fault.body is not None:
            return Step(fault.status, fault.content_type, fault.body)
        return Step(fault.status or 500, "application/json", _failure(500, fault))
    except PayloadError as fault:
        return Step(400, "application/json", _failure(400, fault))
    except Fault as fault:
        return Step(500, "application/json", _failure(500, fault))


async def _ask(graph: Graph, request: dict[str, Any], context: Context) -> Step:
    path, body = request["path"], (request["body"] or "").encode()
    content_type = dict(context.headers).get(b"content-type", b"").decode()
    if path == "/live":
        return Step(200, None, b"")
    if path in ("/ready", "/v2/health/ready"):
        return Step(200 if await graph.ready() else 503, None, b"")
    if path.startswith("/api/v1.0/status/"):
        return _step(await graph.status(path.rpartition("/")[2], context))
    if path == "/api/v1.0/metadata":
        return Step(200, "application/json", json.dumps(dict(await graph.metadata())).encode())
    if path.startswith("/api/v1.0/metadata/"):
        metadata = await graph.metadata(path.rpartition("/")[2])
        return Step(200, "application/json", json.dumps(dict(metadata)).encode())
    if path.endswith("/feedback"):
        return _step(await graph.answer(Method.SEND_FEEDBACK, JsonFeedback(body, content_type), context))
    assert path.endswith(("/predictions", "/v2/models/infer", "/v1/models/:predict"))
    if path.startswith("/v2/"):
        request: Message = InferMessage(body, decode, spelling=Spelling(content_type=content_type))
    else:
        request = JsonMessage(body, content_type)
    return _step(await graph.answer(Method.PREDICT, request, context))


def _step(message: Message) -> Step:
    if isinstance(message, JsonMessage | NodeAnswer) and message.raw is not None:
        return Step(200, message.content_type, message.raw)
    return Step(200, "application/json", json_codec.encode(message))


def _failure(code: int, fault: Fault) -> bytes:
    return json.dumps({"status": {"code": code, "info": str(fault), "status": "FAILURE"}}).encode()


def _headers(request: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    headers = []
    for name, values in request["headers"].items():
        for value in values if isinstance(values, list) else [values]:
            headers += [(name.lower().encode(), value.encode())]
    if not any(name == b"content-type" for name, _ in headers):
        headers.append((b"content-type", b"application/json"))
    return headers


@contextmanager
def running(case: dict[str, Any]) -> Iterator[Case]:
    with serving(case["nodes"], tuple(case.get("down", ()))) as nodes:
        yield Case(case, nodes)


def _makes_sense_in_process(case: dict[str, Any]) -> bool:
    """Whether a case is about the graph, and not about the hop to a node."""
    about_hops = ("B57", "C10", "C11", "C12", "C13", "C15", "C16", "C18", "H", "T", "V", "Y", "A22")
    return not case["id"].startswith(about_hops) and case["id"] not in EDGE_ONLY | REFUSED_AT_START


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["id"] not in EDGE_ONLY | REFUSED_AT_START], ids=lambda case: case["id"]
)
def test_case(case: dict[str, Any]) -> None:
    """The answer, the calls that nodes got and the payloads logged are those observed, or what EXPECTED says."""
    with running(case) as run:
        check(case, run)


@pytest.mark.parametrize("case", list(filter(_makes_sense_in_process, CASES)), ids=lambda case: case["id"])
def test_case_in_process(case: dict[str, Any]) -> None:
    """The same holds with the nodes in this process: where a node runs changes nothing that a client sees."""
    check(case, Case(case, Nodes(), in_process=True))


def check(case: dict[str, Any], run: Case) -> None:
    async def steps() -> list[tuple[Step, list[Any]]]:
        async with run.graph:
            return [(await ask(run, step["request"]), run.nodes.calls()) for step in case["steps"]]

    for number, (step, (answer, calls)) in enumerate(zip(case["steps"], asyncio.run(steps()), strict=True)):
        expected = {**step["observed"], **EXPECTED.get((case["id"], number), {})}
        expected = _spelt_out(case["id"], expected, step, case)
        assert "status" in expected, "a crash of the reference needs an expectation here"
        assert answer.status == expected["status"], answer.body
        assert _value(answer.body) == _value(expected["body"])
        if answer.status == 200 and expected.get("content_type"):
            assert answer.content_type == expected["content_type"]
        got = [(call.node, call.method, call.path, call.body) for call in calls]
        assert _comparable(got, case) == _comparable(expected["calls"], case)
        _check_headers(expected.get("call_headers", []), calls)
    if "payload_logs" in case:
        assert run.logged == case["payload_logs"]


def test_cases_refused_at_start() -> None:
    """A logger address that cannot be read is one clear error before any request."""
    (case,) = [case for case in CASES if case["id"] in REFUSED_AT_START]
    with pytest.raises(GraphError, match=r"logger\.url of node 'a' is 'http://\[::1'"), running(case):
        pass


def _spelt_out(name: str, expected: dict[str, Any], step: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """The expectations that quote the request."""
    sent = step["request"]["body"]
    if expected["calls"] == "r follows b":
        expected["calls"] = [[node, "POST", "/send-feedback", sent] for node in ("b", "r")]
    elif expected["calls"] == "r alone":
        expected["calls"] = [["r", "POST", "/send-feedback", sent]]
    elif expected["calls"] == "perhaps b":  # beside the node whose route is refused
        expected["calls"] = [["b", "POST", "/send-feedback", sent]]
    if expected.get("body") == "of r":
        expected["body"] = {"by": "r", "path": "/send-feedback", "in": json.loads(sent)}
    elif expected.get("body") == "as the node answered":
        expected["body"] = case["nodes"]["b"]["body"]
    return expected


def _comparable(calls: Any, case: dict[str, Any]) -> Counter[Any]:
    """Calls in any order, since siblings overlap; bodies to the letter, save where the graph has to rewrite them."""
    rewritten = "env" in case or "protocol" in case
    return Counter((*call[:3], json.dumps(_value(call[3]), sort_keys=True) if rewritten else call[3]) for call in calls)


def _value(body: Any) -> Any:
    """A body as JSON with doubles for all numbers and free error texts; bytes that are no JSON stay text."""
    if isinstance(body, bytes | str):
        text = body.decode("utf-8") if isinstance(body, bytes) else body
        try:
            body = json.loads(text, parse_int=float)
        except ValueError:
            return text
    status = body.get("status") if isinstance(body, dict) else None
    if isinstance(status, dict) and status.get("status") == "FAILURE" and "info" in status:
        return {**body, "status": {**status, "info": "*", "code": float(status["code"])}}
    return _doubles(body)


def _doubles(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _doubles(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_doubles(entry) for entry in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _check_headers(expected: list[Any], calls: list[Any]) -> None:
    """The headers that nodes got, save those that each hop writes for itself and generated ids."""
    for (node, wanted), call in zip(expected, calls, strict=bool(expected)):
        assert call.node == node
        got = [(name.lower(), value) for name, value in call.headers if name.lower() not in OWN_HEADERS]
        want = [(name.lower(), value) for name, value in wanted if name.lower() not in OWN_HEADERS]
        generated = {"seldon-puid"} if ("seldon-puid", "generated") in got else set()
        assert Counter(h for h in got if h[0] not in generated) == Counter(h for h in want if h[0] not in generated)
        assert {name for name, _ in got} == {name for name, _ in want}


def test_the_clients_own_agent_and_tokens_travel() -> None:
    """User-Agent, Authorization and cookies of the client reach every node, which the case's filter leaves out."""
    (case,) = [case for case in CASES if case["id"] == "H01"]
    with running(case) as run:

        async def step() -> None:
            async with run.graph:
                await ask(run, case["steps"][0]["request"])

        asyncio.run(step())
        for call in run.nodes.calls():
            headers = {name.lower(): value for name, value in call.headers}
            assert headers["user-agent"] == "me/1"
            assert headers["accept-encoding"].split(",")[0] == "identity"
            assert headers["host"] == f"127.0.0.1:{run.nodes.ports[call.node]}"
            assert "connection" not in headers
