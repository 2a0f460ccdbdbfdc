"""The driver's heartbeat: what it reports about itself, kept in the store."""

from __future__ import annotations

import msgspec


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """What the driver reports with each heartbeat.

    Args:
        pid: its process id; 0 in the one written on its behalf when it is first started.
        ready, wanted: lanes that have the unit loaded, and the desired number.
        load_error: the error of the last attempt to load the unit; empty if it succeeded.
        paused: why no work is assigned; empty if it is.
        chunk_s, chunks, retries, kills: since the driver started.
        lanes: process ids.
        can_kill: whether a stop takes effect immediately, and not at the end of a chunk.
    """

    pid: int
    ready: int = 0
    wanted: int = 0
    load_error: str = ""
    paused: str = ""
    chunks: int = 0
    chunk_s: float = 0.0
    retries: int = 0
    kills: int = 0
    active: int = 0
    lanes: tuple[int, ...] = ()
    can_kill: bool = True
