"""Tasks over CSV and Parquet, plain and compressed, through a real server: every row once, in order, in its place."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
import zstandard

from task_harness import TaskServer, jsonl

ROWS = [{"id": f"{number:04}", "text": f'第{number}, "句"'} for number in range(2500)]
ROWS[7] = {"id": "0007", "raise": "this"}
LIMIT_BYTES = 2_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskServer]:
    """A server whose unit adds `seen` to each row, and raises on those that have a value for `raise`."""
    settings = {"task_upload_limit_bytes": LIMIT_BYTES}
    with TaskServer(tmp_path_factory.mktemp("formats"), "Refusing", settings=settings) as running:
        yield running


def csv_file(rows: list[dict[str, Any]]) -> bytes:
    """Rows as CSV."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def parquet_file(rows: list[dict[str, Any]]) -> bytes:
    """Rows as Parquet, in several row groups."""
    file = io.BytesIO()
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: [row.get(name) for row in rows] for name in names})
    pq.write_table(table, file, row_group_size=1000)
    return file.getvalue()


def read_csv(answer: requests.Response) -> list[dict[str, Any]]:
    """The rows of an answer in CSV."""
    return list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))


def read_parquet(answer: requests.Response) -> list[dict[str, Any]]:
    """The rows of an answer in Parquet."""
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(answer.content)).to_pylist()
    return rows


def submitted(server: TaskServer, id: str, file: bytes, name: str = "rows", type: str = "", **fields: str) -> Any:
    """The answer to a submission of a file with this name and content type."""
    part = (name, file, type) if type else (name, file)
    return server.ask("POST", "/tasks", data={"task_id": id, "immediate": "true", **fields}, files={"task_file": part})


@pytest.mark.parametrize(
    ("id", "name", "type", "fields"),
    [
        ("by-name", "rows.csv", "", {}),
        ("by-type", "rows", "text/csv", {}),
        ("by-word", "rows.txt", "application/octet-stream", {"format": "csv"}),
    ],
)
def test_a_csv_file_is_answered_by_one(
    server: TaskServer, id: str, name: str, type: str, fields: dict[str, str]
) -> None:
    """Known by its name, its content type or a field; a failed row has its reason, and what its input has."""
    assert submitted(server, id, csv_file(ROWS), name, type, **fields).json() == {"status": 200}
    shown = server.ended(id)
    assert (shown["input_format"], shown["output_format"], shown["failed"]) == ("csv", "csv", 1)
    answer = server.ask("GET", f"/tasks/{id}/results")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert f'filename="{id}.csv"' in answer.headers["content-disposition"]
    rows = read_csv(answer)
    assert [row["id"] for row in rows] == [row["id"] for row in ROWS]
    assert rows[6] == {"id": "0006", "text": ROWS[6]["text"], "raise": "", "seen": "true", "error": ""}
    assert rows[7] == {"id": "0007", "text": "", "raise": "this", "seen": "", "error": "ValueError: not this"}


def test_a_parquet_file_is_answered_by_one(server: TaskServer) -> None:
    """Over its row groups; known by its first bytes alone."""
    rows = [{"n": number, "score": number / 2, "raise": "it" if number == 1500 else None} for number in range(2500)]
    submitted(server, "parquet", parquet_file(rows))
    assert server.ended("parquet")["output_format"] == "parquet"
    answer = server.ask("GET", "/api/v1.0/tasks/parquet/results")
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    read = read_parquet(answer)
    assert [row["n"] for row in read] == list(range(2500))
    assert read[3] == {"n": 3, "score": 1.5, "raise": None, "seen": True, "error": None}
    assert read[1500] == {"n": 1500, "score": 750.0, "raise": "it", "seen": None, "error": "ValueError: not it"}


