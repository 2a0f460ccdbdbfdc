"""Who may do what: each edge, each way of giving a key, each scope, each state of a key."""

from __future__ import annotations

import base64
import io
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import validate

from e2e.process_run import wait_for
from infergraph.auth import keys
from infergraph.client import Client
from infergraph.errors import Forbidden, QuotaExceeded, RemoteError, TaskConflict, Unauthenticated, UnknownTask
from infergraph.protocol.callers import Limits, Scope
from infergraph.protocol.services import INFERENCE
from infergraph.wire import prediction
from infergraph.wire.prediction import message_class
from served import served
from token_issuer import AUDIENCE, issuing

CODE = """
class Doubler:
    def predict(self, X, names=None):
        return X * 2

    def predict_stream(self, X, names=None):
        while True:
            yield X * 2
"""
GRAPH = """
spec: {name: g, predictors: [{name: p, graph: {name: doubler, type: MODEL, component: "door_parts.py:Doubler"}}]}
"""
PREDICT = {"data": {"ndarray": [[1.0, 2.0]]}}
FEEDBACK = {"request": PREDICT, "reward": 1.0}
INFER = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}]}

Headers = Mapping[str, str]
Ask = Callable[["House", Headers], int]


class House:
    """A component and a graph that ask for keys, and the keys of the suite."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        (folder / "door_parts.py").write_text(CODE)
        (folder / "graph.yaml").write_text(GRAPH)
        self.file = folder / "keys.toml"
        self.key = {scope: keys.create(self.file, f"only-{scope.value}", [scope]) for scope in Scope}
        self.expired = keys.create(self.file, "old", list(Scope), expires=datetime(2020, 1, 1, tzinfo=UTC))
        self.revoked = keys.create(self.file, "gone", list(Scope))
        settings: dict[str, Any] = {"folder": folder, "keys": str(self.file), "data_dir": str(folder / "data")}
        self.component = stack.enter_context(
            served("door_parts.py:Doubler", tasks=True, model_control="on", **settings)
        )
        self.graph = stack.enter_context(served(str(folder / "graph.yaml"), **settings))
        keys.revoke(self.file, "gone")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Both servers, running."""
    with ExitStack() as stack:
        yield House(tmp_path_factory.mktemp("access"), stack)


def rest(method: str, path: str, body: Any = None, *, graph: bool = False) -> Ask:
    def ask(house: House, headers: Headers) -> int:
        server = house.graph if graph else house.component
        return server.ask(method, path, body, headers).status

    return ask


def metrics_port(house: House, headers: Headers) -> int:
    return house.component.ask("GET", "/metrics", None, headers, port=house.component.metrics_port).status


CODES = {
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
}


def over_grpc(path: str, message: Callable[[], Any], answer: Callable[[], Any], *, graph: bool = False) -> Ask:
    def ask(house: House, headers: Headers) -> int:
        server = house.graph if graph else house.component
        metadata = tuple((name.lower(), value) for name, value in headers.items())
        with server.channel() as channel:
            call = channel.unary_unary(path, lambda sent: sent.SerializeToString(), answer().FromString)
            try:
                call(message(), timeout=30, metadata=metadata)
            except grpc.RpcError as error:
                return CODES.get(error.code(), 500)
        return 200

    return ask


def seldon_message() -> Any:
    return prediction.SeldonMessage(strData="x")


def infer_request() -> Any:
    return message_class("inference.ModelInferRequest").FromString(b"")


