"""Follows one request through the package: which files it enters, and how often it crosses from one to another."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import infergraph

PACKAGE = str(Path(infergraph.__file__).parent) + "/"


class Walk:
    """What one thread entered while `recording`.

    A file counts when one of its functions is called; a crossing when the nearest caller within the package is of
    another file. A coroutine counts once, however often it is resumed.
    """

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.crossings: Counter[tuple[str, str]] = Counter()
        self._entered: dict[int, FrameType] = {}  # frames are held, so that no address is used again

    def hook(self, frame: FrameType, event: str, argument: Any) -> None:
        """For `sys.setprofile`."""
        if event != "call" or not frame.f_code.co_filename.startswith(PACKAGE) or id(frame) in self._entered:
            return
        self._entered[id(frame)] = frame
        file = _file(frame)
        self.files.add(file)
        caller = frame.f_back
        while caller is not None and not caller.f_code.co_filename.startswith(PACKAGE):
            caller = caller.f_back
        if caller is not None and (before := _file(caller)) != file:
            self.crossings[before, file] += 1

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record what the current thread does."""
        sys.setprofile(self.hook)
        try:
            yield
        finally:
            sys.setprofile(None)

    @property
    def pairs(self) -> set[tuple[str, str]]:
        """Files that called each other both ways."""
        return {(a, b) for a, b in self.crossings if a < b and (b, a) in self.crossings}

    def __str__(self) -> str:
        ways = (f"  {a} -> {b}: {count}" for (a, b), count in sorted(self.crossings.items()))
        return "\n".join([f"{len(self.files)} files, {self.crossings.total()} crossings, pairs: {self.pairs}", *ways])


def _file(frame: FrameType) -> str:
    return frame.f_code.co_filename.removeprefix(PACKAGE)
