"""The gBuilder contract byte by byte: what goes over the wire is written here by hand, and not by a client library."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from task_harness import TaskServer, wait_for

HEAD = b"POST /tasks HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: multipart/form-data; boundary=B\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskServer]:
    """A server of two slow tasks at a time and of a short queue."""
    settings = {"task_active_limit": 1, "task_queue_limit": 50}
    with TaskServer(tmp_path_factory.mktemp("raw"), "Tired", settings=settings, line_s=0.002) as running:
        yield running


def form(id: str, lines: bytes, *, immediate: str = "true", file_headers: bytes = b"") -> bytes:
    """A form as gBuilder sends it."""
    fields = {"task_id": id.encode(), "immediate": immediate.encode()}
    parts = [b'Content-Disposition: form-data; name="%s"\r\n\r\n%s' % (k.encode(), v) for k, v in fields.items()]
    parts.append(b'Content-Disposition: form-data; name="task_file"; filename="f"\r\n%s\r\n%s' % (file_headers, lines))
    return b"".join(b"--B\r\n" + part + b"\r\n" for part in parts) + b"--B--\r\n"


def exchange(server: TaskServer, *blocks: bytes, half_close: bool = False) -> tuple[int, dict[str, str], bytes]:
    """Send blocks, one packet after the other, and read the answer to its end; status 0 if there is none."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        for block in blocks:
            connection.sendall(block)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        raw = b""
        while block := connection.recv(65536):
            raw += block
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return (int(lines[0].split()[1]), headers, body) if raw else (0, {}, b"")


def post(server: TaskServer, id: str, lines: bytes, **more: Any) -> tuple[int, dict[str, str], bytes]:
    """Submit with a Content-Length."""
    body = form(id, lines, **more)
    return exchange(server, HEAD + b"Content-Length: %d\r\n\r\n" % len(body), body)


