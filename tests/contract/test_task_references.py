"""Tasks over files at addresses: fetched by the server, answered where the client says, only where it is allowed."""

from __future__ import annotations

import gzip
import http.server
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import object_store
from http_server import answering
from infergraph.client import Client
from infergraph.errors import PayloadError
from infergraph.tasks.references import check_uri
from object_store import BUCKET
from task_harness import TaskServer, jsonl, wait_for

ROWS = [{"n": number} for number in range(1000)]
ANSWERS = [{**row, "seen": True} for row in ROWS]


class Web:
    """A web server with one file; what it sends and how is changed by tests."""

    def __init__(self) -> None:
        self.body, self.etag, self.location = jsonl(ROWS), '"1"', ""
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.send_response(302 if web.location else 200)
                self.send_header("Location", web.location)
                self.send_header("ETag", web.etag)
                self.send_header("Content-Length", str(len(web.body)))
                self.end_headers()

            def do_GET(self) -> None:
                self.do_HEAD()
                self.wfile.write(web.body)

            def log_message(self, *_: object) -> None:
                pass

        self.handler = Handler
        self.url = ""


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of an S3 server with a bucket."""
    with object_store.s3() as client:
        yield client


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    """A web server."""
    web = Web()
    with answering(web.handler) as web.url:
        yield web


@pytest.fixture(scope="module")
def server(s3: Any, web: Web, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskServer]:
    """A server that may use the bucket's folders `in` and `out`, the web server, and one folder."""
    folder = tmp_path_factory.mktemp("references")
    (folder / "shared").mkdir()
    allowed = f"s3://{BUCKET}/in, s3://{BUCKET}/out,{web.url},file://{folder}/shared"
    with TaskServer(folder, "Refusing", settings={"task_uris": allowed}) as running:
        yield running


def submit(server: TaskServer, id: str, **fields: str) -> Any:
    """The answer to a form without a file."""
    form = {name: (None, value) for name, value in {"task_id": id, "immediate": "true", **fields}.items()}
    return server.ask("POST", "/tasks", files=form)


def put(s3: Any, key: str, body: bytes) -> str:
    """Store an object; its address."""
    s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    return f"s3://{BUCKET}/{key}"


def stored(s3: Any, key: str) -> bytes:
    """The contents of an object."""
    body: bytes = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return body


def test_a_task_from_bucket_to_bucket(server: TaskServer, s3: Any) -> None:
    """The server fetches the file, unpacks it, works on it, and copies the answers, before the task is finished."""
    uri = put(s3, "in/rows.jsonl.gz", gzip.compress(jsonl(ROWS)))
    out = f"s3://{BUCKET}/out/answers.csv"
    assert submit(server, "s3", input_uri=uri, output_uri=out).json() == {"status": 200}
    shown = server.ended("s3")
    assert (shown["state"], shown["total"], shown["input_uri"], shown["output_uri"]) == ("finished", 1000, uri, out)
    assert (shown["input_format"], shown["output_format"]) == ("jsonl.gz", "csv")
    copied = stored(s3, "out/answers.csv")
    assert copied.splitlines() == [b"n,seen", *(b"%d,true" % number for number in range(1000))]
    assert server.ask("GET", "/tasks/s3/results").content == copied


def test_the_native_routes_take_addresses(server: TaskServer, s3: Any) -> None:
    """As parameters, as a JSON object, and from the client."""
    uri = put(s3, "in/native.csv", b"n\n1\n")
    asked = server.ask("POST", "/api/v1.0/tasks", params={"id": "parameters", "input_uri": uri})
    assert asked.status_code == 201, asked.text
    document = {"id": "document", "input_uri": uri, "priority": 3, "output_format": "jsonl"}
    assert server.ask("POST", "/api/v1.0/tasks", json=document).json()["priority"] == 3
    server.ended("document")
    assert server.results("document") == [{"n": "1", "seen": True}]
    with Client(server.url) as client:
        task = client.tasks.submit(uri, output_uri=f"s3://{BUCKET}/out/client.jsonl")
        assert client.tasks.wait(task).state == "finished"
    assert json.loads(stored(s3, "out/client.jsonl")) == {"n": "1", "seen": True}


