"""OpenAI's Files and Batches API, driven by the official client against the installed command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Batch

from task_harness import ProductServer, jsonl, wait_for

ENDED = {"completed", "failed", "expired", "cancelled"}
URLS = {
    "/predict": {"data": {"ndarray": [[1.0, 2.0]]}},
    "/api/v1.0/predictions": {"data": {"ndarray": [[1.0, 2.0]]}},
    "/v2/models/Doubler/infer": {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}]},
    "/v1/models/Doubler:predict": {"instances": [[1.0, 2.0]]},
}
DOUBLED = {
    "/predict": ("data", "ndarray"),
    "/api/v1.0/predictions": ("data", "ndarray"),
    "/v2/models/Doubler/infer": ("outputs", 0, "data"),
    "/v1/models/Doubler:predict": ("predictions",),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProductServer]:
    with ProductServer(tmp_path_factory.mktemp("batches"), "Doubler") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ProductServer) -> Iterator[openai.OpenAI]:
    with client_of(server) as made:
        yield made


def client_of(server: ProductServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def request(number: int, url: str = "/predict", body: Any = None) -> dict[str, Any]:
    """A line: it is answered with twice its number."""
    body = body or {"data": {"ndarray": [[number]]}}
    return {"custom_id": f"request-{number}", "method": "POST", "url": url, "body": body}


def create(client: openai.OpenAI, lines: bytes, endpoint: Any = "/predict", **more: Any) -> Batch:
    """Upload lines, and create a batch of them."""
    file = client.files.create(file=("in.jsonl", lines), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, **{"completion_window": "24h", **more})


def keyed_batch(client: openai.OpenAI, endpoint: Any = "/predict") -> Batch:
    """A batch under an idempotency key, of the oldest file."""
    file = next(iter(client.files.list(limit=1, order="asc", purpose="batch")))
    once = {"Idempotency-Key": "once"}
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", extra_headers=once)


def ended(client: openai.OpenAI, batch: Batch) -> Batch:
    """The batch once it has ended."""

    def look() -> Batch | None:
        found = client.batches.retrieve(batch.id)
        return found if found.status in ENDED else None

    found = wait_for(look, "the end of the batch")
    assert found is not None
    return found


def lines_of(client: openai.OpenAI, file: str | None) -> list[Any]:
    """The lines of an output file; none without one."""
    return [] if file is None else [json.loads(line) for line in client.files.content(file).text.splitlines()]


def counts(batch: Batch) -> tuple[int, int, int]:
    """Total, completed and failed."""
    assert batch.request_counts is not None
    return batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed


def test_a_whole_life(client: openai.OpenAI) -> None:
    """Upload, create, wait, download, list and delete: good answers in one file, failed ones in the other, in order."""
    sent = jsonl(request(number) for number in (1, -2, 3))
    file = client.files.create(file=("in.jsonl", sent), purpose="batch")
    assert (file.object, file.filename, file.bytes, file.purpose) == ("file", "in.jsonl", len(sent), "batch")
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).content == sent

    made = client.batches.create(
        input_file_id=file.id, endpoint="/predict", completion_window="24h", metadata={"night": "1"}
    )
    assert (made.object, made.status, made.metadata) == ("batch", "validating", {"night": "1"})
    assert made.expires_at == made.created_at + 24 * 3600
    batch = ended(client, made)
    assert (batch.status, counts(batch), batch.errors) == ("completed", (3, 2, 1), None)
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at  # type: ignore[operator]

    good, bad = lines_of(client, batch.output_file_id), lines_of(client, batch.error_file_id)
    assert [line["custom_id"] for line in good] == ["request-1", "request-3"]
    assert [line["response"]["body"]["data"]["ndarray"] for line in good] == [[[2]], [[6]]]
    assert all(set(line) == {"id", "custom_id", "response", "error"} for line in good + bad)
    assert all(set(line["response"]) == {"status_code", "request_id", "body"} for line in good)
    assert [line["response"]["status_code"] for line in good] == [200, 200]
    assert (bad[0]["custom_id"], bad[0]["response"]["status_code"], bad[0]["error"]) == ("request--2", 500, None)
    assert bad[0]["response"]["body"]["status"]["info"] == "negative"

    output = client.files.retrieve(str(batch.output_file_id))
    assert (output.purpose, output.filename) == ("batch_output", f"{batch.id}_output.jsonl")
    listed = {each.id for each in client.files.list()}
    assert {file.id, batch.output_file_id, batch.error_file_id} <= listed
    assert file.id not in {each.id for each in client.files.list(purpose="batch_output")}
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    assert client.batches.retrieve(batch.id) == batch
    assert lines_of(client, batch.output_file_id) == good


def test_lists_are_read_page_by_page(client: openai.OpenAI) -> None:
    """Batches and files come newest first, each once, whatever the size of a page."""
    batches = [create(client, jsonl([request(number)])) for number in range(5)]
    made = [ended(client, batch).id for batch in batches]  # after which there are no new files
    assert [each.id for each in client.batches.list(limit=2)][:5] == made[::-1]
    files = [each.id for each in client.files.list(limit=3)]
    assert len(set(files)) == len(files) >= 5
    assert [each.id for each in client.files.list(limit=3, order="asc")] == files[::-1]


@pytest.mark.parametrize("url", URLS)
def test_a_row_is_answered_as_its_path_answers(server: ProductServer, client: openai.OpenAI, url: str) -> None:
    """Any path that the unit is asked at takes rows; the answer is what a request to it gets."""
    batch = ended(client, create(client, jsonl([request(1, url, URLS[url])]), url))
    (line,) = lines_of(client, batch.output_file_id)
    answer = line["response"]["body"]
    asked = server.ask("POST", url, json=URLS[url]).json()
    assert {**answer, "id": None} == {**asked, "id": None}
    for step in DOUBLED[url]:
        answer = answer[step]
    assert answer in ([[2.0, 4.0]], [2.0, 4.0])


def test_a_file_with_faults_is_refused_as_a_whole(client: openai.OpenAI) -> None:
    """Every fault is told with its line; no request is asked."""
    lines = [
        request(0),
        {**request(1), "custom_id": "request-0"},
        {**request(2), "method": "GET"},
        {**request(3), "url": "/transform-input"},
        {**request(4), "custom_id": 7},
        {"custom_id": "x", "method": "POST", "url": "/predict"},
        {**request(5), "body": "text"},
    ]
    batch = ended(client, create(client, jsonl(lines) + b"{not json\n"))
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("failed", None, None)
    assert batch.failed_at is not None
    assert batch.errors is not None
    told = [(error.line, error.code, error.param) for error in batch.errors.data or []]
    assert told == [
        (2, "duplicate_custom_id", "custom_id"),
        (3, "invalid_method", "method"),
        (4, "invalid_url", "url"),
        (5, "invalid_type", "custom_id"),
        (6, "missing_required_parameter", "body"),
        (7, "invalid_type", "body"),
        (8, "invalid_json_line", None),
    ]
    assert all(error.message for error in batch.errors.data or [])


@pytest.mark.parametrize(
    ("made", "param"),
    [
        ({"input_file_id": "file-none"}, "input_file_id"),
        ({"endpoint": "/v1/chat/completions"}, "endpoint"),
        ({"endpoint": "/metadata"}, "endpoint"),
        ({"endpoint": "/v2/models/Doubler/infer_stream"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"metadata": {"k": 1}}, "metadata"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after[seconds]"),
    ],
)
def test_a_batch_that_cannot_be_is_refused(client: openai.OpenAI, made: dict[str, Any], param: str) -> None:
    """400 in OpenAI's form, which names the member."""
    file = client.files.create(file=("in.jsonl", jsonl([request(1)])), purpose="batch")
    right = {"input_file_id": file.id, "endpoint": "/predict", "completion_window": "24h"}
    with pytest.raises(openai.BadRequestError) as refused:
        client.batches.create(**{**right, **made})
    assert (refused.value.param, refused.value.type) == (param, "invalid_request_error")
    assert set(refused.value.body) == {"message", "type", "param", "code"}  # type: ignore[call-overload]