def ask(server: TaskServer, method: str, path: str, *headers: str) -> tuple[int, dict[str, str], bytes]:
    """One request without a body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]
    return exchange(server, "\r\n".join(lines).encode())


def results(server: TaskServer, id: str) -> bytes:
    """The answers of a task, when it has ended."""
    server.ended(id)
    status, _, body = ask(server, "GET", f"/tasks/{quote(id, safe='')}/results")
    assert status == 200
    return body


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_chunked_upload_is_whole_however_it_is_cut(server: TaskServer, size: int) -> None:
    """A body without a length, cut anywhere, boundaries and line ends included, is the file that was sent."""
    body = form(f"cut-{size}", b'{"a": 1}\r\n\n{"b": "\xe5\x8c\x97"}')
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    status, headers, said = exchange(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunks, b"0\r\n\r\n")
    assert (status, headers["content-type"], said) == (200, "application/json", b'{"status":200}')
    first, blank, last = results(server, f"cut-{size}").split(b"\n")[:-1]
    assert (json.loads(first), json.loads(last)) == ({"a": 1, "seen": True}, {"b": "北", "seen": True})
    assert json.loads(blank)["error"] == {"line": 2, "reason": "the line is blank"}


@pytest.mark.parametrize("is_chunked", [True, False])
def test_an_upload_that_breaks_off_leaves_nothing(server: TaskServer, is_chunked: bool) -> None:
    """A connection that ends in the middle of the file makes no task, and no file stays."""
    body = form("broken-off", b'{"a": 1}\n' * 1000)
    if is_chunked:
        exchange(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n2000\r\n" + body[:5000], half_close=True)
    else:
        exchange(server, HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body[:5000], half_close=True)
    wait_for(lambda: not list((server.data / "incoming").iterdir()), "the end of the upload")
    assert ask(server, "GET", "/tasks/broken-off")[2] == b'{"status":-1}'


@pytest.mark.parametrize("lines", [b"", b"\n\n", b" \r\n\t", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_file_without_a_line_is_refused(server: TaskServer, lines: bytes) -> None:
    """No line, blank lines alone or a byte order mark alone: 400, and the field is named."""
    status, headers, said = post(server, "nothing", lines)
    assert (status, headers["content-type"]) == (400, "application/json")
    assert json.loads(said)["status"]["info"] == "task_file: the file is empty"
    assert ask(server, "GET", "/tasks/nothing")[2] == b'{"status":-1}'


def test_odd_lines_each_have_their_answer_or_their_reason(server: TaskServer) -> None:
    """Doubled keys, large integers, control characters, separators of Unicode, broken text: each line stands alone."""
    good = {
        b'{"twice": 1, "twice": 2}': {"twice": 2},
        b'{"n": 123456789012345678901234567890, "m": 9007199254740993}': {"n": int("1234567890" * 3), "m": 2**53 + 1},
        b'{"text": "a\\u0000b"}': {"text": "a\0b"},
        '{"text": "\u2028\u2029\u0085"}'.encode(): {"text": "\u2028\u2029\x85"},
        b'  {"blanks": "around"}\t': {"blanks": "around"},
        b'{"half": "\\ud800"}': {"half": "\ufffd"},
    }  # fmt: skip
    bad = [b'{"nul": "\0"}', b'{"byte": "\xff"}', b'{"n": NaN}', b'{"n": 1e999}', b"{} {}"]
    assert post(server, "odd", b"\r\n".join([*good, *bad]))[0] == 200
    lines = results(server, "odd").split(b"\n")[:-1]
    assert [json.loads(line) for line in lines[: len(good)]] == [{**row, "seen": True} for row in good.values()]
    failed = [json.loads(line) for line in lines[len(good) :]]
    assert [row["error"]["line"] for row in failed] == list(range(len(good) + 1, len(good) + len(bad) + 1))
    assert all(row["error"]["reason"].startswith(("not JSON", "not UTF-8", "the answer holds")) for row in failed)
    assert failed[0]["input"] == '{"nul": "\0"}'


@pytest.mark.parametrize("charset", ["utf-16", "utf-32-be", "big5"])
def test_the_charset_of_the_part_is_obeyed(server: TaskServer, charset: str) -> None:
    """A file in a charset of several bytes a character is read by it, whatever its line ends look like as bytes."""
    lines = '{"data": "北京"}\n{"data": "上海"}\n'.encode(charset)
    status, *_ = post(
        server, charset, lines, file_headers=b"Content-Type: text/plain; charset=%s\r\n" % charset.encode()
    )
    assert status == 200
    assert results(server, charset).decode() == '{"data":"北京","seen":true}\n{"data":"上海","seen":true}\n'


def test_ids_at_the_limit(server: TaskServer) -> None:
    """255 characters are an id, 256 are not, a thousand are not; bytes that are no text are refused by name."""
    for length, expected in ((255, 200), (256, 400), (1000, 400)):
        status, _, said = post(server, "任" * length, b"{}\n")
        assert status == expected
        assert expected == 200 or f"this has {length}" in json.loads(said)["status"]["info"]
    _, headers, _ = ask(server, "HEAD", f"/tasks/{quote('任' * 255)}/results") if results(server, "任" * 255) else None
    assert len(headers["content-disposition"]) < 1000
    body = form("ID", b"{}\n").replace(b"ID", b"\xff\xfe")
    status, _, said = exchange(server, HEAD + b"Content-Length: %d\r\n\r\n" % len(body), body)
    assert (status, json.loads(said)["status"]["info"].split(":")[0]) == (400, "task_id")


def test_every_state_has_its_answers(server: TaskServer) -> None:
    """Running, waiting, stopped, finished, failed, unknown: state, results and DELETE answer as the contract says."""
    slow = b"{}\n" * 100_000
    for id in ("runs", "runs-beside", "waits"):
        assert post(server, id, slow)[0] == 200
    wait_for(lambda: [server.state(id) for id in ("runs", "runs-beside", "waits")] == [0, 0, 1], "their start")
    for id, number, word in (("runs", 0, "running"), ("waits", 1, "waiting")):
        assert ask(server, "GET", f"/tasks/{id}")[2] == b'{"status":%d}' % number
        status, _, said = ask(server, "GET", f"/tasks/{id}/results")
        assert (status, json.loads(said)["status"]["info"]) == (409, f"task '{id}' is {word}")
    for id in ("waits", "runs-beside", "runs"):
        assert ask(server, "DELETE", f"/tasks/{id}")[::2] == (200, b'{"status":200}')
        assert ask(server, "GET", f"/tasks/{id}")[::2] == (200, b'{"status":-1}')
        for method, path in (("GET", f"/tasks/{id}/results"), ("DELETE", f"/tasks/{id}")):
            status, _, said = ask(server, method, path)
            assert (status, json.loads(said)["status"]["reason"]) == (404, "TASK_UNKNOWN")
    post(server, "runs", b"{}\n", immediate="false")
    assert ask(server, "GET", "/tasks/runs")[2] == b'{"status":2}'
    assert post(server, "fails", b"x\n", immediate="false")[0] == 500
    assert ask(server, "GET", "/tasks/fails")[2] == b'{"status":3}'
    for id in ("runs", "fails"):
        status, _, said = ask(server, "DELETE", f"/tasks/{id}")
        assert (status, json.loads(said)["status"]["reason"]) == (409, "TASK_STATE")


def test_many_at_once_with_one_id_make_one_task(server: TaskServer) -> None:
    """Of submissions of two files at the same moment, those with the winner's bytes get 200, the others 409."""
    found: list[int] = []

    def submit(number: int) -> None:
        found.append(post(server, "one", b'{"file": %d}\n' % (number % 2))[0])

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(found) == {200: 6, 409: 6}
    assert json.loads(results(server, "one"))["file"] in (0, 1)


def test_submissions_and_stops_at_once_leave_a_task_or_none(server: TaskServer) -> None:
    """In whatever order they come, each gets an answer of the contract; then there is one whole task, or nothing."""
    found: list[int] = []

    def act(number: int) -> None:
        if number % 2:
            found.append(post(server, "torn", b"{}\n" * 50)[0])
        else:
            found.append(ask(server, "DELETE", "/tasks/torn")[0])

    threads = [threading.Thread(target=act, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) <= {200, 404, 409}
    if server.state("torn") != -1:
        assert results(server, "torn") == b'{"seen":true}\n' * 50