def test_files_of_a_folder_and_of_a_web_server(server: TaskServer, web: Web) -> None:
    """A mounted folder is read and written, a web server read."""
    folder = server.folder / "shared"
    (folder / "rows.jsonl").write_bytes(jsonl(ROWS))
    submit(server, "folder", input_uri=f"file://{folder}/rows.jsonl", output_uri=f"file://{folder}/answers.jsonl")
    assert server.ended("folder")["state"] == "finished"
    assert [json.loads(line) for line in (folder / "answers.jsonl").read_bytes().splitlines()] == ANSWERS
    assert sorted(path.name for path in folder.iterdir()) == ["answers.jsonl", "rows.jsonl"]
    submit(server, "web", input_uri=f"{web.url}/rows.jsonl")
    assert server.ended("web")["state"] == "finished"
    assert server.results("web") == ANSWERS


@pytest.mark.parametrize(
    ("uri", "info"),
    [
        ("s3://rows/elsewhere/x.jsonl", "the address is not allowed (setting task_uris)"),
        ("s3://rows/in/../elsewhere/x.jsonl", "the address is not allowed (setting task_uris)"),
        ("s3://rows/in/%2e%2e/x.jsonl", "the address is not allowed (setting task_uris)"),
        ("s3://rows/inside.jsonl", "the address is not allowed (setting task_uris)"),
        ("http://169.254.169.254/latest/meta-data", "the address is not allowed (setting task_uris)"),
        ("file:///etc/passwd", "the address is not allowed (setting task_uris)"),
        ("file://{folder}/shared/../server.log", "the address is not allowed (setting task_uris)"),
        ("file://{folder}/shared/link/server.log", "the address is not allowed (setting task_uris)"),
        ("s3://rows/in/none.jsonl", "s3://rows/in/none.jsonl: there is no such file"),
        ("s3://key:secret@rows/in/x.jsonl", "an address with a user name, a query or a fragment is not taken"),
        ("s3://rows/in/x.jsonl?X-Amz-Signature=1", "an address with a user name, a query or a fragment is not taken"),
        ("ftp://host/x", "an address that begins with s3://, gs://"),
        ("rows.jsonl", "an address that begins with s3://, gs://"),
        ("s3://rows/in/", "the address names no file"),
        ("s3://rows", "the address names no file"),
        ("s3://rows/in/" + "x" * 3000, "an address of at most 2000 printable characters"),
        ("s3://rows/in/x\n", "an address of at most 2000 printable characters"),
        ("s3://[rows/in/x", "it is not an address"),
    ],
)
def test_other_addresses_are_refused(server: TaskServer, uri: str, info: str) -> None:
    """With 400 and the field, in both directions; no task is made, and the answer holds no credentials."""
    link = server.folder / "shared" / "link"
    if not link.exists():
        link.symlink_to(server.folder)
    given = uri.format(folder=server.folder)
    answer = submit(server, "refused", input_uri=given)
    assert answer.status_code == 400, answer.text
    assert answer.json()["status"]["info"].startswith(f"input_uri: {info}")
    assert "secret" not in answer.text
    if "no such file" not in info:
        answer = server.ask("POST", "/tasks", data={"task_id": "refused", "output_uri": given}, files={"file": b"{}\n"})
        assert answer.json()["status"]["info"].startswith(f"output_uri: {info}")
    assert server.state("refused") == -1


def test_nothing_is_allowed_by_default() -> None:
    """Without the setting every address is refused; `*` allows all but the machine's files."""
    for uri in ("s3://bucket/x", "https://example.com/x", "file:///x"):
        with pytest.raises(PayloadError, match="task_uris"):
            check_uri(uri, "", "input_uri")
    check_uri("s3://bucket/x", "*", "input_uri")
    check_uri("s3://bucket/x", "https://example.com,s3://*", "input_uri")
    for allowed in ("*", "file://", "file:///", "s3://*"):
        with pytest.raises(PayloadError, match="task_uris"):
            check_uri("file:///etc/passwd", allowed, "input_uri")


