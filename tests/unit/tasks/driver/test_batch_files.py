"""The files of a batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infergraph.tasks.driver import batch_files
from infergraph.tasks.files import DataFolder
from infergraph.tasks.sqlite import SqliteStore
from infergraph.tasks.store import Claim, Listing
from infergraph.tasks.task import NewTask, Progress, State, Task, Watermark
from infergraph.wire import request_lines

INPUT = b"".join(b'{"custom_id": "%d", "method": "POST", "url": "/p", "body": {}}\n' % number for number in range(4))


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    made = DataFolder(tmp_path)
    made.prepare()
    return made


def answer(number: int, status: int = 200) -> bytes:
    return request_lines.answer(str(number), str(number), status, b"{}", is_json=True) + b"\n"


def task_with(data: DataFolder, answers: list[bytes], failed: list[bytes], *, done: int) -> Task:
    """A task with four requests that has ended after `done` of them; beyond its watermark there is more."""
    (data.tasks / "t").mkdir()
    data.input("t").write_bytes(INPUT)
    data.output("t", 0).write_bytes(b"".join(answers))
    data.errors("t", 0).write_bytes(b"".join(failed))
    store = SqliteStore.open(data.database)
    new = NewTask(id="t", folder="t", input_bytes=len(INPUT), input_end=len(INPUT), input_sha256="", total=4)
    store.accept(new, now=1.0, queue_limit=10)
    (task,) = store.claim(Claim(driver="d", now=1.0))
    mark = Watermark(
        in_off=len(INPUT) // 4 * done,
        out_off=sum(map(len, answers)),
        err_off=sum(map(len, failed)),
        done=done,
        failed=len(failed),
    )
    store.advance(task, mark, Progress(retries=0, kills=0, rate=0, worked_s=0))
    store.end(task, State.FAILED, now=2.0, error="", sha256="")
    (ended,) = store.listing(Listing())
    store.close()
    return ended


def test_good_answers_alone_are_not_copied(data: DataFolder) -> None:
    """If none failed, the output of the task is the file."""
    task = task_with(data, [answer(0), answer(1)], [], done=2)
    with batch_files.good_answers(data, "out", task) as size:
        assert size == task.out_off
    assert data.content("out").samefile(data.output("t", 0))


def test_answers_are_parted(data: DataFolder) -> None:
    """Each is in one of the files, in order; what was never asked follows the failed ones."""
    bad = answer(1, 500)
    task = task_with(data, [answer(0), bad, answer(2)], [bad], done=3)
    with batch_files.good_answers(data, "out", task):
        assert data.content("out").read_bytes() == answer(0) + answer(2)
    with batch_files.failed_answers(data, "err", task, "batch_cancelled", "cancelled") as size:
        first, second = data.content("err").read_bytes().splitlines(keepends=True)
    assert size == len(first + second)
    assert first == bad
    last = json.loads(second)
    assert (last["custom_id"], last["error"]["code"]) == ("3", "batch_cancelled")


def test_what_lies_beyond_the_watermark_is_none_of_it(data: DataFolder) -> None:
    """Answers that were written and never committed are left out."""
    task = task_with(data, [answer(0)], [], done=1)
    with data.output("t", 0).open("ab") as output:
        output.write(answer(1))
    with batch_files.good_answers(data, "out", task):
        assert data.content("out").read_bytes() == answer(0)


def test_files_are_made_again_after_a_crash(data: DataFolder) -> None:
    """What is complete remains, as when two machines make the same file; nothing else does."""
    bad = answer(1, 500)
    task = task_with(data, [answer(0), bad], [bad], done=2)
    sizes = []
    for _ in range(2):
        with batch_files.failed_answers(data, "err", task, "batch_expired", "late") as size:
            sizes.append(size)
            written = data.content("err").read_bytes()
    assert sizes == [len(written)] * 2
    assert written.startswith(bad)
    assert [folder.name for folder in data.files.iterdir()] == ["err"]


def test_a_sweep_spares_what_is_being_made(data: DataFolder) -> None:
    """Between its making and its record a file, and the input of a task, is locked."""
    task = task_with(data, [answer(0)], [], done=1)
    with batch_files.good_answers(data, "out", task):
        data.sweep(lambda folder: folder == "t")
        assert data.content("out").exists()
    with batch_files.linked_input(data, "out") as home:
        data.sweep(lambda folder: folder == "t")
        assert data.input(home).read_bytes() == answer(0)
    assert data.sweep(lambda folder: folder == "t") == 2