def test_errors_have_the_form_that_the_client_knows(server: ProductServer, client: openai.OpenAI) -> None:
    """What is unknown, wrong or not possible is a class of the client's errors, with its text."""
    with pytest.raises(openai.NotFoundError, match="file-none"):
        client.files.content("file-none")
    with pytest.raises(openai.NotFoundError, match="batch_none"):
        client.batches.cancel("batch_none")
    with pytest.raises(openai.BadRequestError, match="purpose"):
        client.files.create(file=("in.jsonl", b"{}"), purpose="vision")
    with pytest.raises(openai.BadRequestError, match="empty"):
        client.files.create(file=("in.jsonl", b"\n"), purpose="batch")
    with pytest.raises(openai.BadRequestError, match="after"):
        client.batches.list(after="batch_none")
    with pytest.raises(openai.BadRequestError, match="limit"):
        client.batches.list(limit=0)
    with pytest.raises(openai.ConflictError, match="completed"):
        client.batches.cancel(ended(client, create(client, jsonl([request(1)]))).id)
    first, again = (keyed_batch(client) for _ in range(2))
    assert first.id == again.id
    with pytest.raises(openai.ConflictError, match="idempotency"):
        keyed_batch(client, "/api/v1.0/predictions")
    refused = server.ask("PUT", "/v1/files")
    assert (refused.status_code, set(refused.json()["error"])) == (405, {"message", "type", "param", "code"})


