"""`infergraph call` against a served component and a graph: what goes in, what comes out, with which exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from contract.client_servers import reply, scripted
from infergraph.cli import call
from infergraph.errors import SettingsError
from served import served

FOLDER = Path(__file__).parent
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    with served("units.py:Worker", folder=FOLDER) as there:
        yield {"rest": f"http://127.0.0.1:{there.http_port}", "grpc": f"grpc://127.0.0.1:{there.grpc_port}"}


@pytest.fixture(params=["rest", "grpc"])
def run(request: pytest.FixtureRequest, urls: dict[str, str]) -> Run:
    """Runs the command against the component."""
    return lambda *arguments, **more: invoke(urls[request.param], *arguments, **more)


def invoke(*arguments: str, **more: Any) -> Any:
    return CliRunner().invoke(call.call, list(arguments), **more)


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["[[1.0,2.5]]"], "[[2.0,5.0]]\n"),
        (["some text ü"], "some text ü\n"),
        (["[1.5]", "--text"], "[1.5]\n"),
        (['{"strData":"x"}'], "x\n"),
        (['{"data":{"tensor":{"shape":[1],"values":[2.5]}}}'], "[5.0]\n"),
        (['{"jsonData":{"b":["x",true,null]}}'], '{"b":["x",true,null]}\n'),
        (['{"data":"some text"}'], '{"data":"some text"}\n'),
        (["[[1.5]]", "--method", "transform-input"], "[[2.5]]\n"),
        (["[[1.5]]", "-m", "transform-output"], "[[0.5]]\n"),
        (["[[2]]", "--method", "route"], "2\n"),
        (["[[[1.5]],[[2.0]]]", "--method", "aggregate"], "[[3.5]]\n"),
        (['{"seldonMessages":[{"data":{"ndarray":[[1.5]]}}]}', "--method", "aggregate"], "[[1.5]]\n"),
        (["--method", "ready"], "ready\n"),
        (["some text", "--wait", "5"], "some text\n"),
    ],
)
def test_answers(run: Run, arguments: list[str], output: str) -> None:
    """The payload of the answer is printed as JSON, text as text."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (0, output)


def test_whole_answers(run: Run) -> None:
    """With --json the answer comes with its names and meta; the names given went with the request."""
    result = run("[[1.5]]", "--names", "a, b", "--json", "-H", "X-Mine: 1")
    document = json.loads(result.stdout)
    assert document["data"]["names"] == ["one", "two"]
    assert document["meta"]["tags"] == {"by": "worker"}
    assert document["data"]["ndarray"] == [[3.0]]


def test_names_are_sent() -> None:
    """The names are those of the command line."""
    with scripted(reply(200)) as (server, port):
        invoke(f"http://127.0.0.1:{port}", "[[1,2]]", "--names", "a, b", "-H", "X-Mine: 1")
    assert json.loads(server.asked[0].body)["data"]["names"] == ["a", "b"]
    assert server.asked[0].headers["x-mine"] == "1"


def test_a_csv_file_is_sent_as_rows_with_the_names_of_its_columns(tmp_path: Path) -> None:
    """The header of a CSV file becomes the names; --names gives others, and --text sends the file as it is."""
    (tmp_path / "iris.csv").write_text(",sepal,petal\n0,5.1,3\n1,4.9,4\n")
    with scripted(*[reply(200)] * 3) as (server, port):
        for more in ([], ["--names", "a,b"], ["--text"]):
            invoke(f"http://127.0.0.1:{port}", f"@{tmp_path}/iris.csv", *more)
    sent = [json.loads(asked.body) for asked in server.asked]
    assert sent[0]["data"] == {"names": ["sepal", "petal"], "ndarray": [[5.1, 3], [4.9, 4]]}
    assert sent[1]["data"]["names"] == ["a", "b"]
    assert sent[2]["strData"].startswith(",sepal")


def test_feedback(run: Run) -> None:
    """Feedback is given as the protocol's document."""
    document = {"request": {"data": {"ndarray": [[1.0]]}}, "response": {"meta": {}}, "reward": 0.5}
    before = json.loads(run('{"reward":0}', "-m", "feedback").stdout)
    after = json.loads(run(json.dumps(document), "-m", "feedback").stdout)
    assert after[0] - before[0] == 0.5


def test_metadata_and_health(run: Run) -> None:
    """Metadata is printed as JSON, health as the component tells it."""
    assert json.loads(run("-m", "metadata").stdout)["name"] == "worker"
    assert run("-m", "health").stdout in ("healthy\n", "ready\n")