@pytest.mark.parametrize("ending", ["gz", "zst"])
@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
def test_compressed_files_come_in(server: TaskServer, format: str, ending: str) -> None:
    """Unpacked by their first bytes, whatever the name says of that; the answers are compressed only if asked for."""
    file = {"jsonl": jsonl, "csv": csv_file, "parquet": parquet_file}[format](ROWS[:7])
    packed = gzip.compress(file) if ending == "gz" else zstandard.compress(file)
    id = f"{format}-{ending}"
    assert submitted(server, id, packed, f"rows.{format}").json() == {"status": 200}
    shown = server.ended(id)
    assert (shown["input_format"], shown["output_format"]) == (f"{format}.{ending}", format)
    answer = server.ask("GET", f"/tasks/{id}/results")
    read = {"jsonl": lambda it: [json.loads(line) for line in it.content.splitlines()], "csv": read_csv}
    rows = read.get(format, read_parquet)(answer)
    assert [row["text"] for row in rows] == [row["text"] for row in ROWS[:7]]


def test_answers_go_out_compressed_and_in_another_format(server: TaskServer) -> None:
    """Each as `output_format` says; JSON lines are always there beside it."""
    submitted(server, "out", jsonl(ROWS), output_format="csv.gz")
    assert server.ended("out")["output_format"] == "csv.gz"
    answer = server.ask("GET", "/tasks/out/results")
    assert answer.headers["content-type"] == "application/gzip"
    table = io.StringIO(gzip.decompress(answer.content).decode(), newline="")
    assert [row["id"] for row in csv.DictReader(table)] == [row["id"] for row in ROWS]
    lines = server.ask("GET", "/api/v1.0/tasks/out/results?format=jsonl")
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line).get("id") for line in lines.content.splitlines()] == [
        row["id"] if "text" in row else None for row in ROWS
    ]
    assert server.ask("GET", "/api/v1.0/tasks/out/results?format=xml").status_code == 400


def test_a_download_is_verified_and_may_be_resumed(server: TaskServer) -> None:
    """Its ETag is the checksum of the file as it is sent, and a range of it can be asked for."""
    submitted(server, "range", csv_file(ROWS), "rows.csv")
    sha = server.ended("range")["output_sha256"]
    whole = server.ask("GET", "/tasks/range/results")
    assert whole.headers["etag"] == f'"{sha}"'
    part = server.ask("GET", "/tasks/range/results", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])


def test_bad_rows_keep_their_places(server: TaskServer) -> None:
    """A row with too few fields, or stray quotes, or bytes that are no text: its line of the file is in the reason."""
    submitted(server, "bad-rows", b'id,text\n1,a\n2\n3,"b"c\n4,\xff\n5,e\n', "rows.csv")
    assert server.ended("bad-rows")["failed"] == 3
    rows = read_csv(server.ask("GET", "/tasks/bad-rows/results"))
    assert [row["id"] for row in rows] == ["1", "", "", "", "5"]
    assert [row["error"][:18] for row in rows] == ["", *(f"line {line} of the file" for line in (3, 4, 5)), ""]
    errors = [json.loads(line) for line in server.ask("GET", "/api/v1.0/tasks/bad-rows/errors").content.splitlines()]
    assert [(error["error"]["line"], error["input"]) for error in errors] == [(2, "2"), (3, '3,"b"c'), (4, "4,\\xff")]


@pytest.mark.parametrize(
    ("name", "file", "info"),
    [
        ("rows.csv", b'a,b\n1,"2\n', "task_file: line 2: a quote is opened and not closed"),
        ("rows.csv", b"a,b\n", "task_file: the file has a header, but no rows"),
        ("rows.csv", b"", "task_file: the file is empty"),
        ("rows.parquet", b"a,b\n1,2\n", "task_file: the file is not Parquet"),
        ("rows", b"PAR1 but no more", "task_file: the file is damaged Parquet"),
        ("rows.jsonl.gz", gzip.compress(jsonl(ROWS))[:-9], "task_file: the gzip file ends early"),
        ("rows", zstandard.compress(jsonl(ROWS)) + b"more", "task_file: the zstd file is damaged"),
        ("rows.jsonl", b"a,b\n1,2\n3,4\n", "task_file: the file looks like CSV: name it .csv, or say so"),
    ],
)
def test_a_broken_file_is_refused_before_the_work(server: TaskServer, name: str, file: bytes, info: str) -> None:
    """With 400, the line or the reason, and nothing of it stays."""
    answer = submitted(server, "broken", file, name)
    assert answer.status_code == 400
    assert answer.json()["status"]["info"].startswith(info)
    assert server.state("broken") == -1
    assert list((server.data / "incoming").iterdir()) == []