EDGES: dict[str, tuple[Scope, Ask]] = {
    "component predict": (Scope.PREDICT, rest("POST", "/predict", PREDICT)),
    "component external": (Scope.PREDICT, rest("POST", "/api/v1.0/predictions", PREDICT)),
    "component feedback": (Scope.FEEDBACK, rest("POST", "/send-feedback", FEEDBACK)),
    "component metadata": (Scope.PREDICT, rest("GET", "/metadata")),
    "component health": (Scope.PREDICT, rest("GET", "/health/status")),
    "graph predict": (Scope.PREDICT, rest("POST", "/api/v1.0/predictions", PREDICT, graph=True)),
    "graph feedback": (Scope.FEEDBACK, rest("POST", "/api/v1.0/feedback", FEEDBACK, graph=True)),
    "v2 infer": (Scope.PREDICT, rest("POST", "/v2/models/Doubler/infer", INFER)),
    "v2 load": (Scope.ADMIN, rest("POST", "/v2/repository/models/none/load", {})),
    "v2 statistics": (Scope.METRICS, rest("GET", "/v2/models/Doubler/stats")),
    "v2 metadata": (Scope.PREDICT, rest("GET", "/v2/models/Doubler")),
    "tasks list": (Scope.TASKS, rest("GET", "/api/v1.0/tasks")),
    "task state": (Scope.TASKS, rest("GET", "/tasks/none")),
    "files": (Scope.TASKS, rest("GET", "/v1/files")),
    "batches": (Scope.TASKS, rest("GET", "/v1/batches")),
    "task engine": (Scope.TASKS, rest("GET", "/api/v1.0/task-engine")),
    "console": (Scope.CONSOLE, rest("GET", "/console/")),
    "console part": (Scope.CONSOLE, rest("GET", "/console/live")),
    "metrics": (Scope.METRICS, rest("GET", "/metrics")),
    "metrics port": (Scope.METRICS, metrics_port),
    "grpc predict": (Scope.PREDICT, over_grpc("/seldon.protos.Model/Predict", seldon_message, seldon_message)),
    "grpc graph": (
        Scope.PREDICT,
        over_grpc("/seldon.protos.Seldon/Predict", seldon_message, seldon_message, graph=True),
    ),
    "grpc feedback": (
        Scope.FEEDBACK,
        over_grpc("/seldon.protos.Model/SendFeedback", lambda: prediction.Feedback(reward=1.0), seldon_message),
    ),
    "grpc v2": (Scope.PREDICT, over_grpc(f"/{INFERENCE}/ModelInfer", infer_request, infer_request)),
}


def basic(user: str, password: str) -> Headers:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


WAYS: dict[str, Callable[[str], Headers]] = {
    "bearer": lambda key: {"Authorization": f"Bearer {key}"},
    "bearer in lower case": lambda key: {"authorization": f"bearer  {key}"},
    "x-api-key": lambda key: {"X-API-Key": key},
    "x-api-key beside a proxy's": lambda key: {"X-API-Key": key, "Authorization": "Bearer of-the-proxy"},
    "basic, the key as user": lambda key: basic(key, ""),
    "basic, the key as password": lambda key: basic("anybody", key),
}
WRONG: dict[str, Callable[[House], Headers]] = {
    "missing": lambda house: {},
    "empty": lambda house: {"Authorization": "Bearer "},
    "another scheme": lambda house: {"Authorization": "Negotiate abc"},
    "no base64": lambda house: {"Authorization": "Basic %%%"},
    "unknown": lambda house: {"X-API-Key": "ig_unknown"},
    "unknown as Basic": lambda house: basic("ig_unknown", ""),
    "the hash": lambda house: {"X-API-Key": keys.read(house.file)[0].sha256},
    "cut short": lambda house: {"X-API-Key": house.key[Scope.ADMIN][:-1]},
    "expired": lambda house: {"X-API-Key": house.expired},
    "revoked": lambda house: {"Authorization": f"Bearer {house.revoked}"},
}


@pytest.mark.parametrize("edge", EDGES)
def test_a_key_opens_what_its_scope_covers(house: House, edge: str) -> None:
    """At each edge the key of the scope and the key of admin are let in, each given in each way; others get 403."""
    needed, ask = EDGES[edge]
    for way, headers in WAYS.items():
        assert ask(house, headers(house.key[needed])) not in (401, 403), way
        assert ask(house, headers(house.key[Scope.ADMIN])) not in (401, 403), way
    for scope in set(Scope) - {needed, Scope.ADMIN}:
        assert ask(house, WAYS["bearer"](house.key[scope])) == 403, scope


@pytest.mark.parametrize("edge", EDGES)
def test_without_a_valid_key_nothing_opens(house: House, edge: str) -> None:
    """At each edge a key that is missing, unreadable, unknown, expired or revoked gets 401."""
    _, ask = EDGES[edge]
    assert {why: ask(house, headers(house)) for why, headers in WRONG.items()} == dict.fromkeys(WRONG, 401)


