"""The life of a batch in the driver, without lanes: the test does what they would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infergraph.settings import Settings
from infergraph.tasks import openai
from infergraph.tasks.clocks import Clocks
from infergraph.tasks.driver.batch_keeper import BatchKeeper
from infergraph.tasks.files import DataFolder
from infergraph.tasks.openai import Batch, BatchStatus, File
from infergraph.tasks.record_store import Record
from infergraph.tasks.sqlite import SqliteStore
from infergraph.tasks.store import Claim
from infergraph.tasks.task import Progress, State, Task, Watermark
from infergraph.wire import request_lines

NOW = 1_800_000_000.0
LINES = [json.dumps({"custom_id": id, "method": "POST", "url": "/p", "body": {}}).encode() + b"\n" for id in "abc"]


class House:
    """A data folder with a stored file, and a driver's keeper over it."""

    def __init__(self, root: Path) -> None:
        self.data = DataFolder(root)
        self.data.prepare()
        self.store = SqliteStore.open(self.data.database)
        self.now = NOW
        self.settings = Settings(task_queue_limit=5)
        self.keeper = self.new_keeper()
        self.keep_file("in", b"".join(LINES))

    def new_keeper(self) -> BatchKeeper:
        clocks = Clocks(wall=lambda: self.now, steady=lambda: self.now)
        return BatchKeeper(
            self.data, self.store, self.settings, clocks, end_task=lambda seq, why: False, wake=lambda: None
        )

    def keep_file(self, folder: str, content: bytes) -> None:
        (self.data.files / folder).mkdir()
        self.data.content(folder).write_bytes(content)
        file = File(filename="f", bytes=len(content), end=len(content), lines=3)
        self.store.add_record(
            Record(id=openai.file_id(folder), kind=openai.INPUT_FILE, created=NOW, document=openai.written(file))
        )

    def create(self, **more: Any) -> None:
        values = {"status": BatchStatus.VALIDATING, "input_file": "file-in", "endpoint": "/p", "expires": NOW + 100}
        batch = Batch(**{**values, "completion_window": "100s", **more})
        self.store.add_record(
            Record(
                id="batch_x",
                kind=openai.BATCH,
                stage=openai.stage_of(batch),
                created=NOW,
                expires=batch.expires,
                document=openai.written(batch),
            )
        )

    def look(self, keeper: BatchKeeper | None = None) -> Batch:
        """The batch after the keeper has seen to it."""
        keeper = keeper or self.keeper
        keeper.look()
        wait(keeper._busy.values())
        return self.batch

    @property
    def batch(self) -> Batch:
        record = self.store.record("batch_x")
        assert record is not None
        return openai.batch_in(record)

    def change(self, **changes: Any) -> None:
        """Change the batch, as an edge does."""
        record = self.store.record("batch_x")
        assert record is not None
        batch = msgspec.structs.replace(openai.batch_in(record), **changes)
        self.store.change_record(record, stage=openai.stage_of(batch), document=openai.written(batch))

    def work(self, answers: int, state: State | None = State.FINISHED) -> Task:
        """Answer some requests, and end the task."""
        (task,) = self.store.claim(Claim(driver="d", now=NOW))
        lines = [request_lines.answer(id, id, 200, b"{}", is_json=True) + b"\n" for id in "abc"[:answers]]
        self.data.output(task.folder, 0).write_bytes(b"".join(lines))
        mark = Watermark(
            in_off=sum(map(len, LINES[:answers])), out_off=sum(map(len, lines)), err_off=0, done=answers, failed=0
        )
        self.store.advance(task, mark, Progress(retries=0, kills=0, rate=0, worked_s=0))
        if state is not None:
            self.store.end(task, state, now=NOW, error="broken", sha256="")
        return task

    def ids(self, file: str) -> list[str]:
        """The ids in an output file."""
        lines = self.data.content(openai.folder_of(file)).read_bytes().splitlines() if file else []
        return [json.loads(line)["custom_id"] for line in lines]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.keeper.stop()
    made.store.close()


def test_from_validating_to_completed(house: House) -> None:
    """A task of the same id is made of it, and its answers are filed when that has ended."""
    house.create()
    assert house.look().status is BatchStatus.IN_PROGRESS
    assert house.look().status is BatchStatus.IN_PROGRESS
    house.work(3)
    batch = house.look()
    assert (batch.status, batch.total, batch.completed, batch.failed) == (BatchStatus.COMPLETED, 3, 3, 0)
    assert (house.ids(batch.output_file), batch.error_file) == (["a", "b", "c"], "")
    assert list(batch.times) == ["in_progress", "finalizing", "completed"]


