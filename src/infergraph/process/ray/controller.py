"""The controller of replicas: keeps the replicas of groups on a Ray cluster, and lists their addresses for callers.

    RayPlan ─▶ a Replica actor each ─ready─▶ listed in NAME.hosts, told to replicas that call the group
    one that ends, or whose Ray node is gone ─▶ unlisted, another one is started, with back-off
    requests in flight ─▶ scaling ─▶ more of them ┊ fewer: unlisted, a moment later ended, its requests finished
    the end of this process, however it comes ─▶ Ray ends the actors, which it owns

`python -P -m infergraph.process.ray.controller` runs one, below `process.groups`; its plan is a line of standard input.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from infergraph import process_lifetime
from infergraph.errors import RemoteError, StartupFault
from infergraph.net import ray_cluster
from infergraph.net.address import Address
from infergraph.net.backoff import FailureStreak
from infergraph.net.http_client import Call, HttpClient, HttpOptions
from infergraph.observe import logs
from infergraph.process.child import RESTARTS
from infergraph.process.ray.plan import CannotStart, Listening, Order, RayGroup, RayPlan, write_hosts
from infergraph.process.ray.replica import Replica
from infergraph.process.ray.scaling import Scaler, in_flight
from infergraph.process.supervisor import EXIT_STARTUP, read_plan
from infergraph.process.worker_pool import EXIT_LOAD
from infergraph.settings import Settings

_REACH_EVERY_S = 2.0
_LOOK_EVERY_S = 1.0
_LOOK_LIMIT_S = 2.0
_SLOW_START_S = 20.0
_STOP_MARGIN_S = 3.0
log = logging.getLogger("infergraph.process.ray")


class _Handle:
    """A replica as this process sees it."""

    def __init__(self, number: int, actor: Any) -> None:
        self.number = number
        self.actor = actor
        self.listening: Listening | None = None
        self.client: HttpClient | None = None
        self.is_leaving = False
        self.in_flight = 0.0


class _Group:
    """A group's replicas."""

    def __init__(self, plan: RayGroup, controller: Controller) -> None:
        self.plan = plan
        self.replicas: dict[int, _Handle] = {}
        self.was_ready = False
        self._controller = controller
        self._scaler = Scaler(plan.scaling)
        self._streak = FailureStreak(RESTARTS, free=1)
        self._number = 0

    @property
    def hosts(self) -> str:
        """The text of the file that lists where the group is called."""
        lines = [
            f"{replica.listening.address(by_grpc=self.plan.by_grpc)}\n"
            for replica in self.replicas.values()
            if replica.listening is not None and not replica.is_leaving
        ]
        return "".join(sorted(lines))

    def fill(self) -> None:
        """Start replicas, or have some leave, until there are as many as wanted."""
        staying = [replica for replica in self.replicas.values() if not replica.is_leaving]
        for _ in range(self._scaler.wanted - len(staying)):
            self._start()
        surplus = len(staying) - self._scaler.wanted
        for replica in sorted(staying, key=lambda each: (each.listening is not None, each.in_flight))[
            : max(surplus, 0)
        ]:
            replica.is_leaving = True
            self._controller.spawn(self._leave(replica))

    def _start(self) -> None:
        self._number += 1
        handle = _Handle(self._number, self._controller.actor(self.plan.asks))
        self.replicas[handle.number] = handle
        self._controller.spawn(self._live(handle))

    async def _live(self, replica: _Handle) -> None:
        """One replica's life, from its start to its end, after which another one is started."""
        controller, name, exit_code = self._controller, self.plan.name, 0
        try:
            how = await self._served(replica)
        except controller.errors as error:
            cause = getattr(error, "cause", None) or error
            how, exit_code = ray_cluster.said(cause), cause.exit_code if isinstance(cause, CannotStart) else 0
        finally:
            del self.replicas[replica.number]
            controller.kill(replica.actor)
        if replica.client is not None:
            replica.client.close()
            controller.changed(self)
        if controller.is_stopping or replica.is_leaving:
            return
        if exit_code in (EXIT_STARTUP, EXIT_LOAD) and not self.was_ready:
            log.error("a replica cannot start", extra={"group": name, "how": how})
            controller.give_up(exit_code)
            return
        wait_s = self._streak.failed()
        log.error("a replica ended", extra={"group": name, "how": how, "again_in_s": wait_s})
        await asyncio.sleep(wait_s)
        self.fill()

    async def _served(self, replica: _Handle) -> str:
        """Start a replica, and list it until it ends; returns how."""
        slow = asyncio.get_running_loop().call_later(_SLOW_START_S, self._say_slow)
        try:
            started = await replica.actor.start.remote(self._controller.order(self.plan))
        finally:
            slow.cancel()
        replica.listening = found = msgspec.msgpack.decode(started, type=Listening)
        options = HttpOptions(connect_timeout_s=_LOOK_LIMIT_S)
        replica.client = HttpClient(Address(found.host, found.http_port), options)
        self._streak.succeeded()
        log.info("a replica is ready", extra={"group": self.plan.name, "host": found.host, "port": found.http_port})
        self._controller.changed(self)
        how: str = await replica.actor.ended.remote()
        return how

    def _say_slow(self) -> None:
        asked = {name: value for name, value in self.plan.asks.options.items() if value}
        text = "a replica has not started yet: it is loading, or the cluster has not what it asks for"
        log.warning("%s", text, extra={"group": self.plan.name, **asked})

    async def _leave(self, replica: _Handle) -> None:
        """Have a replica finish and end, once nobody calls it any more."""
        controller = self._controller
        log.info("a replica leaves", extra={"group": self.plan.name, "wanted": self._scaler.wanted})
        if replica.listening is None:
            controller.kill(replica.actor)
            return
        controller.changed(self)
        await asyncio.sleep(controller.notice_s)
        with suppress(TimeoutError, *controller.errors):
            async with asyncio.timeout(controller.grace_s + _STOP_MARGIN_S):
                await replica.actor.stop.remote()
        controller.kill(replica.actor)

    async def look(self) -> None:
        """Ask the replicas for their requests in flight, and follow the load."""
        loop = asyncio.get_running_loop()
        ready = [replica for replica in self.replicas.values() if replica.client is not None]
        await asyncio.gather(*map(self._ask, ready))
        self._scaler.observe(sum(replica.in_flight for replica in ready), loop.time())
        self.fill()

    async def _ask(self, replica: _Handle) -> None:
        assert replica.client is not None
        call = Call("GET", self._controller.metrics_path, b"", None)
        with suppress(RemoteError, TimeoutError):
            reply = await replica.client.exchange(call, _LOOK_LIMIT_S)
            replica.in_flight = max(in_flight(reply.body) - 1, 0.0)  # without the one that asks


