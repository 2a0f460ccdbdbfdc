"""The promises of the task store: nothing changes but by compare-and-set, and what was said is on the disk."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from infergraph.errors import Overloaded, SettingsError, StorageFull, StoreAway, TaskConflict, TaskFault
from infergraph.tasks.postgres import MIGRATIONS as POSTGRES_MIGRATIONS
from infergraph.tasks.postgres import PostgresStore
from infergraph.tasks.record_store import Page, Record
from infergraph.tasks.sqlite import MIGRATIONS, SqliteStore
from infergraph.tasks.store import Claim, Listing, Store
from infergraph.tasks.task import ALIVE, ENDED, NewTask, Progress, State, Task, Watermark
from postgres_server import PostgresServer

NOW = 1_800_000_000.0


class Place:
    """Where the stores of a test have their one database."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self._url = url

    def open(self, lease_s: float = 15.0) -> Store:
        """Another store there."""
        if not self._url:
            return SqliteStore.open(self.path)
        store = PostgresStore.open(self._url, lease_s=lease_s)
        store.prepare()
        return store


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place for stores, with no tasks there, in each database."""
    url = request.getfixturevalue("postgres").database() if request.param == "postgres" else ""
    return Place(tmp_path / "tasks.db", url)


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    """A new store."""
    made = place.open()
    yield made
    made.close()


class Aged(PostgresStore):
    """A store whose database has been running for ever."""

    _started_at = "0"


@pytest.fixture
def shared(postgres: PostgresServer) -> Iterator[PostgresStore]:
    """A new store that machines share, whose leases last an hour."""
    made = Aged(postgres.database(), lease_s=3600.0)
    made.prepare()
    yield made
    made.close()


def new(id: str, **more: object) -> NewTask:
    """A submission of ten lines."""
    values = {"folder": f"folder-{id}", "input_bytes": 100, "input_end": 99, "input_sha256": "a" * 64, "total": 10}
    return NewTask(**{"id": id, **values, **more})  # type: ignore[arg-type]


def accept(store: Store, id: str, **more: object) -> Task:
    """A task that was just accepted."""
    return store.accept(new(id, **more), now=NOW, queue_limit=1000).task


def claim(store: Store, limit: int = 1, **more: object) -> list[Task]:
    """The next waiting tasks, claimed."""
    return store.claim(Claim(**{"driver": "d:1", "now": NOW, "limit": limit, **more}))  # type: ignore[arg-type]


def running(store: Store, id: str, **more: object) -> Task:
    """A task in work."""
    accept(store, id, **{"priority": 100, **more})
    (task,) = claim(store)
    assert task.id == id
    return task


def beat(store: Store, driver: str) -> None:
    """A heartbeat of a driver."""
    store.write_heartbeat(driver, now=0.0, report="{}")


def ended(store: Store, id: str, *, at: float = NOW, state: State = State.FINISHED, failed: int = 0) -> Task:
    """A task that has ended."""
    task = running(store, id)
    mark = Watermark(in_off=99, out_off=50, err_off=failed, done=10, failed=failed)
    store.advance(task, mark, Progress(retries=0, kills=0, rate=1.0, worked_s=1.0))
    assert store.end(task, state, now=at, error="", sha256="")
    found = store.find(id)
    assert found is not None
    return found


def test_an_accepted_task_is_found_as_it_was_given(store: Store) -> None:
    """What was accepted is read back whole, waiting, at the start of its input."""
    task = accept(store, "t", priority=3, rows="object", webhook="http://h/", idempotency_key="k")
    assert store.find("t") == store.find_seq(task.seq) == store.find_key("k") == task
    assert (task.state, task.in_off, task.done, task.total, task.priority) == (State.WAITING, 0, 0, 10, 3)
    assert store.has_folder("folder-t")
    assert store.find("other") is None


@pytest.mark.parametrize(
    "id", ["../evil", "a/b", "CON", "x\0y", "中" * 200, "a\nb", "😀", " ", "%2F", "Robert'); drop"]
)
def test_any_text_is_an_id(store: Store, id: str) -> None:
    """An id is only a name: every text is kept as it is and told apart from every other."""
    accept(store, id)
    accept(store, id + "!", folder="another")
    found = store.find(id)
    assert found is not None
    assert found.id == id
    assert store.stop(id, ALIVE)
    assert store.find(id + "!") is not None


def test_the_same_bytes_again_are_the_same_task(store: Store) -> None:
    """A repeated submission changes nothing, in whatever state the task is."""
    first = ended(store, "t")
    again = store.accept(new("t", folder="second"), now=NOW, queue_limit=1)
    assert again == (first, False, "")
    assert not store.has_folder("second")


def test_other_bytes_under_the_same_id_are_refused(store: Store) -> None:
    """A task cannot be replaced by another while it waits, runs or is finished."""
    accept(store, "t")
    with pytest.raises(TaskConflict, match="other bytes"):
        accept(store, "t", folder="second", input_sha256="b" * 64)


def test_an_idempotency_key_finds_its_task(store: Store) -> None:
    """A key that was used names the task it made, also when the second submission has another id."""
    first = accept(store, "one", idempotency_key="k")
    again = store.accept(new("two", folder="second", idempotency_key="k"), now=NOW, queue_limit=1000)
    assert again.task == first
    with pytest.raises(TaskConflict):
        accept(store, "three", folder="third", idempotency_key="k", input_sha256="b" * 64)


def test_an_idempotency_key_of_another_task_is_a_conflict(store: Store) -> None:
    """An id and a key that name two tasks are refused, also where the task of that id would start afresh."""
    accept(store, "one", idempotency_key="k")
    ended(store, "two", state=State.FAILED)
    with pytest.raises(TaskConflict, match="'one'"):
        accept(store, "two", folder="again", idempotency_key="k")


def test_a_failed_task_starts_afresh(store: Store) -> None:
    """The id of a failed task may be used again, by any bytes; its old folder is named so that it can go."""
    old = ended(store, "t", state=State.FAILED, failed=10)
    accepted = store.accept(new("t", folder="second", input_sha256="b" * 64), now=NOW, queue_limit=1000)
    assert accepted.created
    assert accepted.replaced == old.folder
    assert (accepted.task.state, accepted.task.done, accepted.task.error) == (State.WAITING, 0, "")
    assert store.lines_done() == (10, 10)


def test_the_lines_that_are_left(store: Store) -> None:
    """Waiting and running tasks have lines left, at the rate of the running ones; an ended task has none."""
    assert store.lines_left() == (0, 0.0)
    ended(store, "over")
    accept(store, "waits")
    task = running(store, "runs")
    mark = Watermark(in_off=40, out_off=20, err_off=0, done=4, failed=0)
    assert store.advance(task, mark, Progress(retries=0, kills=0, rate=2.5, worked_s=1.0))
    assert store.lines_left() == (16, 2.5)


def test_a_task_that_is_being_stopped_is_told_apart(store: Store) -> None:
    """While its predecessor is being stopped, an id is taken by nobody, with a reason that says: try again."""
    accept(store, "t")
    store.stop("t", ALIVE)
    with pytest.raises(TaskConflict) as caught:
        accept(store, "t", folder="second")
    assert caught.value.reason == "TASK_STOPPING"


def test_the_queue_is_bounded(store: Store) -> None:
    """Waiting and running tasks count against the limit; ended ones do not; the bound holds under concurrency."""
    ended(store, "old")
    running(store, "r")
    outcomes = []

    def submit(number: int) -> None:
        try:
            store.accept(new(f"t{number}"), now=NOW, queue_limit=5)
            outcomes.append("in")
        except Overloaded:
            outcomes.append("full")

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["full"] * 8 + ["in"] * 4
    assert store.alive() == 5


def test_states_change_by_compare_and_set_alone(store: Store) -> None:
    """Each change happens from its own state only; the loser of a race is told and changes nothing."""
    task = accept(store, "t")
    mark = Watermark(in_off=1, out_off=1, err_off=0, done=1, failed=0)
    progress = Progress(retries=0, kills=0, rate=0.0, worked_s=0.0)
    assert not store.release(task)
    assert not store.advance(task, mark, progress)
    assert not store.end(task, State.FINISHED, now=NOW, error="", sha256="")
    assert not store.erase(task.seq, why="stopped", now=NOW)
    assert not store.retry("t")
    assert not store.stop("t", ENDED)
    assert store.find("t") == task

    (task,) = claim(store)
    assert claim(store) == []
    assert store.stop("t", {State.RUNNING})
    assert not store.stop("t", {State.RUNNING})
    assert not store.advance(task, mark, progress)
    assert not store.end(task, State.FINISHED, now=NOW, error="", sha256="", webhook=b"never")
    assert store.erase(task.seq, why="stopped", now=NOW)
    assert not store.erase(task.seq, why="stopped", now=NOW)
    assert store.find("t") is None
    assert store.deletion("t") == ("stopped", NOW)
    assert store.due(now=NOW, limit=10) == []


def test_one_of_many_claims_wins(place: Place, store: Store) -> None:
    """Of several stores over one database, exactly one gets a waiting task."""
    accept(store, "t")
    others = [place.open() for _ in range(4)]
    won = []
    threads = [threading.Thread(target=lambda other=other: won.append(len(claim(other)))) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in others:
        other.close()
    assert sorted(won) == [0, 0, 0, 1]


def test_the_watermark_is_the_whole_checkpoint(store: Store) -> None:
    """A restart finds exactly the watermark that was last moved, and the task waiting again."""
    task = running(store, "t")
    store.stall(task)
    store.stall(task)
    stalled = store.find("t")
    assert stalled is not None
    assert stalled.stalls == 2
    mark = Watermark(in_off=40, out_off=70, err_off=20, done=4, failed=1)
    assert store.advance(task, mark, Progress(retries=2, kills=1, rate=8.0, worked_s=0.5, error="line 2: no"))
    assert store.recover("d:1") == 1
    found = store.find("t")
    assert found is not None
    assert (found.in_off, found.out_off, found.err_off, found.done, found.failed) == (40, 70, 20, 4, 1)
    assert (found.state, found.stalls, found.retries, found.kills) == (State.WAITING, 0, 2, 1)


def test_a_claim_that_is_over_writes_nothing(store: Store) -> None:
    """Once a task was claimed again, every write of the driver before it is refused, and changes nothing."""
    beat(store, "d:1")
    late = running(store, "t")
    assert store.recover("d:1", holding=(late.seq,)) == 0
    assert store.recover("d:1") == 1
    (task,) = claim(store, driver="other:1")
    assert task.fence > late.fence
    mark = Watermark(in_off=40, out_off=70, err_off=20, done=4, failed=1)
    progress = Progress(retries=2, kills=1, rate=8.0, worked_s=0.5)
    assert not store.stall(late)
    assert not store.unstall(late)
    assert not store.advance(late, mark, progress)
    assert not store.end(late, State.FAILED, now=NOW, error="no", sha256="", webhook=b"never")
    assert not store.release(late)
    assert store.find("t") == task
    assert store.due(now=NOW, limit=1) == []
    assert store.advance(task, mark, progress)


def test_waiting_tasks_come_by_priority_then_age(store: Store) -> None:
    """The queue is first come first served within a priority, and each task knows its place."""
    for id, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -1)):
        accept(store, id, priority=priority)
    accept(store, "small", input_bytes=5, priority=-9)
    order = sorted(store.listing(Listing()), key=store.position)
    assert [task.id for task in order] == ["b", "d", "a", "c", "e", "small"]
    assert [task.id for task in claim(store, largest_bytes=5)] == ["small"]
    assert [task.id for task in claim(store, 2)] == ["b", "d"]
    assert [task.id for task in claim(store, 10)] == ["a", "c", "e"]


def test_the_list_pages_without_gaps_and_doubles(store: Store) -> None:
    """Pages by `before` give every task of the wanted states once, newest first, while new ones arrive."""
    for number in range(25):
        (ended if number % 2 else accept)(store, f"t{number}")
    seen: list[str] = []
    before = None
    while page := store.listing(Listing(states=(State.WAITING,), before=before, limit=5)):
        seen += [task.id for task in page]
        before = page[-1].seq
        accept(store, f"late{before}")
    assert seen == [f"t{number}" for number in range(24, -1, -2)]
    assert [task.id for task in store.listing(Listing(prefix="t2", limit=3))] == ["t24", "t23", "t22"]
    counts = store.counts()
    assert counts[State.FINISHED] == 12
    assert counts[State.FAILED] == 0


def test_pages_are_found_by_index(tmp_path: Path) -> None:
    """What is asked often is answered from an index or by walking back from the newest task, never by a full sort."""
    asked = {
        "select * from task where state = 'waiting' order by priority desc, seq limit 4": "task_queue",
        "select count(*) from task where state in ('waiting', 'running')": "task_",
        "select id from task indexed by task_listing where state in ('failed') order by seq desc": "task_listing",
        "select id from task not indexed where state in ('failed', 'finished') order by seq desc": "SCAN task",
        "select 1 from task where folder = 'x'": "sqlite_autoindex_task",
    }
    store = SqliteStore.open(tmp_path / "tasks.db")
    for question, used in asked.items():
        plan = " ".join(row[3] for row in store._read(f"explain query plan {question}"))
        assert used in plan, plan
        assert "TEMP B-TREE" not in plan, plan
    store.close()


def test_retry_goes_round_again_or_goes_on(store: Store) -> None:
    """A task that got to its end starts a new round; one that failed half-way goes on at its watermark."""
    ended(store, "t", failed=2)
    assert store.retry("t")
    task = store.find("t")
    assert task is not None
    assert (task.state, task.round, task.in_off, task.done, task.failed) == (State.WAITING, 1, 0, 0, 0)
    half = running(store, "half", priority=101)
    mark = Watermark(in_off=40, out_off=70, err_off=0, done=4, failed=0)
    store.advance(half, mark, Progress(retries=0, kills=0, rate=0.0, worked_s=0.0))
    store.end(half, State.FAILED, now=NOW, error="the unit cannot be loaded", sha256="")
    assert store.retry("half")
    task = store.find("half")
    assert task is not None
    assert (task.state, task.round, task.in_off, task.done, task.error) == (State.WAITING, 0, 40, 4, "")


def test_retention_takes_the_oldest_ends_first(store: Store) -> None:
    """By age, by count and by bytes: only ended tasks expire, those that ended first before others."""
    for number in range(6):
        ended(store, f"t{number}", at=NOW + number)
    accept(store, "waits")

    def ids(**limits: object) -> list[str]:
        given = {"older_than": None, "keep_count": 0, "keep_bytes": 0, "limit": 10, **limits}
        return [task.id for task in store.expired(**given)]  # type: ignore[arg-type]

    assert ids() == []
    assert ids(older_than=NOW + 2) == ["t0", "t1"]
    assert ids(keep_count=4) == ["t0", "t1"]
    assert ids(keep_bytes=450) == ["t0", "t1", "t2"]
    assert ids(keep_count=1, limit=2) == ["t0", "t1"]


def test_word_of_an_end_is_kept_until_it_arrives(store: Store) -> None:
    """The outbox gets its entry with the end itself, and gives it out again until it is delivered."""
    task = running(store, "t", webhook="http://hook/")
    store.end(task, State.FAILED, now=NOW, error="no", sha256="", webhook=b"{}")
    (delivery,) = store.due(now=NOW, limit=10)
    assert (delivery.url, delivery.body, delivery.attempts) == ("http://hook/", b"{}", 0)
    store.postpone(delivery.number, next_at=NOW + 60, error="it answered 500")
    assert store.due(now=NOW + 59, limit=10) == []
    (delivery,) = store.due(now=NOW + 60, limit=10)
    assert delivery.attempts == 1
    store.delivered(delivery.number)
    assert store.due(now=NOW + 1000, limit=10) == []


def test_each_receiver_has_one_delivery_due(store: Store) -> None:
    """What waits for one receiver hides nothing of another, and what is under way is not given out again."""
    for number in range(100):
        task = running(store, f"dead-{number}")
        store.end(task, State.FINISHED, now=NOW, error="", sha256="", webhook=b"{}", receiver="dead")
    for number, receiver in enumerate(("good", "fine"), start=1):
        task = running(store, receiver)
        store.end(task, State.FINISHED, now=NOW + number, error="", sha256="", webhook=b"{}", receiver=receiver)
    first, second = store.due(now=NOW + 3, limit=2)
    assert (first.receiver, second.receiver) == ("dead", "good")
    (third,) = store.due(now=NOW + 3, limit=10, busy=("dead", "good"))
    assert third.receiver == "fine"
    assert store.outbox() == 102
    store.delivered(second.number)
    store.give_up(first.number)
    store.give_up(first.number)
    assert store.outbox() == 100
    assert (store.counters()["webhooks_delivered"], store.counters()["webhooks_given_up"]) == (1, 1)


def test_the_driver_s_last_word_is_kept(store: Store) -> None:
    """A beat replaces the one before it."""
    assert store.heartbeats(now=NOW) == []
    store.write_heartbeat("d", now=NOW, report="{}")
    store.write_heartbeat("d", now=NOW + 1, report='{"pid":1}')
    (heartbeat,) = store.heartbeats(now=NOW + 3)
    assert heartbeat.report == '{"pid":1}'


def test_counters_only_grow(store: Store) -> None:
    """Counts of uploads and ends outlive the tasks they count."""
    task = accept(store, "t")
    store.count(uploads=2)
    store.stop("t", ALIVE)
    store.erase(task.seq, why="stopped", now=NOW)
    assert store.counters()["uploads"] == 3
    assert store.counters()["upload_bytes"] == 100
    assert store.used_bytes() == 0


def _write_and_die(place: Place) -> None:
    accept(place.open(), "last")
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_call_has_returned_survives_the_death_of_its_process(place: Place) -> None:
    """A process that is killed right after a call returned leaves that change behind."""
    process = multiprocessing.get_context("spawn").Process(target=_write_and_die, args=(place,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    store = place.open()
    assert store.find("last") is not None
    store.close()


def test_a_store_that_was_taken_away_takes_nothing_more(tmp_path: Path) -> None:
    """What is written to a removed file would be lost: each call says that the store is gone, beside a new one too."""
    path = tmp_path / "tasks.db"
    store = SqliteStore.open(path)
    path.unlink()
    calls = (
        lambda: accept(store, "t"),
        lambda: store.stop("t", (State.WAITING,)),
        lambda: store.find("t"),
        lambda: store.write_heartbeat("d", now=1.0, report="{}"),
    )
    for call in calls:
        with pytest.raises(TaskFault, match="taken away") as caught:
            call()
        assert caught.value.reason == "TASK_STORE_GONE"
    other = SqliteStore.open(path)
    with pytest.raises(TaskFault, match="taken away"):
        store.find("t")
    assert other.find("t") is None
    store.close()
    other.close()


def test_an_older_folder_is_brought_up_to_date(tmp_path: Path) -> None:
    """A store of an earlier version gets what later versions added, once, with its tasks kept."""
    path = tmp_path / "tasks.db"
    first = SqliteStore.open(path)
    task = accept(first, "t")
    first.close()
    later = (*MIGRATIONS, "create table extra(x); insert into extra values(1)")
    for _ in range(2):
        second = SqliteStore.open(path, migrations=later)
        assert second.find("t") == task
        second.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("select count(*) from extra").fetchone() == (1,)
        assert connection.execute("pragma user_version").fetchone() == (len(later),)
    connection.close()


def test_a_newer_folder_is_left_alone(tmp_path: Path) -> None:
    """A store that a newer program wrote is not opened, and the text says so."""
    path = tmp_path / "tasks.db"
    SqliteStore.open(path, migrations=(*MIGRATIONS, "create table extra(x)")).close()
    with pytest.raises(SettingsError, match="newer"):
        SqliteStore.open(path)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    """Half a migration is never seen."""
    path = tmp_path / "tasks.db"
    SqliteStore.open(path).close()
    with pytest.raises(Exception, match="syntax"):
        SqliteStore.open(path, migrations=(*MIGRATIONS, "create table extra(x); this is no sql"))
    with sqlite3.connect(path) as connection:
        assert connection.execute("select name from sqlite_master where name = 'extra'").fetchall() == []
    connection.close()
    SqliteStore.open(path).close()


def test_a_full_disk_is_a_fault_of_its_own(tmp_path: Path) -> None:
    """A write that finds no room raises StorageFull and leaves the store usable."""
    store = SqliteStore.open(tmp_path / "tasks.db")
    accept(store, "t")
    store._writer.execute(f"pragma max_page_count = {store._writer.execute('pragma page_count').fetchone()[0]}")
    with pytest.raises(StorageFull):
        accept(store, "long", webhook="x" * 100_000)
    assert store.find("t") is not None
    store.close()


def test_tasks_of_others_are_left_alone(store: Store) -> None:
    """A driver is given its owner's tasks and those of nobody; handed over, all are its own."""
    for id, owner in (("mine", "a"), ("theirs", "b"), ("old", "")):
        accept(store, id, owner=owner)
    assert (store.strangers("a"), store.strangers("")) == (1, 0)
    assert [task.id for task in claim(store, 10, owner="a")] == ["mine", "old"]
    assert claim(store, owner="a") == []
    assert store.adopt("a") == 2
    assert [task.id for task in claim(store, 10, owner="a")] == ["theirs"]