@pytest.mark.parametrize("path", ["/live", "/ready", "/health/ping", "/api/v1.0/status", "/status", "/v2/health/ready"])
def test_probes_are_open_to_everybody(house: House, path: str) -> None:
    """Probes need no key, and take none amiss."""
    assert house.component.get(path).status == 200
    assert house.component.get(path, **WRONG["unknown"](house)).status == 200


@pytest.mark.parametrize(
    "path", ["/openapi.json", "/docs", "/nowhere", "/console-of-another", "/v2/nowhere", "/v2/docs/dataplane.json"]
)
def test_documents_and_unknown_paths_are_for_callers(house: House, path: str) -> None:
    """A stranger learns neither the documents nor which paths there are; any caller does."""
    assert house.component.get(path).status == 401
    assert house.component.get(path, **WAYS["bearer"](house.key[Scope.METRICS])).status in (200, 404)


def test_refusals_have_the_form_of_their_face(house: House) -> None:
    """A component's envelope, a graph's body, the open inference protocol's error; each with a challenge."""
    component, graph = house.component.post("/predict", PREDICT), house.graph.post("/api/v1.0/predictions", PREDICT)
    v2, tasks = house.component.post("/v2/models/Doubler/infer", INFER), house.component.get("/tasks/none")
    assert component.json["status"] == {**component.json["status"], "code": -1, "reason": "UNAUTHENTICATED"}
    assert graph.json["status"]["code"] == 401
    assert graph.headers["infergraph-reason"] == "UNAUTHENTICATED"
    assert list(v2.json) == ["error"]
    assert tasks.json["status"]["reason"] == "UNAUTHENTICATED"
    assert {reply.headers["www-authenticate"].split()[0] for reply in (component, graph, v2, tasks)} == {"Bearer"}


def test_unknown_expired_and_revoked_keys_get_one_answer(house: House) -> None:
    """Nobody learns from an answer that a key once was one."""
    states = ("unknown", "expired", "revoked", "the hash", "cut short")
    bodies = {house.component.post("/predict", PREDICT, **WRONG[state](house)).body for state in states}
    assert len(bodies) == 1


def test_a_preflight_needs_no_key(house: House) -> None:
    """A browser sends no credentials with a pre-flight, to predictions or to tasks."""
    asked = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    assert house.component.ask("OPTIONS", "/predict", None, asked).status == 200
    assert house.component.ask("OPTIONS", "/tasks", None, asked).status == 200


def test_a_large_body_without_a_key_is_not_kept(house: House) -> None:
    """A stranger's body is refused by its head, and discarded."""
    reply = house.component.ask("POST", "/predict", b"x" * (8 << 20), {"Content-Type": "application/json"})
    assert reply.status == 401


@given(
    name=st.sampled_from(["Authorization", "X-API-Key"]),
    value=st.binary(max_size=200).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"").decode("latin-1")),
    scheme=st.sampled_from(["", "Basic ", "Bearer ", "basic", "BEARER\t"]),
)
def test_no_header_is_a_500(house: House, name: str, value: str, scheme: str) -> None:
    """Whatever bytes a header of credentials has, the answer is 401 or the parser's 400."""
    assert house.component.ask("GET", "/metadata", None, {name: scheme + value}).status in (400, 401)


def test_a_new_key_is_known_and_a_revoked_one_is_not_from_the_next_request_on(house: House) -> None:
    """The file is read again when it changes; a key changed over under load loses no request."""
    first = keys.create(house.file, "changing", [Scope.PREDICT])
    with Client(f"http://127.0.0.1:{house.component.http_port}", key=first) as client:
        assert client.predict([[1.0]]).tolist() == [[2.0]]
        second = keys.create(house.file, "changing", [Scope.PREDICT])
        assert client.predict([[1.0]]).tolist() == [[2.0]]
        first_id = next(key.id for key in keys.read(house.file) if key.name == "changing")
        keys.revoke(house.file, first_id)
        with pytest.raises(Unauthenticated):
            client.predict([[1.0]])
    with Client(f"grpc://127.0.0.1:{house.component.grpc_port}", key=second) as client:
        assert client.predict([[1.0]]).tolist() == [[2.0]]
        keys.revoke(house.file, "changing")
        with pytest.raises(Unauthenticated):
            client.predict([[1.0]])


