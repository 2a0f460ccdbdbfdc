"""Child processes: started by spawning, watched, and ended with everything they started themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress


class Child:
    """A process of ours, running a Python module, in a process group of its own.

    The group keeps Ctrl-C away from it (the supervisor decides what that means) and lets us end what it started.

    Args:
        module: run with `python -P -m`, so that files of the working directory shadow nothing.
        stdin: what it finds on its standard input.
        pass_fds: descriptors it inherits under the same numbers.
        hold_stdin: keep its standard input open after that, so that its end tells the child of our death.
    """

    def __init__(self, module: str, stdin: bytes, *, pass_fds: Sequence[int] = (), hold_stdin: bool = False) -> None:
        command = [sys.executable, "-P", "-m", module]
        if hold_stdin:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0)
            self._write(stdin)
        else:
            with tempfile.TemporaryFile() as file:  # not a pipe: a child that never reads cannot hold us up
                file.write(stdin)
                file.seek(0)
                self._process = subprocess.Popen(command, stdin=file, pass_fds=tuple(pass_fds), process_group=0)
        self.pid = self._process.pid
        self.kill_at: float | None = None

    def _write(self, stdin: bytes) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with suppress(BrokenPipeError):  # it is dead already, as its exit code will tell
            pipe.write(stdin)
            pipe.flush()

    def close(self) -> None:
        """Let go of what is left of an ended process. Idempotent."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the number of the signal that ended it."""
        return self._process.returncode

    def poll(self) -> bool:
        """Whether it has ended; then what is left of its group is ended too."""
        if self._process.returncode is not None:
            return True
        if self._process.poll() is None:
            return False
        self._signal_group(signal.SIGKILL)
        return True

    def reaped(self, status: int) -> None:
        """Note an end that somebody else has waited for."""
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._signal_group(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send a signal to the process itself."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it and its group at once."""
        if self._process.returncode is None:
            self._signal_group(signal.SIGKILL)
            self.signal(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def how_it_ended(self) -> str:
        """The end in words."""
        code = self.exit_code
        if code is None:
            return "still running"
        if code >= 0:
            return f"exit code {code}"
        with suppress(ValueError):
            return f"signal {-code} ({signal.Signals(-code).name})"
        return f"signal {-code}"


class Backoff:
    """How long to wait before the next try: not at all the first time, then twice as long each time.

    Args:
        first_s: the first real wait.
        limit_s: the longest.
    """

    def __init__(self, first_s: float = 0.5, limit_s: float = 30.0) -> None:
        self._first_s = first_s
        self._limit_s = limit_s
        self.failures = 0

    def failed(self) -> float:
        """Note a failure; the seconds to wait."""
        self.failures += 1
        if self.failures == 1:
            return 0.0
        return float(min(self._first_s * 2.0 ** min(self.failures - 2, 30), self._limit_s))

    def succeeded(self) -> None:
        """Begin anew."""
        self.failures = 0
