"""The gBuilder contract, route by route, against a server over real HTTP."""

from __future__ import annotations

import gzip
import http.client
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests

from task_harness import TaskServer, jsonl, wait_for

BUGS = Path(__file__).parent / "cases" / "bugs"
ROWS = [{"data": f"第{number}句", "id": number} for number in range(30)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskServer]:
    """A server whose unit adds `seen` to each row."""
    settings = {"task_upload_limit_bytes": 1_000_000}
    with TaskServer(tmp_path_factory.mktemp("endpoint"), "Echo", settings=settings) as running:
        yield running


def envelope(answer: Any) -> str:
    """The reason in the error envelope of an answer."""
    status = answer.json()["status"]
    assert set(status) == {"code", "info", "reason", "status"}
    assert (status["code"], status["status"]) == (-1, 1)
    assert status["info"]
    return str(status["reason"])


@pytest.mark.parametrize("field", ["task_file", "file"])
def test_a_task_from_submission_to_results(server: TaskServer, field: str) -> None:
    """A file under either field name is accepted, worked and fetched; the five answers hold `status` alone."""
    assert server.ask("GET", "/status").json() == {"status": 1}
    assert server.submit(f"life-{field}", jsonl(ROWS), field=field).json() == {"status": 200}
    server.ended(f"life-{field}")
    assert server.state(f"life-{field}") == 2
    answer = server.ask("GET", f"/tasks/life-{field}/results")
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    assert server.results(f"life-{field}") == [{**row, "seen": True} for row in ROWS]
    assert "第0句".encode() in answer.content


def test_without_immediate_the_post_waits_for_the_end(server: TaskServer) -> None:
    """Absent or false: when the POST is answered the task is finished."""
    for number, immediate in enumerate([None, "false", "0", "No"]):
        assert server.submit(f"sync-{number}", jsonl(ROWS), immediate=immediate).json() == {"status": 200}
        assert server.state(f"sync-{number}") == 2


@pytest.mark.parametrize("immediate", ["true", "1", "YES", "On"])
def test_immediate_in_every_spelling(server: TaskServer, immediate: str) -> None:
    """True in every spelling is understood."""
    assert server.submit(f"imm-{immediate}", jsonl(ROWS), immediate=immediate).json() == {"status": 200}


def test_a_synchronous_task_that_fails_says_why(server: TaskServer) -> None:
    """A caller who waits learns of a failure by the status code and the reason."""
    answer = server.submit("sync-fails", b"no json\n", immediate=None)
    assert answer.status_code == 500
    assert envelope(answer) == "TASK_FAILED"
    assert "not JSON" in answer.json()["status"]["info"]
    assert server.state("sync-fails") == 3


