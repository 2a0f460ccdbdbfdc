"""What holds for every test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from postgres_server import PostgresServer, bin_folder

# How long an example takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Images often set this. The tests start hundreds of processes, each of which would compile the package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell that starts the tests in the background, or nohup, ignores these signals for them, and every process that
# they start would inherit that. A handler of our own is not inherited: children begin with the default again.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this run; without one, the test is skipped, but fails in CI, which has to install it."""
    if bin_folder() is None and not os.environ.get("CI"):
        pytest.skip("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    with PostgresServer() as server:
        yield server
