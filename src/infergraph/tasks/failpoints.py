"""Failpoints: named places where a test may kill this process, to prove that a crash there loses nothing.

Set `CRASH_POINT` in the environment to `name@flagfile`: the first process that reaches the failpoint `name` creates
the file and kills itself with SIGKILL; once the file exists, failpoints do nothing.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "CRASH_POINT"

POINTS = (
    "upload-written",
    "upload-converted",
    "upload-synced",
    "upload-renamed",
    "accepted",
    "claimed",
    "input-fetched",
    "begun",
    "output-written",
    "output-synced",
    "parts-kept",
    "committed",
    "finish-synced",
    "answers-written",
    "answers-kept",
    "answers-copied",
    "finished",
    "stop-marked",
    "stop-killed",
    "trashed",
    "erased",
    "retry-marked",
)


def crash_point(name: str) -> None:
    """Kill this process here if the environment says so; otherwise costs one look-up."""
    wanted = os.environ.get(VARIABLE)
    if wanted is None:
        return
    place, _, flag = wanted.partition("@")
    if place != name:
        return
    try:
        os.close(os.open(flag, os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
