"""A PostgreSQL server of the tests' own: a private cluster in a folder, on a free port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from task_harness import wait_for

_MISSING = (
    "no PostgreSQL server is installed: apt-get install postgresql, or name the folder of initdb and pg_ctl in "
    "POSTGRES_BIN"
)
_SETTINGS = {"listen_addresses": "127.0.0.1", "max_connections": "200", "shared_buffers": "64MB"}
_UNSYNCED = {"fsync": "off"}
"""What a killed server has written survives it in the system's cache; only a loss of power would lose it."""


def bin_folder() -> Path | None:
    """The folder with `initdb` and `postgres`; None where there is no server."""
    named = os.environ.get("POSTGRES_BIN")
    if named:
        return Path(named)
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


def _server_user() -> pwd.struct_passwd | None:
    """Whom the server runs as: root may not."""
    return None if os.geteuid() else pwd.getpwnam("postgres")


class PostgresServer:
    """A server over a new cluster, which can be killed and started again; use as a context manager.

    Args:
        is_synced: whether what it commits survives a loss of power, too, as it does by default.
    """

    def __init__(self, *, is_synced: bool = False) -> None:
        folder = bin_folder()
        assert folder is not None, _MISSING
        self._bin = folder
        self._user = _server_user()
        self.port = _free_port()
        self._settings = _SETTINGS if is_synced else _SETTINGS | _UNSYNCED
        self._root = Path(tempfile.mkdtemp(prefix="infergraph-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def __enter__(self) -> PostgresServer:
        if self._user is not None:
            os.chown(self._root, self._user.pw_uid, self._user.pw_gid)
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-N")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._root, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._root / "data"

    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._bin / program, *arguments], cwd=self._root, capture_output=True, check=False, **self._as_user()
        )
        assert done.returncode == 0, done.stderr.decode()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        told = [item for name, value in self._settings.items() for item in ("-c", f"{name}={value}")]
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, "-p", str(self.port), "-k", self._root, *told],
                cwd=self._root,
                stdout=log,
                stderr=log,
                **self._as_user(),
            )
        wait_for(self._answers, "the start of PostgreSQL")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._root / "log").read_text()[-2000:]
        try:
            psycopg.connect(self._url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill it, without a checkpoint; its other processes end by themselves. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all its processes."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for pid in (self.pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def restart(self) -> None:
        """Kill it, and start it again as soon as the other processes have let go of its memory."""
        self.kill()
        while True:
            try:
                self.start()
            except AssertionError as error:
                if "shared memory" not in str(error):
                    raise
            else:
                return

    def _url(self, database: str) -> str:
        return f"postgresql://postgres:hidden-word@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """The URL of a new, empty database."""
        self._databases += 1
        name = f"tasks{self._databases}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"create database {name}")  # type: ignore[call-overload]
        return self._url(name)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