def test_what_cannot_be_read_fails_the_task_by_name(server: TaskServer, s3: Any, web: Web) -> None:
    """A broken file; and a server that redirects, which is not followed."""
    submit(server, "broken", input_uri=put(s3, "in/broken.csv", b'a\n"1\n'))
    assert server.ended("broken")["error"].startswith("input_uri: line 2: a quote is opened and not closed")
    assert server.state("broken") == 3
    web.location = "http://127.0.0.1:1/"
    try:
        answer = submit(server, "redirect", input_uri=f"{web.url}/rows.jsonl")
        assert answer.json()["status"]["info"].endswith("the server redirects, which is not followed")
    finally:
        web.location = ""
    answer = submit(server, "web-out", input_uri=f"{web.url}/rows.jsonl", output_uri=f"{web.url}/out.jsonl")
    assert answer.json()["status"]["info"].endswith("nothing is written to a web server")


def test_a_form_has_a_file_or_an_address(server: TaskServer) -> None:
    """Both are refused, and neither."""
    form = {"task_id": "both", "input_uri": f"s3://{BUCKET}/in/x.jsonl"}
    answer = server.ask("POST", "/tasks", data=form, files={"task_file": b"{}\n"})
    assert answer.json()["status"]["info"] == "input_uri: the form has a file too"


def test_a_repeated_submission_is_the_same_task(server: TaskServer, s3: Any) -> None:
    """While the object is the same; a new version of it under the same id is a conflict."""
    uri = put(s3, "in/again.jsonl", jsonl(ROWS))
    for _ in range(2):
        assert submit(server, "again", input_uri=uri).status_code == 200
    server.ended("again")
    put(s3, "in/again.jsonl", jsonl(ROWS[:1]))
    assert submit(server, "again", input_uri=uri).status_code == 409


def test_a_file_that_changes_is_never_mixed(s3: Any, tmp_path: Path) -> None:
    """Changed between submission and fetch: the task fails and names it; it may be submitted again."""
    uri = put(s3, "in/changing.jsonl", jsonl(ROWS))
    settings = {"task_uris": "s3://*", "task_active_limit": 1}
    mark, gate = tmp_path / "mark", tmp_path / "gate"
    server = TaskServer(tmp_path, "Gated", settings=settings, mark=str(mark), gate=str(gate))
    with server:
        large = jsonl([{"x": "y" * 1000}] * 9000)  # not so small that it is begun beside others
        server.submit("first", large)
        wait_for(mark.exists, "the first task's work")
        s3.put_object(Bucket=BUCKET, Key="in/changing.jsonl", Body=large)
        submit(server, "changing", input_uri=uri)
        s3.put_object(Bucket=BUCKET, Key="in/changing.jsonl", Body=large[:-1000])
        gate.touch()
        error = server.ended("changing")["error"]
        assert error == f"input_uri: {uri}: the file has changed since the task was submitted"
        put(s3, "in/changing.jsonl", jsonl(ROWS))
        assert submit(server, "changing", input_uri=uri).status_code == 200
        assert server.ended("changing")["total"] == 1000


@pytest.mark.parametrize("point", ["input-fetched", "answers-copied"])
def test_death_in_a_task_by_reference(s3: Any, tmp_path: Path, point: str) -> None:
    """Whoever dies, and whenever: the answers at the address are exact, and credentials are nowhere on the disk."""
    uri, out = put(s3, f"in/{point}.jsonl", jsonl(ROWS)), f"out/{point}.jsonl"
    flag = tmp_path / "died"
    server = TaskServer(tmp_path, "Tired", settings={"task_uris": "s3://*"}, line_s=0.0002)
    server.start(CRASH_POINT=f"{point}@{flag}")
    with server:
        with suppress(OSError):  # the server may die before it answers
            submit(server, "t", input_uri=uri, output_uri=f"s3://{BUCKET}/{out}")
        wait_for(flag.exists, f"a death at {point}")
        assert server.ended("t")["state"] == "finished"
        assert [json.loads(line) for line in stored(s3, out).splitlines()] == ANSWERS
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or not object_store.is_secret_in(path.read_bytes())
