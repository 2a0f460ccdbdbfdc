"""What every engine promises the driver: lanes come up, answer in order, die alone, and are told of."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from infergraph.net import ray_cluster
from infergraph.settings import Settings
from infergraph.tasks.engines.engine import Answered, Engine, Event, LaneLost, LaneReady, LoadTrouble
from infergraph.tasks.engines.in_server import InServerEngine
from infergraph.tasks.engines.in_server_worker import InServerWorker
from infergraph.tasks.engines.local import LocalEngine
from infergraph.tasks.engines.messages import Assignment, Key, Plan
from infergraph.tasks.engines.ray import RayEngine
from ray_nodes import RayNodes
from task_harness import is_alive
from task_units import make, no_requests

MakeEngine = Callable[..., Engine]
TOKEN = "the-token-of-these-nodes"


def serve_in_process(folder: str, source: str, count: int) -> None:
    """A process with lanes of the in-server engine."""

    async def run() -> None:
        workers = [InServerWorker(Path(folder), make(source, Settings()), no_requests) for _ in range(count)]
        for in_server in workers:
            in_server.begin()
        await asyncio.Event().wait()

    asyncio.run(run())


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    """The address of a Ray cluster on this machine."""
    with RayNodes() as nodes:
        yield nodes.address


@pytest.fixture(scope="module")
def token_nodes() -> Iterator[RayNodes]:
    """A Ray cluster that asks for a token."""
    with RayNodes(token=TOKEN) as nodes:
        yield nodes


@pytest.fixture(params=["local", "in-server", pytest.param("ray", marks=pytest.mark.servers)])
def engine_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeEngine]:
    """Makes an engine with so many lanes of a unit, and ends it after the test."""
    made: list[Engine] = []
    helpers: list[BaseProcess] = []

    def build(unit: str = "Echo", lanes: int = 1, **options: Any) -> Engine:
        source = json.dumps({"unit": unit, **options})
        engine: Engine
        if request.param == "local":
            engine = LocalEngine(Plan("task_units:make", source, sys.path, {}), time.monotonic)
            engine.start()
            engine.scale(lanes)
        elif request.param == "ray":
            address = request.getfixturevalue("ray_address")
            engine = RayEngine(Plan("task_units:make", source, sys.path, {}), time.monotonic, address=address)
            engine.scale(lanes)
        else:
            engine = InServerEngine(tmp_path, time.monotonic)
            engine.start()
            spawn = multiprocessing.get_context("spawn")
            helpers.append(spawn.Process(target=serve_in_process, args=(str(tmp_path), source, lanes), daemon=True))
            helpers[-1].start()
        made.append(engine)
        return engine

    yield build
    for engine in made:
        engine.stop()
    for helper in helpers:
        helper.kill()
        helper.join()


def events_until(engine: Engine, enough: Callable[[list[Event]], bool]) -> list[Event]:
    """Events up to the point where there are enough."""
    seen: list[Event] = []
    deadline = time.monotonic() + 60
    while not enough(seen):
        assert time.monotonic() < deadline, seen
        seen += engine.wait(0.1)
    return seen


def count_of(kind: type[Any], number: int) -> Callable[[list[Event]], bool]:
    """Enough is so many events of a kind."""
    return lambda seen: sum(isinstance(event, kind) for event in seen) >= number


def assignment(run: int, serial: int, rows: list[dict[str, Any]]) -> Assignment:
    """An order that carries its lines."""
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    return Assignment(Key(run, serial), "", 0, len(data), 1, len(rows), "auto", data)


def test_assignments_are_answered_in_order(engine_of: MakeEngine) -> None:
    """A lane answers its orders one after the other, each under its key, small and large ones alike."""
    engine = engine_of()
    events_until(engine, count_of(LaneReady, 1))
    (lane,) = engine.idle(9)
    for serial in range(5):
        engine.send(lane, assignment(1, serial, [{"n": serial, "pad": "x" * 10 ** (serial + 2)}]))
    assert engine.idle(5) == []
    seen = events_until(engine, count_of(Answered, 5))
    answers = [event.answer for event in seen if isinstance(event, Answered)]
    assert [answer.key for answer in answers] == [Key(1, serial) for serial in range(5)]
    assert [json.loads(answer.output)["n"] for answer in answers] == list(range(5))
    assert engine.idle(1) == [lane]


def test_lanes_that_hold_least_come_first(engine_of: MakeEngine) -> None:
    """Of several lanes the idle ones are offered before the busy ones."""
    engine = engine_of("Tired", lanes=2, line_s=0.2)
    events_until(engine, count_of(LaneReady, 2))
    first, second = engine.idle(2)
    engine.send(first, assignment(1, 1, [{"n": 1}]))
    assert engine.idle(2)[0] == second
    assert [key for _, key, _ in engine.in_work()] == [Key(1, 1)]
    assert engine.holders(1) == [first]
    assert engine.is_in_work(1)
    events_until(engine, count_of(Answered, 1))
    assert not engine.is_in_work(1)


def test_an_abandoned_attempt_is_not_processed(engine_of: MakeEngine, tmp_path: Path) -> None:
    """Orders of an abandoned run that were not begun are never answered; those of others are answered, or come back."""
    mark, gate = tmp_path / "mark", tmp_path / "gate"
    engine = engine_of("Gated", mark=str(mark), gate=str(gate))
    events_until(engine, count_of(LaneReady, 1))
    (lane,) = engine.idle(9)
    for serial, run in enumerate((1, 2, 1)):
        engine.send(lane, assignment(run, serial, [{"n": run}]))
    seen = events_until(engine, lambda _: mark.exists())  # the first is in work, and stays so until the gate opens
    assert not any(isinstance(event, Answered) for event in seen)
    engine.abandon(2)
    gate.touch()

    def keys(seen: list[Event]) -> list[Key]:
        answered = [event.answer.key for event in seen if isinstance(event, Answered)]
        return answered + [key for event in seen if isinstance(event, LaneLost) for key in event.held]

    seen = events_until(engine, lambda seen: {Key(1, 0), Key(1, 2)} <= set(keys(seen)))
    assert Key(2, 1) not in [event.answer.key for event in seen if isinstance(event, Answered)]
    assert all(event.killed for event in seen if isinstance(event, LaneLost))
    assert engine.holders(2) == []


def test_a_wait_ends_when_somebody_wakes_it(engine_of: MakeEngine) -> None:
    """A ring from elsewhere ends a long wait at once."""
    engine = engine_of()
    events_until(engine, count_of(LaneReady, 1))
    engine.wake()
    assert engine.wait(60.0) != []


def test_a_killed_lane_without_work_is_replaced(engine_of: MakeEngine) -> None:
    """Whatever a lane held when it was killed, its loss is told, and another takes its place."""
    engine = engine_of()
    events_until(engine, count_of(LaneReady, 1))
    if not engine.can_kill:
        pytest.skip("this engine's lanes are serving workers, which it does not kill")
    (lane,) = engine.idle(1)
    engine.kill(lane)
    seen = events_until(engine, lambda seen: count_of(LaneLost, 1)(seen) and count_of(LaneReady, 1)(seen))
    assert [(event.lane, event.held, event.killed) for event in seen if isinstance(event, LaneLost)] == [
        (lane, (), True)
    ]


# ── a Ray cluster that cannot be joined ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.servers
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "it asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"),
        (
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/dev/null"},
            "RAY_AUTH_MODE is token, but there is no token",
        ),
        (
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "another" * 8},
            "it does not accept our token: see RAY_AUTH_TOKEN",
        ),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}, ""),
    ],
)
def test_a_ray_cluster_with_tokens_says_what_it_asks_for(
    token_nodes: RayNodes, variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the token of a cluster one line says so, at once; with it nothing is said."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ray_cluster.trouble(token_nodes.address).startswith(said)
    assert bool(said) == bool(ray_cluster.trouble(token_nodes.address))


# ── engines whose lanes are theirs ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def local() -> Iterator[Callable[..., LocalEngine]]:
    """Makes a local engine, and ends it after the test."""
    made: list[LocalEngine] = []

    def build(unit: str, lanes: int = 1, **options: Any) -> LocalEngine:
        source = json.dumps({"unit": unit, **options})
        engine = LocalEngine(Plan("task_units:make", source, sys.path, {}), time.monotonic)
        engine.start()
        engine.scale(lanes)
        made.append(engine)
        return engine

    yield build
    for engine in made:
        engine.stop()


def test_a_lane_that_shares_orders_is_not_lost_with_one(local: Callable[..., LocalEngine], tmp_path: Path) -> None:
    """Abandoning a queued order costs a local lane nothing: it goes on with the others, its unit still loaded."""
    mark, gate = tmp_path / "mark", tmp_path / "gate"
    engine = local("Gated", mark=str(mark), gate=str(gate))
    events_until(engine, count_of(LaneReady, 1))
    (lane,) = engine.idle(9)
    for serial, run in enumerate((1, 2, 1)):
        engine.send(lane, assignment(run, serial, [{"n": run}]))
    events_until(engine, lambda _: mark.exists())
    engine.abandon(2)
    gate.touch()
    seen = events_until(engine, count_of(Answered, 2))
    assert not any(isinstance(event, LaneLost) for event in seen)
    assert engine.idle(1) == [lane]


def test_a_replaced_worker_has_the_index_and_the_gpu_of_the_one_before(local: Callable[..., LocalEngine]) -> None:
    """Indices are dealt from 0, without gaps, and a successor takes the one that became free."""
    engine = local("Echo", lanes=2)
    events_until(engine, count_of(LaneReady, 2))
    first, second = sorted(engine.lanes)
    assert [engine.lanes[lane].index for lane in (first, second)] == [0, 1]
    engine.kill(first)
    events_until(engine, lambda seen: count_of(LaneLost, 1)(seen) and count_of(LaneReady, 1)(seen))
    assert sorted(lane.index for lane in engine.lanes.values()) == [0, 1]


def test_an_answer_to_an_abandoned_run_is_none(local: Callable[..., LocalEngine]) -> None:
    """What was on its way when a run was abandoned is not told, however late the lane is ended."""
    engine = local("Echo")
    events_until(engine, count_of(LaneReady, 1))
    (lane,) = engine.idle(9)
    engine.can_kill = False  # as where a lane cannot be ended in the middle
    engine.send(lane, assignment(1, 1, [{"n": 1}]))
    engine.send(lane, assignment(2, 2, [{"n": 2}]))
    engine.abandon(1)
    seen = events_until(engine, count_of(Answered, 1))
    assert [event.answer.key for event in seen if isinstance(event, Answered)] == [Key(2, 2)]


def test_a_lane_that_dies_names_what_it_held(local: Callable[..., LocalEngine]) -> None:
    """The order in work comes first, then those behind it; the lane is replaced by a new one."""
    engine = local("Poisoned")
    events_until(engine, count_of(LaneReady, 1))
    (lane,) = engine.idle(9)
    engine.send(lane, assignment(1, 1, [{"n": 1}]))
    engine.send(lane, assignment(1, 2, [{"poison": 1}]))
    engine.send(lane, assignment(2, 3, [{"n": 3}]))
    seen = events_until(engine, lambda seen: count_of(LaneLost, 1)(seen) and count_of(LaneReady, 1)(seen))
    (lost,) = [event for event in seen if isinstance(event, LaneLost)]
    assert [event.answer.key for event in seen if isinstance(event, Answered)] == [Key(1, 1)]
    assert lost.held == (Key(1, 2), Key(2, 3))
    assert lost.why == "was killed by SIGKILL"
    assert not lost.killed
    assert engine.idle(1) != [lane]


def test_a_killed_lane_is_dead_when_its_loss_is_told(local: Callable[..., LocalEngine], tmp_path: Path) -> None:
    """A lane in a C loop that holds the interpreter's lock is gone, reaped, by the time of the event."""
    mark = tmp_path / "mark"
    engine = local("Burner", mark=str(mark))
    events_until(engine, count_of(LaneReady, 1))
    (lane,) = engine.idle(1)
    (pid,) = engine.pids()
    engine.send(lane, assignment(1, 1, [{"burn": 1}]))
    events_until(engine, lambda _: mark.exists())
    engine.kill(lane)
    engine.kill(lane)
    seen = events_until(engine, count_of(LaneLost, 1))
    (lost,) = [event for event in seen if isinstance(event, LaneLost)]
    assert lost.killed
    assert not is_alive(pid)