def record(id: str, **more: object) -> Record:
    """A record that is not stored yet."""
    return Record(**{"id": id, "kind": "file", "created": NOW, "document": "{}", **more})  # type: ignore[arg-type]


def test_a_record_changes_by_compare_and_set(store: Store) -> None:
    """Of two that change it one wins; an id is given once."""
    assert store.add_record(record("a"))
    assert not store.add_record(record("a", document="[]"))
    first = store.record("a")
    assert first is not None
    assert msgspec.structs.replace(first, seq=0) == record("a")
    changed = store.change_record(first, stage="s", document="1")
    assert changed == store.record("a")
    assert store.change_record(first, document="2") is None
    assert store.remove_record("a")
    assert not store.remove_record("a")
    assert changed is not None
    assert store.change_record(changed, document="3") is None


def test_records_are_listed_page_by_page(store: Store) -> None:
    """Newest first or last, of some kinds, of one caller."""
    for number in range(6):
        store.add_record(record(str(number), kind=f"k{number % 2}", caller=f"c{number % 3}"))
    page = Page(kinds=("k0", "k1"), limit=4)
    first = store.records(page)
    assert [each.id for each in first] == ["5", "4", "3", "2"]
    assert [each.id for each in store.records(msgspec.structs.replace(page, after=first[-1].seq))] == ["1", "0"]
    assert [each.id for each in store.records(Page(kinds=("k0",), limit=9, is_ascending=True))] == ["0", "2", "4"]
    assert [each.id for each in store.records(Page(kinds=("k0", "k1"), limit=9, caller="c0"))] == ["3", "0"]


