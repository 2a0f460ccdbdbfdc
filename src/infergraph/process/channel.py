"""Messages between the supervisor and a worker: one JSON line each, over a socket pair.

supervisor ──WorkerConfig (stdin)──▶ worker
supervisor ──SupervisorMessage─────▶ worker
supervisor ◀──Report─────────────── worker        end of stream: the other side is dead
"""

from __future__ import annotations

import logging
import socket
import threading
from enum import Enum
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

TEXT_LIMIT = 64 * 1024
READ_BYTES = 64 * 1024


class WorkerState(Enum):
    """What a worker reports to the supervisor."""

    LISTENING = "listening"
    READY = "ready"
    LOAD_FAILED = "load_failed"
    RECYCLE = "recycle"
    ALIVE = "alive"
    TASKS = "tasks"
    CONTROL = "control"
    CONTROLLED = "controlled"


class ModelAction(Enum):
    """What is done with the served model in all workers."""

    LOAD = "load"
    UNLOAD = "unload"


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a worker is started with; it reads this from its standard input.

    Args:
        serve: the coroutine function to run, as "module:name".
        slot: which of the workers it is, 0 to workers - 1.
        metrics_slot: the name of its shared metrics file; no two living processes share one.
        settings: Settings as builtins.
        source: the unit's source as builtins.
        opens_early: whether to open the ports before the unit is loaded.
        supervisor_pid: the worker exits when this process dies.
        channel_fd, http_fd: inherited sockets.
        metrics_fd: inherited socket, or None without a separate metrics port.
        grpc_port: bound with SO_REUSEPORT; None without gRPC.
        metrics_dir: folder of the shared metrics of this run.
        is_unloaded: whether the model has been unloaded, so that the worker starts without it.
        group: of a cut graph, in whose logs it stands; empty for a server on its own.
    """

    serve: str
    slot: int
    metrics_slot: str
    settings: dict[str, Any]
    source: dict[str, Any]
    opens_early: bool
    supervisor_pid: int
    channel_fd: int
    http_fd: int
    metrics_fd: int | None
    grpc_port: int | None
    metrics_dir: str
    is_unloaded: bool = False
    group: str = ""


class StopRequest(msgspec.Struct, frozen=True, tag="stop"):
    """Stop: stay open but not ready for `delay_s`, stop accepting, then finish requests within `grace_s`."""

    delay_s: float
    grace_s: float


class ModelRequest(msgspec.Struct, frozen=True, tag="model"):
    """Load or unload the model, and report CONTROLLED with this number."""

    action: ModelAction
    number: int


class ModelOutcome(msgspec.Struct, frozen=True, tag="outcome"):
    """All workers have done what this one asked for in its report of that number; the text says why not."""

    number: int
    text: str = ""


SupervisorMessage: TypeAlias = StopRequest | ModelRequest | ModelOutcome


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """A state change of a worker.

    Args:
        state: what happened.
        text: one line about it; for READY: a request to try, as JSON [path, body], where one is known; for CONTROL:
            the action; for CONTROLLED: why it failed.
        exit_code: for LOAD_FAILED: the exit code of the program.
        traceback: for LOAD_FAILED: of the exception, unless the text says it all.
        number: of an action (CONTROL, CONTROLLED).
    """

    state: WorkerState
    text: str = ""
    exit_code: int = 0
    traceback: str = ""
    number: int = 0


T = TypeVar("T")
log = logging.getLogger(__name__)


class Channel(Generic[T]):
    """One end of the socket pair; `T` is the type of the messages it receives.

    Promises: `send` may be called from any thread and does not raise when the other end is closed.
    """

    def __init__(self, end: socket.socket, receives: Any) -> None:
        self.socket = end
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(receives)
        self._rest = b""
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """For selectors."""
        return self.socket.fileno()

    def send(self, item: msgspec.Struct) -> None:
        """Send one message; it is lost if the other end is closed."""
        line = msgspec.json.encode(item) + b"\n"
        try:
            with self._lock:
                self.socket.sendall(line)
        except (BrokenPipeError, ConnectionResetError, BlockingIOError, TimeoutError):
            return

    def receive(self) -> list[T] | None:
        """The messages that have arrived; None once the other end is closed. Call it when the socket is readable."""
        try:
            data = self.socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError, TimeoutError):
            return []
        except ConnectionResetError:
            return None
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [item for line in lines for item in self._decode(line)]

    def _decode(self, line: bytes) -> list[T]:
        try:
            return [self._decoder.decode(line)]
        except msgspec.DecodeError:  # user code may have written to this descriptor
            log.warning("unreadable line on a channel", extra={"line": line[:200].decode(errors="replace")})
            return []

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self.socket.close()