def test_a_task_that_was_made_is_found_again(house: House) -> None:
    """A driver that died between the task and the batch's status has made one task, and left no folder behind."""
    house.create()
    house.look()
    house.change(status=BatchStatus.VALIDATING)
    assert house.look().status is BatchStatus.IN_PROGRESS
    assert len(list(house.data.tasks.iterdir())) == 1


def test_files_that_were_made_are_made_again(house: House) -> None:
    """A driver that died between the files and the batch's end has done no harm."""
    house.create()
    house.look()
    house.work(3)
    first = house.look()
    house.change(status=BatchStatus.FINALIZING)
    again = house.look()
    assert (again.output_file, again.completed) == (first.output_file, 3)
    assert house.ids(again.output_file) == ["a", "b", "c"]


def test_an_expired_batch_keeps_its_answers(house: House) -> None:
    """Its task is ended where it stands; who was not asked is told so in the error file."""
    house.create()
    house.look()
    house.work(1, state=None)
    house.store.recover("nobody")
    house.now = NOW + 100
    assert house.look().status is BatchStatus.FINALIZING
    batch = house.look()
    assert (batch.status, house.ids(batch.output_file), house.ids(batch.error_file)) == ("expired", ["a"], ["b", "c"])
    assert b"batch_expired" in house.data.content(openai.folder_of(batch.error_file)).read_bytes()


def test_one_that_expires_before_its_turn_asks_nothing(house: House) -> None:
    """Nor has it files."""
    house.create(expires=NOW)
    batch = house.look()
    assert (batch.status, batch.output_file, batch.error_file) == (BatchStatus.EXPIRED, "", "")
    assert house.store.find("batch_x") is None


def test_one_that_is_cancelled_before_its_turn_asks_nothing(house: House) -> None:
    """It has no task, then or later."""
    house.create(status=BatchStatus.CANCELLING, ending=BatchStatus.CANCELLED)
    assert house.look().status is BatchStatus.CANCELLED
    assert house.store.find("batch_x") is None


def test_a_task_that_fails_fails_its_batch(house: House) -> None:
    """With the reason, and the answers that there are."""
    house.create()
    house.look()
    house.work(2, State.FAILED)
    batch = house.look()
    assert (batch.status, batch.errors[0].code, batch.errors[0].message) == ("failed", "task_failed", "broken")
    assert (house.ids(batch.output_file), house.ids(batch.error_file)) == (["a", "b"], ["c"])


def test_a_task_that_was_stopped_as_such_cancels_its_batch(house: House) -> None:
    """Whoever stops the task has stopped the batch."""
    house.create()
    house.look()
    task = house.store.find("batch_x")
    assert task is not None
    house.store.stop("batch_x", [State.WAITING])
    house.store.erase(task.seq, why="stopped", now=NOW)
    assert house.look().status is BatchStatus.CANCELLED


def test_a_file_that_is_gone_fails_the_batch(house: House) -> None:
    """The client has deleted it too early."""
    house.create(input_file="file-none")
    batch = house.look()
    assert (batch.status, batch.errors[0].param) == (BatchStatus.FAILED, "input_file_id")


@pytest.mark.parametrize(("events", "told"), [("", 1), ("batch.completed", 1), ("batch.failed", 0)])
def test_the_end_is_told_to_a_webhook_that_wants_it(house: House, events: str, told: int) -> None:
    """In the form of OpenAI's events, once."""
    house.create(webhook="http://hook/x", webhook_events=events)
    house.look()
    house.work(3)
    house.look()
    deliveries = house.store.due(now=NOW, limit=9)
    assert len(deliveries) == told
    for delivery in deliveries:
        assert (delivery.url, delivery.receiver) == ("http://hook/x", "hook")
        assert json.loads(delivery.body) == {
            "id": "evt_x",
            "object": "event",
            "created_at": int(NOW),
            "type": "batch.completed",
            "data": {"id": "batch_x"},
        }


def test_a_full_queue_makes_a_batch_wait(house: House) -> None:
    """It is validated when there is room."""
    house.settings = Settings(task_queue_limit=0)
    keeper = house.new_keeper()
    house.create()
    assert house.look(keeper).status is BatchStatus.VALIDATING
    keeper.stop()
    assert house.look().status is BatchStatus.IN_PROGRESS