def test_the_driver_is_given_the_batches_that_need_it(store: Store) -> None:
    """Those whose task has ended or is gone, those that have expired, and last those that wait for their turn."""
    accept(store, "runs")
    accept(store, "late")
    ended(store, "ended")
    for id, expires in [("waits", None), ("runs", NOW + 9), ("late", NOW - 1), ("ended", NOW + 9), ("gone", None)]:
        store.add_record(record(id, kind="b", stage="new" if id == "waits" else "run", expires=expires))
    store.add_record(record("closed", kind="b"))
    found = store.batch_work("b", waiting="new", running="run", now=NOW, limit=10)
    assert [each.id for each in found] == ["late", "ended", "gone", "waits"]
    assert [store.staged("b", "run"), store.staged("b", "new"), store.staged("b", "run", "nobody")] == [4, 1, 0]
    assert (store.alive(), store.alive(""), store.alive("nobody")) == (2, 2, 0)


def test_records_expire_without_a_stage(store: Store) -> None:
    """What the driver has to see to is kept."""
    store.add_record(record("old", expires=NOW - 1))
    store.add_record(record("kept", expires=NOW + 1))
    store.add_record(record("at work", stage="s", expires=NOW - 1))
    assert [each.id for each in store.expired_records(NOW, limit=10)] == ["old"]