def test_data_from_files_and_standard_input(run: Run, tmp_path: Path) -> None:
    """A file of JSON, of text, of bytes, a NumPy array, or standard input is sent as what it is."""
    (tmp_path / "rows.json").write_text("[[1.5]]")
    (tmp_path / "text.txt").write_text("text ü", encoding="utf-8")
    (tmp_path / "bytes.bin").write_bytes(b"\xff\x00\xfe")
    np.save(tmp_path / "rows.npy", np.array([[1.5, 2.0]]))
    assert run(f"@{tmp_path}/rows.json").stdout == "[[3.0]]\n"
    assert run(f"@{tmp_path}/text.txt").stdout == "text ü\n"
    assert run(f"@{tmp_path}/bytes.bin").stdout_bytes == b"\xff\x00\xfe"
    assert run(f"@{tmp_path}/rows.npy").stdout == "[[3.0,4.0]]\n"
    assert run("-", input=b"[[2.5]]").stdout == "[[5.0]]\n"


def test_grpc_by_an_option(urls: dict[str, str]) -> None:
    """--grpc goes before the scheme of the address."""
    assert invoke(urls["grpc"].replace("grpc:", "http:"), "[[1]]", "--grpc").stdout == "[[2.0]]\n"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["fail"], 1, "told to fail"),
        ([], 2, "DATA is missing"),
        (["@/nowhere"], 2, "No such file"),
        (["5", "-m", "aggregate"], 2, "a JSON list"),
        (["5", "-m", "feedback"], 2, "an object"),
        (['{"reward":"x"}', "-m", "feedback"], 2, "not a number"),
    ],
)
def test_exit_codes(run: Run, arguments: list[str], code: int, text: str) -> None:
    """A refusal exits with 1, wrong usage with 2; standard error says why, standard output says nothing."""
    result = run(*arguments)
    assert text in result.stderr
    assert result.exit_code == code
    assert result.stdout == ""


def test_exit_codes_of_servers_that_do_not_answer() -> None:
    """Nobody there, not ready, or full exits with 3, no answer in time with 4."""
    for arguments in (["1"], ["-m", "ready"], ["-m", "metadata"]):
        assert invoke("http://127.0.0.1:1", *arguments, "--retries", "0").exit_code == 3
        assert invoke("http://127.0.0.1:1", *arguments, "--wait", "0.1").exit_code == 3
        assert invoke("grpc://127.0.0.1:1", *arguments, "--retries", "0").exit_code == 3
    full = b'{"status":{"info":"full","reason":"OVERLOADED"}}'
    with scripted(reply(503, full)) as (_, port):
        assert invoke(f"http://127.0.0.1:{port}", "1", "--retries", "0").exit_code == 3
    with served("units.py:Hanging", folder=FOLDER) as there:
        for url in (f"http://127.0.0.1:{there.http_port}", f"grpc://127.0.0.1:{there.grpc_port}"):
            assert invoke(url, "1", "--timeout", "0.1").exit_code == 4


def test_errors_as_json(urls: dict[str, str]) -> None:
    """With --json an error is JSON too, with its reason and status, on standard error."""
    result = invoke(urls["rest"], "fail", "--json")
    told = json.loads(result.stderr)["error"]
    assert "told to fail" in told["info"]
    assert (told["reason"], told["status"], told["node"]) == ("MICROSERVICE_INTERNAL_ERROR", 500, "Worker")


def test_bad_metrics_are_refused_by_the_server() -> None:
    """A fault of the component that is more than an error of its code exits with 1, and keeps its status."""
    with served("client_units.py:Unmeasured", folder=FOLDER) as there:
        result = invoke(f"http://127.0.0.1:{there.http_port}", "[[1]]", "--json")
        assert (result.exit_code, json.loads(result.stderr)["error"]["status"]) == (1, 500)
        assert invoke(f"grpc://127.0.0.1:{there.grpc_port}", "[[1]]").exit_code == 1


def test_addresses_and_headers_that_are_none() -> None:
    """An address that is none is a fault at start-up; a header without a colon is wrong usage."""
    assert isinstance(invoke("nonsense://x", "1").exception, SettingsError)
    result = invoke("http://127.0.0.1:1", "1", "-H", "nothing")
    assert result.exit_code == 2
    assert "NAME:VALUE" in result.stderr


def test_help_tells_the_exit_codes() -> None:
    """The help lists every exit code."""
    output = " ".join(invoke("--help").stdout.split())
    for code in ("0 answered", "1 the server", "2 wrong usage", "3 the server cannot be reached", "4 no answer"):
        assert code in output
