"""The two clocks that everything here is given: one for people and records, one for durations."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec


class Clocks(msgspec.Struct, frozen=True):
    """`wall` gives Unix seconds, `steady` monotonic seconds."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