@pytest.mark.parametrize(("scheme", "protocol"), [("http", "seldon"), ("http", "v2"), ("grpc", "v2")])
def test_a_stream_ends_at_the_part_after_its_key_was_revoked(house: House, scheme: str, protocol: str) -> None:
    """A model that answers for ever stops answering a caller whose key is taken back."""
    key = keys.create(house.file, "streaming", [Scope.PREDICT])
    port = house.component.http_port if scheme == "http" else house.component.grpc_port
    with Client(f"{scheme}://127.0.0.1:{port}", key=key, protocol=protocol) as client:
        parts = client.stream([[1.0]])
        next(parts)
        keys.revoke(house.file, "streaming")
        with pytest.raises((Unauthenticated, RemoteError), match="the key is not valid"):
            list(parts)


def test_the_client_takes_a_key_from_the_argument_the_url_and_the_environment(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order, and never over credentials that are given otherwise."""
    key, port = house.key[Scope.PREDICT], house.component.http_port
    with Client(f"http://{key}:@127.0.0.1:{port}") as client:
        assert client.predict([[1.0]]).tolist() == [[2.0]]
    with Client(f"http://127.0.0.1:{port}", headers={"Authorization": "Bearer other"}, key=key) as client:
        assert client.predict([[1.0]]).tolist() == [[2.0]]
    monkeypatch.setenv("INFERGRAPH_KEY", key)
    with Client(f"http://127.0.0.1:{port}") as client:
        assert client.predict([[1.0]]).tolist() == [[2.0]]
        with pytest.raises(Forbidden):
            client.feedback(1.0)
    with Client(f"http://127.0.0.1:{port}", headers={"X-API-Key": "other"}) as client, pytest.raises(Unauthenticated):
        client.predict([[1.0]])


def test_a_task_belongs_to_the_caller_that_made_it(house: House) -> None:
    """Others see no such task, whatever they ask; they cannot take its id, nor its idempotency key; admin sees it."""
    mine, theirs = (keys.create(house.file, name, [Scope.TASKS, Scope.CONSOLE]) for name in ("mine", "theirs"))
    url = f"http://127.0.0.1:{house.component.http_port}"
    once = {"Idempotency-Key": "the same"}
    with Client(url, key=mine, headers=once) as owner, Client(url, key=theirs, headers=once) as other:
        task = owner.tasks.submit(io.BytesIO(b"{}\n"), id="owned")
        assert [each.id for each in owner.tasks.list()] == ["owned"]
        assert list(other.tasks.list()) == []
        for ask in (other.tasks.show, other.tasks.cancel, other.tasks.delete, other.tasks.retry, other.tasks.wait):
            with pytest.raises(UnknownTask):
                ask("owned")
        with pytest.raises(TaskConflict):
            other.tasks.submit(io.BytesIO(b"{}\n"), id="owned")
        assert other.tasks.submit(io.BytesIO(b"{}\n"), id="another").id == "another"
        assert other.tasks.prune(older_than_s=0) == 0
        assert owner.tasks.show("owned").seq == task.seq
    as_other = WAYS["bearer"](theirs)
    assert house.component.get("/tasks/owned", **as_other).json == {"status": -1}
    assert house.component.get("/tasks/owned", **WAYS["bearer"](mine)).json == {"status": 1}
    refused = {"/tasks/owned/results", "/api/v1.0/tasks/owned/events", "/api/v1.0/tasks/owned/errors",
               "/console/task?id=owned"}  # fmt: skip
    assert {house.component.get(path, **as_other).status for path in refused} == {404}
    assert house.component.ask("DELETE", "/tasks/owned", None, as_other).status == 404
    listed = house.component.get("/api/v1.0/tasks", **as_other).json
    assert ([each["id"] for each in listed["tasks"]], listed["counts"]["waiting"]) == (["another"], 1)
    assert b"owned" not in house.component.get("/console/tasks", **as_other).body
    with Client(url, key=house.key[Scope.ADMIN]) as admin:
        assert {"owned", "another"} <= {each.id for each in admin.tasks.list()}
        admin.tasks.cancel("owned")


def test_files_and_batches_belong_to_the_caller_that_made_them(house: House) -> None:
    """Others see none of them, and cannot work on them; a stranger is told so in the form of OpenAI's errors."""
    url = f"http://127.0.0.1:{house.component.http_port}/v1"
    mine, theirs = (keys.create(house.file, name, [Scope.TASKS]) for name in ("its-owner", "not-its-owner"))
    line = b'{"custom_id": "a", "method": "POST", "url": "/predict", "body": {}}'
    with (
        openai.OpenAI(base_url=url, api_key=mine, max_retries=0) as owner,
        openai.OpenAI(base_url=url, api_key=theirs, max_retries=0) as other,
        openai.OpenAI(base_url=url, api_key="none", max_retries=0) as stranger,
    ):
        file = owner.files.create(file=("in.jsonl", line), purpose="batch")
        made: Any = {"endpoint": "/predict", "completion_window": "24h"}
        batch = owner.batches.create(input_file_id=file.id, **made)
        assert [each.id for each in owner.batches.list()] == [batch.id]
        assert [*other.files.list(), *other.batches.list()] == []
        asks: list[tuple[Any, str]] = [
            (other.files.retrieve, file.id),
            (other.files.content, file.id),
            (other.files.delete, file.id),
            (other.batches.retrieve, batch.id),
            (other.batches.cancel, batch.id),
        ]
        for ask, id in asks:
            with pytest.raises(openai.NotFoundError):
                ask(id)
        with pytest.raises(openai.BadRequestError, match=file.id):
            other.batches.create(input_file_id=file.id, **made)
        with pytest.raises(openai.BadRequestError, match="endpoint"):  # whoever may not send rewards
            owner.batches.create(input_file_id=file.id, **{**made, "endpoint": "/send-feedback"})
        with pytest.raises(openai.AuthenticationError) as refused:
            stranger.batches.list()
        assert refused.value.code == "invalid_api_key"
        owner.batches.cancel(batch.id)


def test_a_changed_key_keeps_its_tasks(house: House) -> None:
    """Tasks are the caller's, by name, whichever of its keys made them."""
    first, second = (keys.create(house.file, "keeping", [Scope.TASKS]) for _ in range(2))
    url = f"http://127.0.0.1:{house.component.http_port}"
    with Client(url, key=first) as client:
        client.tasks.submit(io.BytesIO(b"{}\n"), id="kept")
    with Client(url, key=second) as client:
        assert client.tasks.show("kept").id == "kept"
        client.tasks.cancel("kept")


BROWSER = {"Accept": "text/html,*/*", "Sec-Fetch-Site": "same-origin"}


def signed_in(house: House, key: str) -> dict[str, str]:
    """The headers of a browser after it has signed in."""
    form = {**BROWSER, "Content-Type": "application/x-www-form-urlencoded"}
    reply = house.component.ask("POST", "/console/sign-in", f"key={key}".encode(), form)
    assert (reply.status, reply.headers["location"]) == (303, "./")
    cookie = reply.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in cookie.split(";")}
    assert key not in cookie
    return {**BROWSER, "Cookie": f"theme=dark; {cookie.partition(';')[0]}"}


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("/", "console/sign-in"),
        ("/console/", "../console/sign-in"),
        ("/console/tasks?x=1", "../console/sign-in"),
        ("/console/task/a/b", "../../../console/sign-in"),
    ],
)
def test_a_browser_is_sent_to_sign_in(house: House, path: str, to: str) -> None:
    """A page leads there, by a relative link; that page and its styles are open, and show nothing of the server."""
    reply = house.component.get(path, **BROWSER)
    assert (reply.status, reply.headers["location"]) == (303, to)
    page = house.component.get("/console/sign-in", **BROWSER)
    assert (page.status, b"password" in page.body, b"Doubler" in page.body) == (200, True, False)
    assert house.component.get("/console/static/console.css", **BROWSER).status == 200
    part = house.component.get("/console/live", **BROWSER, **{"HX-Request": "true"})
    assert (part.status, part.headers["hx-redirect"]) == (401, "sign-in")


