"""Signals of a process, as its parent leaves them."""

import signal
from collections.abc import Iterator

import pytest

from infergraph import process_lifetime


@pytest.fixture
def number(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    before = signal.getsignal(request.param)
    yield request.param
    signal.signal(request.param, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], indirect=True)
def test_a_signal_is_handled(number: signal.Signals) -> None:
    """As it comes."""
    signal.signal(number, signal.SIG_DFL)
    seen: list[int] = []
    process_lifetime.handle_signal(number, lambda: seen.append(1))
    signal.raise_signal(number)
    assert seen == [1]


@pytest.mark.parametrize("number", [signal.SIGINT], indirect=True)
def test_an_interrupt_that_a_shell_lets_its_background_jobs_ignore_stays_ignored(number: signal.Signals) -> None:
    """Ctrl-C is for the job in the foreground."""
    signal.signal(number, signal.SIG_IGN)
    process_lifetime.handle_signal(number, pytest.fail)
    signal.raise_signal(number)
    assert signal.getsignal(number) is signal.SIG_IGN
