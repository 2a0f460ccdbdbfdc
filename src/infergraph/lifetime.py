"""Processes on the machine: one dies with its parent, ends orphans, and keeps the memory that it will use again."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MMAP_BYTES = 32 << 20
MARK = "TASK_LANE_OF"
"""Environment variable of every worker, and of what it starts: the data folder it works for."""


def die_with_parent(parent: int, life_fd: int | None = None) -> None:
    """End this process as soon as `parent` is gone, whatever either of them is doing.

    The kernel does it on Linux, also in the middle of C code; it watches the *thread* that spawned us, so parents spawn
    from their main thread. Elsewhere, and as a second net, a thread waits for the end of a pipe that the parent holds.

    Args:
        parent: process id; if it is not our parent any more, this process ends here.
        life_fd: the reading end of a pipe whose writing end only the parent has; None where another channel to the
            parent tells of its end.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    if life_fd is not None:
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


def end_orphans(mark: str) -> int:
    """SIGKILL for workers of this mark, and for what they had started, that outlived their driver; how many.

    What has left its worker's process group meant to live on, and does. To be called by the one driver of a data
    folder, before it has workers. Linux alone; elsewhere it finds nothing.
    """
    wanted = f"{MARK}={mark}".encode()
    ended = 0
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        with suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0") and _was_worker(os.getpgid(pid)):
                os.kill(pid, signal.SIGKILL)
                ended += 1
    return ended


def _was_worker(group: int) -> bool:
    """Whether the leader of a process group is a worker, or dead."""
    try:
        command = Path(f"/proc/{group}/cmdline").read_bytes()
    except OSError:
        return True
    return not command or b"infergraph.tasks.engines.worker" in command  # a dead one that nobody has reaped has none


def keep_freed_memory(kept_bytes: int = 32 << 20) -> None:
    """Tell the C library's allocator to keep freed blocks for the next chunk or message, not to give each one back.

    Blocks of some megabytes, over and over, sit just where glibc's defaults map, unmap and fault them in each time.
    For chunks of a million bytes that cost more than reading and writing their JSON (4.8 µs a row against 1.6), for
    messages of 3 MB over gRPC more than all other work (20 ms against 6). A C library without such a switch is left
    as it is.

    Args:
        kept_bytes: so much may stay with the process at most.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, kept_bytes)
