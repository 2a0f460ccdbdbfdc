"""`infergraph tasks migrate`: what was in a data folder goes on in a store that machines share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from infergraph.cli.main import infergraph as program
from infergraph.tasks.files import DataFolder, Incoming
from infergraph.tasks.openai import INPUT_FILE
from infergraph.tasks.ownership import Owner, claim
from infergraph.tasks.postgres import PostgresStore
from infergraph.tasks.record_store import Record
from infergraph.tasks.sqlite import SqliteStore
from infergraph.tasks.store import Claim
from infergraph.tasks.task import NewTask, Progress, State, Watermark
from postgres_server import PostgresServer

LINES = b'{"n": 1}\n{"n": 2}\n'
OWNER = Owner(target="model.py:Model", folder="/srv")


def accept(data: DataFolder, store: SqliteStore | PostgresStore, id: str, **more: object) -> None:
    """A task with its file."""
    incoming = Incoming.open(data)
    incoming.write(LINES)
    received = incoming.seal()
    new = NewTask(
        id=id,
        folder=received.folder,
        input_bytes=received.bytes,
        input_end=received.end,
        input_sha256=received.sha256,
        total=received.lines,
        **more,  # type: ignore[arg-type]
    )
    store.accept(new, now=1.0, queue_limit=100)
    incoming.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data folder with a finished task, one in work, one that waits and a stored file."""
    data = DataFolder(tmp_path / "data")
    claim(data.root, OWNER).release()
    data.prepare()
    store = SqliteStore.open(data.database)
    for id in ("finished", "works"):
        accept(data, store, id)
        (task,) = store.claim(Claim(driver="d:1", now=2.0))
        mark = Watermark(in_off=9, out_off=9, err_off=0, done=1, failed=0)
        store.advance(task, mark, Progress(retries=0, kills=0, rate=1.0, worked_s=1.0))
        data.output(task.folder, 0).write_bytes(LINES)
        if id == "finished":
            store.end(task, State.FINISHED, now=3.0, error="", sha256="x")
    accept(data, store, "waits", priority=3, idempotency_key="k")
    (data.files / "f").mkdir()
    (data.files / "f" / "input.jsonl").write_bytes(LINES)
    store.add_record(Record(id="file-f", kind=INPUT_FILE, created=1.0, document="{}"))
    store.close()
    return data.root


def migrate(root: Path, url: str, files: Path) -> Result:
    """What the command does."""
    return CliRunner().invoke(
        program, ["tasks", "migrate", str(root), "--task-store", url, "--task-files", str(files)], catch_exceptions=True
    )


def test_all_that_a_folder_has_goes_on(root: Path, tmp_path: Path, postgres: PostgresServer) -> None:
    """Tasks keep their order, state, watermark and results; once moved, another run moves nothing again."""
    url, files = postgres.database(), tmp_path / "shared"
    before = {path.relative_to(root): path.read_bytes() for path in root.rglob("*.jsonl")}
    done = migrate(root, url, files)
    assert (done.exit_code, done.stdout) == (0, "moved: tasks 3, files and batches 1\n"), done.output
    store, data = PostgresStore.open(url), DataFolder(tmp_path / "other", files)
    found = [store.find(id) for id in ("finished", "works", "waits")]
    seen = [(task.state, task.done, task.attempts, task.driver) for task in found if task is not None]
    waiting = State.WAITING
    assert seen == [(State.FINISHED, 1, 1, ""), (waiting, 1, 1, ""), (waiting, 0, 0, "")]
    assert [task.id for task in store.claim(Claim(driver="d:1", now=2.0, limit=9))] == ["waits", "works"]
    assert store.find_key("k") is not None
    for task in found:
        assert task is not None
        assert data.input(task.folder).read_bytes() == LINES
        assert data.output(task.folder, 0).exists() == bool(task.done)
    assert (data.files / "f" / "input.jsonl").read_bytes() == LINES
    assert before == {path.relative_to(root): path.read_bytes() for path in root.rglob("*.jsonl")}
    assert migrate(root, url, files).stdout == "moved: tasks 0, files and batches 0\n"
    store.close()


def test_a_move_that_was_cut_off_is_finished(root: Path, tmp_path: Path, postgres: PostgresServer) -> None:
    """A folder that was copied without its row, or half of it, is taken up by the next run."""
    url, files = postgres.database(), tmp_path / "shared"
    data = DataFolder(tmp_path / "other", files)
    data.prepare()
    first, second, _ = sorted((root / "tasks").iterdir())
    (data.incoming / first.name).mkdir()
    (data.incoming / first.name / "input.jsonl").write_bytes(b"half")
    (data.tasks / second.name).mkdir()
    for path in second.iterdir():
        (data.tasks / second.name / path.name).write_bytes(path.read_bytes())
    assert migrate(root, url, files).exit_code == 0
    for folder in (root / "tasks").iterdir():
        assert data.input(folder.name).read_bytes() == LINES
    assert not list(data.incoming.iterdir())


def test_what_cannot_be_moved_is_named(root: Path, tmp_path: Path, postgres: PostgresServer) -> None:
    """A taken id stays where it is; no data folder, one in use, or a store of another target is refused."""
    url, files = postgres.database(), tmp_path / "shared"
    store, data = PostgresStore.open(url), DataFolder(tmp_path / "other", files)
    store.prepare()
    data.prepare()
    accept(data, store, "waits")
    store.close()
    done = migrate(root, url, files)
    assert done.exit_code == 1
    assert "task waits stays" in done.stderr
    assert len(list(data.tasks.iterdir())) == 3

    def refused(root: Path, url: str) -> str:
        done = migrate(root, url, files)
        assert done.exit_code != 0
        assert "hidden-word" not in done.output + str(done.exception)
        return str(done.exception)

    assert "is not the data folder" in refused(tmp_path / "nothing", url)
    held = claim(root, OWNER)
    assert "a server runs on" in refused(root, url)
    held.release()
    document = json.loads((root / "serves.json").read_text())
    (root / "serves.json").write_text(json.dumps({**document, "target": "another.py:Model"}))
    assert "give another.py:Model another database" in refused(root, url)
