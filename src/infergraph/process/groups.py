"""The supervisor of groups: keeps the servers of a cut graph's groups running, and the server of its front.

    GroupsPlan ─▶ the groups, all at once ─all ready─▶ the front       one that ends is started again, with back-off
    SIGTERM ─▶ the front ─ended─▶ the groups

Each is a supervisor of its own (`process.supervisor`), which dies with this process. Imports are as small as there.
`python -P -m infergraph.process.groups --plan-fd N` runs one.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from infergraph import process_lifetime
from infergraph.net.backoff import FailureStreak
from infergraph.observe import logs
from infergraph.process.child import RESTARTS, Child
from infergraph.process.ray.plan import RayPlan
from infergraph.process.supervisor import EXIT_STARTUP, SIGNALS, ServePlan, Terminal, read_plan, reap_all
from infergraph.process.worker_pool import EXIT_LOAD
from infergraph.settings import Settings

STEADY_S = 30.0
SPAWN_RETRY_S = 1.0
MARGIN_S = 5.0
log = logging.getLogger("infergraph.process.groups")


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One server.

    Args:
        environment: variables that it has beside ours.
    """

    plan: ServePlan
    environment: dict[str, str] = {}

    @property
    def name(self) -> str:
        """The name of its group, and which of its replicas it is."""
        return self.plan.group or "front"

    @property
    def module(self) -> str:
        """What runs its plan."""
        return "infergraph.process.supervisor"

    def told(self, parent_pid: int, ready_fd: int) -> bytes:
        """Its plan, for a child of ours."""
        return msgspec.json.encode(msgspec.structs.replace(self.plan, parent_pid=parent_pid, ready_fd=ready_fd))


class GroupsPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to run.

    Args:
        groups: the servers that must be ready before the front starts.
        ray: the groups that run on a Ray cluster; None for none.
        front: the server that clients call.
        warnings: lines for the log at the start.
        held: inherited descriptors that hold the folder of the groups, and their ports while their servers are down.
    """

    groups: tuple[Member, ...]
    front: Member
    ray: RayPlan | None = None
    warnings: tuple[str, ...] = ()
    held: tuple[int, ...] = ()


class Server:
    """One server as this process sees it."""

    def __init__(self, member: Member | RayPlan) -> None:
        self.member = member
        self.child: Child | None = None
        self.due_at: float | None = None
        self.ready_at: float | None = None
        self.was_ready = False
        self.backoff = FailureStreak(RESTARTS, free=1)


class GroupsSupervisor:
    """The event loop of one run."""

    def __init__(self, plan: GroupsPlan) -> None:
        self._settings = msgspec.convert(plan.front.plan.settings, Settings)
        self._warnings = plan.warnings
        self._groups = [Server(member) for member in (*plan.groups, plan.ray) if member is not None]
        self._front = Server(plan.front)
        self._selector = selectors.DefaultSelector()
        self._terminal = Terminal()
        self._stopping = False
        self._exit_code = 0

    def run(self) -> int:
        """Run until the last server has ended; returns the exit code, as `supervisor.run` does."""
        logs.configure(self._settings)
        with process_lifetime.signal_socket(SIGNALS) as signalled:
            self._selector.register(signalled, selectors.EVENT_READ, self._signalled)
            self._run()
        return self._exit_code

    def _run(self) -> None:
        for line in self._warnings:
            log.warning("%s", line)
        for server in self._groups:
            server.due_at = time.monotonic()
        if self._groups:
            names = ", ".join(server.member.name for server in self._groups)
            log.info("starting the groups; the front starts when all are ready", extra={"groups": names})
        self._start_front_once()
        while not (self._stopping and not any(server.child for server in self._all)):
            self._tick(time.monotonic())
            for key, _ in self._selector.select(self._wait_s()):
                key.data(key.fileobj)
            self._reap()

    @property
    def _all(self) -> list[Server]:
        return [*self._groups, self._front]

    def _tick(self, now: float) -> None:
        for server in self._all:
            if server.child is not None and server.child.kill_at is not None and server.child.kill_at <= now:
                server.child.kill()
            elif server.child is None and server.due_at is not None and server.due_at <= now:
                server.due_at = None
                self._start(server, now)

    def _wait_s(self) -> float | None:
        times = [server.due_at if server.child is None else server.child.kill_at for server in self._all]
        due_at = min((each for each in times if each is not None), default=None)
        return None if due_at is None else max(due_at - time.monotonic(), 0.0)

    def _start(self, server: Server, now: float) -> None:
        ours, theirs = os.pipe()
        member = server.member
        try:
            server.child = Child(
                member.module,
                member.told(os.getpid(), theirs) + b"\n",
                pass_fds=(theirs,),
                hold_stdin=True,
                environment=member.environment,
            )
        except OSError as error:  # out of memory, descriptors or processes: try again later
            log.error("the server of %s could not be started: %s", member.name, error)
            os.close(ours)
            server.due_at = now + max(server.backoff.failed(), SPAWN_RETRY_S)
            return
        finally:
            os.close(theirs)
        self._selector.register(ours, selectors.EVENT_READ, self._on_ready(server))

    # events

    def _on_ready(self, server: Server) -> Callable[[Any], None]:
        def told(fd: int) -> None:
            is_ready = bool(os.read(fd, 1))
            self._selector.unregister(fd)
            os.close(fd)
            if is_ready and not self._stopping:
                self._became_ready(server)

        return told

    def _became_ready(self, server: Server) -> None:
        server.was_ready, server.ready_at = True, time.monotonic()
        log.debug("ready", extra={"group": server.member.name})
        self._start_front_once()

    def _start_front_once(self) -> None:
        """Start the front if all groups are ready for the first time."""
        is_new = self._front.child is None and self._front.due_at is None
        if is_new and all(each.was_ready for each in self._groups):
            self._front.due_at = time.monotonic()

    def _signalled(self, wakeup: Any) -> None:
        for number in wakeup.recv(4096):
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop(signal.Signals(number).name)
            elif number == signal.SIGHUP and self._terminal.is_gone():
                self._stop("the terminal was closed")
            elif number == signal.SIGHUP:
                for server in self._all:
                    if server.child is not None:
                        server.child.signal(signal.SIGHUP)

    def _reap(self) -> None:
        adopted = reap_all() if os.getpid() == 1 else {}
        for server in self._all:
            if (child := server.child) is None:
                continue
            if child.pid in adopted:
                child.reaped(adopted[child.pid])
            if child.poll():
                child.close()
                server.child = None
                self._ended(server, child, time.monotonic())

    def _ended(self, server: Server, child: Child, now: float) -> None:
        if self._stopping:
            if server is self._front:
                self._end(self._groups)
            return
        if not server.was_ready and child.exit_code in (EXIT_STARTUP, EXIT_LOAD):  # it has said why
            self._exit_code = child.exit_code
            self._stopping = True
            self._end(self._all)
            return
        if server.ready_at is not None and now - server.ready_at > STEADY_S:
            server.backoff.succeeded()
        server.ready_at = None
        wait_s = server.backoff.failed()
        log.error(
            "a group's server ended",
            extra={"group": server.member.name, "how": child.how_it_ended(), "again_in_s": wait_s},
        )
        server.due_at = now + wait_s

    # steps

    def _stop(self, why: str) -> None:
        log.info("stopping at once" if self._stopping else "stopping", extra={"why": why})
        is_second, self._stopping = self._stopping, True
        for server in self._all:
            server.due_at = None
        self._end(self._all if is_second or self._front.child is None else [self._front])

    def _end(self, servers: list[Server]) -> None:
        """Ask servers to stop; a second time they do so at once. One that does not is killed."""
        limit_s = self._settings.drain_delay_s + self._settings.grace_s + MARGIN_S
        for server in servers:
            if server.child is not None:
                server.child.signal(signal.SIGTERM)
                server.child.kill_at = time.monotonic() + limit_s


def main() -> int:
    """Read the plan, and run it."""
    return GroupsSupervisor(msgspec.json.decode(read_plan(), type=GroupsPlan)).run()


if __name__ == "__main__":
    sys.exit(main())
