"""custom_service(): a process beside the worker that shares what the component shares."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from served import Served, served

HERE = Path(__file__).parent / "microservice"
ND = {"data": {"ndarray": [[1]]}}
LIMIT_S = 30


def inodes(pid: int | str) -> set[int]:
    """The open files of a process, by inode."""
    folder = Path(f"/proc/{pid}/fd")
    return {os.stat(file).st_ino for file in folder.iterdir() if file.exists()}


def listeners(there: Served) -> set[int]:
    """The inodes of the sockets that this process has on the worker's HTTP port."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            with socket.socket(fileno=os.dup(int(name))) as copy:
                address = copy.getsockname()
                if isinstance(address, tuple) and address[1] == there.http_port:
                    found.add(os.fstat(copy.fileno()).st_ino)
        except OSError:
            continue
    return found


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_service_is_a_process_that_shares_what_the_component_shares() -> None:
    """An event and a number of multiprocessing pass between predict and custom_service; the worker's ports do not."""
    with served("odd_components.py:Accompanied", folder=HERE) as there:
        (pid,) = there.post("/predict", ND).json["data"]["ndarray"]
        assert pid != os.getpid()
        assert listeners(there)
        assert not listeners(there) & inodes(pid)
    until = time.monotonic() + LIMIT_S
    while not gone(pid):
        assert time.monotonic() < until, "the service outlived its worker"
        time.sleep(0.01)


def test_a_service_that_fails_harms_nobody() -> None:
    """custom_service() may raise: it is told in the log, and the component goes on answering."""
    with served("odd_components.py:FailingService", folder=HERE) as there:
        assert there.post("/predict", ND).json["data"]["ndarray"] == [[1]]