class Controller:
    """The controller of all groups, on one event loop.

    Raises: MissingExtra if Ray is not installed.
    """

    def __init__(self, plan: RayPlan) -> None:
        settings = msgspec.convert(plan.settings, Settings)
        self.notice_s = plan.notice_s
        self.grace_s = settings.grace_s
        self.metrics_path = settings.metrics_path
        self.is_stopping = False
        self.exit_code = 0
        self._plan = plan
        self._ray = ray_cluster.package("serve --on ray")
        self.errors: tuple[type[Exception], ...] = (self._ray.exceptions.RayError,)
        self._groups = {group.name: _Group(group, self) for group in plan.groups}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._class: Any = None
        self._ready_fd = plan.ready_fd

    async def run(self) -> None:
        """Run until asked to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        keeping = asyncio.create_task(self._keep())
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({keeping, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if keeping.done():
                keeping.result()
        finally:
            self.is_stopping = True
            keeping.cancel()
            await self._end()

    async def _keep(self) -> None:
        await self._join()
        for group in self._groups.values():
            group.fill()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            scaled = [group.look() for group in self._groups.values() if not group.plan.scaling.is_fixed]
            await asyncio.gather(*scaled)

    async def _join(self) -> None:
        """Join the cluster, as soon as it can be."""
        address, last = self._plan.address, ""
        runtime = {"working_dir": self._plan.ships, "excludes": list(self._plan.excludes)}
        while True:
            trouble = await asyncio.to_thread(ray_cluster.trouble, address)
            if not trouble:
                try:
                    await asyncio.wrap_future(ray_cluster.joining(self._ray, address, runtime_env=runtime))
                except Exception as error:  # noqa: BLE001 - Ray raises many types, including ConnectionError and its own
                    trouble = ray_cluster.said(error)
            if not trouble:
                break
            if trouble != last:
                log.error("the Ray cluster at %s cannot be reached: %s", address, trouble)
            last = trouble
            await asyncio.sleep(_REACH_EVERY_S)
        ray_cluster.take_signals_back()
        log.info("the Ray cluster is joined", extra={"address": address})
        self._class = self._ray.remote(Replica)

    async def _end(self) -> None:
        """End all replicas: nobody calls them any more."""
        if self._class is None:
            return
        stops = [replica.actor.stop.remote() for group in self._groups.values() for replica in group.replicas.values()]
        with suppress(TimeoutError):
            async with asyncio.timeout(self.grace_s + _STOP_MARGIN_S):
                await asyncio.gather(*stops, return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP_MARGIN_S)  # each is told of the end of its replica
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._ray.shutdown)

    # for the groups

    def actor(self, asks: Any) -> Any:
        """A new actor, which this process owns; the replicas of a group are spread over the machines."""
        options = {**asks.options, "scheduling_strategy": "SPREAD", "max_restarts": 0, "max_task_retries": 0}
        return self._class.options(**options).remote()

    def order(self, group: RayGroup) -> bytes:
        """What a replica of a group is started with."""
        hosts = {name: self._groups[name].hosts for name in group.calls}
        return msgspec.msgpack.encode(Order(version=version("infergraph"), group=group, hosts=hosts))

    def kill(self, actor: Any) -> None:
        """End an actor, if there still is one."""
        with suppress(ValueError, *self.errors):
            self._ray.kill(actor, no_restart=True)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run beside others, until the end of this process."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def give_up(self, exit_code: int) -> None:
        """End, since a group cannot be loaded."""
        self.exit_code = exit_code
        self._stop.set()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("the controller of replicas failed", exc_info=task.exception())
            self._stop.set()

    def changed(self, group: _Group) -> None:
        """Tell everybody that calls a group where its replicas are."""
        name, text = group.plan.name, group.hosts
        write_hosts(Path(self._plan.hosts), name, text)
        told = msgspec.msgpack.encode({name: text})
        for other in self._groups.values():
            if name in other.plan.calls:
                for replica in other.replicas.values():
                    replica.actor.follow.remote(told)
        group.was_ready = group.was_ready or bool(text)
        if self._ready_fd >= 0 and all(each.was_ready for each in self._groups.values()):
            os.write(self._ready_fd, b"+")
            os.close(self._ready_fd)
            self._ready_fd = -1


def main() -> int:
    """Read the plan, and run it."""
    plan = msgspec.json.decode(read_plan(), type=RayPlan)
    if plan.parent_pid:
        process_lifetime.die_with_parent(plan.parent_pid, sys.stdin.fileno())
    logs.configure(msgspec.convert(plan.settings, Settings))
    try:
        controller = Controller(plan)
        asyncio.run(controller.run())
    except StartupFault as fault:
        print(f"infergraph: {fault}", file=sys.stderr)
        return EXIT_STARTUP
    return controller.exit_code


if __name__ == "__main__":
    sys.exit(main())