def test_a_caller_who_hangs_up_loses_nothing(server: TaskServer) -> None:
    """A synchronous caller that goes away leaves a task that is worked to its end."""
    body = (
        b'--b\r\nContent-Disposition: form-data; name="task_id"\r\n\r\nhung-up\r\n'
        b'--b\r\nContent-Disposition: form-data; name="task_file"; filename="f"\r\n\r\n'
        + jsonl(ROWS)
        + b"\r\n--b--\r\n"
    )
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(
            b"POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        wait_for(lambda: server.state("hung-up") >= 0, "the acceptance")
    assert server.ended("hung-up")["state"] == "finished"


@pytest.mark.parametrize(
    ("form", "files", "named"),
    [
        ({}, {"task_file": b"{}\n"}, "task_id"),
        ({"task_id": ""}, {"task_file": b"{}\n"}, "task_id"),
        ({"task_id": "x" * 256}, {"task_file": b"{}\n"}, "task_id"),
        ({"task_id": "bad"}, {"other": b"{}\n"}, "task_file"),
        ({"task_id": "bad"}, {"task_file": b""}, "task_file"),
        ({"task_id": "bad"}, {"task_file": b"\n \r\n"}, "task_file"),
        ({"task_id": "bad", "immediate": "maybe"}, {"task_file": b"{}\n"}, "immediate"),
        ({"task_id": "bad", "rows": "columns"}, {"task_file": b"{}\n"}, "rows"),
        ({"task_id": "bad", "priority": "high"}, {"task_file": b"{}\n"}, "priority"),
        ({"task_id": "bad", "webhook": "http://10.0.0.1/"}, {"task_file": b"{}\n"}, "webhook"),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    server: TaskServer, form: dict[str, str], files: dict[str, bytes], named: str
) -> None:
    """A field that is missing, empty or not acceptable gives 400 and its name, and no task."""
    answer = server.ask("POST", "/tasks", data=form, files=files)
    assert answer.status_code == 400
    envelope(answer)
    assert answer.json()["status"]["info"].startswith(named)
    assert server.state("bad") == -1


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--c\r\n"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="task_id"\r\n\r\ncut'),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"--b\r\nX: y\r\n\r\nno name\r\n--b--\r\n"),
    ],
)
def test_a_broken_form_is_refused(server: TaskServer, content_type: str, body: bytes) -> None:
    """A body that is no form, or ends early, gives 400, and nothing of it stays."""
    answer = server.ask("POST", "/tasks", data=body, headers={"Content-Type": content_type})
    assert answer.status_code == 400
    envelope(answer)
    assert list((server.data / "incoming").iterdir()) == []


def test_fields_may_stand_behind_the_file(server: TaskServer) -> None:
    """A form whose file comes first is understood."""
    files = [("task_file", ("f", jsonl(ROWS))), ("task_id", (None, "behind")), ("immediate", (None, "false"))]
    assert server.ask("POST", "/tasks", files=files).json() == {"status": 200}
    assert server.state("behind") == 2