def test_a_signed_in_browser_may_do_what_its_key_may(house: House) -> None:
    """Pages and the calls of their scripts go by the cookie; scopes hold; pages of other sites gain nothing."""
    key = keys.create(house.file, "looking", [Scope.CONSOLE, Scope.PREDICT])
    browser = signed_in(house, key)
    assert house.component.get("/console/", **browser).status == 200
    assert house.component.post("/predict", PREDICT, **browser).status == 200
    assert house.component.post("/send-feedback", FEEDBACK, **browser).status == 403
    assert house.component.get("/api/v1.0/tasks", **browser).status == 403
    for site in ("cross-site", "same-site"):
        assert house.component.post("/predict", PREDICT, **{**browser, "Sec-Fetch-Site": site}).status == 401
    without = {name: value for name, value in browser.items() if name != "Sec-Fetch-Site"}
    assert house.component.post("/predict", PREDICT, **without, Origin="https://evil.example").status == 401
    keys.revoke(house.file, "looking")
    assert house.component.get("/console/", **browser).status == 303


def test_signing_out_takes_the_cookie_back(house: House) -> None:
    """The browser forgets it."""
    browser = signed_in(house, house.key[Scope.ADMIN])
    reply = house.component.ask("POST", "/console/sign-out", b"", browser)
    assert (reply.status, "Max-Age=0" in reply.headers["set-cookie"]) == (303, True)
    assert house.component.ask("POST", "/console/sign-out", b"", {"Sec-Fetch-Site": "cross-site"}).status == 403