def test_a_unit_that_cannot_be_loaded_is_told_and_tried_again(
    local: Callable[..., LocalEngine], tmp_path: Path
) -> None:
    """Each failed load is an event with the reason; after the cure a lane comes up."""
    cure = tmp_path / "cure"
    engine = local("Unloadable", cure=str(cure))
    seen = events_until(engine, count_of(LoadTrouble, 2))
    trouble = next(event for event in seen if isinstance(event, LoadTrouble))
    assert trouble.text == "RuntimeError: the model file is missing"
    assert not trouble.was_killed
    cure.touch()
    events_until(engine, count_of(LaneReady, 1))


def test_lanes_come_and_go(local: Callable[..., LocalEngine]) -> None:
    """Lanes without work leave when fewer are wanted; those at work stay until they are done."""
    engine = local("Tired", lanes=2, line_s=0.3)
    events_until(engine, count_of(LaneReady, 2))
    busy = engine.idle(1)[0]
    engine.send(busy, assignment(1, 1, [{"n": 1}]))
    pids = engine.pids()
    engine.scale(0)
    assert engine.ready == 1
    events_until(engine, count_of(Answered, 1))
    engine.scale(0)
    assert engine.ready == 0
    assert not any(map(is_alive, pids))


def test_an_answer_larger_than_the_pipe_and_many_orders(local: Callable[..., LocalEngine]) -> None:
    """More in both directions than pipes hold is no deadlock."""
    engine = local("Echo")
    events_until(engine, count_of(LaneReady, 1))
    (lane,) = engine.idle(1)
    for serial in range(40):
        engine.send(lane, assignment(1, serial, [{"pad": "x" * 500_000}]))
    seen = events_until(engine, count_of(Answered, 40))
    assert sum(len(event.answer.output) for event in seen if isinstance(event, Answered)) > 20_000_000


def test_a_stopped_engine_leaves_no_process(local: Callable[..., LocalEngine]) -> None:
    """After stop no lane lives and no descriptor is left, and a second stop is harmless."""
    before = set(os.listdir("/proc/self/fd"))
    engine = local("Echo", lanes=2)
    pids = engine.pids()
    engine.stop()
    engine.stop()
    engine.wake()
    assert not any(map(is_alive, pids))
    assert set(os.listdir("/proc/self/fd")) == before