def test_too_large_is_noticed_while_it_streams(server: TaskServer) -> None:
    """A file over the limit gives 413, whether its size is declared or not, and leaves nothing behind."""
    answer = server.submit("large", b"{}\n" * 400_000)
    assert answer.status_code == 413
    assert envelope(answer) == "TOO_LARGE"
    head = b'--b\r\nContent-Disposition: form-data; name="task_file"; filename="f"\r\n\r\n'
    chunked = server.ask(
        "POST",
        "/tasks",
        data=iter([head, *[b"{}\n" * 10_000] * 40]),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert chunked.status_code == 413
    assert server.state("large") == -1
    assert list((server.data / "incoming").iterdir()) == []


def test_the_same_bytes_again_are_harmless(server: TaskServer) -> None:
    """A repeated POST is answered like the first and makes no second task."""
    for _ in range(3):
        assert server.submit("twice", jsonl(ROWS)).json() == {"status": 200}
    server.ended("twice")
    assert server.submit("twice", jsonl(ROWS)).json() == {"status": 200}
    assert server.show("twice")["attempts"] == 1
    other = server.submit("twice", jsonl(ROWS[1:]))
    assert other.status_code == 409
    assert envelope(other) == "TASK_CONFLICT"


def test_a_failed_task_may_be_submitted_again(server: TaskServer) -> None:
    """The id of a failed task starts afresh, with other bytes too."""
    server.submit("again", b"no json\n")
    assert server.ended("again")["state"] == "failed"
    assert server.submit("again", jsonl(ROWS), immediate=None).json() == {"status": 200}
    assert len(server.results("again")) == len(ROWS)


def test_an_idempotency_key_makes_a_repeated_post_harmless(server: TaskServer) -> None:
    """The same key answers with the task it made; the native route gives that task back."""
    first = server.ask("POST", "/api/v1.0/tasks", data=jsonl(ROWS), headers={"Idempotency-Key": "k1"})
    again = server.ask("POST", "/api/v1.0/tasks", data=jsonl(ROWS), headers={"Idempotency-Key": "k1"})
    assert first.status_code == again.status_code == 201
    assert first.json()["id"] == again.json()["id"]
    other = server.ask("POST", "/api/v1.0/tasks", data=jsonl(ROWS[1:]), headers={"Idempotency-Key": "k1"})
    assert other.status_code == 409


NASTY = [
    "../evil", "a/b", "/etc/passwd", "CON", "a\0b", "中" * 255, "a b+c", "%2F", "a%2Fb", "results", "x/results",
    "a\nb", "\u2028", "😀", "a?b#c", "?", "DELETE FROM task; --", "é", "é", " ", "a\\b", "\u202e",
]  # fmt: skip


@pytest.mark.parametrize("id", NASTY)
def test_an_id_is_only_a_name(server: TaskServer, id: str) -> None:
    """Any text is an id, by every route, and never a path."""
    before = {path.name for path in server.folder.iterdir()}
    assert server.submit(id, jsonl([{"id": id}]), immediate=None).json() == {"status": 200}
    assert server.state(id) == 2
    assert server.results(id) == [{"id": id, "seen": True}]
    assert server.show(id)["id"] == id
    answer = server.ask("GET", f"/tasks/{quote(id, safe='')}/results")
    name = answer.headers["content-disposition"].split('"')[1]
    assert "/" not in name
    assert not name.startswith(".")
    assert server.delete(id).status_code == 409
    assert {path.name for path in server.folder.iterdir()} == before
    assert all(len(path.name) == 32 for path in (server.data / "tasks").iterdir())


def test_dots_are_ids_too(server: TaskServer) -> None:
    """Dots that most clients would resolve before sending reach us as an id, and stay one."""
    address = urlsplit(server.url)
    for id in (".", "..", "a/../b"):
        server.submit(id, jsonl(ROWS), immediate=None)
        connection = http.client.HTTPConnection(address.hostname or "", address.port)
        connection.request("GET", f"/tasks/{quote(id, safe='')}")
        assert json.loads(connection.getresponse().read()) == {"status": 2}
        connection.close()


def test_ids_that_look_alike_are_told_apart(server: TaskServer) -> None:
    """Composed and decomposed letters, upper and lower case are different ids."""
    for id in ("Ä", "A\u0308", "ab", "AB"):
        server.submit(id, jsonl([{"id": id}]), immediate=None)
    assert [server.results(id)[0]["id"] for id in ("Ä", "A\u0308", "ab", "AB")] == ["Ä", "A\u0308", "ab", "AB"]


def test_unknown_tasks(server: TaskServer) -> None:
    """An unknown id is -1 to the state route, 404 to the others."""
    assert server.state("nobody") == -1
    for answer in (server.ask("GET", "/tasks/nobody/results"), server.delete("nobody")):
        assert answer.status_code == 404
        assert envelope(answer) == "TASK_UNKNOWN"
    assert server.ask("GET", "/tasks/%FF").status_code == 404


def test_other_methods_are_refused_by_name(server: TaskServer) -> None:
    """A method that a path does not take gives 405 and says which it takes."""
    for method, path, allowed in (
        ("PUT", "/tasks", "POST"),
        ("POST", "/tasks/x", "DELETE, GET"),
        ("DELETE", "/status", "GET"),
        ("POST", "/tasks/x/results", "GET"),
    ):
        answer = server.ask(method, path)
        assert answer.status_code == 405
        assert answer.headers["allow"] == allowed


def test_results_of_a_failed_task_are_refused_with_the_reason(server: TaskServer) -> None:
    """A task in which every record failed is status 3; its results give 409 with the reason, its lines are partial."""
    server.submit("all-bad", b"x\n[]\n\ny\n", immediate=None)
    assert server.state("all-bad") == 3
    answer = server.ask("GET", "/tasks/all-bad/results")
    assert answer.status_code == 409
    assert envelope(answer) == "TASK_STATE"
    assert "every line failed" in answer.json()["status"]["info"]
    partial = server.ask("GET", "/api/v1.0/tasks/all-bad/results?partial=true")
    assert [json.loads(line)["error"]["line"] for line in partial.text.splitlines()] == [1, 2, 3, 4]


def test_jsonl_rules_end_to_end(server: TaskServer) -> None:
    """BOM, CRLF, blank lines, odd separators, wide integers, NaN and bytes that are no UTF-8: each in its place."""
    lines = (
        b'\xef\xbb\xbf{"data": "first"}\r\n'
        + '{"data": "a\u2028b\u2029c\u0085d"}\n'.encode()
        + b"\n"
        + b'{"n": 123456789012345678901234567890}\n'
        + b'{"n": NaN}\n'
        + b'{"data": "\xff"}\n'
        + b'["not an object"]\n'
        + b'{"last": true}\n\n  \r\n'
    )
    server.submit("rules", lines, immediate=None)
    rows = server.results("rules")
    assert len(rows) == 8
    assert rows[0] == {"data": "first", "seen": True}
    assert rows[1]["data"] == "a\u2028b\u2029c\u0085d"
    assert rows[3]["n"] == 123456789012345678901234567890
    assert rows[7] == {"last": True, "seen": True}
    assert {row["error"]["line"]: row["input"] for row in rows if "error" in row} == {
        3: "", 5: '{"n": NaN}', 6: '{"data": "\\xff"}', 7: '["not an object"]',
    }  # fmt: skip
    errors = server.ask("GET", "/api/v1.0/tasks/rules/errors")
    assert [json.loads(line) for line in errors.text.splitlines()] == [row for row in rows if "error" in row]


@pytest.mark.parametrize("charset", ["gb18030", "GBK", "big5", "utf-16", "utf-16-le", "shift_jis", "utf-8"])
def test_a_part_in_another_charset_is_read_by_it(server: TaskServer, charset: str) -> None:
    """The charset that the file part names is honoured; results are UTF-8."""
    text = "".join(f'{{"data": "中文{number}"}}\n' for number in range(2000))
    files = {"task_file": ("f", text.encode(charset), f"text/plain; charset={charset}")}
    assert server.ask("POST", "/tasks", data={"task_id": f"cs-{charset}"}, files=files).json() == {"status": 200}
    assert [row["data"] for row in server.results(f"cs-{charset}")] == [f"中文{number}" for number in range(2000)]


def upload(server: TaskServer, id: str, file: bytes, kind: str = "text/plain") -> requests.Response:
    """Submit a file as a part of this content type."""
    return server.ask("POST", "/tasks", data={"task_id": id}, files={"task_file": ("f", file, kind)})


@pytest.mark.parametrize("label", ["ISO-8859-1", "US-ASCII", "windows-1252", "gbk"])
def test_a_wrong_label_is_not_believed_over_the_bytes(server: TaskServer, label: str) -> None:
    """A client library's default label does not turn UTF-8 into something else."""
    rows = (BUGS / "b06-declared-latin1" / "rows.jsonl").read_bytes()
    if label == "gbk":
        rows *= 10  # so many characters are valid UTF-8 by no chance
    assert upload(server, f"label-{label}", rows, f"text/plain; charset={label}").json() == {"status": 200}
    assert [row["text"] for row in server.results(f"label-{label}")][:2] == ["绍兴在浙江", "Zürich"]


def test_a_byte_of_no_character_is_told_by_the_file_s_own(server: TaskServer) -> None:
    """The reason names the charset that was declared and the byte's place; the input shows the byte."""
    rows = (BUGS / "c4-bad-byte-declared" / "rows.jsonl").read_bytes()
    upload(server, "bad-byte", rows, "text/plain; charset=gb18030")
    first, second, third = server.results("bad-byte")
    assert (first["text"], third["text"]) == ("绍兴", "浙江")
    assert second["error"] == {"line": 2, "reason": "not gb18030 at byte 13 of the line"}
    assert second["input"] == '{"text": "绍\\xff兴"}'


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-be", "utf-32"])
def test_unicode_in_another_form_needs_no_label(server: TaskServer, charset: str) -> None:
    """UTF-16 and UTF-32 are known by their first bytes."""
    upload(server, f"unlabelled-{charset}", '{"text": "绍兴"}\n{"text": "浙江"}\n'.encode(charset))
    assert [row["text"] for row in server.results(f"unlabelled-{charset}")] == ["绍兴", "浙江"]


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("array.json", "one JSON array over several lines"),
        ("array-one-line.json", "one JSON array; a line"),
        ("pretty.jsonl", "objects over several lines"),
        ("old-mac.jsonl", "end in CR"),
    ],
)
def test_a_file_that_is_no_jsonl_is_refused_once(server: TaskServer, file: str, told: str) -> None:
    """The fault of a file is the upload's: 400 with the field's name, and no task."""
    answer = upload(server, f"whole-{file}", (BUGS / "c3-whole-file" / file).read_bytes())
    assert answer.status_code == 400
    assert answer.json()["status"]["info"].startswith("task_file: the file")
    assert told in answer.json()["status"]["info"]
    assert server.state(f"whole-{file}") == -1