@pytest.mark.parametrize(("key", "status"), [("ig_wrong", 401), ("", 401), ("%ff", 401)])
def test_a_wrong_key_signs_nobody_in(house: House, key: str, status: int) -> None:
    """The page says so, and sets no cookie; so does a key without the scope; forms of other sites are refused."""
    form = {**BROWSER, "Content-Type": "application/x-www-form-urlencoded"}
    reply = house.component.ask("POST", "/console/sign-in", f"key={key}".encode(), form)
    assert (reply.status, "set-cookie" in reply.headers) == (status, False)
    lacking = house.component.ask("POST", "/console/sign-in", f"key={house.key[Scope.PREDICT]}".encode(), form)
    assert (lacking.status, "set-cookie" in lacking.headers) == (403, False)
    foreign = {**form, "Sec-Fetch-Site": "cross-site"}
    assert house.component.ask("POST", "/console/sign-in", b"key=x", foreign).status == 403
    assert house.component.ask("POST", "/console/sign-in", b"key=" + b"x" * 100_000, form).status == 413


def limited(house: House, name: str, *scopes: Scope, **limits: int) -> str:
    return keys.create(house.file, name, scopes, limits=Limits(**limits))


@pytest.mark.parametrize("path", ["/metadata", "/v2/models/Doubler", "/api/v1.0/tasks"])
def test_a_quota_of_requests_is_told_and_kept(house: House, path: str) -> None:
    """Answers say what is left; above it 429 says when there is more, in each face's form."""
    headers = WAYS["bearer"](limited(house, f"slow{path.replace('/', '-')}"[:40], *Scope, requests_per_minute=3))
    replies = [house.component.get(path, **headers) for _ in range(7)]  # over the turn of a minute, too
    assert {reply.status for reply in replies} == {200, 429}
    refused = next(reply for reply in replies if reply.status == 429)
    assert replies[0].headers["ratelimit-limit"] == "3"
    assert int(replies[0].headers["ratelimit-remaining"]) == 2
    assert (refused.headers["ratelimit-remaining"], 0 < int(refused.headers["retry-after"]) <= 60) == ("0", True)
    assert b"has used up its 3 requests of this minute" in refused.body


def test_a_quota_holds_over_grpc_and_is_one_with_rest(house: House) -> None:
    """RESOURCE_EXHAUSTED, and the client raises what it is."""
    key = limited(house, "slow-grpc", Scope.PREDICT, requests_per_minute=2)
    headers = WAYS["bearer"](key)
    with Client(f"grpc://127.0.0.1:{house.component.grpc_port}", key=key, retries=0) as client:

        def ask() -> None:
            for _ in range(3):  # over the turn of a minute, too
                house.component.get("/metadata", **headers)
                client.predict([[1.0]])

        with pytest.raises(QuotaExceeded):
            ask()


