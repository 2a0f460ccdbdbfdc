"""Tasks whose files are kept in object storage: what the bucket has suffices, on whichever machine, whoever dies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

import object_store
from infergraph.errors import SettingsError
from infergraph.tasks.objects import Bucket, check_bucket
from object_store import BUCKET
from task_harness import ProductServer, TaskServer, jsonl, wait_for

ROWS = [{"n": number, "raise": "it" if number == 1500 else ""} for number in range(2000)]


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of an S3 server with a bucket."""
    with object_store.s3() as client:
        yield client


def keys(s3: Any, prefix: str) -> list[str]:
    """The names of all objects below a prefix."""
    return sorted(found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", []))


def move_elsewhere(server: TaskServer) -> None:
    """Go on without any file of the tasks on the disk, as on another machine."""
    server.kill()
    for folder in (*(server.data / "tasks").iterdir(), *(server.data / "files").iterdir()):
        shutil.rmtree(folder)
    server.start()


def assert_exact(server: TaskServer, id: str) -> None:
    """Every row is answered once, in order; the failed one in its place."""
    assert server.ended(id)["failed"] == 1
    rows = server.results(id)
    assert [row.get("n", "failed") for row in rows] == [*range(1500), "failed", *range(1501, 2000)]
    (error,) = [json.loads(line) for line in server.ask("GET", f"/api/v1.0/tasks/{id}/errors").content.splitlines()]
    assert error["error"]["line"] == 1501


def test_a_task_is_kept_in_the_bucket(s3: Any, tmp_path: Path) -> None:
    """Its input, then its answers as a whole; another machine gives them out, retries, and deletes them."""
    settings = {"task_files": f"s3://{BUCKET}/life"}
    with TaskServer(tmp_path, "Refusing", settings=settings) as server:
        assert server.submit("t", jsonl(ROWS)).status_code == 200
        assert server.submit("table", b"n\n1\n2\n", format="csv").status_code == 200
        assert_exact(server, "t")
        server.ended("table")
        names = [key.rpartition("/")[2] for key in keys(s3, "life/tasks/")]
        assert sorted(names) == sorted(["input.jsonl", "output.0.jsonl", "errors.0.jsonl"] * 2 + ["answers.1.csv"])
        move_elsewhere(server)
        assert_exact(server, "t")
        assert server.ask("GET", "/tasks/table/results").text == "n,seen\n1,true\n2,true\n"
        move_elsewhere(server)
        assert server.ask("POST", "/api/v1.0/tasks/t/retry").status_code == 200
        assert server.ended("t")["round"] == 1
        assert_exact(server, "t")
        for id in ("t", "table"):
            assert server.ask("DELETE", f"/api/v1.0/tasks/{id}").status_code == 200
        wait_for(lambda: not keys(s3, "life/"), "the end of the objects")


@pytest.mark.parametrize("point", ["parts-kept", "committed", "answers-kept"])
def test_death_and_another_machine(s3: Any, tmp_path: Path, point: str) -> None:
    """Whoever dies, and whenever: a machine without the files goes on at the watermark, by what is in the bucket."""
    flag = tmp_path / "died"
    settings = {"task_files": f"s3://{BUCKET}/{point}", "task_chunk_target_s": 0.05}
    server = TaskServer(tmp_path, "Weary", settings=settings, line_s=0.002)
    server.start(CRASH_POINT=f"{point}@{flag}")
    with server:
        with suppress(requests.RequestException):
            server.submit("t", jsonl(ROWS))
        wait_for(flag.exists, f"a death at {point}")
        move_elsewhere(server)
        assert_exact(server, "t")
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or not object_store.is_secret_in(path.read_bytes())


def test_partial_results_come_from_the_parts(s3: Any, tmp_path: Path) -> None:
    """A machine that does not work on a task gives out what the watermark covers."""
    settings = {"task_files": f"s3://{BUCKET}/partial", "task_chunk_target_s": 0.05}
    with TaskServer(tmp_path, "Tired", settings=settings, line_s=0.003) as server:
        server.submit("t", jsonl(ROWS))
        wait_for(lambda: server.show("t")["done"] > 0, "a watermark")
        move_elsewhere(server)
        partial = server.ask("GET", "/api/v1.0/tasks/t/results?partial=true")
        rows = [json.loads(line)["n"] for line in partial.content.splitlines()]
        assert rows
        assert rows == list(range(len(rows)))


def test_a_batch_is_kept_in_the_bucket(s3: Any, tmp_path: Path) -> None:
    """Its input and its two output files: another machine works on it, gives them out, and deletes them."""
    settings = {"task_files": f"s3://{BUCKET}/batch"}
    body = [{"data": {"ndarray": [[number]]}} for number in (1, -2, 3)]
    lines = [
        {"custom_id": str(number), "method": "POST", "url": "/predict", "body": each}
        for number, each in enumerate(body)
    ]
    with ProductServer(tmp_path, "Doubler", settings=settings) as server:
        ask = server.ask
        file = ask("POST", "/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", jsonl(lines))}).json()
        move_elsewhere(server)
        made = {"input_file_id": file["id"], "endpoint": "/predict", "completion_window": "24h"}
        batch = ask("POST", "/v1/batches", json=made).json()
        wait_for(lambda: ask("GET", f"/v1/batches/{batch['id']}").json()["status"] == "completed", "the end")
        move_elsewhere(server)
        batch = ask("GET", f"/v1/batches/{batch['id']}").json()
        outputs = [batch["output_file_id"], batch["error_file_id"]]
        contents = [ask("GET", f"/v1/files/{id}/content").text.splitlines() for id in outputs]
        assert [[json.loads(line)["custom_id"] for line in content] for content in contents] == [["0", "2"], ["1"]]
        assert len(keys(s3, "batch/files/")) == 3
        for id in (file["id"], *outputs):
            assert ask("DELETE", f"/v1/files/{id}").json()["deleted"]
        assert ask("DELETE", f"/api/v1.0/tasks/{batch['id']}").status_code == 200
        wait_for(lambda: not keys(s3, "batch/"), "the end of the objects")


def test_parts_are_composed_where_they_are(s3: Any, tmp_path: Path) -> None:
    """Large ones by the storage itself; a gap, another size or a small part in the middle is left to the caller."""
    bucket, large = Bucket(f"s3://{BUCKET}/composed"), b"x" * (5 << 20)
    bucket.put_bytes(f"parts/{0:020}", large)
    assert not bucket.compose("whole", "parts", len(large)), "one part"
    bucket.put_bytes(f"parts/{len(large):020}", b"y")
    assert not bucket.compose("whole", "parts", len(large))
    assert bucket.compose("whole", "parts", len(large) + 1)
    assert s3.get_object(Bucket=BUCKET, Key="composed/whole")["Body"].read() == large + b"y"
    bucket.put_bytes(f"parts/{len(large) + 1:020}", large)
    assert not bucket.compose("whole", "parts", 2 * len(large) + 1), "a small part in the middle"
    assert not bucket.compose("whole", "none", 0)


def test_a_bucket_that_cannot_be_used_is_named_at_the_start(s3: Any) -> None:
    """As are credentials in the address, which belong elsewhere."""
    for uri in ("s3://key:secret@bucket/x", f"s3://{BUCKET}/x?versionId=1", "s3://"):
        with pytest.raises(SettingsError, match="credentials belong into the environment"):
            check_bucket(uri)
    check_bucket(f"s3://{BUCKET}/x")