def test_a_compressed_file_is_unpacked(server: TaskServer) -> None:
    """One that was refused once is a task like any other."""
    file = (BUGS / "c3-whole-file" / "rows.jsonl.gz").read_bytes()
    assert upload(server, "packed", file).status_code == 200
    assert [row["seen"] for row in server.results("packed")] == [True] * len(gzip.decompress(file).splitlines())


def test_bytes_that_do_not_decode_are_one_bad_record(server: TaskServer) -> None:
    """A broken character of another charset costs its own line and no other."""
    broken = '{"data": "好"}\n'.encode("gb18030") + b'{"data": "\x81\n' + '{"data": "坏"}\n'.encode("gb18030")
    files = {"task_file": ("f", broken, "text/plain; charset=gb18030")}
    server.ask("POST", "/tasks", data={"task_id": "broken-cs"}, files=files)
    rows = server.results("broken-cs")
    assert [row.get("data") for row in rows] == ["好", None, "坏"]
    assert rows[1]["error"]["line"] == 2


def test_a_charset_that_does_not_exist_is_named(server: TaskServer) -> None:
    """An unknown charset, or a codec that is none, gives 400."""
    for charset in ("klingon", "zlib"):
        files = {"task_file": ("f", b"{}\n", f"text/plain; charset={charset}")}
        answer = server.ask("POST", "/tasks", data={"task_id": "bad"}, files=files)
        assert answer.status_code == 400
        assert charset in answer.json()["status"]["info"]


