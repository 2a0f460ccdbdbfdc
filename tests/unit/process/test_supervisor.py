from __future__ import annotations

import signal

import msgspec
import pytest

from infergraph.errors import GraphError, TargetError
from infergraph.net.backoff import FailureStreak
from infergraph.process.channel import Report, StopRequest, WorkerState
from infergraph.process.child import RESTARTS
from infergraph.process.supervisor import ServePlan
from infergraph.process.worker import failure
from infergraph.process.worker_pool import EARLY_DEATHS_LIMIT, EXIT_LOAD, Phase, Placement, WorkerHandle, WorkerPool
from infergraph.settings import Settings

READY = Report(WorkerState.READY)
LISTENING = Report(WorkerState.LISTENING)


class Record:
    """A process that only remembers what was done to it: the pool's view of one, without the process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.signals: list[int] = []
        self.killed = False
        self.requests: list[StopRequest] = []

    def signal(self, number: int) -> None:
        self.signals.append(number)

    def kill(self) -> None:
        self.killed = True

    def how_it_ended(self) -> str:
        return "signal 9"


class Stage:
    """A pool with everything it spawned and counted."""

    def __init__(self, *, give_up: bool = True, **settings: object) -> None:
        self.spawned: list[WorkerHandle] = []
        self.records: dict[int, Record] = {}
        self.restarts: list[str] = []
        self.exhausted = False
        policy = msgspec.convert({"watchdog_s": 0, **settings}, Settings)
        self.pool = WorkerPool(policy, self.spawn, give_up=give_up, replaced=self.restarts.append)
        self.pool.start(0.0)

    def spawn(self, place: Placement) -> WorkerHandle:
        if self.exhausted:
            raise BlockingIOError("no more processes")
        record = Record(1000 + len(self.spawned))
        self.records[record.pid] = record
        self.spawned.append(WorkerHandle(place, record, record.requests.append))
        return self.spawned[-1]

    def record(self, worker: WorkerHandle) -> Record:
        return self.records[worker.process.pid]

    def all_ready(self, now: float = 0.0) -> None:
        for worker in self.pool.alive.copy().values():
            if worker.phase is not Phase.STOPPING:
                self.pool.reported(worker, LISTENING, now)
                self.pool.reported(worker, READY, now)

    def metrics_slots(self) -> list[int]:
        return sorted(worker.metrics_slot for worker in self.pool.alive.values())


def test_restarts_begin_at_once_then_wait_ever_longer() -> None:
    """After a first failure there is no wait, then it doubles up to half a minute, and a success begins again."""
    streak = FailureStreak(RESTARTS, free=1)
    assert [streak.failed() for _ in range(9)] == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    streak.succeeded()
    assert streak.failed() == 0.0


def test_every_slot_is_filled_on_its_own_metrics_slot() -> None:
    """Workers get the slots 0 to N-1 and different metrics slots."""
    stage = Stage(workers=3)
    assert [(worker.slot, worker.metrics_slot) for worker in stage.spawned] == [(0, 0), (1, 1), (2, 2)]


def test_one_worker_answers_while_all_load_and_later_ones_load_first() -> None:
    """At the start the first worker opens its ports early; who comes while somebody is ready loads before it opens."""
    stage = Stage(workers=2)
    assert [worker.opens_early for worker in stage.spawned] == [True, False]
    stage.all_ready()
    stage.pool.restart_all(1.0)
    stage.pool.tick(1.0)
    assert not stage.spawned[2].opens_early
    for worker in list(stage.pool.alive.values()):
        stage.pool.died(worker, 2.0)
    stage.pool.tick(100.0)
    assert [worker.opens_early for worker in stage.spawned[3:]] == [True, False]


def test_a_dead_worker_is_followed_on_its_metrics_slot() -> None:
    """The successor of a dead worker takes its slot and its metrics slot, so that its counts go on."""
    stage = Stage(workers=2)
    stage.all_ready()
    stage.pool.died(stage.spawned[1], 1.0)
    stage.pool.tick(1.0)
    assert [(worker.slot, worker.metrics_slot) for worker in stage.spawned[2:]] == [(1, 1)]
    assert stage.restarts == ["died"]


def test_a_worker_that_keeps_dying_is_started_ever_more_slowly() -> None:
    """Deaths soon after being ready lengthen the wait; a long life shortens it again."""
    stage = Stage()
    stage.all_ready()
    now, waits = 0.0, []
    for _ in range(4):
        stage.pool.died(stage.spawned[-1], now)
        due = stage.pool.due_at()
        assert due is not None
        waits.append(due - now)
        now = due
        stage.pool.tick(now)
        stage.all_ready(now)
    assert waits == [0.0, 0.5, 1.0, 2.0]
    stage.pool.died(stage.spawned[-1], now + 1000)
    assert stage.pool.due_at() == now + 1000


def test_a_roll_replaces_one_worker_after_the_other() -> None:
    """Each old worker is drained only when its successor is ready, and the next successor waits for its end."""
    stage = Stage(workers=2, grace_s=20)
    stage.all_ready()
    old = stage.spawned[:2]
    stage.pool.restart_all(1.0)
    stage.pool.tick(1.0)
    assert len(stage.spawned) == 3
    assert stage.record(old[0]).requests == []
    assert stage.pool.ready_count == 2
    stage.pool.reported(stage.spawned[2], LISTENING, 2.0)
    assert stage.record(old[0]).requests == []
    stage.pool.reported(stage.spawned[2], READY, 3.0)
    assert stage.record(old[0]).requests == [StopRequest(0.0, 20.0)]
    stage.pool.tick(3.0)
    assert len(stage.spawned) == 3
    stage.pool.died(old[0], 4.0)
    stage.pool.tick(4.0)
    assert [worker.slot for worker in stage.spawned[2:]] == [0, 1]
    stage.all_ready(5.0)
    stage.pool.died(old[1], 6.0)
    stage.pool.tick(6.0)
    assert stage.pool.restarts_finished == 1
    assert stage.restarts == ["reload", "reload"]
    assert [slot.current for slot in stage.pool.slots] == stage.spawned[2:]


def test_metrics_slots_stay_few_over_many_restarts() -> None:
    """However often workers are replaced, no more metrics slots are used than workers and one."""
    stage = Stage(workers=2)
    stage.all_ready()
    for now in range(50):
        stage.pool.restart_all(now)
        for _ in range(2):
            stage.pool.tick(now)
            stage.all_ready(now)
            for leaving in [one for one in stage.pool.alive.values() if one.phase is Phase.STOPPING]:
                stage.pool.died(leaving, now)
    assert len(stage.spawned) == 102
    assert {worker.metrics_slot for worker in stage.spawned} == {0, 1, 2}


def test_a_roll_whose_successor_fails_leaves_the_old_at_work() -> None:
    """New code that cannot be loaded ends the roll; nobody is stopped and the program goes on."""
    stage = Stage(workers=2)
    stage.all_ready()
    stage.pool.restart_all(1.0)
    stage.pool.tick(1.0)
    stage.pool.reported(stage.spawned[2], LISTENING, 1.0)
    stage.pool.reported(stage.spawned[2], Report(WorkerState.LOAD_FAILED, "broken", EXIT_LOAD), 1.0)
    stage.pool.died(stage.spawned[2], 2.0)
    for now in (2.0, 100.0, 1000.0):
        stage.pool.tick(now)
    assert len(stage.spawned) == 3
    assert all(stage.record(worker).requests == [] for worker in stage.spawned[:2])
    assert not stage.pool.stopping
    assert stage.pool.restarts_finished == 0


def test_a_second_roll_replaces_a_successor_that_is_still_loading() -> None:
    """A successor that may have read old code is given up when the code changes again."""
    stage = Stage()
    stage.all_ready()
    stage.pool.restart_all(1.0)
    stage.pool.tick(1.0)
    stage.pool.restart_all(2.0)
    assert stage.record(stage.spawned[1]).requests == [StopRequest(0.0, 0.0)]
    stage.pool.died(stage.spawned[1], 2.5)
    stage.pool.tick(2.5)
    assert len(stage.spawned) == 3
    stage.pool.reported(stage.spawned[2], READY, 3.0)
    assert stage.pool.slots[0].current is stage.spawned[2]


def test_workers_that_ask_to_be_recycled_take_turns() -> None:
    """Two workers that ask at once are replaced one after the other, each without a gap."""
    stage = Stage(workers=2)
    stage.all_ready()
    for worker in stage.spawned[:2]:
        for _ in range(2):
            stage.pool.reported(worker, Report(WorkerState.RECYCLE, "old"), 1.0)
    stage.pool.tick(1.0)
    assert len(stage.spawned) == 3
    stage.all_ready(2.0)
    stage.pool.died(stage.spawned[0], 3.0)
    stage.pool.tick(3.0)
    assert [worker.slot for worker in stage.spawned] == [0, 1, 0, 1]
    stage.all_ready(4.0)
    stage.pool.died(stage.spawned[1], 5.0)
    stage.pool.tick(5.0)
    assert len(stage.spawned) == 4
    assert stage.restarts == ["recycle", "recycle"]


def test_a_recycling_that_fails_is_tried_again_while_the_old_serves() -> None:
    """A successor that cannot load is followed by another try, and its predecessor stays."""
    stage = Stage()
    stage.all_ready()
    stage.pool.reported(stage.spawned[0], Report(WorkerState.RECYCLE, "old"), 1.0)
    stage.pool.tick(1.0)
    stage.pool.reported(stage.spawned[1], Report(WorkerState.LOAD_FAILED, "disk"), 1.0)
    stage.pool.died(stage.spawned[1], 1.5)
    due = stage.pool.due_at()
    assert due is not None
    assert due > 1.5
    stage.pool.tick(due)
    assert len(stage.spawned) == 3
    assert stage.record(stage.spawned[0]).requests == []


@pytest.mark.parametrize("exit_code", [2, 3])
def test_a_unit_that_cannot_be_loaded_ends_the_program(exit_code: int) -> None:
    """With the policy to exit, the first failure at the start ends all workers with the code it came with."""
    stage = Stage(workers=2)
    stage.pool.reported(stage.spawned[0], Report(WorkerState.LOAD_FAILED, "no weights", exit_code), 1.0)
    stage.pool.tick(1.0)
    assert stage.pool.stopping
    assert stage.pool.exit_code == exit_code
    assert all(record.killed for record in stage.records.values())


def test_a_load_that_is_retried_keeps_somebody_answering() -> None:
    """With the policy to retry, the failed worker stays until the next one listens."""
    stage = Stage(give_up=False)
    stage.pool.reported(stage.spawned[0], LISTENING, 0.0)
    stage.pool.reported(stage.spawned[0], Report(WorkerState.LOAD_FAILED, "no weights", EXIT_LOAD), 0.0)
    due = stage.pool.due_at()
    assert due is not None
    assert due > 0
    stage.pool.tick(due)
    assert stage.record(stage.spawned[0]).requests == []
    stage.pool.reported(stage.spawned[1], LISTENING, due)
    assert stage.record(stage.spawned[0]).requests == [StopRequest(0.0, 0.0)]
    assert stage.pool.slots[0].current is stage.spawned[1]
    stage.pool.reported(stage.spawned[1], READY, due)
    assert stage.pool.ready_count == 1


def test_a_failed_load_is_logged_once_for_all_workers(caplog: pytest.LogCaptureFixture) -> None:
    """Four workers that fail for the same reason give one line with one traceback."""
    stage = Stage(workers=4, give_up=False)
    for worker in stage.spawned:
        stage.pool.reported(worker, Report(WorkerState.LOAD_FAILED, "no weights", EXIT_LOAD, "Traceback …"), 0.0)
    (line,) = [record for record in caplog.records if "could not be loaded" in record.getMessage()]
    assert line.__dict__["exception"] == "Traceback …"


def test_workers_that_die_before_they_are_ready_end_the_program() -> None:
    """A load that kills its process is given up after a few tries, and not repeated for ever."""
    stage = Stage()
    now = 0.0
    for _ in range(EARLY_DEATHS_LIMIT):
        stage.pool.died(stage.spawned[-1], now)
        now = stage.pool.due_at() or now
        stage.pool.tick(now)
    assert stage.pool.exit_code == EXIT_LOAD
    assert len(stage.spawned) == EARLY_DEATHS_LIMIT


def test_a_service_that_was_ready_once_is_never_given_up() -> None:
    """After a first success, deaths while loading are retried for ever."""
    stage = Stage()
    stage.all_ready()
    now = 0.0
    for _ in range(EARLY_DEATHS_LIMIT + 3):
        stage.pool.died(stage.spawned[-1], now)
        now = stage.pool.due_at() or now
        stage.pool.tick(now)
    assert not stage.pool.stopping


def test_stopping_gives_everybody_their_time() -> None:
    """The order to stop carries delay and grace; only after both is a worker killed; one not ready gets neither."""
    stage = Stage(workers=2, drain_delay_s=5, grace_s=20)
    stage.pool.reported(stage.spawned[0], READY, 0.0)
    stage.pool.stop(10.0)
    ready, loading = (stage.record(worker) for worker in stage.spawned)
    assert ready.requests == [StopRequest(5.0, 20.0)]
    assert loading.requests == [StopRequest(0.0, 0.0)]
    stage.pool.tick(34.0)
    assert (ready.killed, loading.killed) == (False, True)
    stage.pool.tick(37.0)
    assert ready.killed
    assert stage.pool.exit_code == 0


def test_a_second_order_to_stop_is_immediate() -> None:
    """Whoever asks twice does not wait for the grace period."""
    stage = Stage(grace_s=20)
    stage.all_ready()
    stage.pool.stop(1.0)
    stage.pool.stop(2.0)
    stage.pool.tick(2.0)
    assert stage.record(stage.spawned[0]).killed


def test_a_machine_without_room_for_a_process_is_tried_again() -> None:
    """When no process can be started, the slot or the successor is tried later and nothing else suffers."""
    stage = Stage(workers=2)
    stage.all_ready()
    stage.exhausted = True
    stage.pool.died(stage.spawned[0], 1.0)
    stage.pool.tick(1.0)
    stage.pool.reported(stage.spawned[1], Report(WorkerState.RECYCLE, "old"), 1.0)
    stage.pool.tick(1.5)
    assert len(stage.spawned) == 2
    stage.exhausted = False
    stage.pool.tick(100.0)
    assert [worker.slot for worker in stage.spawned[2:]] == [0, 1]
    assert stage.record(stage.spawned[1]).requests == []


def test_nothing_is_spawned_while_stopping() -> None:
    """Deaths, rolls and requests to recycle start nothing once the order to stop is given."""
    stage = Stage(workers=2)
    stage.all_ready()
    stage.pool.stop(1.0)
    stage.pool.restart_all(2.0)
    stage.pool.reported(stage.spawned[0], Report(WorkerState.RECYCLE), 2.0)
    stage.pool.died(stage.spawned[1], 2.0)
    stage.pool.tick(3.0)
    assert len(stage.spawned) == 2


def test_a_worker_without_a_heartbeat_is_aborted_then_killed() -> None:
    """A ready worker silent for watchdog_s gets SIGABRT, which writes its stacks, and then SIGKILL."""
    stage = Stage(watchdog_s=10)
    stage.all_ready(0.0)
    record = stage.record(stage.spawned[0])
    for now in (2.0, 4.0, 6.0, 8.0, 10.0):
        stage.pool.tick(now)
    assert record.signals == []
    stage.pool.tick(11.0)
    assert record.signals == [signal.SIGABRT]
    stage.pool.tick(14.0)
    assert record.killed
    assert record.signals == [signal.SIGABRT]


def test_heartbeats_keep_a_worker() -> None:
    """A worker that reports within watchdog_s is left alone, and so is one that still loads."""
    stage = Stage(workers=2, watchdog_s=10)
    stage.pool.reported(stage.spawned[0], READY, 0.0)
    for now in range(1, 100):
        stage.pool.reported(stage.spawned[0], Report(WorkerState.ALIVE), now)
        stage.pool.tick(now)
    assert all(record.signals == [] for record in stage.records.values())


def test_a_paused_machine_is_not_a_hanging_worker() -> None:
    """When the supervisor itself has stood still, the workers get their time again."""
    stage = Stage(watchdog_s=10)
    stage.all_ready(0.0)
    stage.pool.tick(1.0)
    stage.pool.tick(1000.0)
    assert stage.record(stage.spawned[0]).signals == []


def test_a_plan_crosses_processes() -> None:
    """A plan is the same after its way through JSON."""
    plan = ServePlan(settings=msgspec.to_builtins(Settings(workers=3)), source={"target": "a:B"}, reload_paths=("a",))
    again = msgspec.json.decode(msgspec.json.encode(plan), type=ServePlan)
    assert again == plan
    assert msgspec.convert(again.settings, Settings) == Settings(workers=3)


def test_a_failure_tells_what_a_person_needs() -> None:
    """A fault that says it all is one line and code 2; a chained one brings its traceback; other errors are code 3."""
    plain = failure(TargetError("there is no class B in a.py"))
    assert (plain.text, plain.exit_code, plain.traceback) == ("there is no class B in a.py", 2, "")
    try:
        try:
            try:
                raise KeyError("inner")
            except KeyError as error:
                raise TargetError("A cannot be constructed") from error
        except TargetError as error:
            raise GraphError("node x cannot be resolved") from error
    except GraphError as error:
        chained = failure(error)
    assert chained.exit_code == 2
    assert "KeyError: 'inner'" in chained.traceback
    other = failure(ValueError("no weights"))
    assert (other.text, other.exit_code) == ("ValueError: no weights", 3)
    assert "ValueError" in other.traceback