@pytest.mark.parametrize("field", ["format", "output_format"])
def test_an_unknown_format_is_refused_by_its_field(server: TaskServer, field: str) -> None:
    """With 400 and the known ones."""
    answer = submitted(server, "unknown", b"{}\n", **{field: "xml"})
    assert answer.status_code == 400
    assert answer.json()["status"]["info"].startswith(f"{field}: 'xml' is not a format; one of jsonl, csv, parquet")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("rows.jsonl", gzip.compress(b"{}\n" * LIMIT_BYTES)),
        ("rows.jsonl", zstandard.compress(b"{}\n" * LIMIT_BYTES)),
        ("rows.csv", b"x" * 200_000 + b"\n" + b"1\n" * 200),
        ("rows.parquet", parquet_file([{"x": "y" * 1000}] * 100_000)),
    ],
)
def test_what_a_file_unpacks_to_is_limited(server: TaskServer, name: str, file: bytes) -> None:
    """By task_upload_limit_bytes, which the small file itself keeps: 413, and nothing of it stays."""
    assert len(file) < LIMIT_BYTES
    answer = submitted(server, "bomb", file, name)
    assert answer.status_code == 413
    assert "task_upload_limit_bytes" in answer.json()["status"]["info"]
    assert list((server.data / "incoming").iterdir()) == []


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_in_another_encoding_is_read(server: TaskServer, packed: bool) -> None:
    """Declared with the part; a byte that is not in it makes its row a bad one."""
    file = "名称,数量\n绍兴,1\n".encode("gb18030") + b"\xff,2\n"
    id = f"gb-{packed}"
    submitted(server, id, gzip.compress(file) if packed else file, type="text/csv; charset=gb18030")
    server.ended(id)
    first, bad = read_csv(server.ask("GET", f"/tasks/{id}/results"))
    assert (first["名称"], first["数量"]) == ("绍兴", "1")
    assert bad["error"].startswith("line 3 of the file: not ")


def test_a_retry_writes_the_table_anew(server: TaskServer) -> None:
    """The failed rows are asked again, the answers of the others stay."""
    submitted(server, "again", csv_file([{"id": "1", "raise": ""}, {"id": "2", "raise": "once"}]), "rows.csv")
    server.ended("again")
    assert server.ask("POST", "/api/v1.0/tasks/again/retry").status_code == 200
    assert server.ended("again")["round"] == 1
    rows = read_csv(server.ask("GET", "/tasks/again/results"))
    assert [(row["id"], row["error"]) for row in rows] == [("1", ""), ("2", "ValueError: not once")]


def test_the_native_route_takes_a_table_as_its_body(server: TaskServer) -> None:
    """By content type, or by the parameter `format`."""
    for number, (query, type) in enumerate([("", "text/csv"), ("&format=csv", "application/octet-stream")]):
        answer = server.ask(
            "POST", f"/api/v1.0/tasks?id=body-{number}{query}", data=b"a\n1\n", headers={"content-type": type}
        )
        assert answer.status_code == 201
        assert answer.json()["input_format"] == "csv"


def test_feature_rows_of_a_table(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A unit for instances gets the numbers of the columns; a missing one is NaN, any other text a failed row."""
    with TaskServer(tmp_path_factory.mktemp("instances"), "Summing", settings={"task_nan": "null"}) as server:
        submitted(server, "sums", b"x,y\n1,2.5\n3,\nfour,1\n", "rows.csv")
        server.ended("sums")
        rows = read_csv(server.ask("GET", "/tasks/sums/results"))
        assert [row["answer"] for row in rows] == ["[3.5]", "[null]", ""]
        assert rows[2]["error"].endswith("the column 'x' holds 'four', which is not a number")
        submitted(server, "parquet", parquet_file([{"x": 1, "y": 2}, {"x": 3, "y": 4}]))
        server.ended("parquet")
        assert read_parquet(server.ask("GET", "/tasks/parquet/results")) == [{"answer": [3]}, {"answer": [7]}]