def test_results_can_be_fetched_in_parts(server: TaskServer) -> None:
    """A download that broke off goes on where it was; the checksum is that of the whole."""
    server.submit("parts", jsonl(ROWS), immediate=None)
    whole = server.ask("GET", "/tasks/parts/results").content
    tail = server.ask("GET", "/tasks/parts/results", headers={"Range": "bytes=10-"})
    assert tail.status_code == 206
    assert tail.content == whole[10:]


def test_the_curl_lines_of_the_documentation(server: TaskServer, tmp_path: Path) -> None:
    """curl, as the published documentation uses it, gets what it expects."""
    curl = shutil.which("curl")
    assert curl, "curl is needed for this test"
    (tmp_path / "test.jsonl").write_bytes(jsonl(ROWS))

    def run(*arguments: str) -> str:
        return subprocess.run([curl, "-s", *arguments], check=True, capture_output=True, text=True, cwd=tmp_path).stdout

    assert json.loads(run(f"{server.url}/status")) == {"status": 1}
    form = ["-F", "task_id=curl-1", "-F", "task_file=@test.jsonl", "-F", "immediate=true"]
    assert json.loads(run("-X", "POST", *form, f"{server.url}/tasks")) == {"status": 200}
    server.ended("curl-1")
    assert json.loads(run(f"{server.url}/tasks/curl-1")) == {"status": 2}
    run("-o", "out.jsonl", f"{server.url}/tasks/curl-1/results")
    assert (tmp_path / "out.jsonl").read_bytes() == jsonl({**row, "seen": True} for row in ROWS).replace(
        b": ", b":"
    ).replace(b", ", b",")
    assert run("-X", "DELETE", "-o", "/dev/null", "-w", "%{http_code}", f"{server.url}/tasks/curl-1") == "409"


