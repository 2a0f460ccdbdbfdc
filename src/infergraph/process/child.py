"""Child processes: spawned, watched, and killed together with everything they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress

from infergraph.net.backoff import Backoff

RESTARTS = Backoff(first_s=0.5, limit_s=30.0, jitter=0.0)
"""The waits before a process that failed is spawned again; after its first failure there is none."""


class Child:
    """A child process that runs a Python module, in a process group of its own.

    The group keeps Ctrl-C away from it (the supervisor handles that) and lets `kill` reach what it started.

    Args:
        module: run with `python -P -m`, so that files of the working directory shadow nothing.
        stdin: the contents of its standard input.
        pass_fds: descriptors it inherits under the same numbers.
        hold_stdin: keep its standard input open, so that the child sees its end when this process dies.
        environment: variables that it has beside ours.
        stderr: a descriptor for its standard error; None for ours.
    """

    def __init__(
        self,
        module: str,
        stdin: bytes,
        *,
        pass_fds: Sequence[int] = (),
        hold_stdin: bool = False,
        environment: Mapping[str, str] | None = None,
        stderr: int | None = None,
    ) -> None:
        command = [sys.executable, "-P", "-m", module]
        env = {**os.environ, **(environment or {})}
        if hold_stdin:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stderr=stderr, pass_fds=tuple(pass_fds), env=env, process_group=0
            )
            self._write(stdin)
        else:
            with tempfile.TemporaryFile() as file:  # not a pipe: a child that never reads cannot block us
                file.write(stdin)
                file.seek(0)
                self._process = subprocess.Popen(
                    command, stdin=file, stderr=stderr, pass_fds=tuple(pass_fds), env=env, process_group=0
                )
        self.pid = self._process.pid
        self.kill_at: float | None = None

    def _write(self, stdin: bytes) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with suppress(BrokenPipeError):  # it has exited already; its exit code says why
            pipe.write(stdin)
            pipe.flush()

    def close(self) -> None:
        """Release the pipes of an exited process. Idempotent."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the number of the signal that killed it."""
        return self._process.returncode

    def poll(self) -> bool:
        """Whether it has exited; then the rest of its process group is killed too."""
        if self._process.returncode is not None:
            return True
        if self._process.poll() is None:
            return False
        self._signal_group(signal.SIGKILL)
        return True

    def reaped(self, status: int) -> None:
        """Record an exit status that `reap_all` collected."""
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._signal_group(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send a signal to the process itself."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it and its process group."""
        if self._process.returncode is None:
            self._signal_group(signal.SIGKILL)
            self.signal(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def how_it_ended(self) -> str:
        """Its exit status in words."""
        code = self.exit_code
        if code is None:
            return "still running"
        if code >= 0:
            return f"exit code {code}"
        with suppress(ValueError):
            return f"signal {-code} ({signal.Signals(-code).name})"
        return f"signal {-code}"