@pytest.mark.parametrize("workers", [0, 1])
def test_a_cancelled_batch_keeps_its_answers(tmp_path: Path, workers: int) -> None:
    """What was answered is in the output file, everything else in the error file, each request once."""
    settings = {"task_chunk_target_s": 0.1, "task_workers": workers}
    with ProductServer(tmp_path, "Doubler", line_s=0.05, settings=settings) as server:
        client = client_of(server)
        batch = create(client, jsonl(map(request, range(400))))
        wait_for(lambda: counts(client.batches.retrieve(batch.id))[1], "the first answers")
        assert client.batches.cancel(batch.id).status == "cancelling"
        batch = ended(client, batch)
        assert batch.status == "cancelled"
        good, rest = lines_of(client, batch.output_file_id), lines_of(client, batch.error_file_id)
        assert [line["custom_id"] for line in good + rest] == [f"request-{number}" for number in range(400)]
        assert {line["error"]["code"] for line in rest} == {"batch_cancelled"}
        assert counts(batch) == (400, len(good), 0)


def test_a_batch_survives_the_death_of_the_server(tmp_path: Path) -> None:
    """Killed and restarted, again and again: each request has one answer, in order."""
    with ProductServer(tmp_path, "Doubler", line_s=0.005, settings={"task_chunk_target_s": 0.05}) as server:
        batch = create(client_of(server), jsonl(map(request, range(600))))
        for least in (0, 1, 200):
            client = client_of(server)
            wait_for(lambda: counts(client.batches.retrieve(batch.id))[1] >= least, "progress")  # noqa: B023
            server.kill()
            server.start()
        client = client_of(server)
        batch = ended(client, batch)
        assert (batch.status, counts(batch)) == ("completed", (600, 600, 0))
        answers = lines_of(client, batch.output_file_id)
        assert [line["custom_id"] for line in answers] == [f"request-{number}" for number in range(600)]
        assert [line["response"]["body"]["data"]["ndarray"] for line in answers] == [[[2 * n]] for n in range(600)]
        assert batch.error_file_id is None
