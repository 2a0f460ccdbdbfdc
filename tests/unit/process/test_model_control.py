"""Loading and unloading in all workers, without the workers."""

from __future__ import annotations

import asyncio

from infergraph.process.channel import ModelAction, ModelOutcome, ModelRequest, Report, WorkerState
from infergraph.process.model_control import ModelControl
from infergraph.process.model_requests import ModelRequests


class Worker:
    """A worker that remembers what it was sent."""

    def __init__(self) -> None:
        self.sent: list[ModelRequest | ModelOutcome] = []

    def send(self, message: ModelRequest | ModelOutcome) -> None:
        self.sent.append(message)

    def done(self, text: str = "") -> Report:
        order = self.sent[-1]
        assert isinstance(order, ModelRequest)
        return Report(WorkerState.CONTROLLED, text, number=order.number)


def asks(action: ModelAction, number: int = 7) -> Report:
    return Report(WorkerState.CONTROL, action.value, number=number)


def test_workers_are_told_one_after_the_other_and_then_who_asked() -> None:
    """The second worker is told once the first is done, and who asked is answered after the last."""
    first, second = Worker(), Worker()
    orders = ModelRequests(lambda: [first, second])
    orders.asked(second, asks(ModelAction.UNLOAD))
    assert (len(first.sent), len(second.sent)) == (1, 0)
    assert orders.is_unloaded
    orders.done(first, first.done())
    assert [type(message) for message in second.sent] == [ModelRequest]
    orders.done(second, second.done())
    assert second.sent[-1] == ModelOutcome(7)


def test_actions_wait_for_each_other() -> None:
    """What is asked meanwhile begins when the action before it is over."""
    worker = Worker()
    orders = ModelRequests(lambda: [worker])
    orders.asked(worker, asks(ModelAction.UNLOAD, 1))
    orders.asked(worker, asks(ModelAction.LOAD, 2))
    orders.done(worker, worker.done())
    assert worker.sent[1] == ModelOutcome(1)
    assert isinstance(worker.sent[2], ModelRequest)
    assert worker.sent[2].action is ModelAction.LOAD
    assert not orders.is_unloaded


def test_a_worker_that_dies_is_not_waited_for() -> None:
    """The action goes on with the next worker when one dies, whether it was told already or not."""
    first, second, third = Worker(), Worker(), Worker()
    orders = ModelRequests(lambda: [first, second, third])
    orders.asked(third, asks(ModelAction.LOAD))
    orders.gone(second)
    orders.gone(first)
    orders.done(third, third.done())
    assert third.sent[-1] == ModelOutcome(7)
    assert not second.sent


def test_a_failed_load_ends_there_and_says_why() -> None:
    """After a failure the further workers are left as they are, and the model stays loaded."""
    first, second = Worker(), Worker()
    orders = ModelRequests(lambda: [first, second])
    orders.asked(first, asks(ModelAction.LOAD))
    orders.done(first, first.done("no weights"))
    assert first.sent[-1] == ModelOutcome(7, "no weights")
    assert not second.sent
    assert not orders.is_unloaded


def test_a_load_of_an_unloaded_model_that_fails_late_is_undone() -> None:
    """Workers that have loaded the model unload it again when a further one cannot load it."""
    first, second = Worker(), Worker()
    orders = ModelRequests(lambda: [first, second])
    orders.is_unloaded = True
    orders.asked(second, asks(ModelAction.LOAD))
    orders.done(first, first.done())
    orders.done(second, second.done("no memory"))
    assert second.sent[1] == ModelOutcome(7, "no memory")
    assert isinstance(first.sent[-1], ModelRequest)
    assert first.sent[-1].action is ModelAction.UNLOAD
    assert orders.is_unloaded


def test_a_late_report_of_an_earlier_action_counts_for_nothing() -> None:
    """Only the report with the number of the present order ends it."""
    worker = Worker()
    orders = ModelRequests(lambda: [worker])
    orders.asked(worker, asks(ModelAction.LOAD))
    orders.done(worker, Report(WorkerState.CONTROLLED, number=99))
    assert len(worker.sent) == 1


def test_a_worker_alone_performs_what_it_asks() -> None:
    """Without a supervisor the worker is all there is; a failure's text is the outcome."""

    async def run() -> list[str]:
        control = ModelControl()

        async def perform(action: ModelAction) -> str:
            return "" if action is ModelAction.LOAD else "not now"

        control.performed_by(perform)
        return [await control.ask(action) for action in ModelAction]

    assert asyncio.run(run()) == ["", "not now"]


def test_an_action_goes_on_when_nobody_waits_for_it() -> None:
    """A client that leaves does not end a load that has begun."""

    async def run() -> bool:
        control, going, finished = ModelControl(), asyncio.Event(), asyncio.Event()

        async def perform(action: ModelAction) -> str:
            await going.wait()
            finished.set()
            return ""

        control.performed_by(perform)
        asked = asyncio.create_task(control.ask(ModelAction.LOAD))
        await asyncio.sleep(0)
        asked.cancel()
        going.set()
        await finished.wait()
        return asked.cancelled()

    assert asyncio.run(run())
