"""The batch processor against a real component: one output line for each input line, in order, whatever happens."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import WSGIRequestHandler, make_server

from http_server import running
from infergraph import compat

compat.install()

from seldon_core import batch_processor  # noqa: E402
from seldon_core.metrics import SeldonMetrics  # noqa: E402
from seldon_core.user_model import SeldonComponent  # noqa: E402
from seldon_core.wrapper import get_grpc_server, get_rest_microservice  # noqa: E402


class Model(SeldonComponent):
    """Doubles arrays; refuses 13 and fails the first time it sees 7."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def predict(self, X: Any, names: Any, meta: Any = None) -> Any:
        if not isinstance(X, np.ndarray):
            return X
        self.seen.append(X.tolist())
        if 13 in X or (7 in X and self.seen.count(X.tolist()) == 1):
            raise ValueError("unlucky")
        return X * 2

    def send_feedback(self, features: Any, names: Any, reward: float, truth: Any, routing: Any = None) -> Any:
        return [reward]


class Quiet(WSGIRequestHandler):
    """Serves without log lines."""

    def log_request(self, *_: Any) -> None:
        pass


@pytest.fixture(params=["rest", "grpc"])
def endpoint(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Transport and address of the component as the deployment `ns/dep`."""
    if request.param == "grpc":
        rpc = get_grpc_server(Model(), SeldonMetrics(), num_threads=4)
        port = rpc.add_insecure_port("127.0.0.1:0")
        rpc.start()
        yield "grpc", f"127.0.0.1:{port}"
        rpc.stop(0).wait()
        return
    app = DispatcherMiddleware(get_rest_microservice(Model(), SeldonMetrics()), {})
    app.mounts = {"/seldon/ns/dep": app.app}
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    with running(server):
        yield "rest", f"127.0.0.1:{server.server_port}"


def _run(
    endpoint: tuple[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], *flags: str
) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and output lines of the command over an input of `lines`."""
    (folder / "in").write_text("".join(line + "\n" for line in lines))
    given = ["-d", "dep", "-n", "ns", "--transport", endpoint[0], "-h", endpoint[1], "-u", "BID"]
    files = ["-i", str(folder / "in"), "-o", str(folder / "out")]
    monkeypatch.setattr(sys, "argv", ["seldon-batch-processor", *given, *files, *flags])
    with pytest.raises(SystemExit) as caught:
        batch_processor.main()
    text = (folder / "out").read_text() if (folder / "out").exists() else ""
    return int(caught.value.code or 0), [json.loads(line) for line in text.splitlines()]


def test_answers_stand_in_the_order_of_the_lines(
    endpoint: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With several workers each line has its answer at its place, with its identifiers."""
    code, answers = _run(endpoint, tmp_path, monkeypatch, [f"[[{n}, 0.5]]" for n in range(20, 60)], "-w", "4")
    assert code == 0
    assert [answer["data"]["ndarray"] for answer in answers] == [[[2 * n, 1]] for n in range(20, 60)]
    tags = [answer["meta"]["tags"] for answer in answers]
    assert [tag["batch_index"] for tag in tags] == list(range(40))
    assert {tag["batch_id"] for tag in tags} == {"BID"}
    assert len({tag["batch_instance_id"] for tag in tags}) == 40


@pytest.mark.parametrize(
    ("kind", "line", "field", "value"),
    [
        ("str", '"text"', "strData", "text"),
        ("json", '{"a": [1.5]}', "jsonData", {"a": [1.5]}),
        ("raw", '{"strData": "x", "meta": {"tags": {"own": "t"}}}', "strData", "x"),
    ],
)
def test_every_data_type_keeps_its_identifiers(
    endpoint: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    line: str,
    field: str,
    value: Any,
) -> None:
    """Text, JSON and whole messages are asked with, and their answers say which line they are of."""
    code, (answer,) = _run(endpoint, tmp_path, monkeypatch, [line], "-a", kind)
    assert (code, answer[field]) == (0, value)
    assert answer["meta"]["tags"]["batch_index"] == 0
    assert answer["meta"]["tags"].get("own") == ("t" if kind == "raw" else None)


def test_a_failed_line_has_its_reason_and_its_place(
    endpoint: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that are no JSON, blank, or refused by the model fail alone; one that fails once is tried again."""
    code, answers = _run(endpoint, tmp_path, monkeypatch, ["[[1]]", "{bad", "", "[[13]]", "[[7]]"], "-r", "2")
    assert code == 0
    assert [answer.get("status", {}).get("info") for answer in answers] == [None, "FAILURE", "FAILURE", "FAILURE", None]
    assert answers[4]["data"]["ndarray"] == [[14]]
    assert "unlucky" in answers[3]["status"]["reason"]
    assert answers[1]["meta"]["batch_index"] == 1
    assert answers[1]["status"]["reason"]


def test_batches_of_rows_come_back_as_lines(
    endpoint: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a batch travel together; unreadable and misfit lines fail alone, and each line keeps its own tags."""
    lines = ["[[1, 2]]", "oops", "[[3, 4]]", "[[5]]", "[[5, 6], [7, 8]]", "[[9, 10]]"]
    code, answers = _run(endpoint, tmp_path, monkeypatch, lines, "-s", "6", "-p", "tensor")
    assert code == 0
    assert [answer.get("status", {}).get("info") for answer in answers] == [
        None,
        *["FAILURE", None, "FAILURE"],
        "FAILURE",
        None,
    ]
    assert answers[5]["data"]["tensor"] == {"shape": [1, 2], "values": [18, 20]}
    assert answers[5]["meta"]["tags"]["batch_instance_id"].endswith("-item-2")
    raw = [json.dumps({"data": {"names": ["a"], "ndarray": [[n]]}, "meta": {"tags": {"mine": n}}}) for n in (1, 2)]
    code, answers = _run(endpoint, tmp_path, monkeypatch, raw, "-s", "2", "-a", "raw")
    assert [(a["data"]["ndarray"], a["meta"]["tags"]["mine"]) for a in answers] == [([[2]], 1), ([[4]], 2)]


def test_feedback_is_sent(endpoint: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is a whole feedback; its answer has the line's identifiers."""
    line = json.dumps({"request": {"data": {"ndarray": [[1]]}}, "reward": 0.5})
    code, (answer,) = _run(endpoint, tmp_path, monkeypatch, [line], "-m", "feedback", "-a", "raw")
    assert (code, answer["data"]["ndarray"], answer["meta"]["tags"]["batch_index"]) == (0, [0.5], 0)


def test_exit_codes(endpoint: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All lines failed is 1; a missing input, an output that is the input, and arguments at odds are 2."""
    assert _run(endpoint, tmp_path, monkeypatch, ["oops", "[[13]]"], "-r", "1")[0] == 1
    assert _run(endpoint, tmp_path, monkeypatch, ["1"], "-i", str(tmp_path / "missing"))[0] == 2
    assert _run(endpoint, tmp_path, monkeypatch, ["1"], "-o", str(tmp_path / "in"))[0] == 2
    assert _run(endpoint, tmp_path, monkeypatch, ["1"], "-m", "feedback")[0] == 2
    assert _run(endpoint, tmp_path, monkeypatch, ["1"], "-s", "2", "-a", "str")[0] == 2
    assert (tmp_path / "in").read_text() == "1\n"


def test_options_come_from_the_environment_too(
    endpoint: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SELDON_BATCH_ variables are the defaults of the flags."""
    monkeypatch.setenv("SELDON_BATCH_DATA_TYPE", "str")
    monkeypatch.setenv("SELDON_BATCH_WORKERS", "2")
    code, answers = _run(endpoint, tmp_path, monkeypatch, ['"a"', '"b"'])
    assert (code, [answer["strData"] for answer in answers]) == (0, ["a", "b"])


def test_nobody_listening_fails_every_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no server every line has its failure, and the exit code says so."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = ("rest", f"127.0.0.1:{unused.getsockname()[1]}")
        code, answers = _run(endpoint, tmp_path, monkeypatch, ["[[1]]", "[[2]]"], "-r", "1")
    assert (code, len(answers)) == (1, 2)
    assert all("did not answer" in answer["status"]["reason"] for answer in answers)