def test_what_is_left_is_told_over_grpc_too(house: House) -> None:
    """As metadata: at the beginning of an answer, and at the end of a refusal with the time to wait."""
    metadata = (("x-api-key", limited(house, "told-grpc", Scope.PREDICT, requests_per_minute=3)),)
    message = seldon_message().SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{house.component.grpc_port}") as channel:
        ask = channel.unary_unary("/seldon.protos.Model/Predict")
        first = dict(ask.with_call(message, metadata=metadata)[1].initial_metadata())

        def ask_on() -> None:
            for _ in range(7):  # over the turn of a minute, too
                ask(message, metadata=metadata)

        with pytest.raises(grpc.RpcError) as caught:
            ask_on()
    refused = dict(caught.value.trailing_metadata())
    assert (first["ratelimit-limit"], first["ratelimit-remaining"]) == ("3", "2")
    assert (refused["ratelimit-remaining"], 0 < int(refused["retry-after"]) <= 60) == ("0", True)


TENSOR: dict[str, Any] = {"name": "x", "datatype": "FP64"}
TABLE = {"data": {"ndarray": [[1.0]] * 60}}
ROWS: dict[str, Callable[[House, Headers], int]] = {
    "component": rest("POST", "/predict", TABLE),
    "graph": rest("POST", "/api/v1.0/predictions", TABLE, graph=True),
    "v2": rest(
        "POST", "/v2/models/Doubler/infer", {"inputs": [{**INFER["inputs"][0], "shape": [60, 1], "data": [1.0] * 60}]}
    ),
    "grpc": over_grpc(
        "/seldon.protos.Model/Predict",
        lambda: prediction.SeldonMessage(data={"tensor": {"shape": [60, 1], "values": [1.0] * 60}}),
        seldon_message,
    ),
    "tasks": lambda house, headers: (
        house.component.ask("POST", f"/api/v1.0/tasks?id=rows{next(NUMBERS)}", b"{}\n" * 60, dict(headers)).status
    ),
}
NUMBERS = itertools.count()


@pytest.mark.parametrize("edge", ROWS)
def test_a_quota_of_rows_is_kept(house: House, edge: str) -> None:
    """Rows of predictions and of tasks are one count; the request after the one that went over the limit is refused."""
    headers = WAYS["bearer"](limited(house, f"rows-{edge}", *Scope, rows_per_minute=100))
    statuses = [ROWS[edge](house, headers) for _ in range(5)]  # over the turn of a minute, too
    assert {200, 201} & set(statuses[:2])
    assert 429 in statuses


PREDICTED: Any = "/predict"


def test_uploads_and_tasks_at_once_have_quotas(house: House) -> None:
    """Too many bytes in a minute, or too many tasks alive, are 429; a task that ends makes room."""
    url = f"http://127.0.0.1:{house.component.http_port}"
    large = limited(house, "large", Scope.TASKS, upload_bytes_per_minute=1000)
    with Client(url, key=large, retries=0) as client, pytest.raises(QuotaExceeded, match="1000 bytes of uploads"):
        client.tasks.submit(io.BytesIO(b"{}\n" * 100_000), id="large")
    many = limited(house, "many", Scope.TASKS, tasks_at_once=1)
    with Client(url, key=many, retries=0) as client:
        client.tasks.submit(io.BytesIO(b"{}\n"), id="many-1")
        assert client.tasks.submit(io.BytesIO(b"{}\n"), id="many-1").id == "many-1"
        with pytest.raises(QuotaExceeded, match="1 tasks waiting or running"):
            client.tasks.submit(io.BytesIO(b"{}\n"), id="many-2")
        with openai.OpenAI(base_url=f"{url}/v1", api_key=many, max_retries=0) as batches:
            line = b'{"custom_id": "a", "method": "POST", "url": "/predict", "body": {}}'
            file = batches.files.create(file=("in.jsonl", line), purpose="batch")
            with pytest.raises(openai.RateLimitError, match="1 tasks waiting or running"):
                batches.batches.create(input_file_id=file.id, endpoint=PREDICTED, completion_window="24h")
        client.tasks.cancel("many-1")
        client.tasks.submit(io.BytesIO(b"{}\n"), id="many-2")
        client.tasks.cancel("many-2")


