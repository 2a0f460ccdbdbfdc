"""The driver's heartbeat: what it reports about itself, kept in the store."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

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


def joined(heartbeats: Sequence[Heartbeat]) -> Heartbeat | None:
    """What the drivers of all machines report together; None for none.

    A trouble is theirs if every one of them has it: otherwise the others go on.
    """
    if len(heartbeats) < 2:
        return heartbeats[0] if heartbeats else None
    return Heartbeat(
        pid=heartbeats[0].pid,
        ready=sum(each.ready for each in heartbeats),
        wanted=sum(each.wanted for each in heartbeats),
        load_error=heartbeats[0].load_error if all(each.load_error for each in heartbeats) else "",
        paused=heartbeats[0].paused if all(each.paused for each in heartbeats) else "",
        chunks=sum(each.chunks for each in heartbeats),
        chunk_s=sum(each.chunk_s for each in heartbeats),
        retries=sum(each.retries for each in heartbeats),
        kills=sum(each.kills for each in heartbeats),
        active=sum(each.active for each in heartbeats),
        lanes=tuple(itertools.chain.from_iterable(each.lanes for each in heartbeats)),
        can_kill=all(each.can_kill for each in heartbeats),
    )
