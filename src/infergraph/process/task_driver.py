"""Keeps the task driver process running: started when it is first needed, restarted with back-off when it exits."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable

from infergraph.net.backoff import FailureStreak
from infergraph.process.child import RESTARTS, Child

EXIT_FOLDER_HELD = 78
FOLDER_RETRY_S = 30.0
STEADY_S = 30.0
SPAWN_RETRY_S = 1.0
MARGIN_S = 1.0
log = logging.getLogger(__name__)


class TaskDriver:
    """Keeps one task driver running, from the first time it is needed.

    Args:
        spawn: starts the process.
        grace_s: how long it may take to exit after SIGTERM.
    """

    def __init__(self, spawn: Callable[[], Child], grace_s: float) -> None:
        self._spawn = spawn
        self._grace_s = grace_s
        self._backoff = FailureStreak(RESTARTS, free=1)
        self._started_at = 0.0
        self._held = False
        self.stopping = False
        self.child: Child | None = None
        self.is_wanted = False
        self.due_at: float | None = None

    def want(self, now: float) -> None:
        """Keep it running from now on. Idempotent."""
        if not self.is_wanted and not self.stopping:
            self.is_wanted = True
            self.due_at = now

    def tick(self, now: float) -> None:
        """Do whatever is due at `now`."""
        child = self.child
        if child is not None and child.kill_at is not None and child.kill_at <= now:
            child.kill()
        if child is None and self.due_at is not None and self.due_at <= now:
            self.due_at = None
            self._started_at = now
            try:
                self.child = self._spawn()
            except OSError as error:  # out of memory, descriptors or processes: try again later
                log.error("the task driver could not be started: %s", error)
                self.due_at = now + max(self._backoff.failed(), SPAWN_RETRY_S)

    def wake_at(self) -> float | None:
        """The latest time at which `tick` must be called."""
        return self.child.kill_at if self.child is not None else self.due_at

    def died(self, now: float) -> None:
        """Handle the exit of its process."""
        child, self.child = self.child, None
        if child is not None:
            child.close()
        if child is None or self.stopping:
            return
        if child.exit_code == EXIT_FOLDER_HELD:
            if not self._held:
                log.error("tasks wait: another process is working on the same data folder (data_dir)")
            self._held = True
            self.due_at = now + FOLDER_RETRY_S
            return
        self._held = False
        asked = child.kill_at is not None
        if asked or now - self._started_at > STEADY_S:
            self._backoff.succeeded()
        wait_s = 0.0 if asked else self._backoff.failed()
        if not asked:
            log.error("the task driver ended", extra={"how": child.how_it_ended(), "again_in_s": wait_s})
        self.due_at = now + wait_s

    def restart(self, now: float) -> None:
        """Stop it so that a new one starts."""
        if self.child is not None and self.child.kill_at is None:
            self.child.kill_at = now + self._grace_s + MARGIN_S
            self.child.signal(signal.SIGTERM)

    def stop(self, now: float) -> None:
        """Stop it for good; a second call kills it."""
        if self.stopping and self.child is not None:
            self.child.kill_at = now
            return
        self.stopping = True
        self.due_at = None
        self.restart(now)