# ── the native API ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_task_shows_everything(server: TaskServer) -> None:
    """The native API gives state, counts, times, sizes and checksums of a task."""
    server.submit("shown", jsonl(ROWS) + b"bad\n", immediate=None)
    task = server.show("shown")
    assert (task["state"], task["done"], task["failed"], task["total"]) == ("finished", 31, 1, 31)
    assert task["error"].startswith("line 31: not JSON")
    assert task["created"] <= task["started"] <= task["finished"]
    assert task["progress"] == 1.0
    assert len(task["output_sha256"]) == 64
    assert task["output_bytes"] == len(server.ask("GET", "/tasks/shown/results").content)


def test_the_list_filters_and_pages(server: TaskServer) -> None:
    """Pages follow each other without gaps; filters by state and prefix hold."""
    for number in range(5):
        server.submit(f"list-{number}", jsonl(ROWS), immediate=None)
    seen: list[str] = []
    query = "/api/v1.0/tasks?prefix=list-&limit=2"
    page = server.ask("GET", query).json()
    while page["tasks"]:
        seen += [task["id"] for task in page["tasks"]]
        if page["next"] is None:
            break
        page = server.ask("GET", f"{query}&before={page['next']}").json()
    assert seen == [f"list-{number}" for number in range(4, -1, -1)]
    assert server.ask("GET", "/api/v1.0/tasks?prefix=list-&state=failed,waiting").json()["tasks"] == []
    assert server.ask("GET", "/api/v1.0/tasks?state=lost").status_code == 400


def test_progress_is_streamed_to_its_end(server: TaskServer) -> None:
    """The event stream gives progress events and one end, and closes."""
    server.submit("stream", jsonl(ROWS))
    events = server.ask("GET", "/api/v1.0/tasks/stream/events")
    assert events.headers["content-type"].startswith("text/event-stream")
    parsed = [block.split("\n") for block in events.text.strip().split("\n\n")]
    assert {block[0] for block in parsed} == {"event: progress", "event: end"}
    assert parsed[-1][0] == "event: end"
    assert json.loads(parsed[-1][1].removeprefix("data: "))["state"] == "finished"
    assert server.ask("GET", "/api/v1.0/tasks/nobody/events").status_code == 404


def test_tasks_are_deleted_and_pruned(server: TaskServer) -> None:
    """A finished task can be forgotten, one or all; its id then says what became of it."""
    server.submit("forget", jsonl(ROWS), immediate=None)
    assert server.ask("DELETE", "/api/v1.0/tasks/forget").json() == {"deleted": "forget"}
    gone = server.ask("GET", "/api/v1.0/tasks/forget")
    assert gone.status_code == 404
    assert "it was deleted" in gone.json()["status"]["info"]
    server.submit("prune-me", jsonl(ROWS), immediate=None)
    assert server.ask("DELETE", "/api/v1.0/tasks").status_code == 400
    time.sleep(0.01)
    assert server.ask("DELETE", "/api/v1.0/tasks?older_than_s=0").json()["pruned"] >= 1
    assert server.state("prune-me") == -1
    assert server.ask("GET", "/api/v1.0/tasks").json()["counts"]["finished"] == 0
    assert list((server.data / "tasks").iterdir()) == []


def test_the_engine_says_how_it_does(server: TaskServer) -> None:
    """The engine's own page gives availability, workers and disk."""
    server.submit("engine", jsonl(ROWS), immediate=None)
    engine = wait_for(
        lambda: (page := server.ask("GET", "/api/v1.0/task-engine").json())["driver"]["chunks"] and page, "a beat"
    )
    assert engine["status"] == 1
    assert engine["driver"]["ready"] == 1
    assert engine["free_bytes"] > 0
