"""The driver's heartbeat: what it reports about itself, kept in the store."""

from __future__ import annotations

import msgspec


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """What the driver reports with each heartbeat.

    Args:
        pid: its process id; 0 in the one that is written for it when it is first started.
        ready, wanted: lanes that have the unit loaded, and that there should be.
        load_error: why the unit could not be loaded the last time; empty if it could.
        paused: why no work is handed out; empty if it is.
        chunk_s, chunks, retries, kills: since the driver began.
        lanes: process ids.
        can_kill: whether a stop takes effect at once, and not at the end of a chunk.
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
