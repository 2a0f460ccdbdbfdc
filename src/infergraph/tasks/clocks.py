"""Clocks, injected everywhere in tasks: wall-clock time for records, monotonic time for durations."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec


class Clocks(msgspec.Struct, frozen=True):
    """`wall` gives Unix seconds, `steady` monotonic seconds."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