def test_a_quota_of_rows_is_not_passed_by_an_address(house: House) -> None:
    """What is at an address is not counted before it is fetched: such a key has to send the file itself."""
    for name, quota in (("rows", {"rows_per_minute": 100}), ("bytes", {"upload_bytes_per_minute": 100})):
        headers = WAYS["bearer"](limited(house, f"by-address-{name}", Scope.TASKS, **quota))
        reply = house.component.ask("POST", "/api/v1.0/tasks?input_uri=s3://bucket/x.jsonl", b"", dict(headers))
        assert reply.status == 403
        assert b"has to send the file itself" in reply.body


def test_tokens_of_an_issuer_are_taken_like_keys(tmp_path: Path) -> None:
    """Over REST, tasks and gRPC, by the scopes of the token, beside keys; its tasks are its subject's."""
    (tmp_path / "door_parts.py").write_text(CODE)
    key = keys.create(tmp_path / "keys.toml", "me", [Scope.ADMIN])
    with issuing() as issuer:
        settings: dict[str, Any] = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, "tasks": True}
        settings |= {"keys": str(tmp_path / "keys.toml"), "data_dir": str(tmp_path / "data")}
        with served("door_parts.py:Doubler", folder=tmp_path, **settings) as server:
            token = issuer.token("RS256", scope="predict tasks")
            mine = WAYS["bearer"](token)
            wait_for("the issuer's keys", lambda: server.get("/metadata", **mine).status == 200)
            assert server.post("/send-feedback", FEEDBACK, **mine).status == 403
            assert server.post("/predict", PREDICT, **WAYS["bearer"](f"{token}x")).status == 401
            assert server.post("/predict", PREDICT, **WAYS["bearer"](key)).status == 200
            with Client(f"grpc://127.0.0.1:{server.grpc_port}", key=token) as client:
                assert client.predict([[1.0]]).tolist() == [[2.0]]
            server.ask("POST", "/api/v1.0/tasks?id=t", b"{}\n", mine)
            assert server.get("/tasks/t", **mine).json == {"status": 1}
            other = issuer.token("ES256", sub="other", scope="tasks")
            assert server.get("/tasks/t", **WAYS["bearer"](other)).json == {"status": -1}
            form = {**BROWSER, "Content-Type": "application/x-www-form-urlencoded"}
            admin = issuer.token("ES256", scope="admin")
            assert server.ask("POST", "/console/sign-in", f"key={admin}".encode(), form).status == 401
            assert server.get("/console/", **WAYS["bearer"](admin)).status == 200


def test_requests_are_counted_by_caller(house: House) -> None:
    """The metrics have a series for each caller that has asked, and none for strangers."""
    key = keys.create(house.file, "counted", [Scope.PREDICT])
    for headers in (WAYS["bearer"](key), WAYS["bearer"](key), {}):
        house.component.get("/metadata", **headers)
    body = house.component.get("/metrics", **WAYS["bearer"](house.key[Scope.METRICS])).body.decode()
    assert 'infergraph_caller_requests_total{caller="counted"} 2' in body


def test_the_document_says_how_to_give_a_key(house: House) -> None:
    """OpenAPI names the ways, and is valid with them."""
    document = house.component.get("/openapi.json", **WAYS["bearer"](house.key[Scope.PREDICT])).json
    assert document["security"] == [{"bearer": []}, {"apiKey": []}, {"basic": []}]
    validate(document)


def test_probes_may_be_closed_and_a_token_may_have_its_scopes_elsewhere(tmp_path: Path) -> None:
    """The settings open_probes, oidc_scopes_claim and oidc_leeway_s are in force."""
    (tmp_path / "door_parts.py").write_text(CODE)
    with issuing() as issuer:
        settings: dict[str, Any] = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, "open_probes": False}
        settings |= {"oidc_scopes_claim": "roles", "oidc_leeway_s": 120.0}
        with served("door_parts.py:Doubler", folder=tmp_path, **settings) as server:
            late = WAYS["bearer"](issuer.token("ES256", roles=["predict"], exp=int(time.time()) - 60))
            wait_for("the issuer's keys", lambda: server.get("/ready", **late).status == 200)
            assert server.get("/metadata", **late).status == 200
            assert {server.get(path).status for path in ("/live", "/ready", "/v2/health/live")} == {401}
