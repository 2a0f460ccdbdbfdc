"""Units for the tests of tasks, made by name in spawned workers: good ones, slow ones, and every kind of bad one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from infergraph.errors import Overloaded
from infergraph.message import Context, Encoding, Message, Method, PredictiveUnit, Request
from infergraph.settings import Settings
from infergraph.tasks.engines.request_rows import Requests


class RowUnit(PredictiveUnit):
    """Answers a list of rows with a list of rows; subclasses say how."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.name = type(self).__name__
        self.options = options

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        assert method is Method.PREDICT
        return Message.of(self.rows(request.payload), Encoding.JSON)

    def rows(self, rows: list[dict[str, Any]]) -> Any:
        """The answers."""
        return [{**row, "seen": True} for row in rows]

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        return {}


class Echo(RowUnit):
    """Each row with `seen` added."""


class Trivial(RowUnit):
    """Each row as it is."""

    def rows(self, rows: list[dict[str, Any]]) -> Any:
        return rows


class Tired(RowUnit):
    """Takes `line_s` for each row."""

    def rows(self, rows: list[dict[str, Any]]) -> Any:
        time.sleep(self.options["line_s"] * len(rows))
        return super().rows(rows)


class Gated(RowUnit):
    """Says in the file `mark` that it has begun, and keeps its whole process waiting until the file `gate` exists."""

    def rows(self, rows: list[dict[str, Any]]) -> Any:
        Path(self.options["mark"]).touch()
        while not Path(self.options["gate"]).exists():
            time.sleep(0.001)
        return super().rows(rows)


class Burner(RowUnit):
    """Burns in one call of C code that holds the interpreter's lock, on rows that say `burn`."""

    def rows(self, rows: list[dict[str, Any]]) -> Any:
        if any("burn" in row for row in rows):
            Path(self.options["mark"]).write_text(str(os.getpid()))
            sum(range(10**12))
        return super().rows(rows)


class Poisoned(RowUnit):
    """Ends its process on rows that say `poison`, raises on those that say `raise`, hangs on those that say `hang`."""

    def rows(self, rows: list[dict[str, Any]]) -> Any:
        if any("poison" in row for row in rows):
            os.kill(os.getpid(), signal.SIGKILL)
        if any("hang" in row for row in rows):
            time.sleep(1000)
        for row in rows:
            if "raise" in row:
                raise ValueError(f"cannot read {row['raise']}")
            if "exit" in row:
                sys.exit(5)
        if any("short" in row for row in rows):
            return super().rows(rows)[1:]
        if any("nan" in row for row in rows):
            return [{**row, "score": float("nan") if "nan" in row else 0.5} for row in rows]
        return super().rows(rows)


class Refusing(RowUnit):
    """Raises on rows with a value for `raise`."""

    def rows(self, rows: list[dict[str, Any]]) -> Any:
        for row in rows:
            if row.get("raise"):
                raise ValueError(f"not {row['raise']}")
        return super().rows(rows)


class Weary(Refusing):
    """The same, and takes `line_s` for each row."""

    def rows(self, rows: list[dict[str, Any]]) -> Any:
        time.sleep(self.options["line_s"] * len(rows))
        return super().rows(rows)


class Busy(RowUnit):
    """Overloaded the first two times it is asked."""

    asked = 0

    def rows(self, rows: list[dict[str, Any]]) -> Any:
        self.asked += 1
        if self.asked <= 2:
            raise Overloaded("come back later")
        return super().rows(rows)


class Summing(RowUnit):
    """Instances: the sum of each feature row, as an array of axes (row, 1)."""

    task_rows = "instance"

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        features = request.payload
        assert isinstance(features, np.ndarray)
        return Message.of(features.sum(axis=tuple(range(1, features.ndim)), keepdims=True), Encoding.NDARRAY)


class Doubling(RowUnit):
    """Messages: twice the array, in the encoding it came in."""

    task_rows = "message"

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        await asyncio.sleep(0)
        return Message.of(2 * np.asarray(request.payload), request.encoding)


class Unloadable(RowUnit):
    """Cannot be loaded until the file `cure` exists."""

    async def start(self) -> None:
        if not os.path.exists(self.options["cure"]):  # noqa: ASYNC240 - nothing else waits for this loop
            raise RuntimeError("the model file is missing")


class Recording(RowUnit):
    """Appends the number of each row to the file `log`, one line for each call, before it answers."""

    def rows(self, rows: list[dict[str, Any]]) -> Any:
        with Path(self.options["log"]).open("a") as log:
            log.write(json.dumps([row["n"] for row in rows]) + "\n")
        time.sleep(self.options.get("line_s", 0) * len(rows))
        return super().rows(rows)


class Parent(RowUnit):
    """Starts a process of its own and waits for it."""

    def rows(self, rows: list[dict[str, Any]]) -> Any:
        child = subprocess.Popen(["sleep", "1000"])
        Path(self.options["mark"]).write_text(str(child.pid))
        child.wait()
        return super().rows(rows)


class Recorder(RowUnit):
    """Appends task and number of the first row to the file `log` before it answers."""

    def rows(self, rows: list[dict[str, Any]]) -> Any:
        with Path(self.options["log"]).open("a") as log:
            log.write(f"{rows[0]['t']} {rows[0]['n']}\n")
        time.sleep(self.options["line_s"] * len(rows))
        return super().rows(rows)


class Moody(Recording):
    """Records its rows; refuses those numbered `bad` until the file `switch` exists."""

    def rows(self, rows: list[dict[str, Any]]) -> Any:
        refused = [row["n"] for row in rows if row["n"] in self.options["bad"]]
        if refused and not Path(self.options["switch"]).exists():
            raise ValueError(f"not today: {refused[0]}")
        return super().rows(rows)


class Uneven(RowUnit):
    """Slow on some rows, so that later ones are answered first."""

    def rows(self, rows: list[dict[str, Any]]) -> Any:
        time.sleep(sum(0.02 for row in rows if row["n"] % 97 == 0))
        return super().rows(rows)


def no_requests() -> Requests:
    """What would answer rows that are requests: these units are not served under any path."""
    raise NotImplementedError


def make(source: str, settings: Settings) -> PredictiveUnit:
    """The unit that `source` names: {"unit": "Echo", ...}."""
    options = json.loads(source)
    unit: type[RowUnit] = globals()[options["unit"]]
    return unit(options)
