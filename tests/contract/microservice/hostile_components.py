"""Components that depend on the thread they run in, or do to it what a server does not expect of user code."""

import asyncio
import decimal
import http.client
import os
import signal
import sqlite3
import threading
from pathlib import Path

import numpy as np

_database = None
_local = threading.local()


class GlobalSqlite:
    """A module-level connection, opened by the first request that needs it."""

    def predict(self, X, names=None):
        global _database
        if _database is None:
            _database = sqlite3.connect(":memory:")
            _database.execute("create table t (x)")
            _database.execute("insert into t values (7)")
        return np.array([[_database.execute("select x from t").fetchone()[0]]])


class LateSqlite:
    """A connection kept on the object, opened at the first miss of a cache."""

    def __init__(self):
        self.asked = 0
        self.database = None

    def predict(self, X, names=None):
        self.asked += 1
        if self.asked < 20:
            return np.array([[7]])
        if self.database is None:
            self.database = sqlite3.connect(":memory:")
        return np.array([[self.database.execute("select 7").fetchone()[0]]])


class GlobalLocal:
    """Thread-local state that `load` sets up, as tokenizers and CUDA contexts have it; every hook needs it."""

    def load(self):
        _local.model = 7

    def predict(self, X, names=None):
        return np.array([[_local.model]])

    def tags(self):
        return {"model": _local.model}

    def health_status(self):
        return f"model {_local.model}"

    def init_metadata(self):
        return {"name": f"model {_local.model}"}


class LateLoop:
    """Drives the thread's event loop at every third request."""

    def __init__(self):
        self.asked = 0

    async def ask(self):
        await asyncio.sleep(0)
        return 7

    def predict(self, X, names=None):
        self.asked += 1
        if self.asked % 3:
            return np.array([[7]])
        return np.array([[asyncio.get_event_loop().run_until_complete(self.ask())]])


class LateRun(LateLoop):
    """Runs an event loop of its own at every third request, and finds the thread's own afterwards."""

    def predict(self, X, names=None):
        self.asked += 1
        if self.asked % 3 == 1:
            return np.array([[asyncio.run(self.ask())]])
        return np.array([[asyncio.get_event_loop().run_until_complete(self.ask())]])


class Precision:
    """The settings of a thread that scripts make in `load`: decimal places, NumPy's errors."""

    def load(self):
        decimal.getcontext().prec = 50
        np.seterr(all="raise")

    def predict(self, X, names=None):
        try:
            np.float64(1) / np.float64(0)
        except FloatingPointError:
            return np.array([[7 if decimal.getcontext().prec == 50 else decimal.getcontext().prec]])
        return np.array([[0]])


class Forks:
    """Forks, and comes back in both processes."""

    def predict(self, X, names=None):
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        return np.array([[7]])


class Recursive:
    """Recurses without end."""

    def predict(self, X, names=None):
        return self.predict(X, names)


class Exits:
    """Raises what ends programs, tasks and generators."""

    KINDS = (SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, StopIteration)

    def __init__(self):
        self.asked = 0

    def predict(self, X, names=None):
        self.asked += 1
        raise self.KINDS[self.asked % len(self.KINDS)]("raised on purpose")


class Alarm:
    """A time limit by SIGALRM, as people write it; Python allows that in the main thread alone."""

    def predict(self, X, names=None):
        signal.signal(signal.SIGALRM, lambda *_: None)
        return X


class AsksItsServer:
    """Asks its own server for its metadata."""

    def predict(self, X, names=None):
        connection = http.client.HTTPConnection("127.0.0.1", int(X[0][0]), timeout=30)
        connection.request("GET", "/health/ping")
        answer = connection.getresponse().read()
        connection.close()
        return np.array([[7 if answer == b"pong" else 0]])


class Stalls:
    """Fast, until it meets a file; then it waits for another."""

    def __init__(self, stall, go):
        self.stall, self.go = Path(stall), Path(go)

    def predict(self, X, names=None):
        if self.stall.exists():
            (self.stall.parent / "stalled").touch()
            while not self.go.exists():
                threading.Event().wait(0.01)
        return np.array([[7]])
