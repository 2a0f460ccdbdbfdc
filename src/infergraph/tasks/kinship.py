"""Processes that die with their parent, whatever either of them is doing."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, life_fd: int) -> None:
    """End this process as soon as `parent` is gone.

    The kernel does it on Linux, also in the middle of C code; it watches the *thread* that spawned us, so parents spawn
    from their main thread. Elsewhere, and as a second net, a thread waits for the end of a pipe that the parent holds.

    Args:
        parent: process id; if it is not our parent any more, this process ends here.
        life_fd: the reading end of a pipe whose writing end only the parent has.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=_wait_for_end, args=(life_fd,), name="parent-watch", daemon=True).start()


def _wait_for_end(life_fd: int) -> None:
    while True:
        try:
            if not os.read(life_fd, 1):
                break
        except InterruptedError:
            continue
        except OSError:
            break
    os._exit(1)