def test_a_stored_file_owns_its_folder(store: Store) -> None:
    """As a task does."""
    store.add_record(record("file-f"))
    accept(store, "t")
    assert [store.has_folder(folder) for folder in ("f", "folder-t", "other")] == [True, True, False]


def test_a_waiting_task_can_be_failed(store: Store) -> None:
    """Nobody works on it any more; one in work is left alone."""
    task = accept(store, "t")
    assert store.fail_waiting(task.seq, now=NOW, error="cancelled")
    found = store.find("t")
    assert found is not None
    assert (found.state, found.error) == (State.FAILED, "cancelled")
    assert not store.fail_waiting(running(store, "r").seq, now=NOW, error="cancelled")


# ── a store that machines share ─────────────────────────────────────────────────────────────────────────────────────


def is_over(store: PostgresStore, driver: str) -> bool:
    """Whether a driver's lease is over."""
    return bool(store._read(f"select {store._is_over} from (select ? as driver) as task", driver)[0][0])


def later(store: PostgresStore, s: float) -> None:
    """What the database's clock says is later by this much: all heartbeats, and its start, are as much older."""
    store._write("update driver set beat = beat - ?", s)


def test_a_driver_keeps_its_tasks_for_its_lease(shared: PostgresStore) -> None:
    """Others get a task when its driver was silent for the lease by the database's clock; not before, and fenced."""
    accept(shared, "t")
    beat(shared, "a:1")
    beat(shared, "b:1")
    (late,) = claim(shared, driver="a:1")
    assert shared.recover("b:1") == 0
    later(shared, 7200.0)
    beat(shared, "b:1")
    assert shared.recover("b:1") == 1
    beat(shared, "a:1")
    mark = Watermark(in_off=40, out_off=70, err_off=20, done=4, failed=1)
    progress = Progress(retries=0, kills=0, rate=0.0, worked_s=0.0)
    assert not shared.advance(late, mark, progress)
    (task,) = claim(shared, driver="b:1")
    assert (task.fence, task.driver, task.in_off) == (late.fence + 1, "b:1", 0)
    assert not shared.advance(late, mark, progress)
    assert shared.recover("b:1", holding=(task.seq,)) == 0
    assert shared.recover("b:2") == 1


