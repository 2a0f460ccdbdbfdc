"""The extra process of a component with a `custom_service()`: it runs that method.

    worker, its unit loaded ──fork──▶ child: ports closed, default signal handlers ──▶ user_object.custom_service()

It is forked, as by Seldon's wrapper, so that both sides share what the component holds of `multiprocessing` (a counter,
a lock, an array). The child uses nothing but the user's object, and exits without running our clean-up.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import inspect
import logging
import os
import signal
import socket
import stat
import sys
import threading
import time
import warnings
from collections.abc import Collection
from typing import Any, NoReturn

from infergraph.process_lifetime import die_with_parent

_log = logging.getLogger(__name__)

_HANDOVER_S = 15.0
"""How long the predecessor of this worker may still hold the service's ports."""
_AGAIN_S = 0.5
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGABRT, signal.SIGUSR1, signal.SIGUSR2)


class CustomService:
    """The process of one worker's component. It is not restarted when the method returns or raises.

    Args:
        ports: of the worker; the child closes its copies of their sockets.
    """

    def __init__(self, user_object: Any, ports: Collection[int]) -> None:
        self._service = user_object.custom_service
        self._ports = frozenset(ports)
        self._pid: int | None = None

    def start(self) -> None:
        """Start it; it is killed with this process."""
        parent = os.getpid()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        with warnings.catch_warnings():
            # Python warns about forking with threads, as locks may be held; the child takes none of ours.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if not pid:
            self._run(parent)
        self._pid = pid
        threading.Thread(target=self._await_end, args=(pid,), name="custom-service", daemon=True).start()

    def stop(self) -> None:
        """Send SIGTERM, so that the successor of this worker finds the service's ports free."""
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)

    def _await_end(self, pid: int) -> None:
        _, status = os.waitpid(pid, 0)
        self._pid = None
        _log.info("custom_service() has returned", extra={"code": os.waitstatus_to_exitcode(status)})

    def _run(self, parent: int) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            die_with_parent(parent)
            _close_ports(self._ports)
            asyncio._set_running_loop(None)
            self._serve()
            code = 0
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        except BaseException:  # noqa: BLE001 - user code may raise anything, and there is no caller
            _log.exception("custom_service() raised")
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)

    def _serve(self) -> None:
        until = time.monotonic() + _HANDOVER_S
        while True:
            try:
                result = self._service()
                if inspect.iscoroutine(result):
                    asyncio.run(result)
            except (OSError, SystemExit) as ending:
                if time.monotonic() > until or not _may_be_taken(ending):
                    raise
                time.sleep(_AGAIN_S)
            else:
                return


def _may_be_taken(ending: OSError | SystemExit) -> bool:
    """Whether a port may have been in use; Flask's own server exits with 1 then."""
    return ending.code == 1 if isinstance(ending, SystemExit) else ending.errno == errno.EADDRINUSE


def _close_ports(ports: Collection[int]) -> None:
    """Replace the sockets on `ports`, so that connections end when the worker closes its own copies."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/dev/fd"):
        descriptor = int(name)
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode) and _port_of(descriptor) in ports:
                os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)


def _port_of(descriptor: int) -> int | None:
    inherited = socket.socket(fileno=descriptor)
    try:
        name = inherited.getsockname()
        return name[1] if isinstance(name, tuple) and inherited.family in (socket.AF_INET, socket.AF_INET6) else None
    finally:
        inherited.detach()