def test_a_stopped_task_is_erased_by_who_works_on_it(shared: PostgresStore) -> None:
    """A task that is being stopped is its driver's to erase; everybody's, if that is dead or never was."""
    beat(shared, "a:1")
    accept(shared, "held")
    claim(shared, driver="a:1")
    accept(shared, "waits")
    for id in ("held", "waits"):
        assert shared.stop(id, ALIVE)
    assert [task.id for task in shared.stopping("a:1")] == ["held", "waits"]
    assert [task.id for task in shared.stopping("b:1")] == ["waits"]
    later(shared, 7200.0)
    assert [task.id for task in shared.stopping("b:1")] == ["held", "waits"]


def test_a_delivery_is_given_to_one_sender(shared: PostgresStore) -> None:
    """Of several senders one gets a webhook, and its receiver is left alone by the others meanwhile."""
    for number in range(2):
        task = running(shared, f"t{number}")
        shared.end(task, State.FINISHED, now=NOW, error="", sha256="", webhook=b"{}", receiver="r")
    (first,) = shared.due(now=NOW, limit=10)
    assert shared.due(now=NOW, limit=10) == []
    shared.postpone(first.number, next_at=NOW + 60, error="it answered 500")
    (second,) = shared.due(now=NOW, limit=10)
    assert second.number != first.number


def test_a_database_that_was_away_is_used_again(postgres: PostgresServer) -> None:
    """While it is away calls fail at once, as something that passes; afterwards all is there, and no lease is over."""
    store = PostgresStore.open(postgres.database(), lease_s=3600.0)
    store.prepare()
    accept(store, "t")
    postgres.kill()
    for _ in range(2):
        with pytest.raises(StoreAway, match="cannot be reached") as caught:
            store.find("t")
        assert "hidden-word" not in caught.value.text
    postgres.restart()
    assert store.find("t") is not None
    assert not is_over(store, "nobody")
    store.close()


def test_drivers_are_woken_on_every_machine(shared: PostgresStore) -> None:
    """What is accepted or stopped anywhere wakes whoever watches, and so does the connection itself."""
    woken = threading.Semaphore(0)
    shared.watch(woken.release)
    assert woken.acquire(timeout=30)
    accept(shared, "t")
    assert woken.acquire(timeout=30)
    shared.stop("t", ALIVE)
    assert woken.acquire(timeout=30)


def test_tables_are_migrated_once_and_by_one(postgres: PostgresServer) -> None:
    """Servers that start together migrate the tables once; newer ones are left alone, and half of it never seen."""
    url = postgres.database()
    script = (*POSTGRES_MIGRATIONS, "create table extra(x bigint); insert into extra values(1)")
    stores = [PostgresStore.open(url) for _ in range(4)]
    threads = [threading.Thread(target=store.prepare, args=(script,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stores[0]._read("select count(*) from extra") == [(1,)]
    with pytest.raises(SettingsError, match="newer"):
        stores[0].prepare()
    with pytest.raises(TaskFault, match="syntax"):
        stores[0].prepare((*script, "create table more(x bigint); this is no sql"))
    assert stores[0]._read("select to_regclass('more')") == [(None,)]
    for store in stores:
        store.close()
